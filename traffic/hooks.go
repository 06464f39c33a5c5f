package traffic

import "slices"

// HookPoint is a transition at which the user's own commands run.
type HookPoint string

// The points at which a rollout waits for its hooks. Those before a stack comes up (before_up, before_switch) are a part of Prepare.
const (
	// AfterStep: a share was proven live. The step is not left before it has passed; where it fails, everything goes back.
	AfterStep HookPoint = "after_step"
	// BeforePromote: the last share is earned and not yet given. Where it fails, everything goes back.
	BeforePromote HookPoint = "before_promote"
	// AfterPromote: the release was accepted and has its workers.
	AfterPromote HookPoint = "after_promote"
	// OnRevert: users had the candidate, or may have had it, and all of them are on stable again.
	OnRevert HookPoint = "on_revert"
	// OnFail: the candidate's stack did not come up; traffic was never touched.
	OnFail HookPoint = "on_fail"
	// BeforeRetire: nginx no longer needs the old stack. Where it fails, that stack stays up.
	BeforeRetire HookPoint = "before_retire"
)

// HookCall is what the hooks of one point are told.
type HookCall struct {
	Point   HookPoint
	Rollout RolloutID
	// Color and Tag are the candidate's, before_retire those of the old stack.
	Color  Color
	Tag    string
	Weight Weight
	Phase  Phase
	Reason string
}

// due makes the rollout wait for the hooks of the point, where there are any.
func (r *Rollout) due(p HookPoint) bool {
	if slices.Contains(r.Plan.Hooks, p) {
		r.Hook = p
	}
	return r.Hook == p
}

// endHook is the point that the end of this rollout is, once stable has everything.
func (r *Rollout) endHook() HookPoint {
	if r.Ending == Failed {
		return OnFail
	}
	return OnRevert
}

// call is what the hooks that are due are told.
func (r *Rollout) call() HookCall {
	c := HookCall{
		Point: r.Hook, Rollout: r.ID, Color: r.Candidate(), Tag: r.Release.Tag, Weight: r.Actual, Phase: r.Phase, Reason: r.Why,
	}
	if r.Hook == BeforeRetire {
		c.Color, c.Tag = r.Stable, r.Previous
	}
	return c
}

// hooked takes what the hooks of a point came to; e.Why is empty where they passed. On the way up a failure takes everything back,
// at the end it is only told: nothing that a hook says keeps users from stable.
func hooked(s State, e Event) State {
	r := s.Open
	if e.Hook == "" || e.Hook != r.Hook {
		return s
	}
	r.Hook = ""
	failed := e.Why != ""
	switch e.Hook {
	case AfterStep, BeforePromote:
		switch {
		case !failed:
			r.MayPromote = r.MayPromote || e.Hook == BeforePromote
		case r.Phase == Ready: // a plan of one step: nobody had the candidate
			r.cutBack(e, Failed, e.Why)
		default:
			r.cutBack(e, Reverted, e.Why)
		}
	case AfterPromote:
		r.Trouble = joined(r.Trouble, e.Why)
		if r.Plan.KeepWarm == 0 && r.Trouble == "" {
			r.enter(Finishing, e)
		}
	case BeforeRetire:
		if failed {
			r.Trouble = joined(r.Trouble, e.Why+"; the old stack was left running")
			return s.over(e)
		}
	case OnRevert, OnFail:
		r.Trouble = joined(r.Trouble, e.Why)
		return s.over(e)
	}
	return s
}

func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}
