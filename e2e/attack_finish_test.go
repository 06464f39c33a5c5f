package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// Law 2: of a cutback and a finishing exactly one happens, wherever the finishing is frozen; and what it has begun is completed, whatever
// becomes of nginx and of itself meanwhile.
func TestLaw2_AttackAFinishing(t *testing.T) {
	besiege(t, stage.Options{Name: "finish", Shutdown: "10s"}, []attack{
		{"frozen before its first rename, and back comes first", func(s *siege) {
			p := s.finishing(finishes)
			back := s.cutBack()
			p.wakes()
			p.isOver()
			s.isBack(back)
		}},
		{"frozen before its first rename, and back and the next finishing come first", func(s *siege) {
			p := s.finishing(finishes)
			s.cutBack()
			s.unlocks()
			s.accepts()
			since := time.Now()
			p.wakes()
			p.isOver()
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
		{"nginx dies between its two renames, and somebody wants to go back", func(s *siege) {
			p := s.finishing(raises)
			since := time.Now()
			s.crashes()
			s.tooLate()
			s.none(since, s.old)
			p.wakes()
			p.isOver()
			s.completes()
			s.isOn(since, s.new, s.old)
		}},
		{"certbot reloads between its two renames", func(s *siege) {
			p := s.finishing(raises)
			since := time.Now()
			s.certbot()
			s.tooLate()
			p.wakes()
			p.ends(0)
			s.isOn(since, s.new, s.old)
		}},
		{"certbot reloads between the rename of the new default and our reload", func(s *siege) {
			p := s.finishing(hangsUp)
			since := time.Now()
			s.certbot()
			s.tooLate()
			p.wakes()
			p.ends(0)
			s.isOn(since, s.new, s.old)
		}},
		{"nginx dies between the rename of the new default and our reload", func(s *siege) {
			p := s.finishing(hangsUp)
			since := time.Now()
			s.crashes()
			s.tooLate()
			p.wakes()
			p.isOver()
			s.completes()
			s.isOn(since, s.new, s.old)
		}},
		{"it is killed between its two renames", func(s *siege) {
			p := s.finishing(raises)
			since := time.Now()
			p.dies()
			s.tooLate()
			s.completes()
			s.isOn(since, s.new, s.old)
		}},
		{"it is killed between the rename of the new default and our reload", func(s *siege) {
			p := s.finishing(hangsUp)
			since := time.Now()
			p.dies()
			s.tooLate()
			s.completes()
			s.isOn(since, s.new, s.old)
		}},
		{"it is refused by somebody's broken file between its two renames", func(s *siege) {
			p := s.finishing(raises)
			since := time.Now()
			mended := s.writes(s.others(), "oops on;\n")
			p.wakes()
			p.isOver()
			s.none(since, s.old)
			s.tooLate()
			mended()
			s.completes()
			s.isOn(since, s.new, s.old)
		}},
	})
}

// Nothing that the retired color would have to answer is left when it is retired: connections that were opened before each reload and
// have said nothing yet keep the finishing waiting, for as long as nginx lets them.
func TestFinish_AttackBySilence(t *testing.T) {
	besiege(t, stage.Options{Name: "silence", Shutdown: "0"}, []attack{
		{"silent connections of before each reload are spoken on after the finishing", func(s *siege) {
			first := s.silent(20)
			p := s.starts(s.promotion("through")...)
			p.reaches("raised", 5)
			second := s.silent(20)
			p.ends(0)
			second = append(second, s.silent(20)...)
			since, was := time.Now(), s.current()
			p = s.starts("down")
			until(s.t, "the new default is in place", func() bool { return s.current() != was })
			s.serves(2 * rate)
			require.False(s.t, p.hasEnded(), "nothing is retired yet")
			s.speak(first, s.old) // their workers knew of no rollout
			s.speak(second[:30], s.new)
			s.serves(rate)
			require.False(s.t, p.hasEnded(), "nothing is retired yet")
			s.speak(second[30:], s.new)
			p.ends(0)
			s.isOn(since, s.new, s.old)
		}},
	})
}

// finishing brings a release out and begins to finish it; it freezes before the call.
func (s *siege) finishing(before func(call) bool) *held {
	s.t.Helper()
	s.types(0, s.promotion("quickly")...)
	return s.holds(before, "down").freezes()
}

// tooLate wants `back` to say that nothing is warm any more, and that the new release has everything.
func (s *siege) tooLate() {
	s.t.Helper()
	r := s.backs("")
	require.Equal(s.t, 4, r.Exit, r.Stdout)
	s.narrow(r, `\w+ `+s.new+` 100 %`)
}

// completes has commands typed until the finishing is through.
func (s *siege) completes() {
	s.t.Helper()
	until(s.t, "a command finishes", func() bool { return s.status().Phase == "idle" })
}

// isOver waits for the end of a command whose exit code is not what the scene is about.
func (r *running) isOver() {
	r.s.t.Helper()
	until(r.s.t, "it ends", r.hasEnded)
}

// dies is running.dies for a command on a leash.
func (h *held) dies() {
	h.gets(syscall.SIGKILL)
	<-h.running.over
}
