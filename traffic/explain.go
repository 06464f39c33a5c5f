package traffic

import (
	"fmt"
	"strings"
	"time"

	"cutover/traffic/verdict"
)

// Headline says in one line where the traffic is, by the journal: "green v1.4.0 20 %, blue v1.3.2 80 %".
func Headline(s State) string {
	if s.Stable == "" {
		return "no stable color yet"
	}
	candidate := Weight(0)
	if r := s.Open; r != nil {
		candidate = r.Actual
		if r.Phase == Accepted || r.Phase == Finishing {
			return carries(s, s.Stable, Full)
		}
	}
	switch candidate {
	case 0:
		return carries(s, s.Stable, Full)
	case Full:
		return carries(s, s.Stable.Other(), Full)
	}
	return carries(s, s.Stable.Other(), candidate) + ", " + carries(s, s.Stable, candidate.Rest())
}

func carries(s State, c Color, w Weight) string {
	return strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", c, s.Tag(c), w)), " ")
}

// Tag is what the color is known to run; empty where nobody knows.
func (s State) Tag(c Color) string {
	if r := s.Open; r != nil {
		if c == r.Candidate() {
			return r.Release.Tag
		}
		return r.Previous
	}
	return s.Releases[c].Tag
}

// Doing says in one sentence what is happening, and why.
func Doing(s State, now time.Time) string {
	r := s.Open
	if r == nil {
		return Ended(s.Last)
	}
	for _, word := range []struct{ is, why string }{{r.Paused, "paused by " + r.Paused}, {r.Holding, "holding: " + r.Holding}} {
		if word.is != "" {
			return fmt.Sprintf("%s at %s: %s", r.Name(), r.Actual, word.why)
		}
	}
	switch r.Phase {
	case Waiting:
		return fmt.Sprintf("%s waits for `cutover approve` before %s", r.Name(), r.waitsFor())
	case Shifting:
		return fmt.Sprintf("%s goes from %s to %s for %v", r.Name(), r.Actual, r.Wanted, age(now, r.Entered))
	case Soaking:
		if r.Mode == HandMade {
			return fmt.Sprintf("%s has %s by hand since %s, %s", r.Name(), r.Actual, clock(r.Since), r.watched())
		}
		return fmt.Sprintf("%s soaks at %s for %v: %s", r.Name(), r.Actual, age(now, r.Entered), evidence(r.Verdict))
	case Baking:
		return fmt.Sprintf("%s bakes for %v: %s", r.Name(), age(now, r.Entered), evidence(r.Verdict))
	case Accepted:
		return fmt.Sprintf("%s is accepted, %s; %s %s is kept warm until %s%s",
			r.Name(), r.Why, r.Stable, r.Previous, clock(s.WarmUntil()), r.trouble())
	case CuttingBack:
		return fmt.Sprintf("%s is being cut back: %s", r.Name(), r.Why)
	}
	return fmt.Sprintf("%s is %s for %v%s", r.Name(), r.Phase, age(now, r.Entered), r.trouble())
}

// Coming says what comes next by itself, or what a person has to type.
func Coming(s State, now time.Time) string {
	r := s.Open
	switch {
	case r == nil:
		return ""
	case !r.BlindSince.IsZero() && r.mayCarryNow() && !r.Plan.Observe:
		return fmt.Sprintf("cut back in %v unless evidence comes", (r.Plan.Inconclusive.After - r.blindFor(now)).Round(time.Second))
	case r.Mode == HandMade && r.Phase == Soaking && r.Actual == Full:
		return "`cutover accept` to keep it, `cutover back` to undo it"
	case r.Mode == HandMade && r.Phase == Soaking:
		return "`cutover shift` to move on, `cutover back` to undo it"
	case r.Plan.Observe && r.Verdict.Decision == verdict.Failed:
		return "nothing by itself: `cutover back` undoes it"
	case r.Paused != "":
		return "`cutover resume` goes on; a breach still reverts"
	case r.Phase == Waiting:
		return r.unlessApproved(now)
	case r.Phase == Soaking:
		return after(r, now, r.Plan.Steps[r.Step].Soak, r.nextName())
	case r.Phase == Baking:
		return after(r, now, r.Plan.Bake, "acceptance")
	case r.Phase == Accepted:
		return "`cutover back` until then returns to " + string(r.Stable) + " " + r.Previous
	}
	return ""
}

// String says what would have happened: "would have cut back from 5 % at 12:03:04: …".
func (o Observed) String() string {
	return fmt.Sprintf("would have cut back from %s at %s: %s", o.Weight, clock(o.At), o.Why)
}

// Ended tells in one sentence how a rollout ended.
func Ended(r *Rollout) string {
	if r == nil {
		return "no rollout yet"
	}
	text := map[Ending]string{
		Promoted: "promoted", Reverted: "reverted by the verdict", Held: "ended for lack of evidence", Aborted: "cut back",
		Declined: "ended because nginx did not serve it", Failed: "ended before any traffic",
	}[r.Ending]
	if n := len(r.Steps); n > 0 && r.Ending != Promoted {
		text += " at " + r.Steps[n-1].Weight.String()
	}
	at := r.Ended
	if at.IsZero() { // accepted, and still warm
		at = r.Entered
	}
	sentence := fmt.Sprintf("%s %s %s: %s", r.Name(), text, clock(at), r.Why)
	if r.Unproven != "" {
		sentence += "; NOT PROVEN: " + r.Unproven
	}
	if r.Would != nil {
		sentence += "; " + r.Would.String()
	}
	return sentence + r.trouble()
}

// watched says who judges a hand-made share, and what they think.
func (r *Rollout) watched() string {
	if !r.Guarded {
		return "nobody judges it"
	}
	return "guarded: " + evidence(r.Verdict)
}

func (r *Rollout) trouble() string {
	if r.Trouble == "" {
		return ""
	}
	return "; trouble: " + r.Trouble
}

func (r *Rollout) waitsFor() string {
	if r.Step < 0 {
		return "the start"
	}
	return r.Plan.Steps[r.Step].Weight.String()
}

// unlessApproved says what the wait for a person comes to; empty where it has no end, or has ended.
func (r *Rollout) unlessApproved(now time.Time) string {
	approval, _ := r.Plan.approvalAt(r.Step)
	if approval.Within == 0 || r.Cleared >= r.Step || approval.Then == verdict.Hold {
		return ""
	}
	return fmt.Sprintf("cut back in %v unless somebody approves", (approval.Within - now.Sub(r.Entered)).Round(time.Second))
}

func (r *Rollout) nextName() string {
	if r.Step == r.Plan.last() {
		return "the bake"
	}
	return r.Plan.Steps[r.Step+1].Weight.String()
}

// after says when the present step can be left, and by which rule where evidence stays short.
func after(r *Rollout, now time.Time, least time.Duration, next string) string {
	left := least - now.Sub(r.Entered)
	sentence := fmt.Sprintf("%s when the verdict is a pass", next)
	if left > 0 {
		sentence = fmt.Sprintf("%s in %v at the earliest", next, left.Round(time.Second))
	}
	if r.Verdict.Decision == verdict.Passed {
		return sentence
	}
	if rest := Missing(r.Verdict); rest != "" {
		sentence += "; " + rest
	}
	wait := (r.Plan.Inconclusive.After - now.Sub(r.Entered)).Round(time.Second)
	if wait < 0 {
		return sentence
	}
	return fmt.Sprintf("%s; still undecided in %v: %s", sentence, wait, r.Plan.Inconclusive.Then)
}

// Missing says what evidence a pass still wants, and how long that takes at the rate of this step; empty where nobody can tell.
func Missing(v verdict.Result) string {
	rest := v.Needed - v.Candidate.Requests
	if v.Decision != verdict.Undecided || v.Rule != verdict.RuleEvidence || rest <= 0 || v.Rate <= 0 {
		return ""
	}
	wait := time.Duration(float64(rest) / v.Rate * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("about %d more clean candidate requests to a pass, %v at %.2g a second", rest, wait, v.Rate)
}

func evidence(v verdict.Result) string {
	if v.Decision == "" {
		return "no evidence yet"
	}
	return fmt.Sprintf("%s (%s)", v.Decision, v.Reason)
}

func clock(t time.Time) string { return t.Format(time.TimeOnly) }

func age(now, since time.Time) time.Duration { return now.Sub(since).Round(time.Second) }
