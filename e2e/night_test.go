package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cutover/e2e/stage"
)

// night is slow, with an environment that gives everything at once and bakes for as long as the scene likes, and one that is
// through in a few seconds.
const night = slow + `environments:
  sudden:  { rollout: { steps: [{ weight: 100 }], bake: 10m } }
  quickly: { rollout: { steps: [{ weight: 100 }], bake: 1s }, verdict: { inconclusive: { after: 1s, then: proceed } } }
`

// nightly are the options of a scene at night.
func nightly(name, config string) stage.Options {
	return stage.Options{Name: "night-" + name, Config: config}
}

// soon bounds what the guardian does within 2 s on a machine that has nothing else to do.
const soon = 10 * time.Second

// Law 8: whatever ends the promoter without an outcome, its guardian takes the traffic back at once, says so in the journal, and
// holds it against nobody: the same release may be tried again. A newer rollout is none of its business.
func TestLaw8_NoUnwatchedCandidate(t *testing.T) {
	t.Parallel()
	s := set(t, nightly("watch", night))
	began := time.Now()
	for _, c := range []struct {
		name, env string
		weight    float64
	}{{"at 5 %", "prod", 5}, {"at 100 %, baking", "sudden", 100}} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			p := s.starts("promote", "--env", c.env, "--tag", good.Tag)
			p.reaches("raised", c.weight)
			s.carries(good.Tag)
			killed := time.Now()
			p.gets(syscall.SIGKILL)
			s.guarded(p.since, killed, good.Tag)
		})
	}
	t.Run("its process group is killed, and the guardian told to end", func(t *testing.T) {
		s := s.in(t)
		since, others := s.lastLine(), s.Guardians()
		c := s.Command(t.Context(), "promote", "--tag", good.Tag)
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		require.NoError(t, c.Start())
		until(t, "5 %", func() bool { return s.has(since, "raised") })
		s.carries(good.Tag)
		guardian := s.guardian(others)
		session, err := unix.Getsid(guardian)
		require.NoError(t, err)
		require.Equal(t, guardian, session, "a session of its own")
		for _, deaf := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
			require.NoError(t, syscall.Kill(guardian, deaf))
		}
		s.serves(rate)
		require.Contains(t, s.Guardians(), guardian)
		killed := time.Now()
		require.NoError(t, syscall.Kill(-c.Process.Pid, syscall.SIGKILL))
		require.Error(t, c.Wait())
		s.guarded(since, killed, good.Tag)
	})
	t.Run("a newer rollout is not its business", func(t *testing.T) {
		s := s.in(t)
		others := s.Guardians()
		old := s.starts("promote", "--tag", good.Tag)
		old.reaches("raised", 5)
		guardian := s.guardian(others)
		require.NoError(t, syscall.Kill(guardian, syscall.SIGSTOP))
		old.gets(syscall.SIGSTOP)
		require.Zero(t, s.backs("").Exit)
		old.gets(syscall.SIGKILL)
		<-old.over
		newer := s.starts("promote", "--tag", next.Tag)
		newer.reaches("raised", 5)
		since := s.lastLine()
		require.NoError(t, syscall.Kill(guardian, syscall.SIGCONT))
		until(t, "the old guardian has nothing to do", func() bool { return !slices.Contains(s.Guardians(), guardian) })

		// by hand, as a guardian of any version: what it heard last is of a rollout that is over
		s.bequeaths(`{"rollout":"000001","settled":false}` + "\n")
		s.bequeaths(`{"rollout":"000001","settled":false}` + "\n" + `{"rollout":"0000`)
		s.bequeaths("no word of a promoter\n")
		s.share(next.Tag, 5)
		require.False(t, s.has(since, "recovered") || s.has(since, "cut-seen"))
		newer.gets(syscall.SIGTERM)
		newer.ends(10)
	})
	s.types(0, "promote", "--env", "quickly", "--tag", next.Tag, "--wait", "1m")
	require.Zero(t, s.since(began).Lost)
	s.journalIsWhole()
}

// Law 8: a reboot left a rollout open. Before nginx starts `recover` gives everything to stable, without an engine, a cutover.yaml
// or a terminal; what a person left by hand, and what was accepted, stays.
func TestLaw8_RecoverAfterAReboot(t *testing.T) {
	t.Parallel()
	s := set(t, nightly("reboot", night))
	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 5)
	s.carries(good.Tag)
	require.Contains(t, s.reboots(p), `"rollout": "000001"`)
	require.NoDirExists(t, filepath.Join(s.Root(), "rollouts", "000001"))
	require.DirExists(t, filepath.Join(s.Root(), "rollouts", "000001.cut"))
	s.none(time.Now(), good.Tag)
	now := s.status()
	require.Equal(t, "idle", now.Phase, "%+v", now)
	require.Empty(t, now.Warnings)
	last := s.history()[0]
	require.Equal(t, "aborted", last.Result)
	require.Contains(t, last.Why, "after a reboot")

	s.types(0, "promote", "--env", "quickly", "--tag", good.Tag)
	require.Contains(t, s.reboots(nil), `"cut": []`)
	s.none(time.Now(), first.Tag)
	require.Equal(t, "accepted", s.status().Phase)

	s.types(0, "up", "--to", "blue", "--tag", next.Tag)
	s.types(0, "shift", "--to", "blue", "--weight", "20", "--no-guard")
	require.Contains(t, s.reboots(nil), `"cut": []`)
	s.share(next.Tag, 20)
	require.Equal(t, 20.0, s.status().Weight)
	s.journalIsWhole()
}

// The guardian stays for what outlives a promoter: nobody has to type anything for an old stack to be retired, or for a failed one
// to be stopped.
func TestGuardian_FinishesWhatOutlivesThePromoter(t *testing.T) {
	t.Parallel()
	o := nightly("tidy", brief+`environments:
  bold: { rollout: { steps: [{ weight: 20, soak: 10m }, { weight: 100 }] } }
`)
	o.Stacks = "  keep_warm: 3s\n  keep_failed: 3s\n"
	s := set(t, o)
	began := time.Now()
	since := s.lastLine()
	s.types(0, "promote", "--tag", good.Tag)
	require.NotEmpty(t, s.containers("blue"), "kept warm")
	until(t, "the old stack is retired", func() bool { return s.has(since, "retired") })
	require.Empty(t, s.containers("blue"))
	s.none(time.Now(), first.Tag)

	since = s.lastLine()
	s.types(8, "promote", "--env", "bold", "--tag", dead.Tag)
	require.NotEmpty(t, s.containers("blue"), "kept for a look")
	until(t, "the failed stack is stopped", func() bool { return s.has(since, "stack-down") })
	require.Empty(t, s.containers("blue"))
	until(t, "no guardian is left", func() bool { return len(s.Guardians()) == 0 })
	now := s.status()
	require.Equal(t, "idle", now.Phase, "%+v", now)
	require.Equal(t, "green", now.Stable)
	require.True(t, now.runs("green", "web"))
	require.Zero(t, s.since(began).Lost)
	s.journalIsWhole()
}

// carries waits until users got answers of the release.
func (s *scene) carries(tag string) {
	s.t.Helper()
	before := s.load.Snapshot().Releases[tag].Answers
	until(s.t, tag+" has users", func() bool { return s.load.Snapshot().Releases[tag].Answers > before })
}

// guarded waits until a guardian has cut the rollout of a killed promoter back, and wants that this is known and proven.
func (s *scene) guarded(since uint64, killed time.Time, tag string) {
	s.t.Helper()
	until(s.t, "the guardian has cut back", func() bool { return s.has(since, "cut-proven") })
	s.none(time.Now(), tag)
	took := s.load.Snapshot().Releases[tag].Last.Sub(killed)
	s.t.Logf("the last answer of the candidate came %v after the kill", took.Round(time.Millisecond))
	require.Less(s.t, took, soon)
	recovered := s.kinds(since, "recovered")
	require.Len(s.t, recovered, 1)
	require.Equal(s.t, "guardian of demo@localhost", recovered[0].By)
	require.Contains(s.t, recovered[0].Why, "its promoter died")
	last := s.history()[0]
	require.Equal(s.t, "aborted", last.Result)
	require.Contains(s.t, last.Why, "the guardian cut back")
	now := s.status()
	require.Equal(s.t, "idle", now.Phase, "%+v", now)
	require.Zero(s.t, now.Weight)
	require.Empty(s.t, now.Warnings)
	require.Regexp(s.t, `^blue v1\.0\.0 100 % \(proven `, now.Truth)
}

// kinds are the journal's events of a kind after the given line.
func (s *scene) kinds(since uint64, kind string) []event {
	var found []event
	for _, e := range s.events(since) {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

func (s *scene) has(since uint64, kind string) bool { return len(s.kinds(since, kind)) > 0 }

// guardian is the one that is none of the others.
func (s *scene) guardian(others []int) int {
	s.t.Helper()
	for _, pid := range s.Guardians() {
		if !slices.Contains(others, pid) {
			return pid
		}
	}
	s.t.Fatal("nobody guards the rollout")
	return 0
}

// bequeaths starts a guardian by hand, on a pipe in which a promoter has left these words and ended.
func (s *scene) bequeaths(words string) {
	s.t.Helper()
	read, write, err := os.Pipe()
	require.NoError(s.t, err)
	defer read.Close()
	_, err = write.WriteString(words)
	require.NoError(s.t, err)
	require.NoError(s.t, write.Close())
	c := s.Command(s.t.Context(), "guardian", "--root", s.Root(), "--state", s.StateDir())
	c.ExtraFiles = []*os.File{read}
	said, err := c.CombinedOutput()
	require.NoError(s.t, err, "%s", said)
	require.Empty(s.t, string(said))
}

// reboots kills the promoter, if there is one, every guardian and guard and nginx, and starts nginx again after `recover --json`, whose
// output it gives.
func (s *scene) reboots(p *running) string {
	s.t.Helper()
	for _, pid := range append(s.Guardians(), s.Guards()...) {
		require.NoError(s.t, syscall.Kill(pid, syscall.SIGKILL))
	}
	if p != nil {
		p.dies()
	}
	require.NoError(s.t, s.StopNginx())
	c := s.Command(s.t.Context(), "recover", "--dir", s.NginxDir(), "--json")
	c.Dir, c.Env = "/", append(c.Env, "DOCKER_HOST=unix:///nonexistent/docker.sock")
	said, err := c.Output()
	require.NoError(s.t, err, "%s", said)
	require.NoError(s.t, s.StartNginx(s.t.Context()))
	return string(said)
}
