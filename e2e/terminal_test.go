package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cutover/traffic/journal"
)

// watched has a plan that stays at 20 % for as long as the scene likes, and one that goes up for lack of evidence after a few seconds.
const watched = slow + `environments:
  patient: { rollout: { steps: [{ weight: 20, soak: 10m }, { weight: 100 }] } }
  hasty:
    rollout: { steps: [{ weight: 20, soak: 4s }, { weight: 100 }], bake: 4s }
    verdict: { inconclusive: { after: 4s, then: proceed } }
`

// Law 8: Ctrl-C in a terminal asks once whether to go back, and nobody's answer is an answer too. Ctrl-Z halts nothing, and a terminal
// that is closed ends nothing.
func TestLaw8_AtATerminal(t *testing.T) {
	t.Parallel()
	s := set(t, nightly("terminal", watched))
	began := time.Now()
	for _, c := range []struct {
		name string
		does func(p *terminal)
		why  string
	}{
		{"answered with back", func(p *terminal) {
			p.types("\x03")
			p.says("Cut back to stable? [Y]es, or [g]o on")
			require.False(p.s.t, p.journaled("abort-asked", 0))
			p.types("y\n")
		}, "stopped by demo@localhost (Ctrl-C)"},
		{"answered with going on, and pressed again", func(p *terminal) {
			p.types("\x03")
			p.says("[g]o on")
			p.types("g\n")
			p.says("as demo@localhost said")
			p.s.share(good.Tag, 20)
			p.types("\x03")
		}, "stopped by signal interrupt"},
		{"not answered", func(p *terminal) {
			p.types("\x03")
			p.says("[g]o on")
		}, "stopped by demo@localhost (Ctrl-C)"},
		{"Ctrl-Z", func(p *terminal) {
			p.types("\x1a")
			pass(p.s.t, time.Second)
			require.NotContains(p.s.t, stateOf(p.s.t, p.s.promoter()), "T", "it is not halted")
			p.types("\x03")
			p.says("[g]o on")
			p.types("\n")
		}, "stopped by demo@localhost (Ctrl-C)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			p := s.sits("promote", "--env", "patient", "--tag", good.Tag)
			p.reaches("raised", 20)
			c.does(p)
			p.ends(10)
			s.none(time.Now(), good.Tag)
			require.Equal(t, c.why, s.history()[0].Why)
		})
	}
	t.Run("closed", func(t *testing.T) {
		s := s.in(t)
		p := s.sits("promote", "--env", "patient", "--tag", good.Tag)
		p.reaches("raised", 20)
		promoter := s.promoter()
		require.NoError(t, p.keys.Close())
		<-p.over // the shell
		s.share(good.Tag, 20)
		require.Equal(t, promoter, s.promoter())
		s.types(0, "abort")
		until(t, "it has ended", func() bool {
			_, held, err := journal.Holding(s.StateDir())
			return err == nil && !held
		})
		require.Equal(t, "aborted", s.history()[0].Result)
	})
	t.Run("nohup", func(t *testing.T) {
		s := s.in(t)
		c := s.Command(context.WithoutCancel(t.Context()), "promote", "--env", "patient", "--tag", good.Tag)
		nohup, err := exec.LookPath("nohup")
		require.NoError(t, err)
		c.Path, c.Args = nohup, append([]string{"nohup"}, c.Args...)
		r := s.launches(c)
		r.reaches("raised", 20)
		r.gets(syscall.SIGHUP)
		s.share(good.Tag, 20)
		r.gets(syscall.SIGTERM)
		r.ends(10)
	})
	require.Zero(t, s.since(began).Lost)
	s.journalIsWhole()
}

// Law 8: a reader who stopped reading, such as an SSH client that hangs, keeps the promoter from nothing: it judges, and goes back.
func TestLaw8_NobodyReadsWhatItSays(t *testing.T) {
	t.Parallel()
	s := set(t, nightly("unread", watched))
	for _, form := range []string{"--events", "--yes"} {
		t.Run(form, func(t *testing.T) {
			s := s.in(t)
			_, write := pipe(t)
			c := s.Command(context.WithoutCancel(t.Context()), "promote", form, "--env", "patient", "--tag", good.Tag, "--again", "--why", "it is tried")
			c.Stdout, c.Stderr = write, write
			p := s.launches(c)
			p.reaches("raised", 20)
			stuff(t, write)
			s.types(0, "pause")
			s.types(0, "resume")
			s.share(good.Tag, 20)
			require.NoError(t, s.Compose(t.Context(), "green", good.Tag, "stop", "--timeout", "1"))
			p.ends(8)
			s.none(time.Now(), good.Tag)
			require.Equal(t, "reverted", s.history()[0].Result)
		})
	}
	require.Zero(t, s.load.Snapshot().Failed, "stable answered for it")
	s.journalIsWhole()
}

// Law 1: a promoter that was suspended finds its soak over when it wakes, and goes up only after it has read what came meanwhile.
func TestLaw1_ASuspendedPromoter(t *testing.T) {
	t.Parallel()
	s := set(t, nightly("asleep", watched))
	p := s.starts("promote", "--env", "hasty", "--tag", good.Tag)
	p.reaches("raised", 20)
	p.gets(syscall.SIGSTOP)
	require.NoError(t, s.Compose(t.Context(), "green", good.Tag, "stop", "--timeout", "1"))
	pass(t, 6*time.Second)
	p.gets(syscall.SIGCONT)
	p.ends(8)
	require.Equal(t, []float64{20}, s.history()[0].steps(), "its evidence was old when it woke")
	s.none(time.Now(), good.Tag)

	p = s.starts("promote", "--env", "hasty", "--tag", next.Tag)
	p.reaches("raised", 20)
	p.gets(syscall.SIGSTOP)
	pass(t, 6*time.Second)
	s.share(next.Tag, 20)
	p.gets(syscall.SIGCONT)
	p.ends(0)
	require.Equal(t, "promoted", s.history()[0].Result)
	s.journalIsWhole()
}

// terminal is a command that somebody has typed at a shell's prompt.
type terminal struct {
	*running
	keys *os.File
}

// sits has a command typed at a terminal, under a shell with job control.
func (s *scene) sits(args ...string) *terminal {
	s.t.Helper()
	keys, screen := openTerminal(s.t)
	c := s.Command(context.WithoutCancel(s.t.Context()), args...)
	shell, err := exec.LookPath("bash")
	require.NoError(s.t, err)
	c.Path, c.Args = shell, append([]string{"bash", "-c", `set -m; "$@"; exit $?`, "bash"}, c.Args...)
	c.Stdin, c.Stdout, c.Stderr = screen, screen, screen
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	p := &terminal{s.launches(c), keys}
	require.NoError(s.t, screen.Close())
	go func() { _, _ = io.Copy(&p.said, keys) }() // ends with the terminal
	return p
}

func (p *terminal) types(text string) {
	p.s.t.Helper()
	_, err := p.keys.WriteString(text)
	require.NoError(p.s.t, err)
}

// openTerminal gives both ends of a new terminal.
func openTerminal(t *testing.T) (keys, screen *os.File) {
	t.Helper()
	keys, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = keys.Close() }) // a scene may have closed it
	raw, err := keys.SyscallConn()
	require.NoError(t, err)
	number := 0
	require.NoError(t, raw.Control(func(fd uintptr) {
		require.NoError(t, unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0))
		number, err = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
	}))
	require.NoError(t, err)
	screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	return keys, screen
}

// promoter is the process that holds the app.
func (s *scene) promoter() int {
	s.t.Helper()
	holder, held, err := journal.Holding(s.StateDir())
	require.NoError(s.t, err)
	require.True(s.t, held)
	return holder.PID
}

// stateOf gives the kernel's letter for what the process does.
func stateOf(t *testing.T, pid int) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(pid), "stat"))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(text), ") ")
	return rest[:1]
}

// pipe gives a pipe whose ends block, as a shell's do.
func pipe(t *testing.T) (read, write *os.File) {
	t.Helper()
	var ends [2]int
	require.NoError(t, unix.Pipe2(ends[:], unix.O_CLOEXEC))
	read, write = os.NewFile(uintptr(ends[0]), "read"), os.NewFile(uintptr(ends[1]), "write")
	t.Cleanup(func() {
		require.NoError(t, read.Close())
		require.NoError(t, write.Close())
	})
	return read, write
}

// stuff fills a pipe until it takes nothing more.
func stuff(t *testing.T, write *os.File) {
	t.Helper()
	// another opening of the same pipe, which may be told not to wait
	f, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", write.Fd()), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	require.NoError(t, err)
	defer unix.Close(f)
	for size := 4096; size > 0; size /= 2 {
		for err = nil; err == nil; _, err = unix.Write(f, make([]byte, size)) {
		}
	}
	require.ErrorIs(t, err, unix.EAGAIN)
}
