package traffic_test

import (
	"time"

	"cutover/traffic"
	"cutover/traffic/verdict"
)

// licence is the second opinion on Law 1: the highest share of the candidate that the lines of a journal allow. It reads
// them like an auditor, knows no phases, and shares no code with the machine.
type licence struct {
	id      traffic.RolloutID
	plan    traffic.Plan
	byHand  bool
	target  traffic.Weight
	ready   bool // prepared and checked
	void    bool // something has sent this rollout back
	settled bool // by hand: the share that was asked for is live

	live     int // step that was proven, -1 before the first
	since    time.Time
	earned   bool
	approved bool
	paused   bool
}

func audit(journal []traffic.Event) licence {
	l := licence{void: true}
	for _, e := range journal {
		if e.Kind == traffic.Opened && e.Rollout > l.id {
			o := e.Opening
			l = licence{id: e.Rollout, plan: o.Plan, byHand: o.Mode == traffic.HandMade, target: o.Target, live: -1}
			continue
		}
		if e.Rollout == l.id || e.Rollout == 0 {
			l.read(e)
		}
	}
	return l
}

func (l *licence) read(e traffic.Event) {
	switch e.Kind {
	case traffic.Prepared:
		l.void = l.void || l.asks(traffic.AtStart) && !l.approved
		l.approved = false
	case traffic.Checked:
		l.ready = true
	case traffic.Approved:
		l.approved = true
	case traffic.Paused:
		l.paused = true
	case traffic.Resumed:
		l.paused = false
	case traffic.Retargeted:
		l.target, l.settled = e.Weight, false
	case traffic.Raised:
		l.raised(e)
	case traffic.Judged:
		l.judged(e)
	case traffic.Recovered:
		l.void = l.void || !l.byHand || !l.settled
	case traffic.AbortAsked, traffic.CutSeen, traffic.JournalFailed, traffic.PrepareFailed, traffic.RaiseFailed:
		l.void = true
	}
}

func (l *licence) raised(e traffic.Event) {
	l.settled = true
	if !l.byHand && l.live+1 < len(l.plan.Steps) && e.Weight == l.plan.Steps[l.live+1].Weight {
		l.live, l.since, l.earned, l.approved = l.live+1, e.At, false, false
	}
}

func (l *licence) judged(e traffic.Event) {
	if l.byHand || l.live < 0 || e.Verdict == nil {
		return
	}
	v, lasted := *e.Verdict, e.At.Sub(l.since)
	if v.Decision == verdict.Failed {
		l.void = true
	}
	short := v.Decision == verdict.Undecided && (v.Rule == verdict.RuleEvidence || v.Rule == verdict.RuleSoak)
	proceeds := short && l.plan.Inconclusive.Then == verdict.Proceed && lasted >= l.plan.Inconclusive.After
	if lasted >= l.plan.Steps[l.live].Soak && !l.paused && (v.Decision == verdict.Passed || proceeds) {
		l.earned = true
	}
}

// allows answers the share up to which nginx may be raised.
func (l *licence) allows() traffic.Weight {
	switch {
	case l.void:
		return 0
	case l.byHand && l.ready:
		return l.target
	case l.byHand:
		return 0
	}
	next := l.live + 1
	first := next == 0 && l.ready
	if next < len(l.plan.Steps) && (first || l.earned) && (l.approved || !l.asks(l.plan.Steps[next].Weight.String())) {
		return l.plan.Steps[next].Weight
	}
	if l.live < 0 {
		return 0
	}
	return l.plan.Steps[l.live].Weight
}

func (l *licence) asks(at string) bool {
	for _, a := range l.plan.Approve {
		if a.At == at || a.At+" %" == at {
			return true
		}
	}
	return false
}
