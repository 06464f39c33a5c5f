package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"cutover/nginxconf"
)

var hints = []struct {
	name, text string
	want       hint
	ok         bool
}{
	{"no dir", "app: shop\n", hint{"shop", ""}, true},
	{"both", "app: shop\nstate: /var/lib/x # here\nnginx:\n  dir: /srv/nginx # there\n  probe: 127.0.0.1:1\n", hint{"shop", "/srv/nginx"}, true},
	{"deep indent", "# a site\n\nnginx:\n      # ours\n      switch: live\n\n      dir: /srv/nginx\napp: shop", hint{"shop", "/srv/nginx"}, true},
	{"somebody else's dir", "app: shop\nstacks:\n  dir: /elsewhere\nnginx:\n  fancy:\n    dir: /elsewhere\n", hint{"shop", ""}, true},
	{"broken below", "app: shop\nstacks: [ oops\nnginx:\n  dir: /srv/nginx\n", hint{"shop", "/srv/nginx"}, true},
	{"an environment may override it", "app: shop\nenvironments: { dev: { nginx: { dir: /dev/nginx } } }\n", hint{}, false},
	{"in braces", "app: shop\nnginx: { dir: /srv/nginx }\n", hint{}, false},
	{"an alias", "app: shop\nnginx: *other\n", hint{}, false},
	{"merged", "app: shop\nnginx:\n  <<: *other\n", hint{}, false},
	{"an anchor", "app: &a shop\n", hint{}, false},
	{"in quotes", "app: \"shop\"\n", hint{}, false},
	{"a quoted key", "app: shop\n\"nginx\":\n  dir: /srv/nginx\n", hint{}, false},
	{"a relative dir", "app: shop\nnginx:\n  dir: nginx\n", hint{}, false},
	{"a dir on the next line", "app: shop\nnginx:\n  dir:\n    /srv/nginx\n", hint{}, false},
	{"twice", "app: shop\napp: blog\n", hint{}, false},
	{"twice below", "app: shop\nnginx:\n  dir: /a\n  dir: /b\n", hint{}, false},
	{"tabs", "app: shop\nnginx:\n\tdir: /srv/nginx\n", hint{}, false},
	{"carriage returns", "app: shop\r\n", hint{}, false},
	{"two documents", "app: shop\n---\napp: blog\n", hint{}, false},
	{"no app", "nginx:\n  dir: /srv/nginx\n", hint{}, false},
	{"nothing", "", hint{}, false},
}

func TestHintOfAFileWithoutParsingIt(t *testing.T) {
	for _, c := range hints {
		got, ok := hintIn([]byte(c.text))
		require.Equal(t, c.ok, ok, c.name)
		require.Equal(t, c.want, got, c.name)
	}
}

// agrees holds that the hint is what the whole file says, where it says anything.
func agrees(t *testing.T, text []byte) {
	h, ok := hintIn(text)
	path := filepath.Join(t.TempDir(), configName)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	_, c, err := readConfig(path, "")
	if !ok || err != nil {
		return
	}
	require.Equal(t, c.App, h.app, "%s", text)
	require.Equal(t, c.Nginx.Dir, orElse(h.dir, nginxconf.DefaultConfig().Dir), "%s", text)
}

func TestHintAgreesWithEachConfigurationOfOurs(t *testing.T) {
	files, err := filepath.Glob("testdata/config/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, path := range files {
		archive, err := txtar.ParseFile(path)
		require.NoError(t, err)
		for _, file := range archive.Files {
			agrees(t, file.Data)
		}
	}
}

func FuzzHintAgreesWithTheWholeFile(f *testing.F) {
	for _, c := range hints {
		f.Add([]byte(c.text))
	}
	f.Fuzz(agrees)
}
