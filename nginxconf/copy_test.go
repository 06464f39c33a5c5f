package nginxconf

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// shops are the trees that lead to an app of ours and have a second generation to be tested.
func shops(t *testing.T) []tree {
	t.Helper()
	list := slices.DeleteFunc(trees(t), func(tr tree) bool {
		_, err := os.Stat(filepath.Join(tr.root, "cutover/shop/gen/000002"))
		return err != nil
	})
	require.Len(t, list, 3)
	return list
}

func (tr tree) shop(name string) string { return filepath.Join(tr.root, "cutover/shop", name) }

func (tr tree) substitute(t *testing.T, generation string) *Copy {
	t.Helper()
	c, err := ReadChain(tr.main(), tr.root)
	require.NoError(t, err)
	copied, err := c.Substitute(tr.shop("current"), tr.shop("gen/"+generation), tr.shop("scratch"))
	require.NoError(t, err)
	return copied
}

// The copies are read in the same order, lead to the new generation only, and go away again.
func TestACopyLeadsToTheOtherGeneration(t *testing.T) {
	for _, tr := range shops(t) {
		t.Run(tr.name, func(t *testing.T) {
			live, _, err := tr.judge(t, tr.main())
			require.NoError(t, err)
			before := tr.snapshot(t) // with what nginx itself leaves behind: logs, a folder for temporary files
			copied := tr.substitute(t, "000002")
			require.Equal(t, filepath.Dir(tr.main()), filepath.Dir(copied.Main))
			require.True(t, strings.HasPrefix(filepath.Base(copied.Main), ".nginx.conf.cutover-shop-"), copied.Main)

			got, output, err := tr.judge(t, copied.Main)
			require.NoError(t, err, output)
			for i, path := range got {
				if original, ok := copied.originals[path]; ok {
					got[i] = original
				}
			}
			for i, path := range live {
				path = strings.Replace(path, "linked/", "cutover/", 1)
				live[i] = strings.Replace(path, "shop/current", "shop/gen/000002", 1)
			}
			require.Equal(t, distinct(live), distinct(got))

			require.NoError(t, copied.Remove())
			require.NoError(t, copied.Remove())
			require.Equal(t, before, tr.snapshot(t), "the live files stay as they are, and nothing is left")
		})
	}
}

// distinct drops repetitions: two spellings of one file become one when both lead to the new generation.
func distinct(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func TestACopyIsRefusedWhereTheOtherGenerationIsBroken(t *testing.T) {
	for _, tr := range shops(t) {
		t.Run(tr.name, func(t *testing.T) {
			put(t, tr.shop("gen/000003/http.conf"), "upstream cutover_shop_web_blue { server 127.0.0.1:23010 weight=0; }\n")
			put(t, tr.shop("gen/000003/server.conf"), "set $cutover_shop_web cutover_shop_web_blue;\n")
			copied := tr.substitute(t, "000003")
			_, output, err := tr.judge(t, copied.Main)
			require.Error(t, err)
			require.Contains(t, output, `invalid parameter "weight=0" in `+tr.shop("gen/000003/http.conf")+":1")
			require.NoError(t, copied.Remove())
			_, output, err = tr.judge(t, tr.main())
			require.NoError(t, err, output)
		})
	}
}

// What nginx says about a copy is told about the file that the user knows.
func TestTranslate(t *testing.T) {
	for _, tr := range shops(t) {
		t.Run(tr.name, func(t *testing.T) {
			put(t, tr.shop("gen/000003/http.conf"), "")
			put(t, tr.shop("gen/000003/server.conf"), "set $cutover_shop_web x;\nset $cutover_shop_web $cutover_shop_gone;")
			main, err := os.ReadFile(tr.main())
			require.NoError(t, err)
			put(t, tr.main(), string(main)+"\nnonsense on;\n")
			copied := tr.substitute(t, "000002")
			_, output, err := tr.judge(t, copied.Main)
			require.Error(t, err)
			said := copied.Translate(output)
			require.Contains(t, said, " in "+tr.main()+":")
			require.NotContains(t, said, copied.Main)
			require.NoError(t, copied.Remove())
		})
	}
}

// All bytes of a copy but the arguments of the includes are the original's, and every line keeps its number.
func TestACopyKeepsAllOtherBytes(t *testing.T) {
	list := shops(t)
	tr := list[slices.IndexFunc(list, func(tr tree) bool { return tr.name == "debian" })]
	copied := tr.substitute(t, "000002")
	original, err := os.ReadFile(tr.main())
	require.NoError(t, err)
	want := strings.NewReplacer(
		tr.shop("current/http.conf"), `"`+tr.shop("gen/000002/http.conf")+`"`,
		tr.root+"/sites-enabled/*", `"`+tr.shop("scratch/shop-1")+`"`,
	).Replace(string(original))
	got, err := os.ReadFile(copied.Main)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
	info, err := os.Stat(copied.Main)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.NoError(t, copied.Remove())
}

// A wildcard is spelled out in its order, also where names are such that a wildcard would read them as a pattern.
func TestAWildcardIsSpelledOut(t *testing.T) {
	tr := tree{root: t.TempDir()}
	put(t, tr.main(), "events {}\nhttp { include cutover/shop/current/http.conf; include sites/*; }\n")
	put(t, filepath.Join(tr.root, "sites/a [1].conf"), "server { listen 127.0.0.1:23001; access_log off; return 200 first; }\n")
	put(t, filepath.Join(tr.root, `sites/b "2"\.conf`), "server { include cutover/shop/current/server.conf; listen 127.0.0.1:23001; return 200 b; }\n")
	put(t, filepath.Join(tr.root, "sites/c.conf"), "")
	for _, gen := range []string{"current", "gen/000002"} {
		put(t, tr.shop(gen+"/http.conf"), "client_body_timeout 20s;")
		put(t, tr.shop(gen+"/server.conf"), "open_file_cache off;")
	}
	copied := tr.substitute(t, "000002")
	text, err := os.ReadFile(copied.Main)
	require.NoError(t, err)
	require.Equal(t, "events {}\nhttp { include \""+tr.shop("gen/000002/http.conf")+`"; include "`+
		tr.root+`/sites/a \\[1].conf"; include "`+tr.shop(`scratch/b \"2\"\\.conf-1`)+`"; include "`+tr.root+"/sites/c.conf\"; }\n", string(text))

	c, err := ReadChain(copied.Main, tr.root)
	require.NoError(t, err)
	require.Equal(t, []string{copied.Main, tr.shop("gen/000002/http.conf"), tr.root + "/sites/a [1].conf",
		tr.shop(`scratch/b "2"\.conf-1`), tr.shop("gen/000002/server.conf"), tr.root + "/sites/c.conf"}, paths(c.Files))
	opened, output, err := tr.judge(t, copied.Main)
	require.NoError(t, err, output)
	require.Equal(t, paths(c.Files), opened)
	require.NoError(t, copied.Remove())
}

// What an earlier run left behind is neither overwritten nor removed.
func TestACopyTakesFreeNames(t *testing.T) {
	tr := shops(t)[0]
	left := filepath.Join(tr.root, ".nginx.conf.cutover-shop-1")
	put(t, left, "left")
	put(t, tr.shop("scratch/shop.conf-1"), "left")
	copied := tr.substitute(t, "000002")
	require.Equal(t, filepath.Join(tr.root, ".nginx.conf.cutover-shop-2"), copied.Main)
	require.NoError(t, copied.Remove())
	require.NoFileExists(t, copied.Main)
	require.FileExists(t, left)
	require.FileExists(t, tr.shop("scratch/shop.conf-1"))
}

func TestSubstituteLeavesNothingWhereItFails(t *testing.T) {
	tr := shops(t)[0]
	c, err := ReadChain(tr.main(), tr.root)
	require.NoError(t, err)
	before := tr.snapshot(t)
	_, err = c.Substitute(tr.shop("current"), tr.shop("gen/000002"), tr.shop("no/such/folder"))
	require.Error(t, err)
	require.Equal(t, before, tr.snapshot(t))
}

func TestSubstituteSaysWhatToInclude(t *testing.T) {
	tests := []struct {
		name, main, err, hint string
		wanted                []string
	}{
		{"nothing", "events {}\nhttp {\n server { listen 1; }\n include s.conf;\n}",
			"nginx's configuration ROOT/nginx.conf does not include http.conf and server.conf of ROOT/cutover/shop/current",
			"Write `include ROOT/cutover/shop/current/http.conf;` in http { } (ROOT/nginx.conf:2). " +
				"Write `include ROOT/cutover/shop/current/server.conf;` as the first line of each server { } that serves the app (ROOT/nginx.conf:3, ROOT/s.conf:2).", nil},
		{"no server.conf", "http { include cutover/shop/current/http.conf; }",
			"nginx's configuration ROOT/nginx.conf does not include server.conf of ROOT/cutover/shop/current",
			"Write `include ROOT/cutover/shop/current/server.conf;` as the first line of each server { } that serves the app; there is none yet.", nil},
		{"no http block", "events {}",
			"nginx's configuration ROOT/nginx.conf does not include http.conf of ROOT/cutover/shop/current",
			"Write `include ROOT/cutover/shop/current/http.conf;` in http { }; there is none yet.", []string{"http.conf"}},
		{"server.conf only by our own http.conf", "http { include cutover/shop/current/http.conf; }", "", "", []string{"http.conf"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := tree{root: t.TempDir()}
			put(t, tr.main(), test.main)
			put(t, tr.root+"/s.conf", "\nserver { listen 2; }")
			put(t, tr.shop("current/http.conf"), "server { include cutover/shop/current/server.conf; }")
			put(t, tr.shop("current/server.conf"), "")
			c, err := ReadChain(tr.main(), tr.root)
			require.NoError(t, err)
			copied, err := c.Substitute(tr.shop("current"), tr.shop("gen/000002"), tr.shop("scratch"), test.wanted...)
			if test.err == "" {
				require.NoError(t, err)
				require.NoError(t, copied.Remove())
				return
			}
			fault, ok := errors.AsType[*traffic.Fault](err)
			require.True(t, ok)
			require.Equal(t, traffic.Preflight, fault.Kind)
			require.EqualError(t, err, strings.ReplaceAll(test.err, "ROOT", tr.root))
			require.Equal(t, strings.ReplaceAll(test.hint, "ROOT", tr.root), fault.Hint)
		})
	}
}
