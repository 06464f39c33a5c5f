package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// Law 8: a share that a person leaves by hand in prod leaves a guard that judges it. Whatever ends the guard ends the share.
func TestLaw8_AShareByHandIsGuarded(t *testing.T) {
	t.Parallel()
	s := set(t, nightly("guard", night))
	began := time.Now()
	s.types(0, "up", "--to", "green", "--tag", good.Tag)
	s.types(0, "shift", "--to", "green", "--weight", "20")
	s.share(good.Tag, 20)
	guard := s.guard()
	session, err := unix.Getsid(guard)
	require.NoError(t, err)
	require.Equal(t, guard, session, "a session of its own")
	now := s.status()
	require.Equal(t, guard, now.Guard.PID)
	require.Contains(t, now.Why, "guarded")
	s.types(0, "shift", "--to", "green", "--weight", "50")
	require.Equal(t, guard, s.guard(), "the same guard, whatever the share")

	t.Run("told to end", func(t *testing.T) {
		s := s.in(t)
		since := s.lastLine()
		require.NoError(t, syscall.Kill(s.guard(), syscall.SIGTERM))
		s.isTakenBack(since, "abort-asked", "its guard was told to end")
	})
	t.Run("killed", func(t *testing.T) {
		s := s.in(t)
		s.types(0, "shift", "--to", "green", "--weight", "20")
		s.carries(good.Tag)
		since := s.lastLine()
		require.NoError(t, syscall.Kill(s.guard(), syscall.SIGKILL))
		s.isTakenBack(since, "recovered", "the guardian cut back")
	})
	t.Run("killed with its guardian: the next command", func(t *testing.T) {
		s := s.in(t)
		s.types(0, "shift", "--to", "green", "--weight", "20")
		s.carries(good.Tag)
		since := s.lastLine()
		for _, pid := range append(s.Guardians(), s.guard()) {
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		until(t, "the next command takes it back", func() bool { return s.status().Phase == "idle" })
		s.isTakenBack(since, "recovered", "its guard is gone")
	})
	t.Run("a shift is killed on its way", func(t *testing.T) {
		s := s.in(t)
		since := s.lastLine()
		p := s.starts("shift", "--to", "green", "--weight", "20")
		until(t, "it shifts", func() bool { return s.has(since, "checked") })
		p.gets(syscall.SIGKILL)
		<-p.over
		if p.exit < 0 { // else it was quicker than the kill
			until(t, "its guard takes it back", func() bool { return s.has(since, "cut-proven") })
			s.none(time.Now(), good.Tag)
			return
		}
		require.Zero(t, s.backs("").Exit)
	})
	t.Run("accepted", func(t *testing.T) {
		s := s.in(t)
		s.types(0, "shift", "--to", "green", "--weight", "100")
		s.types(0, "accept")
		until(t, "nobody guards what is stable", func() bool { return len(s.Guards()) == 0 })
		require.Equal(t, "green", s.status().Stable)
		s.none(time.Now(), first.Tag)
		require.Zero(t, s.backs("").Exit)
	})
	t.Run("without a guard", func(t *testing.T) {
		s := s.in(t)
		s.types(0, "shift", "--to", "green", "--weight", "20")
		s.guard()
		s.types(0, "shift", "--to", "green", "--weight", "50", "--no-guard")
		until(t, "nobody guards it any more", func() bool { return len(s.Guards()) == 0 })
		require.Contains(t, s.status().Why, "nobody judges it")
		s.share(good.Tag, 50)
		require.Zero(t, s.backs("").Exit)
	})
	require.Zero(t, s.since(began).Lost)
	t.Run("killed with its guardian: a reboot", func(t *testing.T) {
		s := s.in(t)
		s.types(0, "shift", "--to", "green", "--weight", "20")
		s.guard()
		require.Contains(t, s.reboots(nil), `"rollout": "000007"`)
		s.none(time.Now(), good.Tag)
		require.Equal(t, "idle", s.status().Phase)
	})
	s.journalIsWhole()
}

// Law 8: the guard's judge takes a bad release back by itself, as a promotion's would, and tells why.
func TestLaw8_TheGuardRevertsABadShare(t *testing.T) {
	t.Parallel()
	s := set(t, nightly("guarded", night))
	watching := s.starts("status", "--watch")
	watching.says("blue v1.0.0 100 %")
	s.types(0, "up", "--to", "green", "--tag", bad.Tag)
	since := s.lastLine()
	s.types(0, "shift", "--to", "green", "--weight", "20")
	s.isTakenBack(since, "judged", "")
	last := s.history()[0]
	require.Equal(t, "reverted", last.Result)
	require.Contains(t, last.Why, "worse beyond chance")
	require.Contains(t, s.types(4, "promote", "--tag", bad.Tag).Stderr, "taken back before")
	watching.says("reverted")
	watching.says("all traffic is on blue v1.0.0, proven")
	require.False(t, watching.hasEnded())
	s.journalIsWhole()
}

// guard is the one that guards the share.
func (s *scene) guard() int {
	s.t.Helper()
	guards := s.Guards()
	require.Len(s.t, guards, 1)
	return guards[0]
}

// isTakenBack waits until the share has been taken back by an event of that kind, for that reason, and nobody guards it any more.
func (s *scene) isTakenBack(since uint64, kind, why string) {
	s.t.Helper()
	until(s.t, "the share is taken back", func() bool { return s.has(since, "cut-proven") })
	s.none(time.Now(), s.history()[0].Release)
	events := s.kinds(since, kind)
	require.NotEmpty(s.t, events)
	require.Contains(s.t, events[len(events)-1].Why, why)
	until(s.t, "nobody guards it any more", func() bool { return len(s.Guards()) == 0 })
	now := s.status()
	require.Equal(s.t, "idle", now.Phase, "%+v", now)
	require.Empty(s.t, now.Warnings)
}
