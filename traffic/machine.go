package traffic

import (
	"fmt"
	"maps"
	"slices"
)

// Next is the only function that decides. The same state and event give the same answer: time is data in the event, and an
// event that means nothing in a state leaves it as it is.
//
// The one rule that raises a share by itself is advance, in judged.go; the rules that revert a release stand in judged above it.
func Next(s State, e Event) State {
	if s.Open == nil {
		return idle(s, e)
	}
	if e.Rollout != 0 && e.Rollout != s.Open.ID {
		return s
	}
	r := *s.Open
	r.Steps = slices.Clone(r.Steps)
	s.Open = &r
	switch e.Kind {
	case Judged:
		return judged(s, e)
	case Prepared, PrepareFailed, Checked, Raised, RaiseFailed:
		return reportUp(s, e)
	case Hooked:
		return hooked(s, e)
	case CutProven, CutUnproven, HandedOver, Finished, FinishFailed, Retired:
		return reportEnd(s, e)
	case Paused, Resumed, Approved, Retargeted, AcceptedByHand, FinishNow:
		return asked(s, e)
	case AbortAsked, CutSeen, JournalFailed, Recovered:
		return lowered(s, e)
	}
	return s
}

// idle takes what can happen while no rollout is open.
func idle(s State, e Event) State {
	switch e.Kind {
	case StableSet:
		s.Stable = e.Color
		return s.runs(e.Color, e.Release)
	case StackUp:
		return s.runs(e.Color, e.Release)
	case StackDown:
		return s.runs(e.Color, nil)
	case Opened:
		return open(s, e)
	}
	return s
}

func open(s State, e Event) State {
	o := e.Opening
	if o == nil || e.Rollout <= s.LastID {
		return s // an id is used once; replaying a line twice opens nothing
	}
	r := Rollout{
		ID: e.Rollout, Mode: o.Mode, By: e.By, Plan: o.Plan, Digest: o.Plan.Digest(),
		Stable: o.Stable, Previous: o.Previous, Release: Release{Tag: o.Tag},
		Opened: e.At, Entered: e.At, Cleared: -1, Phase: Preparing,
	}
	if e.Release != nil {
		r.Release = *e.Release
	}
	if _, asks := o.Plan.approvalAt(-1); asks && o.Mode == Promotion {
		r.Phase, r.Step, r.Cleared = Waiting, -1, -2
	}
	if o.Mode == HandMade {
		r.Phase, r.Wanted, r.Guarded = Ready, o.Target, o.Guarded
	}
	if o.Previous != "" && o.Previous != s.Releases[o.Stable].Tag {
		s = s.runs(o.Stable, &Release{Tag: o.Previous})
	}
	s.Stable, s.LastID, s.Open = o.Stable, r.ID, &r
	return s
}

// reportUp takes what the effects on the way up came to.
func reportUp(s State, e Event) State {
	r := s.Open
	switch {
	case e.Kind == Prepared && r.Phase == Preparing:
		if e.Release != nil {
			r.Release = *e.Release
		}
		s = s.runs(r.Candidate(), &r.Release)
		r.enter(Ready, e)
	case e.Kind == Checked && r.Phase == Ready && r.Mode == Promotion && r.Plan.last() == 0 && !r.MayPromote && r.due(BeforePromote):
	case e.Kind == Checked && r.Phase == Ready:
		if r.mustWait(0) || r.Paused != "" {
			r.enter(Waiting, e)
			break
		}
		if r.Mode == Promotion {
			r.Wanted = r.Plan.Steps[0].Weight
		}
		r.enter(Shifting, e)
	case e.Kind == PrepareFailed && (r.Phase == Preparing || r.Phase == Ready):
		r.cutBack(e, Failed, e.Why)
	case e.Kind == Raised && r.Phase == Shifting && e.Weight == r.Wanted:
		r.raised(e)
	case e.Kind == RaiseFailed && r.Phase == Shifting:
		r.cutBack(e, Declined, e.Why)
	}
	return s
}

func (r *Rollout) raised(e Event) {
	r.leaveStep(e, ByHand) // only a hand-made share is left by the next raise; a promotion's step was left before it
	r.Actual, r.Since = r.Wanted, e.At
	r.Steps = append(r.Steps, StepRecord{Weight: r.Actual, Live: e.At})
	if r.Mode == Promotion {
		r.due(AfterStep)
	}
	if r.Mode == Promotion && r.Step == r.Plan.last() && r.Plan.Steps[r.Step].Soak == 0 {
		r.enter(Baking, e)
		return
	}
	r.enter(Soaking, e)
}

// reportEnd takes what the effects at the end of a rollout came to.
func reportEnd(s State, e Event) State {
	r := s.Open
	switch {
	case (e.Kind == CutProven || e.Kind == CutUnproven) && r.Phase == CuttingBack && !r.Cut:
		if e.Kind == CutUnproven && r.Wanted > 0 {
			r.Unproven = e.Why
		}
		r.Cut, r.Wanted, r.Actual = true, 0, 0
		if !r.HandedOver {
			return s.cutOver(e)
		}
	case e.Kind == HandedOver && r.Phase == CuttingBack && r.Cut:
		r.Trouble = e.Why
		return s.cutOver(e)
	case e.Kind == HandedOver && r.Phase == Accepted:
		r.HandedOver, r.Unhanded, r.Trouble = true, e.Why != "", e.Why
		if !r.due(AfterPromote) && r.Plan.KeepWarm == 0 && r.Trouble == "" {
			r.enter(Finishing, e)
		}
	case e.Kind == HandedOver && r.Phase == Finishing && r.Unhanded:
		if e.Why != "" { // nobody else would do their work
			r.Trouble = e.Why + "; the old stack was left running"
			return s.over(e)
		}
		r.Unhanded = false
	case e.Kind == Finished && r.Phase == Finishing:
		r.Served = true
		r.due(BeforeRetire)
	case e.Kind == FinishFailed && r.Phase == Finishing && !r.Served:
		r.Trouble = e.Why
	case e.Kind == Retired && r.Phase == Finishing && r.Served:
		r.Trouble = e.Why
		if e.Why == "" {
			s = s.runs(r.Stable, nil)
		}
		return s.over(e)
	}
	return s
}

// asked takes what people steer by. None of it raises a share that a verdict has to raise.
func asked(s State, e Event) State {
	r := s.Open
	switch {
	case e.Kind == Paused && r.Mode == Promotion && (r.Phase.mayCarry() || r.Phase == Preparing || r.Phase == Ready):
		r.Paused = e.By
	case e.Kind == Resumed:
		r.Paused = ""
	case e.Kind == Approved && r.Phase == Waiting && r.Step < 0:
		r.Cleared, r.Step, r.Holding = -1, 0, ""
		r.enter(Preparing, e)
	case e.Kind == Approved && r.Phase == Waiting:
		r.Cleared = r.Step // judged shifts, unless the evidence has turned meanwhile
	case e.Kind == Retargeted && r.Mode == HandMade && r.Phase == Soaking:
		r.By, r.Guarded = e.By, e.Guarded
		if e.Weight == 0 {
			r.cutBack(e, Aborted, "by hand to 0 %")
			break
		}
		r.Wanted = e.Weight
		r.enter(Shifting, e)
	case e.Kind == AcceptedByHand && r.Mode == HandMade && r.Phase == Soaking && r.Actual == Full:
		s.accept(e, ByHand)
	case e.Kind == FinishNow && r.Phase == Accepted && r.HandedOver:
		r.Trouble = ""
		r.enter(Finishing, e)
	case e.Kind == FinishNow && r.Phase == Finishing:
		r.Trouble = ""
	}
	return s
}

// lowered takes what sends everything back to stable whatever the evidence says.
func lowered(s State, e Event) State {
	r := s.Open
	before := r.Phase != Accepted && r.Phase != Finishing && r.Phase != CuttingBack
	switch {
	case e.Kind == Recovered:
		return recovered(s, e)
	case e.Kind == CutSeen && (r.Phase == Accepted || r.Phase == Finishing && !r.Served):
		s.Stable = r.Stable
		r.HandedOver = true // or half of it: the workers go back even where nobody heard that they had come
		r.cutBack(e, Aborted, e.Why)
		return s.reject(e)
	case e.Kind == CutSeen && before:
		r.cutBack(e, Aborted, e.Why)
		if r.Wanted > 0 {
			return s.reject(e)
		}
	case e.Kind == AbortAsked && before, e.Kind == JournalFailed && before:
		r.cutBack(e, Aborted, e.Why)
	}
	return s
}

// recovered compares what the journal says with what nginx serves, after the promoter was lost. It never raises.
func recovered(s State, e Event) State {
	r := s.Open
	gone := e.Live != nil && e.Live.Share(r.Candidate()) == 0
	switch {
	case r.Phase == CuttingBack:
	case r.Phase == Finishing:
		r.Trouble = ""
	case r.Phase == Accepted, r.Phase == Soaking && r.Mode == HandMade && !r.Guarded:
		if gone {
			return lowered(s, Event{Kind: CutSeen, At: e.At, Why: "the rollout's folder is gone: somebody cut back"})
		}
	default:
		r.cutBack(e, Aborted, e.Why)
	}
	return s
}

// accept makes the candidate stable. The old stack stays up: from here on a cutback takes the release back as a whole.
func (s *State) accept(e Event, how How) {
	r := s.Open
	r.leaveStep(e, how)
	r.Ending, r.Why, r.Holding, r.Paused = Promoted, string(how), "", ""
	*s = s.runs(r.Candidate(), &r.Release)
	s.Stable = r.Candidate()
	r.enter(Accepted, e)
}

// cutBack decides that everything goes to stable. The first reason stays.
func (r *Rollout) cutBack(e Event, ending Ending, why string) {
	if r.Phase == CuttingBack {
		return
	}
	if r.Phase == Ready {
		r.Wanted = 0 // a hand-made share that nginx was not asked for yet
	}
	r.leaveStep(e, "")
	r.Ending, r.Why, r.Holding, r.Paused, r.Hook = ending, why, "", "", ""
	r.enter(CuttingBack, e)
}

// leaveStep closes the record of the step that is live, once.
func (r *Rollout) leaveStep(e Event, how How) {
	if n := len(r.Steps) - 1; n >= 0 && r.Steps[n].Left.IsZero() {
		r.Steps[n].Left, r.Steps[n].How, r.Steps[n].Result = e.At, how, r.Verdict
	}
}

func (r *Rollout) enter(p Phase, e Event) { r.Phase, r.Entered = p, e.At }

func (r *Rollout) mustWait(step int) bool {
	if r.Mode != Promotion || r.Cleared >= step {
		return false
	}
	_, asks := r.Plan.approvalAt(step)
	return asks
}

// cutOver ends a rollout that was cut back, after the hooks that are to hear of it.
func (s State) cutOver(e Event) State {
	if s.Open.due(s.Open.endHook()) {
		return s
	}
	return s.over(e)
}

func (s State) over(e Event) State {
	r := s.Open
	r.Ended = e.At
	if r.Ending == Reverted {
		s = s.reject(e)
	}
	s.Last, s.Open = r, nil
	return s
}

func (s State) reject(e Event) State {
	r := s.Open
	why := e.Why
	if r.Ending == Reverted {
		why = r.Why
	}
	s.Rejected = append(slices.Clip(s.Rejected), Rejection{Release: r.Release, Rollout: r.ID, At: e.At, Why: why})
	return s
}

// runs notes what a color runs; nil means that it was stopped.
func (s State) runs(c Color, release *Release) State {
	s.Releases = maps.Clone(s.Releases)
	if s.Releases == nil {
		s.Releases = map[Color]Release{}
	}
	delete(s.Releases, c)
	if release != nil {
		s.Releases[c] = *release
	}
	return s
}

// Name says which rollout, for sentences: "rollout 000017 (v1.4.0 on green)".
func (r Rollout) Name() string {
	return fmt.Sprintf("rollout %s (%s on %s)", r.ID, r.Release.Tag, r.Candidate())
}
