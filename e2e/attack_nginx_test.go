package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// Law 4: nginx dies, all of it at once, and is started again at each point of a rollout. It starts, and a cutback holds.
func TestLaw4_AttackNginx(t *testing.T) {
	besiege(t, stage.Options{Name: "nginx", Shutdown: "10s"}, []attack{
		{"it dies before the rename of the raise", func(s *siege) {
			p := s.frozen("prod", raises)
			s.crashes()
			p.wakes()
			p.isOver()
			s.isBack(time.Now())
		}},
		{"it dies between the rename and our reload, and starts with the raise", func(s *siege) {
			p := s.frozen("prod", hangsUp)
			s.crashes()
			s.carries(s.new)
			p.wakes()
			p.isOver()
			s.isBack(time.Now())
		}},
		{"it dies between the rename and our reload, and back comes before it wakes", func(s *siege) {
			p := s.frozen("prod", hangsUp)
			s.crashes()
			back := s.cutBack()
			p.wakes()
			p.ends(10)
			s.isBack(back)
		}},
		{"it dies between our reload and the proof", func(s *siege) {
			p := s.frozen("prod", hangsUp)
			p.wakes()
			s.crashes()
			until(s.t, "the raise is proven, or taken back", func() bool { return p.hasEnded() || p.journaled("raised", 5) })
			back := s.cutBack()
			p.isOver()
			s.isBack(back)
		}},
		{"it dies while a share soaks, which stays", func(s *siege) {
			p := s.starts(s.promotion("twenty")...)
			p.reaches("raised", 20)
			s.crashes()
			s.share(s.new, 20)
			back := s.cutBack()
			p.ends(10)
			s.isBack(back)
		}},
		{"it dies right after the cutback", func(s *siege) {
			p := s.starts(s.promotion("twenty")...)
			p.reaches("raised", 20)
			back := s.cutBack()
			s.crashes()
			p.ends(10)
			s.isBack(back)
		}},
		{"it dies before the cutback, and starts after it", func(s *siege) {
			p := s.starts(s.promotion("twenty")...)
			p.reaches("raised", 20)
			require.NoError(s.t, syscall.Kill(-s.NginxPID(), syscall.SIGKILL))
			require.NoError(s.t, s.StopNginx())
			r := s.backs("")
			back := time.Now()
			require.Equal(s.t, 11, r.Exit, r.Stdout)
			require.Contains(s.t, r.Stdout, "NOT proven")
			require.NoError(s.t, s.StartNginx(s.t.Context()))
			p.isOver()
			s.isBack(back)
		}},
		{"its binary is replaced while a share soaks, then back", func(s *siege) {
			s.daemonizes()
			p := s.starts(s.promotion("twenty")...)
			p.reaches("raised", 20)
			before := s.silent(20)
			old := s.upgrades()
			s.share(s.new, 20)
			s.retires(old)
			s.share(s.new, 20)
			back := s.cutBack()
			s.speak(before, s.old)
			p.ends(10)
			s.none(back, s.new)
			s.undaemonizes()
			s.isBack(back)
		}},
		{"its binary is replaced, and the finishing begins while the old one still serves", func(s *siege) {
			s.daemonizes()
			s.types(0, s.promotion("quickly")...)
			old, was := s.upgrades(), s.current()
			since := time.Now()
			p := s.starts("down")
			until(s.t, "the new default is in place", func() bool { return p.hasEnded() || s.current() != was })
			s.serves(2 * rate)
			s.none(since, s.old)
			s.retires(old)
			p.isOver()
			s.completes()
			s.none(since, s.old)
			s.undaemonizes()
			s.isOn(since, s.new, s.old)
		}},
	})
}

// pid is what nginx has in its pid file.
func (s *siege) pid() int {
	text, _ := os.ReadFile(s.pidFile()) // there is none while nginx is not up
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

func (s *siege) pidFile() string { return filepath.Join(filepath.Dir(s.NginxConf()), "nginx.pid") }

// daemonizes has nginx run in the background: only then its binary can be replaced.
func (s *siege) daemonizes() {
	s.t.Helper()
	require.NoError(s.t, s.StopNginx())
	said, err := s.nginx().CombinedOutput()
	require.NoError(s.t, err, "%s", said)
	s.t.Cleanup(s.killDaemon)
	until(s.t, "nginx is up", func() bool { return s.listens() })
}

// undaemonizes has nginx run as the stage's own again.
func (s *siege) undaemonizes() {
	s.t.Helper()
	s.killDaemon()
	until(s.t, "nginx is down", func() bool { return !s.listens() })
	require.NoError(s.t, s.StartNginx(s.t.Context()))
}

// killDaemon ends the nginx that has left its pid, unless it is the stage's own.
func (s *siege) killDaemon() {
	if pid := s.pid(); pid > 0 && pid != s.NginxPID() {
		s.ends(pid)
	}
}

// ends ends a master of this stage's nginx, if the process still is one.
func (s *siege) ends(pid int) {
	title, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline") // one that has ended has none
	if strings.Contains(string(title), s.NginxConf()) {
		_ = syscall.Kill(pid, syscall.SIGTERM) // gone already is as good
	}
}

func (s *siege) listens() bool {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Ports.Front))
	return err == nil && c.Close() == nil
}

// upgrades starts nginx's binary anew beside the old one, whose master it gives; both take connections.
func (s *siege) upgrades() (old int) {
	s.t.Helper()
	old = s.pid()
	s.t.Cleanup(func() { s.ends(old) }) // a sequence that fails leaves it to nobody
	require.NoError(s.t, syscall.Kill(old, syscall.SIGUSR2))
	until(s.t, "the new binary is up", func() bool { return s.pid() > 0 && s.pid() != old })
	return old
}

// retires has the old binary's workers leave, and its master after them.
func (s *siege) retires(old int) {
	s.t.Helper()
	require.NoError(s.t, syscall.Kill(old, syscall.SIGWINCH))
	require.NoError(s.t, syscall.Kill(old, syscall.SIGQUIT))
}
