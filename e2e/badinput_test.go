package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// mistake is something that is wrong about the site or about what is typed.
type mistake struct {
	name string
	// makes breaks something and gives what mends it; nil where only the command is wrong.
	makes func(s *scene) (mended func())
	// types are the commands that refuse, each with this exit code and these words on standard error: what is wrong, where, and what
	// to do about it.
	types []string
	exit  int
	says  []string
}

// replaces changes a file's text for a while.
func replaces(path func(*scene) string, old, fresh string) func(*scene) func() {
	return func(s *scene) func() {
		s.t.Helper()
		text, err := os.ReadFile(path(s))
		require.NoError(s.t, err)
		require.Contains(s.t, string(text), old)
		return s.writes(path(s), strings.Replace(string(text), old, fresh, 1))
	}
}

// lacks takes the line that ends so out of nginx.conf for a while.
func lacks(end string) func(*scene) func() {
	return func(s *scene) func() {
		s.t.Helper()
		text, err := os.ReadFile(s.NginxConf())
		require.NoError(s.t, err)
		var kept strings.Builder
		for line := range strings.Lines(string(text)) {
			if !strings.HasSuffix(line, end+"\n") {
				kept.WriteString(line)
			}
		}
		require.Less(s.t, kept.Len(), len(text))
		return s.writes(s.NginxConf(), kept.String())
	}
}

func (s *scene) composeFile() string { return filepath.Join(s.Dir, "site", "docker-compose.yml") }

// appears puts a foreign file into nginx's configuration for a while.
func appears(text string) func(*scene) func() {
	return func(s *scene) func() {
		s.t.Helper()
		text := strings.ReplaceAll(text, "APP", strings.ReplaceAll(s.Name, "-", "_"))
		return s.writes(filepath.Join(s.Dir, "nginx", "conf.d", "foreign.conf"), text)
	}
}

const anyRaise = "promote --tag v1.1.0"

var mistakes = []mistake{
	{name: "an unknown key", makes: replaces((*scene).ConfigFile, "nginx:\n", "nginx:\n  dri: /etc\n"),
		types: []string{anyRaise, "shift --to green --weight 20", "status"}, exit: 2,
		says: []string{`cutover\.yaml:\d+:3: unknown key "dri" under nginx`, `did you mean "dir"\?`}},
	{name: "an unknown color", types: []string{"shift --to red --weight 20", "up --to red --tag v1.1.0", "down --color red"}, exit: 2,
		says: []string{`unknown color "red"`, `the colors are blue and green`}},
	{name: "a weight below nothing", types: []string{"shift --to green --weight -1"}, exit: 2, says: []string{`weight -1 is outside 0 to 100 percent`}},
	{name: "a weight above everything", types: []string{"shift --to green --weight 101"}, exit: 2, says: []string{`weight 101 is outside 0 to 100 percent`}},
	{name: "a weight that is no number", types: []string{"shift --to green --weight many"}, exit: 2, says: []string{`weight "many" is not a number of percent, such as 20`}},
	{name: "a tag that the environment does not accept", types: []string{"promote --tag latest", "up --to green --tag latest"}, exit: 4,
		says: []string{`prod does not accept the tag "latest"`, `Its tags match \^v`, `tags\.prod in cutover\.yaml`}},
	{name: "a tag that nobody has built", types: []string{"promote --tag v9.9.9", "up --to green --tag v9.9.9"}, exit: 5,
		says: []string{`green/web: image cutover-e2e:v9\.9\.9 is not on this host; nothing was started`, `Is the tag right\?`}},
	{name: "the release that is stable already", types: []string{"promote --tag v1.0.0"}, exit: 2,
		says: []string{`v1\.0\.0 is stable already, on blue`, `nothing to promote`}},
	{name: "the color that serves", types: []string{"up --to blue --tag v1.1.0", "down --color blue"}, exit: 2,
		says: []string{`blue is stable: its services are never touched`, `The idle color is green`}},
	{name: "a stack that does not run", types: []string{"shift --to green --weight 20"}, exit: 5,
		says: []string{`green is not ready`, "`cutover up --to green --tag TAG` brings it up", `Traffic was not touched`}},

	{name: "no compose file", makes: func(s *scene) func() {
		require.NoError(s.t, os.Rename(s.composeFile(), s.composeFile()+".aside"))
		return func() { require.NoError(s.t, os.Rename(s.composeFile()+".aside", s.composeFile())) }
	}, types: []string{anyRaise, "up --to green --tag v1.1.0"}, exit: 2, says: []string{`stacks\.files\[0\]: open .*docker-compose\.yml: no such file`, `Correct it in cutover\.yaml`}},
	{name: "a compose file that cannot be read", makes: replaces((*scene).composeFile, "services:", "services: ["),
		types: []string{anyRaise}, exit: 2, says: []string{`docker-compose\.yml`, `yaml`}},
	{name: "a service that the compose file does not have", makes: replaces((*scene).ConfigFile, "service: web,", "service: wbe,"),
		types: []string{"up --to green --tag v1.1.0"}, exit: 2, says: []string{`service wbe is not in docker-compose\.yml`, `The services there: web`}},
	{name: "the port is taken", makes: func(s *scene) func() {
		listener, err := net.Listen("tcp", s.Address("green"))
		require.NoError(s.t, err)
		return func() { require.NoError(s.t, listener.Close()) }
	}, types: []string{anyRaise, "up --to green --tag v1.1.0"}, exit: 3,
		says: []string{`green/web: 127\.0\.0\.1:\d+ is taken by another program`, `ss -ltnp 'sport = :\d+'`}},
	{name: "the port is open to the world", makes: replaces((*scene).composeFile, `"127.0.0.1:${WEB_PORT}:8000"`, `"${WEB_PORT}:8000"`),
		types: []string{anyRaise}, exit: 3, says: []string{`green/web: .*publish`, `ports: !override \["127\.0\.0\.1:\$\{WEB_PORT\}:8000"\]`}},

	{name: "nginx is missing", makes: replaces((*scene).ConfigFile, "nginx:\n", "nginx:\n  binary: /opt/nowhere/nginx\n"),
		types: []string{anyRaise}, exit: 3, says: []string{`/opt/nowhere/nginx`, `nginx\.binary`}},
	{name: "the include in http is missing", makes: lacks("/current/http.conf;"),
		types: []string{anyRaise}, exit: 3, says: []string{`nginx\.conf:\d+: http\.conf is not included`, `include .*/current/http\.conf;`}},
	{name: "the include in http is a pattern", makes: replaces((*scene).NginxConf, "/current/http.conf;", "/current/*.conf;"),
		types: []string{anyRaise}, exit: 3, says: []string{`nginx\.conf:\d+: .*http\.conf`, `include .*/current/http\.conf;`}},
	{name: "the include in the server is missing", makes: lacks("/current/server.conf;"),
		types: []string{anyRaise}, exit: 3, says: []string{`server\.conf is included in no server`, `include .*/current/server\.conf;`}},
	{name: "nothing is passed to the split", makes: replaces((*scene).NginxConf, "http://$cutover_", "http://127.0.0.1:1; set $old $cutover_"),
		types: []string{anyRaise}, exit: 3, says: []string{`nothing is split: no proxy_pass names`, `proxy_pass http://\$cutover_`}},
	{name: "a location with an access_log of its own", makes: replaces((*scene).NginxConf, "location / {", "location / { access_log logs/own.log;"),
		types: []string{anyRaise}, exit: 3,
		says: []string{`nginx\.conf:\d+: requests to e2e\d*-bad-input would not be seen`, `this access_log takes the place of .*cutover\.log`, `Move it to server`}},
	{name: "a foreign file with a name of ours", makes: appears("upstream cutover_APP_web_green { server 127.0.0.1:1; }\n"),
		types: []string{anyRaise}, exit: 3,
		says: []string{`foreign\.conf:1: upstream defines cutover_e2e\d*_bad_input_web_green, a name that cutover keeps for itself`, `Give it another name`}},
	{name: "a foreign file that nginx refuses", makes: appears("upstream twice { server 127.0.0.1:1; }\nupstream twice { server 127.0.0.1:1; }\n"),
		types: []string{anyRaise}, exit: 6, says: []string{`foreign\.conf:2`, `duplicate upstream "twice"`}},

	{name: "the state folder cannot be written", makes: func(s *scene) func() {
		require.NoError(s.t, os.Rename(s.StateDir(), s.StateDir()+".aside"))
		require.NoError(s.t, os.WriteFile(s.StateDir(), nil, 0o644)) // root may write to any folder; this is none
		return func() {
			require.NoError(s.t, os.Remove(s.StateDir()))
			require.NoError(s.t, os.Rename(s.StateDir()+".aside", s.StateDir()))
		}
	}, types: []string{anyRaise, "shift --to green --weight 20", "up --to green --tag v1.1.0"}, exit: 3,
		says: []string{`state folder: .*/state/e2e\d*-bad-input is not a folder`, `Make .*/state writable for you .* or set state in .*cutover\.yaml`}},
	{name: "nginx's workers cannot reach the folder", makes: func(s *scene) func() {
		info, err := os.Stat(s.Dir)
		require.NoError(s.t, err)
		require.NoError(s.t, os.Chmod(s.Dir, 0o700))
		mended := replaces((*scene).NginxConf, "user root;", "user nobody nogroup;")(s)
		return func() {
			mended()
			require.NoError(s.t, os.Chmod(s.Dir, info.Mode()))
		}
	}, types: []string{anyRaise}, exit: 3,
		says: []string{`nginx's workers run as nobody, who cannot enter /\S+ \(drwx------\)`, "`chmod o\\+x /\\S+`, or set nginx.dir to a folder that they reach"}},
	{name: "a corrupt line in the middle of the journal", makes: func(s *scene) func() {
		path := filepath.Join(s.StateDir(), "journal.jsonl")
		text, err := os.ReadFile(path)
		require.NoError(s.t, err)
		return s.writes(path, strings.Replace(string(text), "stable-set", "stable-sat", 1))
	}, types: []string{anyRaise, "shift --to green --weight 20", "up --to green --tag v1.1.0", "accept", "down"}, exit: 3,
		says: []string{`journal .*journal\.jsonl, line 1 is damaged`, "`back` and `status` still work", "`cutover init --stable COLOR` begins a new one"}},
}

// Bad input is refused with its exit code and a clear error, and nothing moves: neither a request, nor a file that nginx reads, nor
// a container, nor the journal.
func TestBadInput(t *testing.T) {
	s := set(t, stage.Options{Name: "bad-input", Head: "    include conf.d/*.conf;"})
	s.foreign()
	began := time.Now()
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			s := s.in(t)
			before := s.still()
			mended := func() {}
			if m.makes != nil {
				mended = m.makes(s)
			}
			defer func() { mended() }()
			tree := s.tree()
			for _, line := range m.types {
				r := s.types(m.exit, strings.Fields(line)...)
				for _, words := range m.says {
					require.Regexp(t, regexp.MustCompile(words), r.Stderr)
				}
				require.Equal(t, tree, s.tree(), "files that nginx reads")
			}
			mended()
			mended = func() {}
			require.Equal(t, before, s.still())
		})
	}
	s.none(began, good.Tag)
	users := s.since(began)
	require.Zero(t, users.Lost, "%+v", users)
	require.Zero(t, users.Failed, "%+v", users)
	s.types(0, "promote", "--tag", good.Tag) // what is mended works
}

// With the journal damaged in the middle `status` and `back` still work, and so they do twice.
func TestBadInput_BackAndStatusOnADamagedJournal(t *testing.T) {
	s := set(t, stage.Options{Name: "bad-journal"})
	s.types(4, "back") // nothing is warm
	s.types(0, "up", "--to", "green", "--tag", good.Tag)
	s.types(0, "shift", "--to", "green", "--weight", "50")
	s.share(good.Tag, 50)
	path := filepath.Join(s.StateDir(), "journal.jsonl")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	s.writes(path, strings.Replace(string(text), `"kind":"opened"`, `"kind":"0pened"`, 1))

	now := s.status()
	require.Contains(t, strings.Join(now.Warnings, "\n"), "is damaged: its checksum does not match: nothing is raised on it")
	s.share(good.Tag, 50) // to look changes nothing
	for _, says := range []string{`^back: rollout 000001 cut in `, `^already back since \d\d:\d\d:\d\d\n`} {
		r := s.types(0, "back")
		require.Regexp(t, says, r.Stdout)
		require.Regexp(t, `\nblue v1\.0\.0 100 % \(proven \d\d:\d\d:\d\d\)\n$`, r.Stdout)
	}
	s.none(time.Now(), good.Tag)
	require.Regexp(t, `^blue v1\.0\.0 100 % \(proven `, s.status().Truth)
	s.types(3, "promote", "--tag", good.Tag)
}

// stillness is everything that bad input may not move.
type stillness struct {
	truth       string
	share       float64
	tree        map[string]string
	blue, green map[string]string
	journal     uint64
}

func (s *scene) still() stillness {
	s.t.Helper()
	now := s.status()
	truth, _, _ := strings.Cut(now.Truth, " (proven ")
	return stillness{truth, now.Weight, s.tree(), s.containers("blue"), s.containers("green"), s.lastLine()}
}

// tree is every file, folder and link below the app's folder of nginx, with what it holds.
func (s *scene) tree() map[string]string {
	s.t.Helper()
	found := map[string]string{}
	require.NoError(s.t, filepath.WalkDir(s.Root(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		found[path] = info.Mode().String()
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			found[path] += " " + target
			return err
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			sum := sha256.Sum256(data)
			found[path] += " " + hex.EncodeToString(sum[:])
			return err
		}
		return nil
	}))
	return found
}
