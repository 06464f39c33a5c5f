package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// module is a throw-away one with packages of each kind.
var module = map[string]string{
	"go.mod":              "module fleet\n\ngo 1.26\n",
	"good/good_test.go":   "package good\nimport \"testing\"\nfunc TestA(t *testing.T) { t.Log(\"hidden\") }\n",
	"talk/talk_test.go":   "package talk\nimport (\"fmt\"; \"os\"; \"testing\")\nfunc TestMain(m *testing.M) { fmt.Println(\"engine: docker 1.2.3\"); os.Exit(m.Run()) }\nfunc TestA(t *testing.T) {}\n",
	"skip/skip_test.go":   "package skip\nimport \"testing\"\nfunc TestA(t *testing.T) { t.Run(\"sub\", func(t *testing.T) { t.Skip(\"no nginx here\") }) }\n",
	"fail/fail_test.go":   "package fail\nimport \"testing\"\nfunc TestA(t *testing.T) { t.Error(\"seven is not eight\") }\nfunc TestB(t *testing.T) { t.Log(\"hidden\") }\n",
	"panic/panic_test.go": "package panic\nimport \"testing\"\nfunc TestA(t *testing.T) { t.Log(\"last words\"); panic(\"boom\") }\n",
	"broken/x_test.go":    "package broken\nfunc helper() { undefined() }\n",
	"empty/empty.go":      "package empty\n",
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	for name, text := range module {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	t.Chdir(dir)
	for _, c := range []struct {
		name  string
		args  []string
		code  int
		err   string
		says  []string
		never []string
	}{
		{"a good one is go test's line alone", []string{"./good"}, 0, "", []string{`(?m)\Aok  \tfleet/good\t\S+\n\z`}, nil},
		{"what a package prints is passed on", []string{"./talk"}, 0, "", []string{`(?m)^engine: docker 1.2.3$`, `(?m)^ok  \tfleet/talk`}, []string{"PASS"}},
		{"no tests is no skip", []string{"./empty"}, 0, "", []string{`no test files`}, nil},
		{"a skipped one fails", []string{"./skip", "./good"}, 1, "fleet/skip.TestA/sub", []string{`no nginx here`, `--- SKIP: TestA/sub`, `(?m)^ok  \tfleet/good`}, nil},
		{"a failed one is told of", []string{"./fail"}, 1, "", []string{`--- FAIL: TestA`, `seven is not eight`, `(?m)^FAIL\tfleet/fail`}, []string{"hidden", "=== RUN"}},
		{"a panic is told of", []string{"./panic"}, 1, "", []string{`last words`, `boom`, `(?m)^FAIL\tfleet/panic`}, nil},
		{"a broken one is told of", []string{"./broken"}, 1, "", []string{`undefined: undefined`, `FAIL\tfleet/broken`}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			code, err := run(append([]string{"-count=1"}, c.args...), &out)
			require.Equal(t, c.code, code, out.String())
			if c.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.err)
			}
			for _, pattern := range c.says {
				require.Regexp(t, regexp.MustCompile(pattern), out.String())
			}
			for _, word := range c.never {
				require.NotContains(t, out.String(), word)
			}
		})
	}
}
