package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// Each file of testdata/config is a configuration with what becomes of it: its mistakes, or the values of the keys that its first
// lines ask for. `go test -update` writes the last part.
func TestConfig(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), configName)
			require.NoError(t, os.WriteFile(path, archive.Files[0].Data, 0o644))
			got := loaded(t, path, line(archive.Comment, "env: "), line(archive.Comment, "keys: "))
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "want", Data: []byte(got)})
				require.NoError(t, os.WriteFile(file, txtar.Format(archive), 0o644))
			}
			require.Len(t, archive.Files, 2, "it wants nothing yet: go test -update")
			require.Equal(t, string(archive.Files[1].Data), got)
		})
	}
}

// line is the rest of the comment's line that begins so.
func line(comment []byte, begin string) string {
	for each := range strings.Lines(string(comment)) {
		if rest, ok := strings.CutPrefix(each, begin); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// loaded is what loading comes to, as text: the mistakes, without the folder, or the keys' values.
func loaded(t *testing.T, path, environment, keys string) string {
	c, err := loadConfig(path, environment)
	if err != nil {
		require.Equal(t, traffic.Usage, traffic.KindOf(err))
		return strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", "") + "\n"
	}
	text := c.yaml()
	var out strings.Builder
	for _, key := range strings.Fields(keys) {
		selected, err := yaml.PathString("$." + key)
		require.NoError(t, err)
		node, err := selected.ReadNode(strings.NewReader(text))
		require.NoError(t, err)
		value := strings.TrimSpace(node.String())
		if strings.Contains(value, "\n") || strings.Contains(value, ": ") {
			value = "\n" + node.String()
		} else {
			value = " " + value
		}
		out.WriteString(key + ":" + value + "\n")
	}
	require.NotEmpty(t, keys, "it loads: say which keys shall be shown")
	return out.String()
}

func TestConfigThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct{ path, says string }{
		"missing":  {filepath.Join(dir, "nowhere.yaml"), "nowhere.yaml: no such file"},
		"a folder": {dir, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadConfig(c.path, "")
			require.ErrorContains(t, err, c.says)
			require.Equal(t, exitUsage, exitOfError(err))
		})
	}
}

func TestFindConfig(t *testing.T) {
	top := t.TempDir()
	deep := filepath.Join(top, "shop", "src", "api")
	require.NoError(t, os.MkdirAll(deep, 0o755))
	_, err := findConfig("", deep)
	require.ErrorContains(t, err, "no cutover.yaml in "+deep+" or above")
	require.Equal(t, exitUsage, exitOfError(err))

	upper, nearer := filepath.Join(top, configName), filepath.Join(top, "shop", configName)
	for _, path := range []string{upper, nearer} {
		require.NoError(t, os.WriteFile(path, nil, 0o644))
		found, err := findConfig("", deep)
		require.NoError(t, err)
		require.Equal(t, path, found, "the nearest")
	}
	found, err := findConfig("../"+configName, filepath.Dir(nearer))
	require.NoError(t, err)
	require.Equal(t, upper, found, "named, as seen from the working directory")
	found, err = findConfig("/etc/shop.yaml", deep)
	require.NoError(t, err)
	require.Equal(t, "/etc/shop.yaml", found)
}

func TestAccepts(t *testing.T) {
	c := defaultConfig()
	for _, row := range []struct {
		environment, tag string
		good             bool
	}{
		{"prod", "v1.4.0", true}, {"prod", "v1.4.0-0123abc", true}, {"prod", "v1.4", false}, {"prod", "main-0123abc", false},
		{"prod", "v1.4.0\n", false}, {"staging", "main-0123abc", true}, {"staging", "v1.4.0", false}, {"dev", "anything", true},
	} {
		c.Environment = row.environment
		err := c.accepts(row.tag)
		require.Equal(t, row.good, err == nil, "%s in %s", row.tag, row.environment)
		if !row.good {
			require.Equal(t, exitPolicy, exitOfError(err))
			require.ErrorContains(t, err, row.environment+" does not accept the tag")
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"stacks", "state", "nginx", "rollout"}
	for typed, want := range map[string]string{
		"stakcs": "stacks", "stat": "state", "nginxx": "nginx", "rolout": "rollout", "stacks": "stacks",
		"": "", "weather": "", "x": "", "ß": "",
	} {
		require.Equal(t, want, nearest(typed, words), typed)
	}
	require.Equal(t, 3, edits("kitten", "sitting"))
	require.Equal(t, 4, edits("", "four"))
	require.Equal(t, 4, edits("four", ""))
}
