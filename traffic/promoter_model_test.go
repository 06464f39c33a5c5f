package traffic_test

import (
	"fmt"
	"slices"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cutover/traffic"
	"cutover/traffic/verdict"
)

// task is an effect under way; it can be left after each of its stages.
type task struct {
	action traffic.Action
	stage  int
	before tree // current before the raise, to undo to
}

// world is one host with one promoter after the other, and the journal that they share. It is the controller made
// slow: every point at which a process can be killed, frozen or overtaken is a point between two calls.
type world struct {
	t    *rapid.T
	host host
	now  time.Time

	journal  []traffic.Event
	folded   traffic.State // what a reader of the journal makes of it
	compared bool          // with what its writer knows
	full     bool          // the disk takes no line

	alive    bool
	frozen   bool
	state    traffic.State
	running  *task
	ghosts   []*task // cancelled, and not aware of it yet
	unsaved  []traffic.Event
	unread   []traffic.Event // lines of `back` that the promoter has not seen
	overtook bool            // the promoter's lines stand in another order than it saw things happen

	granted tree // the last raise that was begun, with a licence for it
	seen    map[traffic.Phase]int
}

func newWorld(t *rapid.T, seen map[traffic.Phase]int) *world {
	w := &world{t: t, host: newHost(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), alive: true, seen: seen}
	w.write(traffic.Event{Kind: traffic.StableSet, At: w.now, Color: traffic.Blue, Release: &traffic.Release{Tag: "v1"}})
	w.state = w.folded
	return w
}

// chance is true once in so many times.
func (w *world) chance(of int, what string) bool {
	return rapid.IntRange(1, of).Draw(w.t, what) == of
}

// touch lets something happen to the host and holds that the candidate's share rises to nothing but what was granted.
// That may happen late, and by anybody's reload, as long as nobody cut back.
func (w *world) touch(what string, do func()) {
	was := map[traffic.Color]traffic.Weight{traffic.Blue: w.host.serves(traffic.Blue), traffic.Green: w.host.serves(traffic.Green)}
	do()
	for c, before := range was {
		if after := w.host.serves(c); after > before && c != w.host.loaded.stable {
			require.Equal(w.t, w.granted, w.host.loaded, "%s raised %s from %s to %s", what, c, before, after)
		}
		require.True(w.t, w.host.up[c] || w.host.serves(c) == 0, "%s: %s serves and is stopped", what, c)
	}
}

// take does as the controller does: decide, cut first when it goes down, write down, then act.
func (w *world) take(e traffic.Event) {
	e.At = w.now
	next := traffic.Next(w.state, e)
	w.holdVerdict(e, next)
	if sameButNumbers(w.state, next) {
		w.state = next
		return
	}
	if next.Phase() == traffic.CuttingBack {
		w.start(next)
		if k := w.running; k != nil && k.stage == 0 && k.action.Kind == traffic.Cut && w.chance(2, "the cutback is quicker than the journal") {
			w.step(k)
		}
	}
	if w.chance(40, "killed before the line is written") {
		w.die()
		return
	}
	w.record(e, next)
	if w.chance(40, "killed after the line is written") {
		w.die()
		return
	}
	w.seen[w.state.Phase()]++
	w.start(w.state)
}

// holdVerdict holds that a fail reverts at once where users get the candidate, and that blind never leads upwards.
func (w *world) holdVerdict(e traffic.Event, next traffic.State) {
	r := w.state.Open
	if e.Kind != traffic.Judged || e.Verdict == nil || r == nil || r.Mode != traffic.Promotion && !r.Guarded {
		return
	}
	up := next.Open != nil && next.Open.Wanted > r.Wanted || next.Stable != w.state.Stable
	switch e.Verdict.Decision {
	case verdict.Blind:
		require.False(w.t, up, "blind led upwards from %s", r.Phase)
	case verdict.Failed:
		require.False(w.t, up, "a failure led upwards from %s", r.Phase)
		if w.host.serves(r.Candidate()) > 0 && r.Ending == "" {
			require.Equal(w.t, traffic.CuttingBack, next.Phase(), "users get a failing release in %s", r.Phase)
		}
	}
}

// record appends the event, or takes what the controller takes when the disk is full.
func (w *world) record(e traffic.Event, next traffic.State) {
	w.unsaved = append(w.unsaved, e)
	w.overtook = w.overtook || len(w.unread) > 0
	if w.full {
		failed := traffic.Event{Kind: traffic.JournalFailed, At: w.now, Why: "disk full"}
		back := traffic.Next(w.state, failed)
		if w.state.Phase() != traffic.CuttingBack && next.Phase() != traffic.CuttingBack && back.Phase() == traffic.CuttingBack {
			w.unsaved[len(w.unsaved)-1], next = failed, back
		}
		w.state = next
		return
	}
	for _, line := range w.unsaved {
		w.write(line)
	}
	w.unsaved, w.state = nil, next
}

// write appends a line and folds it as a reader would.
func (w *world) write(e traffic.Event) {
	e = deepCopy(w.t, e)
	w.journal, w.folded, w.compared = append(w.journal, e), traffic.Next(w.folded, e), false
}

// start begins what the state asks for, as the controller's perform.
func (w *world) start(s traffic.State) {
	a, wanted := traffic.Pending(s)
	if r := w.running; r != nil {
		if wanted && r.action.Kind == a.Kind && r.action.Split.Weight == a.Split.Weight && r.action.Hook.Point == a.Hook.Point {
			return
		}
		w.ghosts, w.running = append(w.ghosts, r), nil
	}
	if !wanted || a.Kind != traffic.Cut && len(w.ghosts) > 0 {
		return
	}
	w.running = &task{action: a}
	if a.Kind == traffic.Raise && w.host.folders[a.Rollout] == standing { // without its folder a raise comes to nothing
		l := audit(w.journal)
		require.Equal(w.t, l.id, a.Rollout, "a raise of a rollout that the journal does not know")
		require.LessOrEqual(w.t, a.Split.Weight, l.allows(), "a raise that no line of the journal allows")
		w.granted = tree{rollout: a.Rollout, stable: a.Split.Stable, weight: a.Split.Weight}
	}
}

// step does the next stage of a task and takes its report when that was the last. It tells whether it was.
func (w *world) step(k *task) bool {
	var report traffic.Event
	w.touch(fmt.Sprintf("%s, stage %d", k.action.Kind, k.stage), func() { report = w.stage(k) })
	k.stage++
	if report.Kind == "" {
		return false
	}
	if k != w.running {
		w.ghosts = slices.DeleteFunc(w.ghosts, func(g *task) bool { return g == k })
		w.start(w.state)
		return true
	}
	w.running = nil
	report.Rollout = k.action.Rollout
	w.take(report)
	return true
}

// stage does one stage; the last one answers a report.
func (w *world) stage(k *task) traffic.Event {
	a, h := k.action, &w.host
	switch a.Kind {
	case traffic.Raise:
		return w.raise(k)
	case traffic.Finish:
		return w.finish(k)
	case traffic.Cut:
		if k.stage == 0 {
			h.cutback(a.Rollout)
			return traffic.Event{}
		}
		require.Equal(w.t, traffic.Full, h.serves(a.Color), "a cutback left users on the candidate")
		return w.outcome(traffic.CutProven, traffic.CutUnproven)
	case traffic.Prepare:
		require.Zero(w.t, h.serves(a.Color), "%s is brought up while it serves", a.Color)
		h.up[a.Color] = true
		return w.outcome(traffic.Prepared, traffic.PrepareFailed)
	case traffic.Check:
		return w.outcome(traffic.Checked, traffic.PrepareFailed)
	case traffic.HandOver:
		return w.outcome(traffic.HandedOver, traffic.HandedOver)
	case traffic.RunHooks:
		if a.Hook.Point == traffic.OnRevert {
			require.Equal(w.t, traffic.Full, h.serves(a.Hook.Color.Other()), "on_revert is told before users are on stable")
		}
		e := w.outcome(traffic.Hooked, traffic.Hooked)
		e.Hook = a.Hook.Point
		return e
	}
	require.Zero(w.t, h.serves(a.Color), "%s is stopped while it serves", a.Color)
	h.up[a.Color] = false
	return traffic.Event{Kind: traffic.Retired}
}

func (w *world) raise(k *task) traffic.Event {
	s, h := k.action.Split, &w.host
	wanted := tree{rollout: s.Rollout, stable: s.Stable, weight: s.Weight}
	switch k.stage {
	case 0: // rendered and tested aside
	case 1:
		k.before = h.current
		if !h.swap(s.Rollout, wanted) {
			return traffic.Event{Kind: traffic.CutSeen, Why: "the folder is gone"}
		}
	case 2:
		if !w.chance(10, "nginx ignores the reload") {
			h.reload()
		}
	default:
		if h.folders[s.Rollout] != standing {
			return traffic.Event{Kind: traffic.CutSeen, Why: "the folder is gone"}
		}
		if h.loaded == wanted {
			return traffic.Event{Kind: traffic.Raised, Weight: s.Weight, Live: h.live(w.now)}
		}
		if k.before.rollout != s.Rollout || k.before.weight <= s.Weight {
			h.swap(s.Rollout, k.before)
		}
		return traffic.Event{Kind: traffic.RaiseFailed, Why: "nginx serves an old generation"}
	}
	return traffic.Event{}
}

func (w *world) finish(k *task) traffic.Event {
	s, h := k.action.Split, &w.host
	wanted := tree{stable: s.Candidate()}
	switch k.stage {
	case 0:
		switch h.folders[s.Rollout] {
		case standing:
			h.folders[s.Rollout] = done
		case cut:
			return traffic.Event{Kind: traffic.CutSeen, Why: "the folder is gone"}
		}
	case 1:
		h.current = wanted
	case 2:
		if !w.chance(4, "nginx ignores the reload") {
			h.reload()
		}
	default:
		require.Equal(w.t, traffic.Full, h.serves(s.Candidate()), "a finish took traffic away")
		if h.loaded != wanted {
			return traffic.Event{Kind: traffic.FinishFailed, Why: "2 old workers"}
		}
		return traffic.Event{Kind: traffic.Finished, Live: h.live(w.now)}
	}
	return traffic.Event{}
}

// outcome is a good report, and once in a while the bad one.
func (w *world) outcome(good, bad traffic.EventKind) traffic.Event {
	if w.chance(8, string(bad)) {
		return traffic.Event{Kind: bad, Why: "it did not work"}
	}
	e := traffic.Event{Kind: good}
	if good == traffic.Prepared {
		e.Release = &traffic.Release{Tag: "v2", Images: map[string]string{"backend": "sha256:7"}}
	}
	return e
}

// die is kill -9: the promoter's memory and its effects end where they are.
func (w *world) die() {
	w.alive, w.frozen, w.running, w.ghosts, w.unsaved, w.unread, w.overtook = false, false, nil, nil, nil, nil, false
}

// recover is the next command of any kind: fold the journal, look at nginx, go on from there.
func (w *world) recover() {
	w.alive, w.state = true, w.folded
	if w.state.Open == nil {
		return
	}
	e := traffic.Event{Kind: traffic.Recovered, Rollout: w.state.Open.ID, Why: "its promoter is gone", Live: w.host.live(w.now)}
	if w.chance(4, "the probe does not answer") {
		e.Live = nil
	}
	w.take(e)
	if w.alive {
		w.start(w.state)
	}
}
