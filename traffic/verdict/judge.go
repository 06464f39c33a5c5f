package verdict

import "time"

const (
	// bucketLength is the least time that a bucket is open.
	bucketLength = time.Second
	// shortestBucket and longestBucket clamp what a bucket's length does to tokens and decay, in seconds.
	shortestBucket, longestBucket = 1.0, 600.0

	// silentAfter is how long no request of either color may be logged before nobody can tell anything.
	silentAfter = 15 * time.Second
	// lagLimit is how far the reading may lag behind the writing before a pass would speak of the past.
	lagLimit = 5 * time.Second
	// expectedCandidates is how many requests the candidate should have had in a stretch before its silence is a
	// finding: by the split alone none of 14 expected would come with a probability below e^-14, one in a million.
	expectedCandidates = 14.0

	// unhealthyFor is how long a pass waits after the baseline was last seen over the ceiling, and unhealthySample how
	// many of its requests a bucket must hold to say so.
	unhealthyFor    = 30 * time.Second
	unhealthySample = 10.0
)

// Judge hears one rollout from its first share to its end and says at any time what is known about the candidate.
//
// It is not safe for concurrent use. It reads no clock: all time comes with batches, shifts and Advance, and the same
// input gives the same results. Fold and Advance do not allocate, save once to word a failure. A Judge is not restored
// after a crash: a crash ends its rollout.
type Judge struct {
	cfg      Config
	clock    clock
	evidence evidence
	total    totalFailure
	severe   severe

	share     float64 // the candidate's, 0 to 1; 0 before the first Shift
	shifted   moment
	countFrom moment // when the warm-up of this step ends; earlier lines are no evidence

	open    bucket
	opened  moment
	step    [2]Tally // by Arm, since the last Shift, warm-up left out
	rollout [2]Tally // by Arm, over all steps
	slow    [2]int64 // by Arm, over all steps, where slowness is measured

	lastLine       moment // of either arm
	unanswered     int64  // requests of the baseline since the last of the candidate, or since the last Shift
	unhealthyUntil moment
	behind         time.Duration
	fault          string
	verdict        Result // Invariant: latched once its Decision is Failed; not used before
}

// NewJudge starts the evidence of a new rollout. The configuration must be valid.
func NewJudge(cfg Config) *Judge {
	return &Judge{cfg: cfg, evidence: newEvidence(newTuning(cfg))}
}

// Shift tells that the candidate's share, from 0 to 1, is proven live from that time on. It starts a new step: the open
// bucket is discarded, the evidence for a pass starts anew, the evidence against the candidate goes on.
// After a raise the warm-up is not counted, but the runs of failures see it.
func (j *Judge) Shift(at time.Time, share float64) {
	if j.convicted() {
		return
	}
	j.shifted = j.clock.stamp(at)
	if j.closeDue(j.clock.advance(j.shifted)); j.convicted() {
		return
	}
	share = min(1, max(0, share))
	j.countFrom = j.shifted
	if share > j.share {
		j.countFrom = j.shifted.after(j.cfg.WarmUp)
	}
	j.share = share
	j.evidence.enter(share, j.rollout[Baseline])
	j.step, j.unanswered = [2]Tally{}, 0
	j.discard()
}

// Fold takes what a source of evidence has read.
func (j *Judge) Fold(b Batch) {
	if j.convicted() {
		return
	}
	if b.Gap || b.Fault != "" { // what is missing may be good answers: neither a bucket nor a run reaches across
		j.discard()
		j.total, j.severe = totalFailure{}, severe{}
	}
	j.fault, j.behind = b.Fault, b.Behind
	now := j.readUpTo(b)
	for _, s := range b.Samples {
		if j.observe(s, now); j.convicted() {
			return
		}
	}
	j.closeDue(j.clock.advance(now.after(-j.behind)))
}

// readUpTo is the moment of the source's clock; a batch without one, as of a source that is lost, goes by its last line.
func (j *Judge) readUpTo(b Batch) moment {
	switch n := len(b.Samples); {
	case !b.Now.IsZero():
		return j.clock.read(b.Now)
	case n > 0:
		return j.clock.stamp(b.Samples[n-1].At)
	}
	return j.clock.latest
}

// Advance moves the clock on when no batch comes. The controller's clock must be the log's: both are the host's.
func (j *Judge) Advance(now time.Time) {
	if j.convicted() {
		return
	}
	j.closeDue(j.clock.advance(j.clock.read(now).after(-j.behind)))
}

func (j *Judge) convicted() bool { return j.verdict.Decision == Failed }

// observe takes one attempt. A line from the future of its own source is taken to be from now.
func (j *Judge) observe(s Sample, now moment) {
	logged := min(j.clock.stamp(s.At), now)
	at := j.clock.advance(logged)
	if j.closeDue(at); j.convicted() {
		return
	}
	j.lastLine = at
	if j.share == 0 {
		return
	}
	switch {
	case s.Arm == Candidate:
		j.unanswered = 0
	case logged >= j.shifted:
		j.unanswered++
	}
	if logged >= j.countFrom {
		j.count(s)
	}
	total, severe := j.total.observe(at, s, j.share), j.severe.observe(at, s, j.share)
	switch {
	case total && !j.baselineOver():
		j.convict(RuleTotalFailure)
	case severe && !j.baselineOver():
		j.convict(RuleSevere)
	default:
		j.closeDue(at)
	}
}

// baselineOver tells whether stable was lately over the ceiling beyond chance. The runs do not convict then: in an outage
// that both share, the few requests that witness a run may all have been lucky.
func (j *Judge) baselineOver() bool {
	return j.evidence.ceiling.baselineOver(float64(j.cfg.Errors.NeverAbove))
}

func (j *Judge) count(s Sample) {
	j.open.errors.ask(s.Arm)
	j.open.slow.ask(s.Arm)
	j.step[s.Arm].Requests++
	j.rollout[s.Arm].Requests++
	if s.Bad {
		j.open.errors.blame(s.Arm)
		j.step[s.Arm].Errors++
		j.rollout[s.Arm].Errors++
	}
	if s.Slow {
		j.open.slow.blame(s.Arm)
		j.slow[s.Arm]++
	}
}

// discard forgets the open bucket and opens the next.
func (j *Judge) discard() {
	j.open, j.opened = bucket{}, max(j.clock.latest, j.countFrom)
}

// closeDue closes the open bucket at the first moment up to at when it is a second old and each arm was asked; at the
// full share only the candidate must have been. How the requests fared plays no part, or looking would be choosing.
func (j *Judge) closeDue(at moment) {
	x := j.open.errors
	due := max(j.opened.after(bucketLength), j.lastLine)
	if at < due || x.nc == 0 || (x.nb == 0 && j.share < 1) {
		return
	}
	b := j.open
	b.seconds = min(longestBucket, max(shortestBucket, due.since(j.opened).Seconds()))
	j.open, j.opened = bucket{}, due
	j.evidence.fold(b)
	j.watchBaseline(x, due)
	if j.evidence.failed {
		j.convict(j.evidence.heaviest())
	}
}

// watchBaseline holds the step while stable itself is over the ceiling: being as bad as that proves nothing.
//
// One bucket over it holds for half a minute. Only where stable was over it beyond chance are the bets for a pass
// started anew: at ten requests a second and an error rate of 5 % a single bucket is over 10 % every dozen seconds by
// chance, and no step would ever pass.
func (j *Judge) watchBaseline(x exposure, at moment) {
	limit := float64(j.cfg.Errors.NeverAbove)
	over := j.baselineOver()
	if over {
		j.evidence.resetPass()
	}
	if over || (x.nb >= unhealthySample && x.kb > limit*x.nb) {
		j.unhealthyUntil = at.after(unhealthyFor)
	}
}

// Result is the decision that stands now.
func (j *Judge) Result() Result {
	if j.convicted() {
		return j.verdict
	}
	r := j.numbers()
	r.Decision, r.Rule = j.standing()
	r.Reason = j.standingReason(r)
	return r
}

// numbers fills in all of a result but the decision.
func (j *Judge) numbers() Result {
	return Result{
		Candidate: j.step[Candidate],
		Baseline:  j.step[Baseline],
		LogM:      j.evidence.logM(),
		LogPass:   j.evidence.logPass(),
		Needed:    j.evidence.needed(j.perCandidate()),
	}
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
	case now < j.countFrom, j.step[Candidate].Requests == 0:
		return Undecided, RuleNothing
	case now < j.unhealthyUntil:
		return Undecided, RuleBaselineUnhealthy
	case e.suspicious():
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

// convict latches the failure with the numbers of its moment.
func (j *Judge) convict(rule string) {
	r := j.numbers()
	r.Decision, r.Rule, r.Reason = Failed, rule, j.failedReason(rule, r)
	j.verdict = r
}
