package nginxconf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cutover/traffic"
)

// shopWeb are the services of the trees in testdata/edit.
var shopWeb = []Upstream{
	{Route: "backend", Blue: "127.0.0.1:18000", Green: "127.0.0.1:28000"},
	{Route: "frontend", Blue: "127.0.0.1:18080", Green: "127.0.0.1:28080"},
}

// shopOf is the app in a tree, with a first generation that its lines can lead to.
func shopOf(t *testing.T, root, pass string) *Proxy {
	t.Helper()
	config := DefaultConfig()
	config.Dir, config.Pass = filepath.Join(root, "cutover"), pass
	p := New(Options{Config: config, App: "shop", Env: "test", Web: shopWeb, AccessLog: filepath.Join(root, "shop.log"), Now: time.Now})
	files, err := p.Render(split(0, 0), 1, nil)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(filepath.Join(p.root, "gen"), 0o755))
	require.NoError(t, p.trees.stage(1, files))
	require.NoError(t, os.Symlink("gen/000001", filepath.Join(p.root, "current")))
	return p
}

// proposal reads a tree and gives its edit, with what a person is shown.
func proposal(t *testing.T, tr tree, p *Proxy) (edit Edit, shown string) {
	t.Helper()
	c, err := ReadChain(tr.main(), tr.root)
	require.NoError(t, err)
	edit = c.Edit(p.site(), p.targets(), traffic.Blue)
	for _, f := range edit.Files {
		shown += string(diff.Diff(f.Path, f.Before, f.Path, f.After))
	}
	for _, l := range edit.Left {
		shown += fmt.Sprintf("%s %s:%d: %s\n    %s\n", l.Severity, l.File, l.Line, l.What, l.Remedy)
	}
	return edit, strings.ReplaceAll(shown, tr.root, "@ROOT@")
}

// Each tree has the edit that its golden file shows. nginx accepts every file of it as it comes, and what is edited needs no edit.
func TestEdit(t *testing.T) {
	paths, err := filepath.Glob("testdata/edit/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			require.NoError(t, err)
			tr := unpack(t, name, archive)
			pass := PassVariable
			if bytes.Contains(archive.Comment, []byte("nginx.pass: name\n")) {
				pass = PassName
			}
			p := shopOf(t, tr.root, pass)
			_, output, err := tr.judge(t, tr.main())
			require.NoError(t, err, output)

			edit, shown := proposal(t, tr, p)
			golden := strings.TrimSuffix(path, ".txtar") + ".golden"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(shown), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), shown)

			for _, f := range edit.Files {
				require.NoError(t, os.WriteFile(f.Path, f.After, 0o644))
				_, output, err := tr.judge(t, tr.main())
				require.NoError(t, err, output)
			}
			again, _ := proposal(t, tr, p)
			require.Empty(t, again.Files)
		})
	}
}

// reverted takes the edit's lines out again, for files in which each service has one spelling.
func reverted(root string, after []byte) string {
	include := `include ` + regexp.QuoteMeta(root) + `/cutover/shop/current/(http|server)\.conf;`
	kept := `(proxy_set_header Host|proxy_redirect) (http://)?127\.0\.0\.1:18000(/ /)?;`
	text := string(after)
	for _, line := range []string{`(?m)^[ \t]*(` + include + `|` + kept + `)\r?\n`, ` (` + include + `|` + kept + `)`} {
		text = regexp.MustCompile(line).ReplaceAllString(text, "")
	}
	return strings.ReplaceAll(text, "http://$cutover_shop_backend", "http://127.0.0.1:18000")
}

// Whatever the files look like, the edit takes nothing away and adds nothing but its own lines.
func TestEditChangesNothingElse(t *testing.T) {
	root := t.TempDir()
	p := shopOf(t, root, PassVariable)
	main := filepath.Join(root, "nginx.conf")
	rapid.Check(t, func(rt *rapid.T) {
		before := drawConfiguration(rt)
		require.NoError(rt, os.WriteFile(main, []byte(before), 0o644))
		c, err := ReadChain(main, root)
		require.NoError(rt, err)
		edit := c.Edit(p.site(), p.targets(), traffic.Blue)
		if len(edit.Files) == 0 {
			require.NotContains(rt, strings.ReplaceAll(before, "# proxy_pass", ""), "proxy_pass http://127.0.0.1:18000;")
			return
		}
		require.Equal(rt, before, reverted(root, edit.Files[0].After))
		require.NotContains(rt, strings.ReplaceAll(string(edit.Files[0].After), "# proxy_pass", ""), "proxy_pass http://127.0.0.1:18000;")
		requireNothingMore(rt, c, edit, p)
	})
}

// requireNothingMore wants that the edited files are read as they should be, and need no further edit.
func requireNothingMore(t require.TestingT, c *Chain, edit Edit, p *Proxy) {
	again, err := c.With(edit)
	require.NoError(t, err)
	require.Empty(t, again.Edit(p.site(), p.targets(), traffic.Blue).Files)
}

// drawConfiguration gives a main file with servers of all kinds; blanks, comments and line ends vary.
func drawConfiguration(rt *rapid.T) string {
	var out strings.Builder
	newline := rapid.SampledFrom([]string{"\n", "\r\n"}).Draw(rt, "newline")
	gap := func() string {
		return rapid.SampledFrom([]string{newline, newline + "\t", newline + "    ", " ", " # proxy_pass http://127.0.0.1:18000;" + newline,
			newline + newline + "  # }" + newline + "  "}).Draw(rt, "gap")
	}
	write := func(parts ...string) {
		for _, part := range parts {
			out.WriteString(part + gap())
		}
	}
	write("events { }", "http {")
	for range rapid.IntRange(1, 3).Draw(rt, "servers") {
		write("server {")
		for n := range rapid.IntRange(0, 4).Draw(rt, "locations") {
			write(fmt.Sprintf("location /%d/ {", n))
			write(rapid.SliceOfN(rapid.SampledFrom([]string{"proxy_set_header Host $host;", "proxy_read_timeout 5s;", `add_header X "a;{}#b";`}), 0, 2).Draw(rt, "settings")...)
			write(rapid.SampledFrom([]string{"proxy_pass http://127.0.0.1:18000;", "proxy_pass  http://127.0.0.1:3000 ;", "return 204;"}).Draw(rt, "answer"), "}")
		}
		write("}")
	}
	out.WriteString("}" + rapid.SampledFrom([]string{"", newline}).Draw(rt, "end"))
	return out.String()
}

// Whatever is read, the edit is a configuration that can be read too, and needs no further edit.
func FuzzEdit(f *testing.F) {
	paths, err := filepath.Glob("testdata/edit/*.txtar")
	require.NoError(f, err)
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		require.NoError(f, err)
		for _, file := range archive.Files {
			f.Add(file.Data)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if bytes.Contains(text, []byte("include")) {
			return // of files that are not there, or of the machine's
		}
		root := t.TempDir()
		p := shopOf(t, root, PassVariable)
		main := filepath.Join(root, "nginx.conf")
		require.NoError(t, os.WriteFile(main, text, 0o644))
		c, err := ReadChain(main, root)
		if err != nil {
			return
		}
		requireNothingMore(t, c, c.Edit(p.site(), p.targets(), traffic.Blue), p)
	})
}
