package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cutover/traffic"
	"cutover/traffic/verdict"
)

// told is one line of --events. Its kinds are those of the journal.
type told struct {
	Time    time.Time         `json:"time"`
	Event   traffic.EventKind `json:"event"`
	Rollout traffic.RolloutID `json:"rollout,omitzero"`
	Phase   traffic.Phase     `json:"phase"`
	Weight  traffic.Weight    `json:"weight"`
	By      string            `json:"by,omitempty"`
	Why     string            `json:"why,omitempty"`
	Say     string            `json:"say"`
	Hint    string            `json:"hint,omitempty"`
	Detail  []string          `json:"detail,omitempty"`
	Verdict *verdict.Result   `json:"verdict,omitempty"`
}

// tell follows the controller: the transcript for people, --events, and the evidence file for status.
func (s *session) tell(before, after traffic.State, e traffic.Event) {
	r := after.Open
	if r == nil {
		r = after.Last
	}
	if r == nil {
		return
	}
	if before.Phase() != after.Phase() || before.Settled() != after.Settled() {
		s.inform(after)
	}
	if e.Kind == traffic.Judged && e.Verdict != nil {
		s.leaveEvidence(*r, e.At)
	}
	s.announce(context.Background(), before, after, e)
	s.retell(before, after, e)
}

// retell says what an event was, to people and to --events.
func (s *session) retell(before, after traffic.State, e traffic.Event) {
	r := after.Open
	if r == nil {
		r = after.Last
	}
	if r == nil {
		return
	}
	about, text := transcript(before, after, *r, e)
	if text == "" {
		return
	}
	s.out.stamped(e.At, about, "%s", text)
	for _, line := range e.Detail {
		s.out.line("  | %s", line)
	}
	if e.Hint != "" {
		s.out.line("  → %s", e.Hint)
	}
	s.out.event(told{
		Time: e.At, Event: e.Kind, Rollout: r.ID, Phase: after.Phase(), Weight: r.Actual, By: e.By, Why: e.Why, Say: text, Verdict: e.Verdict,
		Hint: e.Hint, Detail: e.Detail,
	})
}

// transcript finds the line that an event is worth; most ticks are worth none.
func transcript(before, after traffic.State, r traffic.Rollout, e traffic.Event) (about, text string) {
	was := traffic.Rollout{}
	if before.Open != nil {
		was = *before.Open
	}
	switch e.Kind {
	case traffic.Opened:
		text := fmt.Sprintf("%s: %s, beside stable %s", r.ID, spaced(r.Release.Tag, "on", string(r.Candidate())), spaced(string(r.Stable), r.Previous))
		if r.Phase == traffic.Waiting {
			text += "; waits for `cutover approve`"
		}
		return "rollout", text
	case traffic.Prepared:
		return "ready", fmt.Sprintf("%s %s is up", r.Candidate(), r.Release.Tag)
	case traffic.Raised:
		return r.Actual.String(), fmt.Sprintf("%s of the traffic is on %s %s, proven%s; %s", r.Actual, r.Candidate(), r.Release.Tag,
			generation(e), staying(after, r))
	case traffic.CutProven:
		return "0 %", fmt.Sprintf("all traffic is on %s %s, proven", r.Stable, r.Previous)
	case traffic.CutUnproven:
		return "NOT PROVEN", "the rollout's folder is away, but nginx did not prove it: " + e.Why
	case traffic.HandedOver:
		return "workers", orElse(e.Why, "workers and singletons run with the release that is stable")
	case traffic.Finished:
		return "finished", fmt.Sprintf("%s %s is nginx's default now%s", r.Candidate(), r.Release.Tag, severed(r, e))
	case traffic.FinishFailed:
		return "finishing", "not yet: " + e.Why
	case traffic.Retired:
		return "retired", orElse(e.Why, fmt.Sprintf("the old stack on %s is stopped", r.Stable))
	case traffic.Hooked:
		if e.Why != "" && r.Phase == traffic.CuttingBack && was.Phase != traffic.CuttingBack {
			return string(r.Ending), "cutting back: " + r.Why
		}
		return string(e.Hook), orElse(e.Why, "passed")
	case traffic.Paused, traffic.Resumed, traffic.Approved:
		return string(e.Kind), "by " + e.By
	}
	switch {
	case was.Phase != traffic.CuttingBack && after.Phase() == traffic.CuttingBack:
		return string(r.Ending), "cutting back: " + r.Why
	case was.Phase != traffic.Accepted && after.Phase() == traffic.Accepted:
		return "accepted", fmt.Sprintf("%s on %s is stable (%s)", r.Release.Tag, r.Candidate(), r.Why)
	case len(was.Steps) > 0 && stepLeft(was, r) != "":
		return r.Steps[len(was.Steps)-1].Weight.String(), stepLeft(was, r)
	case was.Phase != traffic.Baking && after.Phase() == traffic.Baking:
		return "baking", staying(after, r)
	case was.Phase != traffic.Waiting && after.Phase() == traffic.Waiting:
		return "waiting", traffic.Doing(after, e.At)
	case was.Holding == "" && r.Holding != "":
		return "holding", r.Holding
	case was.Holding != "" && r.Holding == "" && after.Open != nil:
		return "going on", r.Verdict.Reason
	case e.Kind == traffic.Judged && was.Verdict.Decision != r.Verdict.Decision && r.Verdict.Decision != "":
		return string(r.Verdict.Decision), r.Verdict.Reason
	}
	return "", ""
}

// staying says what keeps a share where it is.
func staying(after traffic.State, r traffic.Rollout) string {
	switch {
	case r.Guarded:
		return "its guard takes it back when it is worse"
	case r.Mode == traffic.HandMade:
		return "nobody judges it"
	case after.Phase() == traffic.Baking:
		return fmt.Sprintf("bakes for %v", r.Plan.Bake)
	}
	return fmt.Sprintf("soaks for %v", r.Plan.Steps[r.Step].Soak)
}

// stepLeft says how a step was left upwards, when this event left it.
func stepLeft(was, r traffic.Rollout) string {
	n := len(was.Steps) - 1
	if was.Steps[n].How != "" || r.Steps[n].How == "" {
		return ""
	}
	return fmt.Sprintf("%s: %s", r.Steps[n].How, r.Verdict.Reason)
}

func generation(e traffic.Event) string {
	if e.Live == nil {
		return ""
	}
	return fmt.Sprintf(" by generation %d", e.Live.Generation)
}

// severed says what a grace that is over cuts off.
func severed(r traffic.Rollout, e traffic.Event) string {
	if e.Live == nil || e.Live.Severed == 0 {
		return ""
	}
	return fmt.Sprintf("; nginx.drain is over; open connections to %s that end with its stack: %d", r.Stable, e.Live.Severed)
}

func orElse[S ~string](s, otherwise S) S {
	if s == "" {
		return otherwise
	}
	return s
}

// spaced joins words of which some may be empty.
func spaced(words ...string) string {
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}
