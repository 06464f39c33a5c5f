package traffic

import (
	"time"

	"cutover/traffic/verdict"
)

// EventKind names what happened. The journal keeps these words for ever; they are only ever added to.
type EventKind string

// The kinds of event.
const (
	// StableSet: a person, or the only color that answered, said which color is stable.
	StableSet EventKind = "stable-set"
	// StackUp and StackDown: a color's stack was brought up, or stopped, outside of a rollout.
	StackUp   EventKind = "stack-up"
	StackDown EventKind = "stack-down"

	// Opened begins a rollout; its folder has taken the id already.
	Opened EventKind = "opened"
	// Retargeted: a person asks for another share of an open hand-made rollout.
	Retargeted EventKind = "retargeted"

	// What actions report.
	Prepared      EventKind = "prepared"
	PrepareFailed EventKind = "prepare-failed"
	Checked       EventKind = "checked"
	Raised        EventKind = "raised"
	RaiseFailed   EventKind = "raise-failed"
	CutProven     EventKind = "cut-proven"
	CutUnproven   EventKind = "cut-unproven"
	HandedOver    EventKind = "handed-over"
	Finished      EventKind = "finished"
	FinishFailed  EventKind = "finish-failed"
	Retired       EventKind = "retired"
	Hooked        EventKind = "hooked"

	// Judged is the judge's opinion at a time; it is also the tick by which soaks and waits end.
	Judged EventKind = "judged"

	// What people and signals ask. CutSeen: somebody took the rollout's folder away, by `back` or otherwise.
	Paused         EventKind = "paused"
	Resumed        EventKind = "resumed"
	Approved       EventKind = "approved"
	AbortAsked     EventKind = "abort-asked"
	CutSeen        EventKind = "cut-seen"
	AcceptedByHand EventKind = "accepted-by-hand"
	FinishNow      EventKind = "finish-now"

	// JournalFailed: an event could not be written down, so nothing may go up any more.
	JournalFailed EventKind = "journal-failed"
	// Recovered: the promoter of an open rollout is gone; a later command took over and looked at nginx.
	Recovered EventKind = "recovered"
)

// Event is one thing that happened, with everything that Next needs to know of it. Which fields are set depends on Kind.
type Event struct {
	Kind EventKind `json:"kind"`
	At   time.Time `json:"at"`
	// Rollout is the one that is meant; an event for another one than the open one changes nothing. Zero: none in particular.
	Rollout RolloutID `json:"rollout,omitzero"`
	// By names the person or process: "ann@host", "signal terminated", "verdict".
	By string `json:"by,omitempty"`
	// Why is a sentence for people.
	Why string `json:"why,omitempty"`
	// Fault classes a failure.
	Fault Kind `json:"fault,omitempty"`
	// Hint and Detail are the fault's, for who watches: what to do next, and somebody else's output. They stay out of the
	// journal: nobody knows what stands in a container's last words.
	Hint    string          `json:"-"`
	Detail  []string        `json:"-"`
	Color   Color           `json:"color,omitempty"`
	Weight  Weight          `json:"weight,omitzero"`
	Guarded bool            `json:"guarded,omitempty"`
	Release *Release        `json:"release,omitempty"`
	Hook    HookPoint       `json:"hook,omitempty"`
	Opening *Opening        `json:"opening,omitempty"`
	Live    *Live           `json:"live,omitempty"`
	Verdict *verdict.Result `json:"verdict,omitempty"`
}

// Opening is what a rollout is born with.
type Opening struct {
	Mode   Mode   `json:"mode"`
	Plan   Plan   `json:"plan"`
	Stable Color  `json:"stable"`
	Tag    string `json:"tag"`
	// Previous is the tag that stable runs.
	Previous string `json:"previous"`
	// Target is the candidate's share that a person asked for, Guarded tells that it is judged; hand-made rollouts only.
	Target  Weight `json:"target,omitzero"`
	Guarded bool   `json:"guarded,omitempty"`
}
