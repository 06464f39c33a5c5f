package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cutover/e2e/stage"
)

// faulty stays at 20 % for as long as the scene likes, or is through in a few seconds.
const faulty = slow + `environments:
  patient: { rollout: { steps: [{ weight: 20, soak: 10m }, { weight: 100 }] } }
  quickly:
    rollout: { steps: [{ weight: 20, soak: 3s }, { weight: 100 }], bake: 2s }
    verdict: { inconclusive: { after: 3s, then: proceed } }
`

// Law 2: with a disk that has room but not for one more file, with a state folder that can only be read, and, where nginx's folder itself
// can only be read, with the truth about what could not be done and what to type.
func TestLaw2_CutbackOnASickDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, unix.Mount("none", dir, "tmpfs", 0, "size=16m,nr_inodes=1k"), "a small disk needs root")
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	s := set(t, stage.Options{Name: "sick-disk", Dir: filepath.Join(dir, "stage"), Config: faulty})
	s.types(0, "up", "--to", "green", "--tag", good.Tag)
	shifted := func(t *testing.T) *scene { // without a guard, who would go back first
		s := s.in(t)
		s.types(0, "shift", "--to", "green", "--weight", "50", "--no-guard")
		s.carries(good.Tag)
		return s
	}
	t.Run("no inode is left", func(t *testing.T) {
		s := shifted(t)
		crowd := filepath.Join(dir, "crowd")
		require.NoError(t, os.Mkdir(crowd, 0o755))
		for n := 0; ; n++ {
			if err := os.WriteFile(filepath.Join(crowd, fmt.Sprint(n)), nil, 0o644); err != nil {
				require.ErrorIs(t, err, unix.ENOSPC)
				break
			}
		}
		for range 2 {
			r := s.backs("")
			require.Zero(t, r.Exit, r.Stdout)
			s.narrow(r, `blue v1\.0\.0 100 %`)
			s.none(time.Now(), good.Tag)
		}
		r, err := s.Cutover(t.Context(), "shift", "--to", "green", "--weight", "50")
		require.NoError(t, err)
		require.NotZero(t, r.Exit, r.Stdout)
		s.none(time.Now(), good.Tag)
		require.NoError(t, os.RemoveAll(crowd))
		require.Equal(t, "idle", s.status().Phase)
	})
	t.Run("the state folder is read-only", func(t *testing.T) {
		s := shifted(t)
		mended := readOnly(t, s.StateDir())
		r := s.backs("")
		require.Zero(t, r.Exit, r.Stdout)
		require.Contains(t, r.Stdout, "not journaled yet")
		require.Contains(t, strings.Join(strings.Fields(r.Stdout), " "), "read-only file system")
		s.narrow(r, `blue v1\.0\.0 100 %`)
		s.none(time.Now(), good.Tag)
		mended()
		require.Equal(t, "idle", s.status().Phase, "the next command has written it down")
		require.Contains(t, s.history()[0].Why, "cutover back")
	})
	t.Run("nginx's folder is read-only", func(t *testing.T) {
		s := shifted(t)
		mended := readOnly(t, s.NginxDir())
		r := s.backs("")
		require.Equal(t, 11, r.Exit, r.Stdout)
		said := strings.Join(strings.Fields(r.Stdout), " ")
		require.Contains(t, said, "not everything could be cut back")
		require.Contains(t, said, "read-only file system")
		require.Regexp(t, `mount -o remount,rw`, said)
		lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
		require.Regexp(t, `^green v1\.1\.0 50 %, blue v1\.0\.0 50 % \(proven`, strings.Join(lines[len(lines)-2:], " "), "the truth, also where it is bad")
		s.share(good.Tag, 50)
		mended()
		require.Zero(t, s.backs("").Exit)
		s.none(time.Now(), good.Tag)
	})
	s.journalIsWhole()
}

// Law 2: an engine that hangs, or dies, in the middle of a promotion keeps nobody from going back: neither the promoter nor a person.
// Who only asks it is told in the end that it does not answer.
func TestLaw2_TheEngineHangsOrDies(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "engine", Config: faulty})
	t.Run("it hangs, and the candidate fails", func(t *testing.T) {
		s := s.in(t)
		e := s.proxies()
		p := s.through(e, "promote", "--env", "patient", "--tag", good.Tag)
		p.reaches("raised", 20)
		e.hang()
		var asking sync.WaitGroup
		for _, c := range []struct {
			command string
			exit    int
			says    string
		}{
			{"status", 0, `WARN +green: .*docker engine at unix://\S+: `},
			{"doctor", 3, `BAD +engine +docker engine at unix://\S+: `},
			{"promote --tag v1.5.0", 7, `busy: `},
		} {
			asking.Go(func() {
				began := time.Now()
				r := s.through(e, strings.Fields(c.command)...)
				<-r.over
				if said := r.said.String(); r.exit != c.exit || !regexp.MustCompile(c.says).MatchString(said) {
					t.Errorf("%s with a hanging engine: exit %d: %s", c.command, r.exit, said)
				}
				if took := time.Since(began); took > time.Minute {
					t.Errorf("%s waited %v for a hanging engine", c.command, took)
				}
			})
		}
		s.share(good.Tag, 20)
		failed := time.Now()
		require.NoError(t, s.Compose(t.Context(), "green", good.Tag, "stop", "--timeout", "1"))
		p.reaches("cut-proven", 0)
		require.Less(t, time.Since(failed), soon)
		p.ends(8)
		s.none(time.Now(), good.Tag)
		asking.Wait()
	})
	t.Run("it dies, and nothing else is wrong", func(t *testing.T) {
		s := s.in(t)
		e := s.proxies()
		p := s.through(e, "promote", "--env", "quickly", "--tag", next.Tag)
		p.reaches("raised", 20)
		e.die()
		p.ends(0)
		s.share(next.Tag, 100)
	})
	t.Run("a person goes back while it hangs", func(t *testing.T) {
		s := s.in(t)
		e := s.proxies()
		e.hang()
		began := time.Now()
		r := s.backs("DOCKER_HOST=unix://" + e.socket)
		require.Zero(t, r.Exit, r.Stdout)
		require.Less(t, time.Since(began), soon)
		s.narrow(r, `blue v1\.0\.0 100 %`)
		s.none(time.Now(), next.Tag)
	})
	require.Zero(t, s.load.Snapshot().Failed, "stable answered for the candidate")
	s.journalIsWhole()
}

// Laws 2 and 4: nginx is killed without a word, all of it or its master alone, while a promotion soaks.
func TestLaw2_NginxIsKilled(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "shot", Config: faulty})
	t.Run("it is started again, and somebody goes back", func(t *testing.T) {
		s := s.in(t)
		p := s.starts("promote", "--env", "patient", "--tag", good.Tag)
		p.reaches("raised", 20)
		s.shootsNginx()
		require.NoError(t, s.StartNginx(t.Context()))
		s.share(good.Tag, 20)
		require.Equal(t, 20.0, s.status().Weight)
		r := s.backs("")
		require.Zero(t, r.Exit, r.Stdout)
		s.none(time.Now(), good.Tag)
		s.narrow(r, `blue v1\.0\.0 100 %`)
		p.ends(10)
	})
	t.Run("somebody goes back before it is started again", func(t *testing.T) {
		s := s.in(t)
		p := s.starts("promote", "--env", "patient", "--tag", next.Tag)
		p.reaches("raised", 20)
		s.shootsNginx()
		r := s.backs("")
		require.Equal(t, 11, r.Exit, r.Stdout)
		said := strings.Join(strings.Fields(r.Stdout), " ")
		require.Contains(t, said, "nginx is not running")
		require.Contains(t, said, "When it is started it sends everything to stable")
		require.Regexp(t, `blue v1\.0\.0 100 % \(NOT proven\)\n$`, r.Stdout)
		p.ends(11)
		require.NoError(t, s.StartNginx(t.Context()))
		s.none(time.Now(), next.Tag)
		r = s.backs("")
		require.Zero(t, r.Exit, r.Stdout)
		s.narrow(r, `blue v1\.0\.0 100 %`)
		now := s.status()
		require.Equal(t, "idle", now.Phase, "%+v", now)
		require.Empty(t, now.Warnings)
	})
	t.Run("its master alone: the workers serve on, and nobody can tell them of a raise", func(t *testing.T) {
		s := s.in(t)
		p := s.starts("promote", "--env", "quickly", "--tag", good.Tag, "--again", "--why", "nothing was wrong with it")
		p.reaches("raised", 20)
		require.NoError(t, syscall.Kill(s.NginxPID(), syscall.SIGKILL))
		said := p.ends(6)
		require.Contains(t, said, "blue v1.0.0 100 %")
		require.Equal(t, []float64{20}, s.history()[0].steps())
		s.none(time.Now(), good.Tag)
		s.shootsNginx()
		require.NoError(t, s.StartNginx(t.Context()))
		s.none(time.Now(), good.Tag)
	})
	s.types(0, "promote", "--env", "quickly", "--tag", good.Tag, "--again", "--why", "nothing was wrong with it")
	s.journalIsWhole()
}

// readOnly lets nobody write below the folder, until it is mended.
func readOnly(t *testing.T, dir string) (mended func()) {
	t.Helper()
	require.NoError(t, unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	mended = sync.OnceFunc(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	t.Cleanup(mended)
	require.NoError(t, unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	return mended
}

// shootsNginx kills the master and all its workers.
func (s *scene) shootsNginx() {
	s.t.Helper()
	group := -s.NginxPID()
	require.NoError(s.t, syscall.Kill(group, syscall.SIGKILL))
	until(s.t, "nginx is gone", func() bool { return syscall.Kill(group, 0) != nil })
}
