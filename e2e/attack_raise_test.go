package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// The renames and calls of a raise before which a promotion is frozen.
var (
	opens    = makes("rollouts", "[0-9]*")
	raises   = renames("current.*", "current")
	undoes   = renames("undo.*", "current")
	cuts     = renames("[0-9]*", "[0-9]*.cut")
	finishes = renames("[0-9]*", "[0-9]*.done")
)

// Law 2: a promoter that was frozen at any point of a raise, and wakes after a cutback, after the next rollout or after its
// finishing, moves no request any more.
func TestLaw2_AttackARaise(t *testing.T) {
	besiege(t, stage.Options{Name: "raise", Shutdown: "10s"}, []attack{
		{"frozen before the mkdir of its rollout, woken after another had that id and was cut", func(s *siege) {
			p := s.frozen("prod", opens)
			other := s.another("prod", 5)
			back := s.cutBack()
			other.ends(10)
			s.none(back, s.new)
			p.since = s.lastLine()
			p.wakes()
			p.reaches("raised", 5) // a rollout of its own, of a later id
			back = s.cutBack()
			p.ends(10)
			s.isBack(back)
		}},
		{"frozen in its new folder before the candidate's, woken after back", func(s *siege) {
			p := s.frozen("prod", makes("[0-9]*", "*"))
			back := s.cutBack()
			s.stays(p, 10)
			s.isBack(back)
		}},
		{"frozen before the first raise, woken after back", func(s *siege) {
			p := s.frozen("prod", raises)
			back := s.cutBack()
			require.Contains(s.t, s.types(7, s.promotion("prod")...).Stderr, "busy")
			s.stays(p, 10)
			s.isBack(back)
		}},
		{"frozen before the first raise, woken when the next rollout has 20 %", func(s *siege) {
			p := s.frozen("prod", raises)
			s.cutBack()
			other := s.another("twenty", 20)
			s.stays(p, 10)
			s.share(s.new, 20)
			back := s.cutBack()
			other.ends(10)
			s.isBack(back)
		}},
		{"frozen before the first raise, woken after the next rollout's finishing", func(s *siege) {
			p := s.frozen("prod", raises)
			s.cutBack()
			s.unlocks()
			s.accepts()
			since := time.Now()
			s.stays(p, 10)
			s.isOn(since, s.new, s.old)
		}},
		{"frozen before the second raise, woken after back", func(s *siege) {
			p := s.frozen("brisk", second(raises))
			back := s.cutBack()
			s.stays(p, 10)
			s.isBack(back)
		}},
		{"frozen before the second raise, woken when the next rollout has 5 %", func(s *siege) {
			p := s.frozen("brisk", second(raises))
			s.cutBack()
			other := s.another("prod", 5)
			s.stays(p, 10)
			s.share(s.new, 5)
			back := s.cutBack()
			other.ends(10)
			s.isBack(back)
		}},
		{"frozen before the second raise, woken after the next rollout's finishing", func(s *siege) {
			p := s.frozen("brisk", second(raises))
			s.cutBack()
			s.unlocks()
			s.accepts()
			since := time.Now()
			s.stays(p, 10)
			s.isOn(since, s.new, s.old)
		}},
		{"frozen before it tells nginx to reload, woken after back", func(s *siege) {
			p := s.frozen("prod", hangsUp)
			back := s.cutBack()
			p.wakes()
			p.ends(10)
			s.isBack(back)
		}},
		{"the raise takes effect by certbot's reload, and back comes before ours", func(s *siege) {
			p := s.frozen("prod", hangsUp)
			s.certbot()
			s.carries(s.new)
			back := s.cutBack()
			s.none(back, s.new)
			p.wakes()
			p.ends(10)
			s.isBack(back)
		}},
		{"the raise takes effect by certbot's reload, then by ours, then back", func(s *siege) {
			p := s.frozen("brisk", second(hangsUp))
			s.certbot()
			p.wakes()
			p.reaches("raised", 20)
			s.share(s.new, 20)
			back := s.cutBack()
			p.ends(10)
			s.isBack(back)
		}},
		{"back while nginx reloads, with connections open at the workers of before", func(s *siege) {
			p := s.frozen("brisk", second(hangsUp))
			connections := s.silent(200)
			p.wakes()
			until(s.t, "workers of before and after overlap", func() bool { return s.overlaps() })
			back := s.cutBack()
			s.speak(connections, s.old)
			p.ends(10)
			s.isBack(back)
		}},
		{"back between the rename and the proof", func(s *siege) {
			p := s.frozen("twenty", hangsUp)
			p.wakes()
			back := s.cutBack()
			p.ends(10)
			s.isBack(back)
		}},
		{"silent connections of before each reload are spoken on after back", func(s *siege) {
			before := s.silent(40)
			p := s.holds(second(raises), s.promotion("brisk")...)
			p.reaches("raised", 5)
			connections := append(before, s.silent(40)...)
			p.freezes()
			p.wakes()
			p.reaches("raised", 20)
			connections = append(connections, s.silent(40)...)
			back := s.cutBack()
			s.speak(connections, s.old)
			p.ends(10)
			s.isBack(back)
		}},
		{"back is frozen before its rename, and another back comes first", func(s *siege) {
			p := s.starts(s.promotion("prod")...)
			p.reaches("raised", 5)
			late := s.holds(cuts, "back").freezes()
			back := s.cutBack()
			p.ends(10)
			s.stays(late, 0)
			s.isBack(back)
		}},
		{"back is frozen before its rename, and killed: the guardian is next", func(s *siege) {
			p := s.starts(s.promotion("prod")...)
			p.reaches("raised", 5)
			late := s.holds(cuts, "back").freezes()
			late.gets(syscall.SIGKILL)
			p.gets(syscall.SIGKILL)
			until(s.t, "the guardian has cut back", func() bool { return s.has(p.since, "cut-proven") })
			s.isBack(time.Now())
		}},
	})
}

// Law 2: the undo of a raise that nginx refused is as late as any other rename of a rollout that was cut.
func TestLaw2_AttackAnUndo(t *testing.T) {
	besiege(t, stage.Options{Name: "undo", Shutdown: "10s"}, []attack{
		{"frozen before the undo of a refused raise, woken after back", func(s *siege) {
			p, mended := s.undoing()
			back := s.cutBack()
			mended()
			s.stays(p, 10)
			s.isBack(back)
		}},
		{"frozen before the undo of a refused raise, woken when the next rollout has 20 %", func(s *siege) {
			p, mended := s.undoing()
			s.cutBack()
			mended()
			other := s.another("twenty", 20)
			s.stays(p, 10)
			s.share(s.new, 20)
			back := s.cutBack()
			other.ends(10)
			s.isBack(back)
		}},
	})
}

// undoing is a promotion whose raise passed `nginx -t` and was then refused, because of somebody's file, frozen before it undoes it.
func (s *siege) undoing() (p *held, mended func()) {
	s.t.Helper()
	p = s.frozen("prod", hangsUp)
	mended = s.writes(s.others(), "oops on;\n")
	p.wakesUntil(undoes)
	return p, mended
}

// overlaps tells that workers of before a reload are still there beside those after it.
func (s *siege) overlaps() bool {
	for _, title := range s.workers() {
		if strings.Contains(title, leaving) {
			return true
		}
	}
	return false
}
