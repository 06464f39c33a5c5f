package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// The renames of a switch without a reload: of the link that gives the candidate its buckets, of the one that makes the rollout the
// one to ask for, and of the one that makes the candidate the default.
var (
	gives     = renames("buckets.*", "[bg]*")
	announces = renames("open.new", "open")
	defaults  = renames("stable.new", "stable")
)

// Law 2, where the links decide: whoever was frozen before any of the renames finds nothing to rename when it wakes too late.
func TestLaw2_AttackALiveSwitch(t *testing.T) {
	besiege(t, stage.Options{Name: "live", Shutdown: "10s", Nginx: "  switch: live"}, []attack{
		{"frozen before its rollout is the one to ask for, woken after back", func(s *siege) {
			p := s.frozen("prod", announces)
			back := s.cutBack()
			s.stays(p, 10)
			s.isBack(back)
		}},
		{"frozen before its rollout is the one to ask for, woken when the next one has 20 %", func(s *siege) {
			p := s.frozen("prod", announces)
			s.cutBack()
			other := s.another("twenty", 20)
			s.stays(p, 10)
			s.share(s.new, 20)
			back := s.cutBack()
			other.ends(10)
			s.isBack(back)
		}},
		{"frozen before the first raise, woken after back", func(s *siege) {
			p := s.frozen("prod", gives)
			back := s.cutBack()
			s.stays(p, 10)
			s.isBack(back)
		}},
		{"frozen before the first raise, woken when the next rollout has 20 %", func(s *siege) {
			p := s.frozen("prod", gives)
			s.cutBack()
			other := s.another("twenty", 20)
			s.stays(p, 10)
			s.share(s.new, 20)
			back := s.cutBack()
			other.ends(10)
			s.isBack(back)
		}},
		{"frozen before the second raise, woken after back", func(s *siege) {
			p := s.frozen("brisk", second(gives))
			back := s.cutBack()
			s.stays(p, 10)
			s.isBack(back)
		}},
		{"frozen before the second raise, woken after the next rollout's finishing", func(s *siege) {
			p := s.frozen("brisk", second(gives))
			s.cutBack()
			s.unlocks()
			s.accepts()
			since := time.Now()
			s.stays(p, 10)
			s.isOn(since, s.new, s.old)
		}},
		{"certbot reloads, and nginx dies, in the middle of a soak", func(s *siege) {
			p := s.starts(s.promotion("twenty")...)
			p.reaches("raised", 20)
			s.certbot()
			s.share(s.new, 20)
			s.crashes()
			s.share(s.new, 20)
			back := s.cutBack()
			p.ends(10)
			s.isBack(back)
		}},
		{"nginx dies while the raise is frozen", func(s *siege) {
			p := s.frozen("prod", gives)
			s.crashes()
			s.none(time.Now(), s.new)
			p.wakes()
			p.reaches("raised", 5)
			back := s.cutBack()
			p.ends(10)
			s.isBack(back)
		}},
		{"finishing is frozen before the new default, and back comes first", func(s *siege) {
			p := s.finishing(defaults)
			back := s.cutBack()
			p.wakes()
			p.isOver()
			s.isBack(back)
		}},
		{"finishing is frozen before the new default, and back and the next finishing come first", func(s *siege) {
			p := s.finishing(defaults)
			s.cutBack()
			s.unlocks()
			s.accepts()
			since := time.Now()
			p.wakes()
			p.isOver()
			s.isOn(since, s.new, s.old)
		}},
		{"finishing is frozen between the new default and its last rename, and back comes first", func(s *siege) {
			p := s.finishing(finishes)
			back := s.cutBack()
			p.wakes()
			p.isOver()
			s.isBack(back)
		}},
		{"finishing is killed between its renames, and somebody goes back", func(s *siege) {
			p := s.finishing(finishes)
			since := time.Now()
			p.dies()
			s.none(since, s.old)
			back := s.cutBack()
			s.isBack(back)
		}},
		{"nginx dies between the renames of finishing", func(s *siege) {
			p := s.finishing(finishes)
			since := time.Now()
			s.crashes()
			s.none(since, s.old)
			p.wakes()
			p.isOver()
			s.completes()
			s.isOn(since, s.new, s.old)
		}},
		{"back is frozen before its rename, and the finishing comes first", func(s *siege) {
			s.types(0, s.promotion("quickly")...)
			since := time.Now()
			late := s.holds(cuts, "back").freezes()
			s.types(0, "down")
			s.stays(late, 4)
			s.isOn(since, s.new, s.old)
		}},
	})
}

// A whole promotion, its cutback and its finishing close nobody's connection: not one request is lost, not even by clients that do not
// repeat any, and nginx loads nothing.
func TestLive_NobodyIsDisconnected(t *testing.T) {
	t.Parallel()
	o := nightly("live", quick)
	o.Nginx, o.Stacks = "  switch: live", "  keep_warm: 1s\n"
	s := set(t, o)
	began, workers := time.Now(), s.workers()
	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 5)
	s.share(good.Tag, 5)
	p.gets(syscall.SIGKILL)
	s.guarded(p.since, time.Now(), good.Tag)
	for _, tag := range []string{good.Tag, next.Tag} {
		since := s.lastLine()
		s.types(0, "promote", "--tag", tag)
		until(t, "the guardian retires the old stack", func() bool { return s.has(since, "retired") })
	}
	s.types(0, "up", "--to", "green", "--tag", good.Tag)
	s.types(0, "shift", "--to", "green", "--weight", "33.4")
	require.Equal(t, 33.0, s.status().Weight, "to the nearest bucket")
	s.share(good.Tag, 33)
	s.types(0, "back")
	s.none(time.Now(), good.Tag)
	users := s.since(began)
	require.Zero(t, users.Lost)
	require.Equal(t, workers, s.workers(), "the same processes all the time")
	s.journalIsWhole()
}
