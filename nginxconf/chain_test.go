package nginxconf

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// tree is a configuration unpacked from testdata/chain.
type tree struct {
	name, root   string
	withoutNginx bool
}

func (tr tree) main() string { return filepath.Join(tr.root, "nginx.conf") }

// trees unpacks each archive of testdata/chain into a folder of its own. @ROOT@ stands for that folder.
func trees(t *testing.T) []tree {
	t.Helper()
	paths, err := filepath.Glob("testdata/chain/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	var list []tree
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		require.NoError(t, err)
		list = append(list, unpack(t, strings.TrimSuffix(filepath.Base(path), ".txtar"), archive))
	}
	return list
}

func unpack(t *testing.T, name string, archive *txtar.Archive) tree {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	tr := tree{name: name, root: root}
	for _, f := range archive.Files {
		put(t, filepath.Join(root, f.Name), strings.ReplaceAll(string(f.Data), "@ROOT@", root))
	}
	temp := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += kind + "_temp_path " + root + "/temp;\n"
	}
	put(t, filepath.Join(root, "temp_paths.conf"), temp)
	for line := range strings.Lines(string(archive.Comment)) {
		line = strings.TrimSpace(line)
		if link, target, ok := strings.Cut(strings.TrimPrefix(line, "symlink "), " -> "); ok {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, link)), 0o755))
			require.NoError(t, os.Symlink(target, filepath.Join(root, link)))
		}
		tr.withoutNginx = tr.withoutNginx || line == "without nginx"
	}
	return tr
}

func put(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

// stockNginx is the real thing; without it a test is skipped, unless the run demands it. CUTOVER_TEST_NGINX names another one
// than the machine's own.
func stockNginx(t *testing.T) string {
	t.Helper()
	if path := os.Getenv(testNginx); path != "" {
		return path
	}
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CUTOVER_REQUIRE_REAL") != "" {
		t.Fatal("nginx is not installed, and this run demands the real one")
	}
	t.Skip("nginx is not installed: how it reads its files was not compared")
	return ""
}

// judge runs `nginx -T` (which is -t and a dump) on a main file.
func (tr tree) judge(t *testing.T, main string) (files []string, output string, err error) {
	t.Helper()
	out, err := exec.Command(stockNginx(t), append(early(t, stockNginx(t), "stderr"), "-T", "-p", tr.root, "-c", main)...).CombinedOutput()
	for _, match := range regexp.MustCompile(`(?m)^# configuration file (.*):$`).FindAllSubmatch(out, -1) {
		files = append(files, string(match[1]))
	}
	return files, string(out), err
}

// snapshot is every file of the tree with its bytes, every link with its target.
func (tr tree) snapshot(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(tr.root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.Type()&fs.ModeSymlink != 0:
			all[path], err = os.Readlink(path)
		case e.IsDir():
			all[path] = "folder"
		default:
			var content []byte
			content, err = os.ReadFile(path)
			all[path] = string(content)
		}
		return err
	}))
	return all
}

func paths(files []*File) []string {
	var list []string
	for _, f := range files {
		list = append(list, f.Path)
	}
	return list
}

// dump writes a chain as nginx sees it: one line for each directive, indented by its blocks.
func dump(c *Chain, root string) string {
	var out strings.Builder
	for d, around := range c.all() {
		fmt.Fprintf(&out, "%-40s%s%s", fmt.Sprintf("%s:%d", strings.TrimPrefix(d.File, root+"/"), d.Line), strings.Repeat("  ", len(around)), d.Name)
		for _, arg := range d.Args {
			fmt.Fprintf(&out, " %q", strings.ReplaceAll(arg, root, "@ROOT@"))
		}
		if d.Block != nil {
			out.WriteString(" {")
		}
		out.WriteString("\n")
	}
	return out.String()
}

func TestChainsAreReadAsWritten(t *testing.T) {
	for _, tr := range trees(t) {
		t.Run(tr.name, func(t *testing.T) {
			c, err := ReadChain(tr.main(), tr.root)
			require.NoError(t, err)
			golden := "testdata/chain/" + tr.name + ".golden"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(dump(c, tr.root)), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), dump(c, tr.root))
		})
	}
}

func TestNginxOpensTheSameFilesInTheSameOrder(t *testing.T) {
	for _, tr := range trees(t) {
		if tr.withoutNginx {
			continue
		}
		t.Run(tr.name, func(t *testing.T) {
			want, output, err := tr.judge(t, tr.main())
			require.NoError(t, err, output)
			c, err := ReadChain(tr.main(), tr.root)
			require.NoError(t, err)
			require.Equal(t, want, paths(c.Files))
		})
	}
}

// Whatever one of both refuses, the other does too.
func TestWhatCannotBeRead(t *testing.T) {
	tests := []struct {
		name, main, want string
	}{
		{"missing file", "events {}\n\ninclude gone.conf;", "ROOT/nginx.conf:3: include of ROOT/gone.conf: no such file or directory"},
		{"link to nothing behind a wildcard", "events {}\ninclude dangling/*;", "ROOT/nginx.conf:2: include of ROOT/dangling/x.conf: no such file or directory"},
		{"folder behind a wildcard", "events {}\ninclude folders/*;", "ROOT/nginx.conf:2: include of ROOT/folders/inner: is a directory"},
		{"broken file below", "events {}\ninclude broken.conf;", "ROOT/broken.conf:2: unexpected \"}\""},
		{"open block", "events {", "ROOT/nginx.conf:1: unexpected end of file, expecting \"}\""},
		{"open directive", "events {}\npid x", "ROOT/nginx.conf:2: unexpected end of file, expecting \";\" or \"{\""},
		{"open quote", "events {}\n\npid 'x;\n\n", "ROOT/nginx.conf:3: unexpected end of file, the quote \"'\" is never closed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := unpack(t, test.name, &txtar.Archive{Comment: []byte("symlink dangling/x.conf -> nowhere")})
			put(t, tr.main(), test.main)
			put(t, filepath.Join(tr.root, "broken.conf"), "daemon on;\n}\n")
			put(t, filepath.Join(tr.root, "folders/inner/x"), "")
			_, err := ReadChain(tr.main(), tr.root)
			require.Equal(t, traffic.Preflight, traffic.KindOf(err))
			require.Equal(t, "read nginx's configuration: "+strings.ReplaceAll(test.want, "ROOT", tr.root), err.Error())
			_, output, err := tr.judge(t, tr.main())
			require.Error(t, err, output)
		})
	}
}

func TestAFileThatIncludesItselfIsRefused(t *testing.T) {
	tr := unpack(t, "cycle", &txtar.Archive{Comment: []byte("symlink alias.conf -> b.conf")})
	put(t, tr.main(), "include a.conf;")
	put(t, filepath.Join(tr.root, "a.conf"), "\nevents { include b*.conf; }")
	put(t, filepath.Join(tr.root, "b.conf"), "include alias.conf;")
	_, err := ReadChain(tr.main(), tr.root)
	require.ErrorContains(t, err, tr.root+"/b.conf:1: include of "+tr.root+"/alias.conf: the file includes itself")
}

func TestAMainFileThatIsNotThere(t *testing.T) {
	_, err := ReadChain("conf/nginx.conf", "/nowhere")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "/nowhere/conf/nginx.conf: no such file or directory")
}

func TestPidFileAndUser(t *testing.T) {
	built := Build{Prefix: "/usr/share/nginx", Pid: "/run/nginx.pid", User: "nobody"}
	tests := []struct{ name, main, prefix, pid, user string }{
		{"as built", "events {}", "", "/run/nginx.pid", "nobody"},
		{"as written", "user www-data adm; pid /srv/n.pid;", "/srv", "/srv/n.pid", "www-data"},
		{"relative, on the prefix", "pid run/n.pid;", "/srv", "/srv/run/n.pid", "nobody"},
		{"relative, on the built prefix", "pid run/n.pid;", "", "/usr/share/nginx/run/n.pid", "nobody"},
		{"in an include", "include *.inc; http { server { set $pid x; } }", "", "/inc.pid", "nobody"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir+"/nginx.conf", test.main)
			put(t, dir+"/a.inc", "pid /inc.pid;")
			c, err := ReadChain(dir+"/nginx.conf", test.prefix)
			require.NoError(t, err)
			require.Equal(t, test.pid, c.PidFile(built))
			require.Equal(t, test.user, c.User(built))
		})
	}
}

func TestWildcardsAsInGlob(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a/x", "a-b/x", ".a/x", "b[1]/x", "b1/x", "c*/x"} {
		put(t, filepath.Join(dir, name), "")
	}
	tests := []struct {
		pattern string
		want    []string
	}{
		{"*/x", []string{"a-b/x", "a/x", "b1/x", "b[1]/x", "c*/x"}},
		{".*/x", []string{".a/x"}},
		{"b[0-9]/x", []string{"b1/x"}},
		{`b\[1\]/*`, []string{"b[1]/x"}},
		{`c\*/?`, []string{"c*/x"}},
		{"[!a]*/x", []string{"b1/x", "b[1]/x", "c*/x"}},
		{"a?b/x", []string{"a-b/x"}},
		{"nowhere/*", nil},
		{"*/nothing", nil},
	}
	for _, test := range tests {
		t.Run(test.pattern, func(t *testing.T) {
			got, err := view{}.expandPattern(dir + "/" + test.pattern)
			require.NoError(t, err)
			for i := range got {
				got[i] = strings.TrimPrefix(got[i], dir+"/")
			}
			require.True(t, slices.Equal(test.want, got), "%q", got)
		})
	}
	for _, pattern := range []string{"[[:alpha:]]", "[a"} {
		_, err := view{}.expandPattern(dir + "/" + pattern)
		require.Error(t, err, pattern)
	}
}
