package verdict

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// standingReason words what standing found.
func (j *Judge) standingReason(r Result) string {
	now := j.clock.latest
	switch {
	case j.share == 0:
		return "the candidate has no share of the traffic"
	case r.Decision == Passed:
		return j.passedReason(r)
	case r.Rule == RuleNothing && now < j.countFrom:
		return warmUpReason(j.countFrom.since(now))
	}
	switch r.Rule {
	case RuleGuard:
		return j.waitingGuard().waitingReason()
	case RuleSource:
		return j.silentSourceReason()
	case RuleFault:
		return "no evidence can be read: " + j.fault
	case RuleSilence:
		return silenceReason(j.quiet())
	case RuleLag:
		return lagReason(j.behind)
	case RuleCandidateSilent:
		return j.candidateSilentReason()
	case RuleBaselineUnhealthy:
		return j.unhealthyReason(r)
	case RuleSuspicion:
		return j.suspicionReason(r)
	case RuleSoak:
		return j.soakReason(r)
	}
	return evidenceReason(r)
}

// failedReason words a failure, with the numbers of its moment.
func (j *Judge) failedReason(rule string, r Result) string {
	switch rule {
	case RuleTotalFailure:
		return j.total.reason(requests, j.clock.latest)
	case RuleSevere:
		return j.severe.reason(requests, j.clock.latest)
	case RuleCeiling:
		return fmt.Sprintf("%s%s: above the %s that it may never fail, beyond chance %s",
			rates(r), j.whole(), Fraction(j.evidence.ceiling.limit), j.strength())
	case RuleSlow:
		return j.slowReason(requests, j.strength())
	}
	return fmt.Sprintf("%s%s%s: worse beyond chance %s", rates(r), j.whole(), j.mostly(), j.strength())
}

// strength says how strong the evidence of all requests is, and what it takes.
func (j *Judge) strength() string {
	return strength(j.evidence.logM(), -math.Log(j.evidence.tuning.falseRevert))
}

func strength(logM, logLimit float64) string {
	return fmt.Sprintf("(evidence %s, revert at %s)", odds(logM), odds(logLimit))
}

func (c *counts) slowReason(what, strength string) string {
	return fmt.Sprintf("candidate is slow in %s, stable in %s: worse beyond chance %s",
		ofWhat(c.slowOf(Candidate), what), tallied(c.slowOf(Baseline)), strength)
}

func (f *totalFailure) reason(what string, now moment) string {
	return fmt.Sprintf("the candidate's last %s %s all failed, within %s%s", count(f.run), what, span(now.since(f.since)), meanwhile(f.witness))
}

func (f *severe) reason(what string, now moment) string {
	return fmt.Sprintf("candidate failed %s within %s%s", ofWhat(f.candidate, what), span(now.since(f.since)), meanwhile(f.witness))
}

func (j *Judge) passedReason(r Result) string {
	strength := fmt.Sprintf("(evidence %s, pass at %s)", odds(r.LogPass), odds(j.evidence.logGoal()))
	if j.evidence.alone {
		return fmt.Sprintf("%s: below %s beyond chance %s", rates(r), Fraction(j.evidence.ceiling.limit), strength)
	}
	g := j.evidence.tuning.passErrors
	return fmt.Sprintf("%s: below %v times stable's plus %s beyond chance %s", rates(r), g.ratio, Fraction(g.worseBy), strength)
}

func evidenceReason(r Result) string {
	if r.Candidate.Requests == 0 {
		return fmt.Sprintf("no candidate request counted yet, about %s clean ones needed", about(r.Needed))
	}
	return fmt.Sprintf("%s: too little to tell, %s of about %s clean candidate requests needed",
		rates(r), count(r.Candidate.Requests), about(r.Needed))
}

func (j *Judge) soakReason(r Result) string {
	return fmt.Sprintf("%s: no worse so far, but counted for only %.0fs of %.0fs",
		rates(r), math.Floor(j.evidence.step.seconds), j.evidence.tuning.passSeconds)
}

func (j *Judge) suspicionReason(r Result) string {
	numbers, strength := rates(r)+j.whole(), j.strength()
	if r.Of != "" {
		p := j.suspect()
		numbers, strength = p.fares(), p.strength()
	}
	return fmt.Sprintf("%s: suspicious, no pass while the evidence against it is %s or more %s",
		numbers, odds(math.Log(j.evidence.tuning.suspicion)), strength)
}

func (j *Judge) unhealthyReason(r Result) string {
	if j.shared() {
		return j.outage.reason()
	}
	return fmt.Sprintf("%s: stable itself was above %s in the last %s, being no worse than that proves nothing",
		rates(r), Fraction(j.cfg.Errors.NeverAbove), span(unhealthyFor))
}

func (j *Judge) candidateSilentReason() string {
	return fmt.Sprintf("no request of the candidate was logged while stable had %s, at a share of %s: its requests hang, or are not sent to it",
		count(j.unanswered), Fraction(j.share))
}

func silenceReason(quiet time.Duration) string {
	return fmt.Sprintf("no request was logged for %s: no traffic reaches nginx, or its access log is not written", quiet.Truncate(time.Second))
}

func lagReason(behind time.Duration) string {
	return fmt.Sprintf("the reading of the log is %s behind its writing, at most %s will do", span(behind), span(lagLimit))
}

func warmUpReason(left time.Duration) string {
	return fmt.Sprintf("warming up, nothing is counted for another %s", span(left))
}

// requests is what all of the traffic is made of.
const requests = "requests"

// rates says how both arms fare at this step.
func rates(r Result) string {
	return compared(requests, [2]Tally{Baseline: r.Baseline, Candidate: r.Candidate})
}

func compared(what string, arms [2]Tally) string {
	if arms[Baseline].Requests == 0 {
		return fmt.Sprintf("candidate fails %s", ofWhat(arms[Candidate], what))
	}
	return fmt.Sprintf("candidate fails %s, stable %s", ofWhat(arms[Candidate], what), tallied(arms[Baseline]))
}

// whole adds the candidate's count over all steps where it is more than this step's: the evidence against it comes
// from all of them.
func (c *counts) whole() string {
	if all := c.rollout[Candidate]; all != c.step[Candidate] {
		return fmt.Sprintf(", in the whole rollout candidate %s, stable %s", tallied(all), tallied(c.rollout[Baseline]))
	}
	return ""
}

// meanwhile says what stable did during a run of the candidate's failures.
func meanwhile(w witness) string {
	if w.seen.Requests == 0 {
		return ""
	}
	return fmt.Sprintf(", stable %s meanwhile", tallied(w.seen))
}

func ofWhat(t Tally, what string) string {
	return fmt.Sprintf("%s of %s (%s of %s)", percent(t), what, count(t.Errors), count(t.Requests))
}

func tallied(t Tally) string {
	return fmt.Sprintf("%s (%s of %s)", percent(t), count(t.Errors), count(t.Requests))
}

// percent is a tally's rate with as many decimals as keep a rare error from reading as none.
func percent(t Tally) string {
	if t.Errors == 0 {
		return "0%"
	}
	rate := 100 * float64(t.Errors) / float64(t.Requests)
	decimals := 1
	for rate*math.Pow10(decimals) < 0.5 && decimals < 6 {
		decimals++
	}
	return strconv.FormatFloat(rate, 'f', decimals, 64) + "%"
}

// odds writes evidence as the chance that it would be by chance: "1:412".
func odds(log float64) string {
	switch {
	case log <= 0:
		return "1:1"
	case log > math.Log(1e6):
		return "below 1:1,000,000"
	}
	return "1:" + count(int64(math.Round(math.Exp(log))))
}

// span writes a duration to a tenth of a second: "2.8s".
func span(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }

// about rounds an estimate to two digits.
func about(n int64) string {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return count((n + unit/2) / unit * unit)
}

// count writes a number with its thousands set apart: "2,900".
func count(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
