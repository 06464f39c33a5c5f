package traffic

import (
	"slices"
	"time"

	"cutover/traffic/verdict"
)

// Phase is where an open rollout stands.
type Phase string

// The phases in the order of a rollout that goes well, then the way back. doc.go draws them.
const (
	Idle        Phase = "idle"      // no rollout is open
	Waiting     Phase = "waiting"   // for a person, before the start or before the next step
	Preparing   Phase = "preparing" // the candidate's stack comes up; no traffic yet
	Ready       Phase = "ready"     // it is up; asked once more right before the first share
	Shifting    Phase = "shifting"  // nginx is being moved to the wanted share
	Soaking     Phase = "soaking"   // the share is live and judged
	Baking      Phase = "baking"    // everything is on the candidate, and judged
	Accepted    Phase = "accepted"  // the candidate is stable now; while the old stack is warm a cutback is still one rename
	Finishing   Phase = "finishing" // the candidate becomes nginx's default, then the old stack's services are stopped
	CuttingBack Phase = "cutting-back"
)

// Mode tells who moves the traffic of a rollout.
type Mode string

// A promotion moves by its plan and is judged; a hand-made rollout moves when a person says so.
const (
	Promotion Mode = "promotion"
	HandMade  Mode = "hand-made"
)

// Ending is how a rollout ended, or is about to.
type Ending string

// The endings. All but Promoted leave everything on the color that was stable before.
const (
	Promoted Ending = "promoted"
	Reverted Ending = "reverted" // by the verdict
	Held     Ending = "held"     // for lack of evidence, or blind, or out of time
	Aborted  Ending = "aborted"  // cut back by a person, a signal, or for the loss of its promoter
	Declined Ending = "declined" // nginx did not take the tree, or did not serve it
	Failed   Ending = "failed"   // the stack did not come up; traffic was never touched
)

// How a step was left upwards.
type How string

// Passed is by proof, Proceeded by the plan's own rule for too little evidence; never the one recorded as the other.
const (
	Passed    How = "passed"
	Proceeded How = "proceeded without proof"
	ByHand    How = "by hand"
)

// StepRecord tells how one step went.
type StepRecord struct {
	Weight Weight         `json:"weight"`
	Live   time.Time      `json:"live"`
	Left   time.Time      `json:"left,omitzero"`
	How    How            `json:"how,omitempty"`
	Result verdict.Result `json:"result"`
}

// Rollout is one attempt to move traffic to a release.
type Rollout struct {
	ID   RolloutID `json:"id"`
	Mode Mode      `json:"mode"`
	// Guarded tells that a hand-made share is judged: a process that stays for it takes it back.
	Guarded bool    `json:"guarded,omitempty"`
	By      string  `json:"by"`
	Plan    Plan    `json:"plan"`
	Digest  string  `json:"plan_digest"`
	Stable  Color   `json:"stable"`
	Release Release `json:"release"`
	// Previous is what stable runs.
	Previous string `json:"previous"`

	Phase Phase `json:"phase"`
	// Step indexes Plan.Steps: the one that is live, or being made live, or waited for. Never derived from the weight.
	Step int `json:"step"`
	// Wanted is the share that was last asked for, Actual the last that was proven.
	// Invariant: Actual changes only after the probe saw the generation that carries it.
	Wanted Weight `json:"wanted"`
	Actual Weight `json:"actual"`
	// Since is when Actual was proven, not when it was asked for. Zero before the first raise.
	Since  time.Time `json:"since,omitzero"`
	Opened time.Time `json:"opened"`
	// Entered is when Phase began.
	Entered time.Time `json:"entered"`
	Ended   time.Time `json:"ended,omitzero"`

	Verdict verdict.Result `json:"verdict"`
	// BlindSince is when evidence stopped coming. Invariant: zero unless Verdict is blind.
	BlindSince time.Time `json:"blind_since,omitzero"`
	// Holding says for lack of what the rollout stays where it is; empty when it does not.
	Holding string `json:"holding,omitempty"`
	// Paused names who paused it; empty when nobody did.
	Paused string `json:"paused,omitempty"`
	// Cleared is the highest step that a person let through, or that asked for nobody; -1 is the start, -2 nothing.
	Cleared int          `json:"cleared"`
	Steps   []StepRecord `json:"steps,omitempty"`

	// Hook is the point whose hooks the rollout waits for; empty when it waits for none.
	Hook HookPoint `json:"hook,omitempty"`
	// MayPromote tells that the before_promote hooks have passed.
	MayPromote bool `json:"may_promote,omitempty"`

	// HandedOver tells that the workers run with the new release. Served, in Finishing, that nginx no longer needs the
	// rollout's folder. Cut, in CuttingBack, that nginx was asked and gives everything to stable, or could not be asked.
	HandedOver bool `json:"handed_over,omitempty"`
	// Unhanded tells that this failed: the workers are still those of before, and it is tried once more before their stack is retired.
	Unhanded bool `json:"unhanded,omitempty"`
	Served   bool `json:"served,omitempty"`
	Cut      bool `json:"cut,omitempty"`

	// Ending and Why are set when the end is decided: on entering CuttingBack or Accepted, or when it fails before any traffic.
	Ending Ending `json:"ending,omitempty"`
	Why    string `json:"why,omitempty"`
	// Would is the first cutback that a rollout which is only observed would have had; nil where there was none.
	Would *Observed `json:"would,omitempty"`
	// Unproven says why nobody could tell that stable has the traffic; empty when it was proven or never touched.
	Unproven string `json:"unproven,omitempty"`
	// Trouble is what went wrong without touching traffic: workers that did not start, an old stack that did not stop.
	Trouble string `json:"trouble,omitempty"`
}

// Observed is a cutback that was only said.
type Observed struct {
	At     time.Time `json:"at"`
	Weight Weight    `json:"weight"`
	Why    string    `json:"why"`
}

// HasJudge tells whether a judge's word counts in this rollout.
func (r Rollout) HasJudge() bool { return r.Mode == Promotion || r.Guarded }

// Candidate is the color that is tried.
func (r Rollout) Candidate() Color { return r.Stable.Other() }

// Rejection remembers a release that users were taken away from.
type Rejection struct {
	Release Release   `json:"release"`
	Rollout RolloutID `json:"rollout"`
	At      time.Time `json:"at"`
	Why     string    `json:"why"`
}

// State is all that cutover knows of one app: plain data, a function of the journal alone.
type State struct {
	// Stable is the color that carries the accepted release; empty until somebody said so.
	Stable Color `json:"stable,omitempty"`
	// Releases is what each color was last known to run.
	Releases map[Color]Release `json:"releases,omitempty"`
	// Open is the rollout that is not over, nil when idle. An Accepted one is open still: a cutback can undo it.
	Open *Rollout `json:"open,omitempty"`
	// Last is the rollout that ended last.
	Last *Rollout `json:"last,omitempty"`
	// LastID is the highest id ever opened.
	LastID   RolloutID   `json:"last_id,omitzero"`
	Rejected []Rejection `json:"rejected,omitempty"`
}

// Rejection finds the last time that users were taken away from the release. It is the same release where every image that both know
// is the same; where nobody knows the images, the tag decides.
func (s State) Rejection(release Release) (Rejection, bool) {
	for _, r := range slices.Backward(s.Rejected) {
		same, compared := true, false
		for service, image := range r.Release.Images {
			if other, known := release.Images[service]; known {
				same, compared = same && image == other, true
			}
		}
		if compared && same || !compared && r.Release.Tag == release.Tag {
			return r, true
		}
	}
	return Rejection{}, false
}

// Phase of the open rollout; Idle when there is none.
func (s State) Phase() Phase {
	if s.Open == nil {
		return Idle
	}
	return s.Open.Phase
}

// Settled tells that nobody has to stay for the rollout: there is none, or it was accepted and only keeps its old stack warm,
// or a person left a share by hand, or nginx would not let it be finished yet.
func (s State) Settled() bool {
	switch s.Phase() {
	case Idle:
		return true
	case Accepted:
		return s.Open.HandedOver && s.Open.Hook == ""
	case Soaking:
		return s.Open.Mode == HandMade
	case Finishing:
		return s.Open.Trouble != "" && !s.Open.Served
	}
	return false
}

// WarmUntil is when the old stack of an accepted rollout may be retired; zero in every other phase.
func (s State) WarmUntil() time.Time {
	if s.Phase() != Accepted {
		return time.Time{}
	}
	return s.Open.Entered.Add(s.Open.Plan.KeepWarm)
}

// mayCarry tells whether the candidate can have a share in this phase.
func (p Phase) mayCarry() bool {
	switch p {
	case Waiting, Shifting, Soaking, Baking:
		return true
	}
	return false
}
