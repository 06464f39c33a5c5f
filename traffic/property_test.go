package traffic_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cutover/traffic"
	"cutover/traffic/verdict"
)

// TestTrafficNeverRisesUnproven drives rollouts through accidents of every kind against the model of nginx, and holds the
// Laws after each of them. What is held while something happens stands in world.touch, holdVerdict and the stages.
func TestTrafficNeverRisesUnproven(t *testing.T) {
	all := []traffic.Phase{
		traffic.Idle, traffic.Waiting, traffic.Preparing, traffic.Ready, traffic.Shifting, traffic.Soaking,
		traffic.Baking, traffic.Accepted, traffic.Finishing, traffic.CuttingBack,
	}
	seen := map[traffic.Phase]int{}
	unseen := func() []traffic.Phase {
		return slices.DeleteFunc(slices.Clone(all), func(p traffic.Phase) bool { return seen[p] > 0 })
	}
	for round := 0; round == 0 || round < 20 && len(unseen()) > 0; round++ { // one round misses a rare phase now and then
		rapid.Check(t, func(t *rapid.T) {
			w := newWorld(t, seen)
			for range rapid.IntRange(20, 300).Draw(t, "accidents") {
				w.happen()
				w.hold()
			}
			w.comeToRest()
		})
	}
	require.Empty(t, unseen(), "the accidents never reached these")
}

// happen lets one thing happen, most often something that brings a rollout on. rapid prefers low numbers and shrinks to
// them, so the accidents have the high ones.
func (w *world) happen() {
	kind := rapid.IntRange(0, 99).Draw(w.t, "what happens")
	switch {
	case kind >= 80:
		w.mishap(kind)
	case !w.alive:
		w.recover()
	case w.frozen:
		w.frozen = kind > 30
	case w.overtook && w.state.Open == nil:
		w.die() // the command that comes next reads the journal
	case kind%8 == 5 && len(w.ghosts) > 0:
		w.step(w.ghosts[0])
	case kind%8 == 6 && len(w.unread) > 0:
		w.read()
	case w.state.Open == nil:
		w.open()
	case kind >= 64:
		w.steer()
	case kind%3 != 0 && w.running != nil:
		w.step(w.running)
	default:
		w.judge()
	}
}

// mishap is what nobody plans for.
func (w *world) mishap(kind int) {
	switch {
	case kind < 85:
		w.someoneCutsBack()
	case kind < 88:
		w.full = !w.full
	case kind < 90:
		w.die()
	case kind < 93:
		w.frozen = w.alive
	case kind < 96 && w.running != nil && !w.frozen:
		w.running.stage = 0 // performed twice
	default:
		w.touch("a reload by somebody else", w.host.reload)
	}
}

// hold checks what must be true between any two happenings.
func (w *world) hold() {
	if w.alive && !w.overtook && !w.compared && len(w.unread) == 0 && len(w.unsaved) == 0 {
		require.Equal(w.t, plain(w.state), plain(w.folded), "the journal tells another story than its writer knows")
		w.compared = true
	}
	r := w.state.Open
	switch {
	case !w.alive || w.frozen:
	case r == nil:
		require.Equal(w.t, traffic.Full, w.host.serves(w.state.Stable), "idle, and not everything is on stable")
	case r.Phase == traffic.CuttingBack && r.Cut:
		require.Equal(w.t, traffic.Full, w.host.serves(r.Stable), "cut back, and not everything is on stable")
	case r.Phase == traffic.Accepted || r.Phase == traffic.Finishing:
		if w.host.folders[r.ID] != cut {
			require.Equal(w.t, traffic.Full, w.host.serves(r.Candidate()), "accepted, and not everything is on the candidate")
		}
	}
	if a, ok := traffic.Pending(w.state); ok && r.Ending != "" {
		require.NotEqual(w.t, traffic.Raise, a.Kind, "a rollout that is ending asks for more")
	}
}

// comeToRest holds that whatever has happened, one command with a working disk leads to a state that nobody has to stay for.
func (w *world) comeToRest() {
	w.die()
	w.full = false
	for range 200 {
		switch {
		case !w.alive:
			w.recover()
		case w.running != nil:
			w.step(w.running)
		default:
			require.True(w.t, w.state.Settled(), "nobody does anything in %s", w.state.Phase())
			w.hold()
			return
		}
	}
	w.t.Fatalf("never comes to rest: %s", describe(w.state))
}

// open begins a rollout, as a command does: first the folder, then the line.
func (w *world) open() {
	id := traffic.RolloutID(1)
	for w.host.folders[id] != none {
		id++
	}
	w.host.folders[id] = standing
	if w.chance(20, "killed between folder and journal") {
		w.die()
		return
	}
	o := &traffic.Opening{Mode: traffic.Promotion, Tag: "v2", Previous: "v1", Stable: w.state.Stable, Plan: drawPlan(w.t)}
	if w.chance(4, "by hand") {
		w.host.up[o.Stable.Other()] = true
		o.Mode, o.Target, o.Guarded = traffic.HandMade, drawWeight(w.t), rapid.Bool().Draw(w.t, "guarded")
	}
	w.take(traffic.Event{Kind: traffic.Opened, Rollout: id, Opening: o})
}

func drawPlan(t *rapid.T) traffic.Plan {
	p := traffic.Plan{Inconclusive: verdict.Inconclusive{After: 15 * time.Minute}}
	for _, w := range []traffic.Weight{500, 2000, traffic.Full} {
		if w == traffic.Full || rapid.Bool().Draw(t, "has this step") {
			p.Steps = append(p.Steps, traffic.Step{Weight: w, Soak: rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "soak")})
		}
	}
	p.Bake = rapid.SampledFrom([]time.Duration{0, 10 * time.Minute}).Draw(t, "bake")
	p.Inconclusive.Then = rapid.SampledFrom([]verdict.Then{verdict.Hold, verdict.Back, verdict.Proceed}).Draw(t, "then")
	p.KeepWarm = rapid.SampledFrom([]time.Duration{0, 10 * time.Minute}).Draw(t, "keep warm")
	for _, at := range []string{traffic.AtStart, "5", "100"} {
		if rapid.IntRange(0, 5).Draw(t, "asks at "+at) == 0 {
			p.Approve = append(p.Approve, traffic.Approval{At: at, Within: 2 * time.Hour})
		}
	}
	for _, point := range []traffic.HookPoint{
		traffic.AfterStep, traffic.BeforePromote, traffic.AfterPromote, traffic.OnRevert, traffic.OnFail, traffic.BeforeRetire,
	} {
		if rapid.IntRange(0, 3).Draw(t, "has "+string(point)) == 0 {
			p.Hooks = append(p.Hooks, point)
		}
	}
	return p
}

func drawWeight(t *rapid.T) traffic.Weight {
	return rapid.SampledFrom([]traffic.Weight{500, 2000, 5000, traffic.Full}).Draw(t, "weight")
}

// judge lets time pass and the judge speak; for the candidate more often than not, or nothing would ever be accepted.
func (w *world) judge() {
	w.now = w.now.Add(rapid.SampledFrom([]time.Duration{10 * time.Minute, time.Second, time.Minute, 0, 16 * time.Minute}).Draw(w.t, "later"))
	e := traffic.Event{Kind: traffic.Judged}
	e.Verdict = rapid.SampledFrom([]*verdict.Result{
		{Decision: verdict.Passed, Rule: verdict.RuleEvidence},
		{Decision: verdict.Passed, Rule: verdict.RuleEvidence, Candidate: verdict.Tally{Requests: 1000}},
		{Decision: verdict.Passed, Rule: verdict.RuleEvidence, Candidate: verdict.Tally{Requests: 2000}},
		{Decision: verdict.Undecided, Rule: verdict.RuleEvidence, Reason: "300 more"},
		{Decision: verdict.Undecided, Rule: verdict.RuleSoak, Reason: "30 s more"},
		{Decision: verdict.Undecided, Rule: verdict.RuleSuspicion, Reason: "maybe"},
		{Decision: verdict.Undecided, Rule: verdict.RuleBaselineUnhealthy, Reason: "both"},
		{Decision: verdict.Blind, Rule: verdict.RuleSilence, Reason: "no line"},
		{Decision: verdict.Failed, Rule: verdict.RuleErrors, Reason: "4 %"},
		nil,
	}).Draw(w.t, "opinion")
	w.take(e)
}

// steer lets a person or a signal ask for something.
func (w *world) steer() {
	e := traffic.Event{Kind: rapid.SampledFrom([]traffic.EventKind{
		traffic.Approved, traffic.AcceptedByHand, traffic.Retargeted, traffic.Resumed, traffic.FinishNow, traffic.Paused, traffic.AbortAsked,
	}).Draw(w.t, "asked"), By: ann}
	if e.Kind == traffic.Retargeted {
		e.Weight, e.Guarded = drawWeight(w.t), rapid.Bool().Draw(w.t, "guarded from now on")
	}
	w.take(e)
}

// someoneCutsBack is `back` from another terminal: rename first; its line may come later, or never.
func (w *world) someoneCutsBack() {
	var ids []traffic.RolloutID
	for id, f := range w.host.folders {
		if f == standing {
			ids = append(ids, id)
		}
	}
	w.touch("back", func() {
		for _, id := range ids {
			w.host.cutback(id)
		}
	})
	r := w.state.Open
	if !w.alive {
		r = w.folded.Open
	}
	if r == nil || w.host.folders[r.ID] != cut || w.full || w.chance(3, "the line of back is lost") {
		return
	}
	e := traffic.Event{Kind: traffic.CutSeen, At: w.now, Rollout: r.ID, By: ann, Why: "ann cut back"}
	w.write(e)
	if w.alive {
		w.unread = append(w.unread, e)
		w.overtook = w.overtook || len(w.unsaved) > 0
	}
}

// read lets the promoter see the first line of `back` that it has not seen.
func (w *world) read() {
	e := w.unread[0]
	w.unread = w.unread[1:]
	w.state = traffic.Next(w.state, e)
	w.start(w.state)
}
