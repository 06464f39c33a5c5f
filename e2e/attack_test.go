package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/images"
	"cutover/e2e/stage"
)

// The attack: cutover is frozen between its own steps, nginx is killed and reloaded by others, and people cut back meanwhile. After
// each sequence no request may be on the wrong color, and nginx must start.

// attacked holds at 5 %, with environments that go on to 20 %, that hold there from the beginning, and that end accepted.
const attacked = slow + `environments:
  brisk:   { rollout: { steps: [{ weight: 5, soak: 1s }, { weight: 20, soak: 10m }, { weight: 100 }] }, verdict: { inconclusive: { after: 1s, then: proceed } } }
  twenty:  { rollout: { steps: [{ weight: 20, soak: 10m }, { weight: 100 }] } }
  through: { rollout: { steps: [{ weight: 5, soak: 1s }, { weight: 100 }], bake: 1s }, verdict: { inconclusive: { after: 1s, then: proceed } } }
  quickly: { rollout: { steps: [{ weight: 100 }], bake: 1s }, verdict: { inconclusive: { after: 1s, then: proceed } } }
`

// attack is one sequence, played on a site whose rollouts are all settled.
type attack struct {
	name string
	play func(s *siege)
}

// siege is a scene with both colors up, outside of cutover's hands.
type siege struct {
	*scene
	// old is stable's tag, new the candidate's, as the sequence begins.
	old, new string
}

// besiege plays the sequences one after the other on one stage. The options' name, shutdown and additions to nginx count.
func besiege(t *testing.T, o stage.Options, attacks []attack) {
	t.Helper()
	t.Parallel()
	o.Name, o.External, o.Config, o.Head = "attack-"+o.Name, true, attacked, "    include conf.d/*.conf;"
	s := build(t, o)
	s.foreign()
	for color, release := range map[string]images.Release{"blue": first, "green": good} {
		s.comes(color, release)
	}
	s.types(0, "init", "--stable", "blue", "--tag", first.Tag)
	require.NoError(t, s.StartNginx(t.Context()))
	s.welcomes(rate)
	for _, a := range attacks {
		if !t.Run(a.name, func(t *testing.T) {
			a.play(s.in(t).besieged())
		}) {
			return // the site is no longer what the next sequence needs
		}
	}
	s.besieged().accepts() // whatever was done to it, the next promotion works
}

// besieged learns who is stable, and tells apart the tags of both colors.
func (s *scene) besieged() *siege {
	if s.status().Stable == "blue" {
		return &siege{s, first.Tag, good.Tag}
	}
	return &siege{s, good.Tag, first.Tag}
}

// promotion is the command line of one.
func (s *siege) promotion(env string) []string {
	return []string{"promote", "--env", env, "--tag", s.new, "--again", "--why", "attacked"}
}

// frozen begins a promotion that freezes before the call.
func (s *siege) frozen(env string, before func(call) bool) *held {
	s.t.Helper()
	return s.holds(before, s.promotion(env)...).freezes()
}

// cutBack has `back` typed, and gives the moment at which it had ended.
func (s *siege) cutBack() time.Time {
	s.t.Helper()
	r := s.backs("")
	require.Zero(s.t, r.Exit, r.Stdout)
	return time.Now()
}

// unlocks removes the locks' files, as somebody does who believes that they were forgotten: another rollout can begin beside a frozen
// one then, and nothing but the fence keeps them apart.
func (s *siege) unlocks() {
	s.t.Helper()
	require.NoError(s.t, os.Remove(filepath.Join(s.StateDir(), "lock")))
	require.NoError(s.t, os.RemoveAll(filepath.Join(s.NginxDir(), ".lock")))
}

// another begins the next rollout beside a frozen one, and waits until it has so much.
func (s *siege) another(env string, weight float64) *running {
	s.t.Helper()
	s.unlocks()
	p := s.starts(s.promotion(env)...)
	p.reaches("raised", weight)
	return p
}

// accepts brings the next release out, and finishes it.
func (s *siege) accepts() {
	s.t.Helper()
	s.types(0, s.promotion("quickly")...)
	s.types(0, "down")
	s.isOn(time.Now(), s.new, s.old)
}

// current is the generation that nginx would read next and, where the links decide, what they lead to.
func (s *siege) current() string {
	s.t.Helper()
	found, err := os.Readlink(filepath.Join(s.Root(), "current"))
	require.NoError(s.t, err)
	for _, link := range []string{"stable", "rollouts/open", "rollouts/open/green", "rollouts/open/blue"} {
		target, _ := os.Readlink(filepath.Join(s.Root(), link)) // there are none where shares are loaded
		found += " " + target
	}
	return found
}

// stays wants that a command that woke too late has changed nothing, and ends.
func (s *siege) stays(p *held, exit int) {
	s.t.Helper()
	was := s.current()
	p.wakes()
	p.ends(exit)
	require.Equal(s.t, was, s.current(), "a promoter that woke too late changed nginx's tree")
}

// isBack wants everything on the old release since the moment, and after a restart of nginx.
func (s *siege) isBack(since time.Time) {
	s.t.Helper()
	s.isOn(since, s.old, s.new)
}

// isOn wants that everything is on one release since the moment and after a restart of nginx, which takes its configuration; and
// that everybody who is asked says so.
func (s *siege) isOn(since time.Time, winner, loser string) {
	s.t.Helper()
	s.none(since, loser)
	said, err := s.nginx("-t").CombinedOutput()
	require.NoError(s.t, err, "%s", said)
	s.restarts()
	s.none(time.Now(), loser)
	s.journalIsWhole()
	color := "blue"
	if winner == good.Tag {
		color = "green"
	}
	now := s.status()
	require.Equal(s.t, "idle", now.Phase, "%+v", now)
	require.Equal(s.t, color, now.Stable, "%+v", now)
	require.Empty(s.t, now.Warnings)
	require.Regexp(s.t, fmt.Sprintf(`^%s %s 100 %% \(proven `, color, winner), now.Truth)
	open, err := filepath.Glob(filepath.Join(s.Root(), "rollouts", "*[0-9]"))
	require.NoError(s.t, err)
	for _, folder := range open {
		require.Contains(s.t, filepath.Base(folder), ".cut", "a rollout was left open")
	}
}

// others is the path of somebody else's file in nginx's configuration.
func (s *siege) others() string { return filepath.Join(s.Dir, "nginx", "conf.d", "foreign.conf") }

// nginx is the program with the stage's configuration, by its whole path: it looks there for the binary that replaces it.
func (s *siege) nginx(args ...string) *exec.Cmd {
	s.t.Helper()
	path, err := exec.LookPath("nginx")
	require.NoError(s.t, err)
	return exec.CommandContext(s.t.Context(), path, append([]string{"-p", filepath.Dir(s.NginxConf()), "-c", s.NginxConf()}, args...)...)
}

// crashes kills nginx with all of its workers, as a loss of memory or a host does, and starts it again.
func (s *siege) crashes() {
	s.t.Helper()
	require.NoError(s.t, syscall.Kill(-s.NginxPID(), syscall.SIGKILL)) // a group of its own
	require.NoError(s.t, s.StopNginx())
	require.NoError(s.t, s.StartNginx(s.t.Context()))
}

// certbot has nginx reload, as others do who do not know of us, and waits until it did.
func (s *siege) certbot() {
	s.t.Helper()
	old := s.workers()
	require.NoError(s.t, syscall.Kill(s.NginxPID(), syscall.SIGHUP))
	until(s.t, "nginx has reloaded", func() bool {
		now := s.workers()
		for pid := range old {
			if title, there := now[pid]; there && !strings.Contains(title, leaving) {
				return false
			}
		}
		return true
	})
}

// leaving is what nginx titles a worker that takes no connections any more.
const leaving = "shutting down"

// workers are the titles of nginx's worker processes.
func (s *scene) workers() map[int]string {
	found := map[int]string{}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", s.NginxPID())) // an nginx that has ended has none
	for _, field := range strings.Fields(string(text)) {
		title, _ := os.ReadFile("/proc/" + field + "/cmdline") // one that has ended meanwhile reads as empty
		if pid, err := strconv.Atoi(field); err == nil && strings.Contains(string(title), "worker process") {
			found[pid] = string(title)
		}
	}
	return found
}

// silent opens connections that say nothing yet.
func (s *siege) silent(many int) []net.Conn {
	s.t.Helper()
	var all []net.Conn
	for range many {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Ports.Front))
		require.NoError(s.t, err)
		s.t.Cleanup(func() { _ = c.Close() })
		all = append(all, c)
	}
	return all
}

// speak sends a request on each connection, and wants each answered by the release.
func (s *siege) speak(all []net.Conn, tag string) {
	s.t.Helper()
	for n, c := range all {
		_, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: attacked\r\nConnection: close\r\n\r\n"))
		require.NoError(s.t, err)
		require.NoError(s.t, c.SetReadDeadline(time.Now().Add(patience)))
		answer := make([]byte, 4096)
		length, err := c.Read(answer)
		require.NoError(s.t, err, "connection %d got no answer", n)
		require.Contains(s.t, string(answer[:length]), "X-Release: "+tag, "connection %d", n)
		require.NoError(s.t, c.Close())
	}
}
