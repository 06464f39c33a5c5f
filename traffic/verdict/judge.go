package verdict

import (
	"math"
	"time"
)

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
// input gives the same results. Fold and Advance do not allocate for requests, save once to word a failure. A Judge is not restored
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

	open   bucket
	opened moment
	counts

	logShare  float64 // logarithm of the part of alpha that evidence has
	routes    []route
	routesDue moment // the earliest at which a route's bucket closes. Invariant: up to date after each change of one
	counted   []counted
	guards    []guard

	lastLine       moment // of either arm
	unanswered     int64  // requests of the baseline since the last of the candidate, or since the last Shift
	unhealthyUntil moment
	outage         outage
	behind         time.Duration
	fault          string
	verdict        Result // Invariant: latched once its Decision is Failed; not used before
}

// NewJudge starts the evidence of a new rollout that is judged by its requests alone. The configuration must be valid.
func NewJudge(cfg Config) *Judge { return NewJudgeBeside(cfg, Beside{}) }

// NewJudgeBeside starts the evidence of a new rollout that is judged by what other sources tell of too.
func NewJudgeBeside(cfg Config, beside Beside) *Judge {
	t := newTuning(cfg)
	whole, ofRoute, ofMetric := budget(len(cfg.Routes), len(beside.Counted))
	j := &Judge{cfg: cfg, logShare: math.Log(whole), routesDue: never}
	for _, r := range cfg.Routes {
		p := newPart(r.Name, requestsTo(r.Name), t, ofRoute)
		if t.slow != nil {
			p.alsoSlow(t)
		}
		j.routes = append(j.routes, route{part: p})
	}
	for _, name := range beside.Counted {
		j.counted = append(j.counted, counted{part: newPart(name, name, t, ofMetric)})
	}
	for _, g := range beside.Guards {
		j.guards = append(j.guards, guard{Guard: g})
	}
	t.falseRevert *= whole
	j.evidence = newEvidence(t)
	return j
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
	j.enterBeside(share)
	j.share = share
	j.evidence.enter(share, j.rollout[Baseline])
	j.step, j.unanswered = [2]Tally{}, 0
	for i := range j.routes {
		j.routes[i].step = [2]Tally{}
	}
	j.discard()
}

// Fold takes what a source of evidence has read.
func (j *Judge) Fold(b Batch) {
	if j.convicted() {
		return
	}
	if b.Aside() {
		j.foldBeside(b)
		return
	}
	if b.Gap || b.Fault != "" { // what is missing may be good answers: neither a bucket nor a run reaches across
		j.discard()
		j.total, j.severe = totalFailure{}, severe{}
		for i := range j.routes {
			j.routes[i].total, j.routes[i].severe = totalFailure{}, severe{}
		}
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
		j.open.add(&s)
		j.count(&s)
	}
	total, severe := j.total.observe(at, s, j.share), j.severe.observe(at, s, j.share)
	switch {
	case total && !j.baselineOver():
		j.convict(RuleTotalFailure)
	case severe && !j.baselineOver():
		j.convict(RuleSevere)
	case s.Route > 0:
		j.observeRoute(s, at, logged)
	}
	j.closeDue(at)
}

// baselineOver tells whether stable was lately over the ceiling beyond chance. The runs do not convict then: in an outage
// that both share, the few requests that witness a run may all have been lucky.
func (j *Judge) baselineOver() bool {
	return j.shared() || j.evidence.ceiling.baselineOver(float64(j.cfg.Errors.NeverAbove))
}

// discard forgets the open buckets and opens the next.
func (j *Judge) discard() {
	j.open, j.opened, j.routesDue = bucket{}, max(j.clock.latest, j.countFrom), never
	for i := range j.routes {
		j.routes[i].discard(j.opened)
	}
}

// closeDue closes the buckets that are due up to at, in the order of time: whoever asks more often gets the same.
func (j *Judge) closeDue(at moment) {
	due := j.due()
	if at < due && at < j.routesDue || j.convicted() {
		return
	}
	if j.closeRoutes(min(at, due-1)); at < due || j.convicted() {
		return
	}
	j.closeWhole(due)
	j.closeRoutes(at)
}

// due is the first moment at which the open bucket is a second old and each arm was asked; at the full share only the candidate
// must have been. How the requests fared plays no part, or looking would be choosing.
func (j *Judge) due() moment {
	x := j.open.errors
	if x.nc == 0 || (x.nb == 0 && j.share < 1) {
		return never
	}
	return max(j.opened.after(bucketLength), j.lastLine)
}

func (j *Judge) closeWhole(due moment) {
	b := j.open
	b.seconds = bucketSeconds(due.since(j.opened))
	j.open, j.opened = bucket{}, due
	if j.shared() {
		j.evidence.resetPass()
		return
	}
	j.evidence.fold(b)
	j.watchBaseline(b.errors, due)
	if j.evidence.failed {
		j.convict(j.evidence.heaviest())
	}
}

// bucketSeconds is how long a bucket was open, as tokens and decay take it.
func bucketSeconds(open time.Duration) float64 {
	return min(longestBucket, max(shortestBucket, open.Seconds()))
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
