package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// diagnosis is what the scenes read of `doctor --json`, and its last line for people.
type diagnosis struct {
	CanCutBack bool      `json:"can_cut_back"`
	Why        string    `json:"why"`
	Rehearsed  float64   `json:"rehearsed_ms"`
	Exit       int       `json:"exit"`
	Findings   []finding `json:"findings"`
	last       string
}

// finding is one of a diagnosis.
type finding struct {
	What   string `json:"what"`
	Level  string `json:"level"`
	Says   string `json:"says"`
	Remedy string `json:"remedy"`
}

// ailment is something that is wrong about the host.
type ailment struct {
	name string
	// breaks gives what mends it.
	breaks func(s *scene) (mended func())
	// changes, where set, makes the one who asks another one.
	changes func(s *scene, doctor *exec.Cmd)
	// what and level are those of the finding that says so in these words, with this remedy.
	what, level, says, remedy string
	exit                      int
	// last is the line that it ends with, after "you can cut back: ".
	last string
}

// both does one thing after the other, and undoes them in the other order.
func both(one, other func(*scene) func()) func(*scene) func() {
	return func(s *scene) func() {
		s.t.Helper()
		first := one(s)
		second := other(s)
		return func() { second(); first() }
	}
}

// loaded has nginx read what was changed, and what was mended.
func loaded(breaks func(*scene) func()) func(*scene) func() {
	return func(s *scene) func() {
		s.t.Helper()
		mended := breaks(s)
		s.reloads()
		return func() { mended(); s.reloads() }
	}
}

func mode(path func(*scene) string, bits os.FileMode) func(*scene) func() {
	return func(s *scene) func() {
		info, err := os.Stat(path(s))
		require.NoError(s.t, err)
		require.NoError(s.t, os.Chmod(path(s), bits))
		return func() { require.NoError(s.t, os.Chmod(path(s), info.Mode())) }
	}
}

func (s *scene) rollouts() string { return filepath.Join(s.Root(), "rollouts") }

var ailments = []ailment{
	{name: "nginx is stopped", breaks: func(s *scene) func() {
		require.NoError(s.t, s.StopNginx())
		return func() { require.NoError(s.t, s.StartNginx(s.t.Context())) }
	}, what: "nginx", level: "bad", says: `nginx is not running`, remedy: `Start nginx`, exit: 3, last: `no: nginx could not prove it`},
	{name: "its workers cannot enter the folder", breaks: both(mode(func(s *scene) string { return s.NginxDir() }, 0o700), replaces((*scene).NginxConf, "user root;", "user nobody nogroup;")),
		what: "workers", level: "bad", says: `nginx's workers run as nobody, who cannot enter /\S+/cutover`, remedy: `chmod o\+x`, exit: 3,
		last: `no: nginx's workers do not see the folder that a cutback renames`},
	{name: "the server does not include server.conf", breaks: loaded(lacks("/current/server.conf;")),
		what: "includes", level: "bad", says: `server\.conf is included in no server`, remedy: `first line of each server`, exit: 3,
		last: `no: no request through your own servers was seen to reach `},
	{name: "somebody's broken file in the include chain", breaks: appears("oops on;\n"),
		what: "nginx -t", level: "bad", says: `nginx refuses its own configuration as it stands`, remedy: `Mend the file that it names`, exit: 3, last: `yes`},
	{name: "an open_file_cache in the server", breaks: replaces((*scene).NginxConf, "location / {", "open_file_cache max=10; location / {"),
		what: "includes", level: "bad", says: `open_file_cache stands beside server\.conf`, remedy: `Remove it, or move it`, exit: 3, last: `yes`},
	{name: "a location's access_log hides ours", breaks: loaded(replaces((*scene).NginxConf, "location / {", "location / { access_log logs/own.log;")),
		what: "requests", level: "bad", says: `GET / as _ \(server at \S+nginx\.conf:\d+\) left no line in \S+cutover\.log`, remedy: `takes the place of ours: move it to server`, exit: 3,
		last: `no: no request through your own servers was seen to reach `},
	{name: "a location goes past the split", breaks: loaded(replaces((*scene).NginxConf, "location / {", "location = / { return 204; } location /app/ {")),
		what: "requests", level: "warning", says: `GET / as _ .* was answered 204 by nginx itself, not by `, remedy: "`proxy_pass` with cutover's variable", last: `yes`},
	{name: "a stranger has the probe's port", breaks: func(s *scene) func() {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(s.t, err)
		go answers(listener, "SSH-2.0-stranger\r\n")
		mended := replaces((*scene).ConfigFile, fmt.Sprintf("probe: 127.0.0.1:%d", s.Ports.Probe), "probe: "+listener.Addr().String())(s)
		return func() { mended(); require.NoError(s.t, listener.Close()) }
	}, what: "probe", level: "bad", says: `malformed HTTP`, remedy: `ss -ltnp.*nginx\.probe another port`, exit: 3, last: `no: nginx could not prove it`},
	{name: "stable's container is stopped", breaks: func(s *scene) func() {
		require.NoError(s.t, s.Compose(s.t.Context(), "blue", first.Tag, "stop"))
		return func() { require.NoError(s.t, s.Compose(s.t.Context(), "blue", first.Tag, "up", "-d", "--wait")) }
	}, what: "blue", level: "bad", says: `blue/web is not serving: exited`, remedy: `docker compose -p \S+-blue ps`, exit: 3, last: `no: blue, to which it leads, does not serve`},
	{name: "the disk is full", breaks: func(s *scene) func() {
		filler := fills(s.t, filepath.Dir(s.Dir))
		return func() { require.NoError(s.t, os.Remove(filler)) }
	}, what: "disk", level: "bad", says: `^/\S+: 0 B of 64 MB free`, remedy: `Make room`, exit: 3, last: `yes`},
	{name: "who asks may not rename", breaks: mode((*scene).rollouts, 0o755), changes: func(s *scene, doctor *exec.Cmd) {
		doctor.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 0}} // who may read the journal
	}, what: "cutback", level: "bad", says: `you may not rename in the rollouts folder: .*permission denied`, remedy: `Join the group of \S+/rollouts \(\S+, group root\), or use sudo`, exit: 3,
		last: `no: you may not rename in the rollouts folder`},
	{name: "the web port is open to the world", breaks: func(s *scene) func() {
		mended := replaces((*scene).composeFile, "ports: [", fmt.Sprintf(`ports: ["0.0.0.0:%d:8000", `, s.Ports.Further))(s)
		require.NoError(s.t, s.Compose(s.t.Context(), "blue", first.Tag, "up", "-d", "--wait"))
		return func() {
			mended()
			require.NoError(s.t, s.Compose(s.t.Context(), "blue", first.Tag, "up", "-d", "--wait"))
		}
	}, what: "ports", level: "warning", says: `reachable from outside, past nginx: \S+-blue-web-1 at 0\.0\.0\.0:\d+`, remedy: `Publish on loopback`, last: `yes`},
	{name: "the log's folder is missing", breaks: replaces((*scene).ConfigFile, "/nginx/logs/cutover.log", "/nginx/nowhere/cutover.log"),
		what: "access log", level: "bad", says: `its folder: .*/nginx/nowhere: no such file or directory`, remedy: `make the folder`, exit: 3, last: `no: the rehearsal failed: nginx refuses generation \d+`},
	{name: "another app has the same names", breaks: func(s *scene) func() {
		other := filepath.Join(s.NginxDir(), strings.ReplaceAll(s.Name, "-", "_"))
		require.NoError(s.t, os.MkdirAll(filepath.Join(other, "gen", "000001"), 0o755))
		require.NoError(s.t, os.Symlink("gen/000001", filepath.Join(other, "current")))
		return func() { require.NoError(s.t, os.RemoveAll(other)) }
	}, what: "names", level: "bad", says: `app e2e\d*_doctor beside it has the same names in nginx`, remedy: `Give one of them another name`, exit: 3, last: `yes`},
	{name: "the engine hangs", breaks: func(*scene) func() { return func() {} }, changes: func(s *scene, doctor *exec.Cmd) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(s.t, err)
		s.t.Cleanup(func() { _ = listener.Close() })
		doctor.Env = append(doctor.Env, "DOCKER_HOST=tcp://"+listener.Addr().String())
	}, what: "engine", level: "bad", says: `docker engine at tcp://127\.0\.0\.1:\d+: version: .*deadline exceeded`, remedy: `systemctl start docker`, exit: 3, last: `yes`},
	{name: "the journal is broken", breaks: func(s *scene) func() {
		path := filepath.Join(s.StateDir(), "journal.jsonl")
		return replaces(func(*scene) string { return path }, "stable-set", "stable-sat")(s)
	}, what: "journal", level: "bad", says: `journal\.jsonl, line 1 is damaged`, remedy: `cutover init --stable COLOR`, exit: 3, last: `yes`},
}

// `doctor` says yes on a host that is well, and on a broken one what is wrong, what to do, and whether a cutback works all the same. It
// moves nobody, and leaves nothing that would be in the way of a rollout.
func TestDoctor(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, syscall.Mount("none", dir, "tmpfs", 0, "size=64m,mode=755"), "a small disk needs root")
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755))
	s := build(t, stage.Options{Name: "doctor", Dir: filepath.Join(dir, "stage"), Head: "    include conf.d/*.conf;"})
	s.foreign()
	s.opens()
	s.isWell()
	r := s.types(0, "doctor")
	require.Regexp(t, `\nyou can cut back: yes\n$`, r.Stdout)
	for _, a := range ailments {
		t.Run(a.name, func(t *testing.T) {
			s := s.in(t)
			mended := a.breaks(s)
			defer func() { mended() }()
			found := s.examines(a.changes)
			require.Equal(t, a.exit, found.Exit, "%+v", found)
			at := slices.IndexFunc(found.Findings, func(f finding) bool { return f.What == a.what && regexp.MustCompile(a.says).MatchString(f.Says) })
			require.GreaterOrEqual(t, at, 0, "no finding %s says %s: %+v", a.what, a.says, found.Findings)
			require.Equal(t, a.level, found.Findings[at].Level)
			require.Regexp(t, a.remedy, found.Findings[at].Remedy)
			require.Regexp(t, `^you can cut back: `+a.last, found.last, "%+v", found.Findings)
			require.Equal(t, a.last == "yes", found.CanCutBack)
		})
	}
	s.isWell()
	s.types(4, "back") // nobody has cut back
	s.types(0, "promote", "--tag", good.Tag)
	require.Equal(t, "000001", s.history()[0].Rollout)

	// while blue is warm there is something to go back to, and nothing to rehearse
	found := s.examines(nil)
	require.Zero(t, found.Exit, "%+v", found)
	require.Zero(t, found.Rehearsed)
	require.Equal(t, "you can cut back: yes", found.last)
	require.Zero(t, s.backs("").Exit)
	s.isWell()
	require.Contains(t, s.backs("").Stdout, "already back since", "what was rehearsed hides no real cutback")
	s.journalIsWhole()
}

// A doctor that was killed in the middle of its rehearsal leaves a folder that nobody knows of, and that is in nobody's way.
func TestDoctor_Killed(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "doctor-killed"})
	began := s.lastLine()
	leaves := func(id string) string {
		folder := filepath.Join(s.rollouts(), id)
		require.NoError(t, os.MkdirAll(filepath.Join(folder, "green"), 0o755))
		return folder
	}
	folder := leaves("000001")
	require.Regexp(t, `^blue v1\.0\.0 100 % \(proven `, s.status().Truth)
	require.Equal(t, began, s.lastLine(), "to look changes nothing")
	s.types(0, "promote", "--tag", good.Tag)
	require.NoDirExists(t, folder)
	s.types(0, "down")

	leaves("000007")
	s.types(0, "recover", "--dir", s.NginxDir())
	require.NoDirExists(t, filepath.Join(s.rollouts(), "000007"))
	leaves("000008")
	require.Contains(t, s.types(0, "back").Stdout, "rollout 000008 cut")
	leaves("000009")
	require.Equal(t, 0, s.examines(nil).Exit)
	require.NoDirExists(t, filepath.Join(s.rollouts(), "000009"))
	s.types(0, "promote", "--tag", next.Tag)
	s.journalIsWhole()
}

// examines has `doctor --json` typed by whoever the change makes of us.
func (s *scene) examines(change func(*scene, *exec.Cmd)) diagnosis {
	s.t.Helper()
	copied := filepath.Join(s.Dir, "cutover") // where anybody may run it
	if _, err := os.Stat(copied); err != nil {
		program, err := os.ReadFile(binary)
		require.NoError(s.t, err)
		require.NoError(s.t, os.WriteFile(copied, program, 0o755))
	}
	c := s.Command(s.t.Context(), "doctor", "--json")
	c.Path = copied
	if change != nil {
		change(s, c)
	}
	var stdout, stderr strings.Builder
	c.Stdout, c.Stderr = &stdout, &stderr
	_ = c.Run() // the exit code tells
	var found diagnosis
	require.NoError(s.t, json.Unmarshal([]byte(stdout.String()), &found), "%s%s", stdout.String(), stderr.String())
	require.Equal(s.t, c.ProcessState.ExitCode(), found.Exit)
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	found.last = lines[len(lines)-1]
	return found
}

// isWell wants a yes, proven by a rehearsal, and no folder left of it.
func (s *scene) isWell() {
	s.t.Helper()
	before := s.folders()
	found := s.examines(nil)
	require.Zero(s.t, found.Exit, "%+v", found)
	require.Equal(s.t, "you can cut back: yes", found.last)
	require.Positive(s.t, found.Rehearsed, "%+v", found)
	for _, f := range found.Findings {
		require.True(s.t, f.Level == "ok" || f.What == "rotation" || f.What == "reload" || f.What == "includes" && f.Level == "warning", "%+v", f)
	}
	require.Equal(s.t, before, s.folders())
}

func (s *scene) folders() []string {
	s.t.Helper()
	entries, err := os.ReadDir(s.rollouts())
	require.NoError(s.t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// reloads has nginx read its configuration, and waits until no worker of before is left.
func (s *scene) reloads() {
	s.t.Helper()
	before := s.nginxWorkers()
	require.NoError(s.t, syscall.Kill(s.NginxPID(), syscall.SIGHUP))
	until(s.t, "nginx has new workers only", func() bool {
		now := s.nginxWorkers()
		return len(now) > 0 && !slices.ContainsFunc(now, func(pid string) bool { return slices.Contains(before, pid) })
	})
}

func (s *scene) nginxWorkers() []string {
	s.t.Helper()
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.NginxPID()))
	require.NoError(s.t, err)
	return strings.Fields(string(children))
}

// answers says one thing to whoever comes, until the listener is closed.
func answers(listener net.Listener, words string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, words)
		_ = conn.Close()
	}
}
