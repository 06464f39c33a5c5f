package traffic

import (
	"fmt"
	"math"
	"time"

	"cutover/traffic/verdict"
)

// judged takes the judge's opinion at a time. This is where a release is reverted, held, or earns its next step.
func judged(s State, e Event) State {
	r := s.Open
	if r.Phase.mayCarry() && r.HasJudge() && e.Verdict != nil {
		r.hear(e)
	}
	switch {
	case r.Phase == CuttingBack || r.Phase == Finishing:
	case r.Phase == Accepted:
		if r.HandedOver && r.Hook == "" && !e.At.Before(s.WarmUntil()) {
			r.Trouble = ""
			r.enter(Finishing, e)
		}
	case r.Plan.Timeout > 0 && e.At.Sub(r.Opened) >= r.Plan.Timeout:
		r.cutBack(e, Held, fmt.Sprintf("not accepted within %v (--timeout)", r.Plan.Timeout))
	case !r.HasJudge():
	case r.mayCarryNow() && r.Verdict.Decision == verdict.Failed:
		r.giveUp(e, Reverted, r.Verdict.Reason) // THE rule that reverts a release
	case r.blindFor(e.At) >= r.Plan.Inconclusive.After:
		r.giveUp(e, Held, fmt.Sprintf("no evidence for %v: %s", r.blindFor(e.At).Round(time.Second), r.Verdict.Reason))
	case r.Mode == HandMade: // only a person gives it more
	case r.Phase == Waiting:
		r.waitOn(e)
	case r.Phase == Soaking:
		s.advance(e, r.Plan.Steps[r.Step].Soak)
	case r.Phase == Baking:
		s.advance(e, r.Plan.Bake)
	}
	return s
}

// giveUp is what the judge, or its lack of evidence, comes to: a cutback, or only the word that there would have been one.
func (r *Rollout) giveUp(e Event, ending Ending, why string) {
	if !r.Plan.Observe {
		r.cutBack(e, ending, why)
		return
	}
	if r.Would == nil {
		r.Would = &Observed{At: e.At, Weight: r.Actual, Why: why}
	}
	r.Holding = "only observed: " + r.Would.String()
}

func (r *Rollout) hear(e Event) {
	r.Verdict = *e.Verdict
	switch {
	case r.Verdict.Decision != verdict.Blind:
		r.BlindSince = time.Time{}
	case r.BlindSince.IsZero():
		r.BlindSince = e.At
	}
}

// mayCarryNow holds from the moment that nginx is asked for the first share: it may serve it well before that is proven.
func (r *Rollout) mayCarryNow() bool {
	return r.Phase.mayCarry() && (r.Actual > 0 || r.Phase == Shifting)
}

// blindFor is how long no evidence has come, and -1 while some does.
func (r *Rollout) blindFor(now time.Time) time.Duration {
	if !r.mayCarryNow() || r.BlindSince.IsZero() {
		return -1
	}
	return now.Sub(r.BlindSince)
}

// advance leaves the step upwards when it has earned that: it was live for its least time, nobody paused, and either the
// verdict is a pass or the plan's own rule says to go on for lack of evidence. Blind never goes on, and a tick without an
// opinion decides nothing: what is remembered may belong to the share before.
func (s *State) advance(e Event, least time.Duration) {
	r := s.Open
	r.Holding = ""
	live := e.At.Sub(r.Entered)
	if live < least || r.Paused != "" || e.Verdict == nil || r.Hook != "" {
		return
	}
	if r.Holding = r.astray(); r.Holding != "" {
		return
	}
	switch {
	case r.Verdict.Decision == verdict.Passed:
		s.step(e, Passed)
	case r.Verdict.Decision == verdict.Blind:
		r.Holding = r.Verdict.Reason
	case live < r.Plan.Inconclusive.After:
	case r.Plan.Inconclusive.Then == verdict.Proceed && r.mayProceed():
		s.step(e, Proceeded)
	case r.Plan.Inconclusive.Then == verdict.Back:
		r.giveUp(e, Held, fmt.Sprintf("undecided after %v: %s", live.Round(time.Second), r.Verdict.Reason))
	default:
		r.Holding = r.Verdict.Reason
	}
}

// Measured is the share that the log shows of the candidate since the last raise; false where it shows nothing yet.
func (r Rollout) Measured() (Weight, bool) {
	candidate, all := r.Verdict.Candidate.Requests, r.Verdict.Candidate.Requests+r.Verdict.Baseline.Requests
	if all == 0 {
		return 0, false
	}
	return Weight(math.Round(float64(candidate) / float64(all) * float64(Full))), true
}

const (
	// enoughToMeasure is how many requests it takes to doubt a share.
	enoughToMeasure = 500
	// beyondChance is by how many standard deviations the log may differ from the share: what chance does once in a million looks.
	beyondChance = 5
)

// astray says that users do not get the share that nginx was asked for, and nothing when they do as far as anybody can tell. Where
// clients are drawn, and not requests, a few busy ones may well have another share of the requests.
func (r *Rollout) astray() string {
	all, share := float64(r.Verdict.Candidate.Requests+r.Verdict.Baseline.Requests), r.Actual.Fraction()
	measured, any := r.Measured()
	if !r.Plan.DrawsRequests || !any || all < enoughToMeasure || share == 0 || share == 1 {
		return ""
	}
	if math.Abs(float64(r.Verdict.Candidate.Requests)-all*share) <= beyondChance*math.Sqrt(all*share*(1-share)) {
		return ""
	}
	return fmt.Sprintf("nginx was asked for %s, but the log shows %s of %.0f requests: some do not go through cutover's pools", r.Actual, measured, all)
}

// mayProceed tells whether nothing but the amount of evidence is missing: a suspicion, a sick baseline or a silent candidate
// is a reason to stay.
func (r *Rollout) mayProceed() bool {
	return r.Verdict.Decision == verdict.Undecided &&
		(r.Verdict.Rule == verdict.RuleEvidence || r.Verdict.Rule == verdict.RuleSoak)
}

// step goes to what comes after the present step: the next share, the bake, or acceptance.
func (s *State) step(e Event, how How) {
	r := s.Open
	switch {
	case r.Phase == Baking:
		s.accept(e, how)
	case r.Step+1 == r.Plan.last() && !r.MayPromote && r.due(BeforePromote): // and when they have passed, by the next verdict
	case r.Step == r.Plan.last():
		r.Steps[len(r.Steps)-1].How = how
		r.enter(Baking, e)
	default:
		r.leaveStep(e, how)
		r.Step++
		r.Wanted = r.Plan.Steps[r.Step].Weight
		r.enter(Shifting, e)
		if r.mustWait(r.Step) {
			r.Wanted = r.Actual
			r.enter(Waiting, e)
		}
	}
}

// waitOn ends the wait for a person: upwards when somebody let the step through and the evidence has not turned since,
// downwards when nobody came in time.
func (r *Rollout) waitOn(e Event) {
	approval, _ := r.Plan.approvalAt(r.Step)
	r.Holding = ""
	switch {
	case r.Step >= 0 && !r.mustWait(r.Step):
		switch {
		case r.Paused != "":
		case r.Actual == 0:
			r.enter(Ready, e) // asked once more: the wait may have been long
		case e.Verdict == nil:
		case r.Verdict.Decision == verdict.Passed || r.mayProceed():
			r.Wanted = r.Plan.Steps[r.Step].Weight
			r.enter(Shifting, e)
		default:
			r.Holding = r.Verdict.Reason
		}
	case approval.Within == 0 || e.At.Sub(r.Entered) < approval.Within:
	case approval.Then == verdict.Hold:
		r.Holding = fmt.Sprintf("nobody approved within %v", approval.Within)
	default:
		r.cutBack(e, Held, fmt.Sprintf("nobody approved within %v", approval.Within))
	}
}
