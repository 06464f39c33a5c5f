package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/nginxconf"
)

func TestRotatedBy(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"etc/logrotate.conf": "# see man logrotate\nweekly\ninclude /etc/logrotate.d\n/var/log/wtmp {\n    monthly\n}\n",
		"etc/logrotate.d/nginx": `/var/log/nginx/*.log {
	daily
	prerotate
		if [ -d /etc/logrotate.d/httpd-prerotate ]; then run-parts /etc; fi
		}
		/var/log/script.log
	endscript
}
`,
		"etc/logrotate.d/several": "\"/srv/a b.log\" /srv/c.log\n/srv/d.log\n{\n  rotate 3\n}\n/srv/one.log { daily }\n/srv/after.log {\n}\n#/srv/comment.log {}\n",
	} {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	for log, want := range map[string]string{
		"/var/log/nginx/cutover-shop.log": "/etc/logrotate.d/nginx",
		"/var/log/nginx/deeper/shop.log":  "",
		"/var/log/wtmp":                   "/etc/logrotate.conf",
		"/var/log/script.log":             "",
		"/srv/c.log":                      "/etc/logrotate.d/several",
		"/srv/a b.log":                    "/etc/logrotate.d/several",
		"/srv/d.log":                      "/etc/logrotate.d/several",
		"/srv/one.log":                    "/etc/logrotate.d/several",
		"/srv/after.log":                  "/etc/logrotate.d/several",
		"/srv/comment.log":                "",
		"/srv/other.log":                  "",
	} {
		require.Equal(t, want, rotatedBy(root, log), log)
	}
	require.Empty(t, rotatedBy(t.TempDir(), "/var/log/nginx/cutover-shop.log"), "there is no logrotate")
}

func TestSpace(t *testing.T) {
	for _, c := range []struct {
		left space
		want level
	}{
		{space{free: 50 << 30, all: 100 << 30, freeInodes: 1e6, inodes: 2e6}, fine},
		{space{free: 5 << 20, all: 100 << 30, freeInodes: 1e6, inodes: 2e6}, bad},
		{space{free: 50 << 30, all: 100 << 30, freeInodes: 100, inodes: 2e6}, bad},
		{space{free: 4 << 30, all: 100 << 30, freeInodes: 1e6, inodes: 2e6}, warning},
		{space{free: 50 << 30, all: 100 << 30, freeInodes: 5e4, inodes: 2e6}, warning},
		{space{free: 50 << 30, all: 10 << 40}, fine}, // a twentieth of a huge disk is plenty; this one does not count inodes
	} {
		require.Equal(t, c.want, c.left.judge(), "%v", c.left)
	}
	require.Equal(t, "4 GB of 100 GB free, 100 of 2000 inodes", space{free: 4 << 30, all: 100 << 30, freeInodes: 100, inodes: 2000}.String())
	require.Equal(t, "1.5 kB of 999 B free", space{free: 1536, all: 999}.String())
}

// A line is found by its mark, in a file that has grown and in a new one, among lines of others and half a line.
func TestFindLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	line := func(mark, pool string) string {
		return `{"ts":"1700000000.500","pool":"` + pool + `","color":"blue","status":200,"mark":"` + mark + `"}` + "\n"
	}
	before := line("aaaaaaaaaaaaaaaa", "split")
	text := before + line("", "stable") + "not ours\n" + line("aaaaaaaaaaaaaaaa", "stable") + `{"ts":"17000000`
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	round := []visit{{mark: "aaaaaaaaaaaaaaaa"}, {mark: "bbbbbbbbbbbbbbbb"}}
	require.False(t, findLines(path, int64(len(before)), round))
	require.Equal(t, logLine{Mark: "aaaaaaaaaaaaaaaa", Time: "1700000000.500", Pool: "stable", Color: "blue", Status: 200}, round[0].line)
	require.True(t, round[0].seen)
	require.False(t, round[1].seen)

	require.NoError(t, os.WriteFile(path, []byte(line("bbbbbbbbbbbbbbbb", "stable")), 0o644)) // turned meanwhile
	require.True(t, findLines(path, int64(len(before)*9), round))
	require.False(t, findLines(path+".none", 0, round))
}

func TestLookAtVisit(t *testing.T) {
	at := visit{path: "/api/", entrance: nginxconf.Entrance{Place: "nginx.conf:7", Host: "shop.example"}}
	d := &checkup{session: &session{}}
	d.config.App = "shop"
	for _, c := range []struct {
		change func(*visit)
		level  level
		says   string
	}{
		{func(v *visit) { v.seen = true; v.line = logLine{Color: "blue", Status: 404, Pool: "stable"} }, fine, ""},
		{func(v *visit) { v.seen = true; v.line = logLine{Status: 301, Pool: "stable"} }, fine, ""},
		{func(v *visit) { v.seen = true; v.line = logLine{Status: 401, Pool: "stable"} }, warning, "was answered 401 by nginx itself, not by shop"},
		{func(v *visit) { v.seen = true; v.line = logLine{Color: "blue", Status: 502} }, warning, "was answered 502 by blue"},
		{func(v *visit) {}, bad, "GET /api/ as shop.example (server at nginx.conf:7) left no line"},
	} {
		v := at
		c.change(&v)
		found := d.lookAtVisit(v)
		require.Equal(t, c.level, worst(found), "%+v", found)
		if c.level != fine {
			require.Contains(t, found[0].Says, c.says)
			require.NotEmpty(t, found[0].Remedy)
		}
	}
	require.Len(t, newMark(), 16)
	require.False(t, strings.ContainsFunc(newMark(), func(r rune) bool { return !strings.ContainsRune("0123456789abcdef", r) }))
}

func TestDoctor_SaysWhatAReloadCosts(t *testing.T) {
	for version, costs := range map[string]bool{"1.18.0": true, "1.27.3": true, "1.27.4": false} {
		d := &checkup{session: &session{config: Config{Nginx: nginxconf.DefaultConfig()}}, nginx: nginxconf.Examination{Version: version, Tree: os.ErrNotExist}}
		said := false
		for _, f := range d.lookAtNginx() {
			if f.What == "reload" {
				said = true
				require.Equal(t, warning, f.Level)
				require.Contains(t, f.Says, "nginx "+version+" closes idle client connections")
				require.Contains(t, f.Remedy, "nginx.switch to live")
			}
		}
		require.Equal(t, costs, said, version)
	}
}
