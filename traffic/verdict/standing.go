package verdict

import (
	"math"
	"time"
)

// Result is the decision that stands now.
func (j *Judge) Result() Result {
	if j.convicted() {
		return j.verdict
	}
	r := j.numbers()
	r.Decision, r.Rule = j.standing()
	r.Of = j.standingOf(r.Rule)
	r.Reason = j.standingReason(r)
	return r
}

// numbers fills in all of a result but the decision.
func (j *Judge) numbers() Result {
	r := Result{
		Candidate: j.step[Candidate],
		Baseline:  j.step[Baseline],
		LogM:      j.logM(),
		LogPass:   j.evidence.logPass(),
		Needed:    j.evidence.needed(j.perCandidate()),
		Rate:      j.rate(),
		Notes:     j.notes(),
	}
	for i := range j.routes {
		r.Routes = append(r.Routes, j.routes[i].numbers())
	}
	for i := range j.counted {
		r.Counted = append(r.Counted, j.counted[i].numbers())
	}
	return r
}

func (p *part) numbers() Part {
	return Part{Name: p.name, Candidate: p.step[Candidate], Baseline: p.step[Baseline], LogM: p.logM, LogLimit: p.logLimit}
}

// logM is the evidence of the test that is nearest to its limit, in terms of the whole budget.
func (j *Judge) logM() float64 {
	most := j.evidence.logM() + j.logShare
	for p := range j.parts {
		most = max(most, p.logM+p.logShare)
	}
	return most
}

// parts are the tests beside that of all requests.
func (j *Judge) parts(yield func(*part) bool) {
	for i := range j.routes {
		if !yield(&j.routes[i].part) {
			return
		}
	}
	for i := range j.counted {
		if !yield(&j.counted[i].part) {
			return
		}
	}
}

// rate is how many requests a second the candidate has had at this step.
func (j *Judge) rate() float64 {
	counted := j.clock.latest.since(j.countFrom)
	if j.share == 0 || counted < bucketLength {
		return 0
	}
	return float64(j.step[Candidate].Requests) / counted.Seconds()
}

// perCandidate is how many requests the baseline has for each of the candidate: as counted at this step, or by the share
// while there is nothing to count.
func (j *Judge) perCandidate() float64 {
	c, b := j.step[Candidate].Requests, j.step[Baseline].Requests
	switch {
	case c > 0 && b > 0:
		return float64(b) / float64(c)
	case j.share > 0:
		return (1 - j.share) / j.share
	}
	return 1
}

// standing finds the first that applies: what blinds, what holds, what is missing, and last a pass.
func (j *Judge) standing() (Decision, string) {
	now, e := j.clock.latest, &j.evidence
	switch {
	case j.share == 0:
		return Undecided, RuleEvidence
	case j.fault != "":
		return Blind, RuleFault
	case j.quiet() >= silentAfter:
		return Blind, RuleSilence
	case j.behind > lagLimit:
		return Undecided, RuleLag
	case float64(j.unanswered)*j.share >= expectedCandidates:
		return Undecided, RuleCandidateSilent
	case j.waitingGuard() != nil:
		return Undecided, RuleGuard
	case j.silentGuard() != nil, j.silentMetric() != nil:
		return Undecided, RuleSource
	case now < j.countFrom, j.step[Candidate].Requests == 0:
		return Undecided, RuleNothing
	case now < j.unhealthyUntil, j.shared():
		return Undecided, RuleBaselineUnhealthy
	case e.suspicious(), j.suspect() != nil:
		return Undecided, RuleSuspicion
	case !e.assured():
		return Undecided, RuleEvidence
	case e.decide() != Passed:
		return Undecided, RuleSoak
	}
	return Passed, RuleErrors
}

// quiet is how long no request of either color was logged.
func (j *Judge) quiet() time.Duration { return j.clock.latest.since(max(j.lastLine, j.shifted)) }

// suspect is the first part with too much evidence against the candidate for a pass; nil if there is none.
func (j *Judge) suspect() *part {
	limit := math.Log(j.evidence.tuning.suspicion)
	for p := range j.parts {
		if p.logM >= limit {
			return p
		}
	}
	return nil
}

// waitingGuard is the first guard that is over its limit and may yet revert; nil if there is none.
func (j *Judge) waitingGuard() *guard {
	return j.revertingGuard(func(g *guard) bool { return g.over && !g.silent(j.clock.latest) })
}

// silentGuard is the first of those that may revert which nobody can read; nil if there is none.
func (j *Judge) silentGuard() *guard {
	return j.revertingGuard(func(g *guard) bool { return g.silent(j.clock.latest) })
}

func (j *Judge) revertingGuard(is func(*guard) bool) *guard {
	for i := range j.guards {
		if g := &j.guards[i]; g.Then == GuardRevert && is(g) {
			return g
		}
	}
	return nil
}

// silentMetric is the first counted metric that counts no more; nil if there is none.
func (j *Judge) silentMetric() *counted {
	for i := range j.counted {
		if c := &j.counted[i]; c.silent(j.clock.latest) {
			return c
		}
	}
	return nil
}

// standingOf names what the rule that stands speaks of, as Result.Of.
func (j *Judge) standingOf(rule string) string {
	switch rule {
	case RuleGuard:
		return j.waitingGuard().Name
	case RuleSource:
		if g := j.silentGuard(); g != nil {
			return g.Name
		}
		return j.silentMetric().name
	case RuleSuspicion:
		if !j.evidence.suspicious() {
			return j.suspect().name
		}
	}
	return ""
}

// convict latches the failure with the numbers of its moment.
func (j *Judge) convict(rule string) {
	j.verdict = j.numbers()
	j.verdict.Decision, j.verdict.Rule = Failed, rule
	j.verdict.Reason = j.failedReason(rule, j.verdict)
}

// convictOf latches a failure that is not one of all requests.
func (j *Judge) convictOf(rule, of, reason string) {
	j.verdict = j.numbers()
	j.verdict.Decision, j.verdict.Rule, j.verdict.Of, j.verdict.Reason = Failed, rule, of, reason
}
