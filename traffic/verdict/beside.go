package verdict

import "time"

// Beside is what the sources beside the request log tell of, in the order that Interval and Reading point into.
type Beside struct {
	// Counted names the metrics that are counted in both arms. At most 8.
	Counted []string
	Guards  []Guard
}

// Guard is a limit on something that cannot be counted by requests, such as a queue's length. It stands outside of FalseRevert:
// no chance is reckoned for it, it speaks whenever it is over. It is read several times a minute. What both releases share, such as one queue of both, must not be
// read as the candidate's: nothing here could tell.
type Guard struct {
	Name string
	// For is how long it must be over its limit at each reading before it speaks.
	For time.Duration
	// Then is what it does: GuardObserve or GuardRevert.
	Then GuardThen
}

// GuardThen is what a guard that is over its limit does.
type GuardThen string

// GuardObserve only says it, GuardRevert fails the candidate.
const (
	GuardObserve GuardThen = "observe"
	GuardRevert  GuardThen = "revert"
)

// Interval is what a source beside the request log counted in both arms over one and the same stretch of time. Those of a metric
// come in order and do not overlap: an error that is counted twice is no second proof.
type Interval struct {
	// Metric is its place in Beside.Counted.
	Metric int
	// At is the end of the stretch, Length how long it was.
	At     time.Time
	Length time.Duration
	// Candidate and Baseline hold what happened in the stretch, not since the beginning. Invariant: no more errors than requests.
	Candidate, Baseline Tally
	// Missing says why nothing was counted up to At, which is neither health nor failure: there are no counts in it then, and no
	// length. Empty where there are. What happened meanwhile may be in a later stretch, which is the longer for it, or in none.
	Missing string
}

// Reading is what one guard saw at one moment.
type Reading struct {
	// Guard is its place in Beside.Guards.
	Guard int
	At    time.Time
	// Over tells that the limit was passed.
	Over bool
	// Text is what was seen, with its number and limit, for a person: "412 tasks wait in celery, above 200".
	Text string
	// Missing says why there is no value now, which is neither health nor failure. Empty where there is one.
	Missing string
}

// sourcePatience is how long a source may be silent before a pass would speak of what nobody saw.
const sourcePatience = time.Minute

// foldBeside takes what a source beside the request log has read. It moves neither the clock nor what is known of the log.
func (j *Judge) foldBeside(b Batch) {
	for _, p := range b.Probes {
		j.foldProbe(p)
	}
	for _, i := range b.Intervals {
		if j.foldInterval(i); j.convicted() {
			return
		}
	}
	for _, r := range b.Readings {
		if j.foldReading(r); j.convicted() {
			return
		}
	}
}

func (j *Judge) foldInterval(i Interval) {
	if j.share == 0 || i.Missing != "" || i.Metric < 0 || i.Metric >= len(j.counted) {
		return
	}
	end := j.clock.stamp(i.At)
	c := &j.counted[i.Metric]
	if c.take(i, end, j.countFrom, j.clock.latest); c.convicts() {
		j.convictOf(RuleErrors, c.name, c.failedReason(RuleErrors))
	}
}

func (j *Judge) foldReading(r Reading) {
	if j.share == 0 || r.Guard < 0 || r.Guard >= len(j.guards) {
		return
	}
	g := &j.guards[r.Guard]
	if g.take(r, min(j.clock.stamp(r.At), j.clock.latest)); g.Then == GuardRevert && g.speaks() {
		j.convictOf(RuleGuard, g.Name, g.reason())
	}
}

// enterBeside starts a step for the sources beside the log. What they saw before the candidate had any share is not of it.
func (j *Judge) enterBeside(share float64) {
	for i := range j.counted {
		c := &j.counted[i]
		if c.step = [2]Tally{}; j.share == 0 {
			c.heard = j.shifted
		}
	}
	for i := range j.guards {
		if g := &j.guards[i]; j.share == 0 || share == 0 {
			*g = guard{Guard: g.Guard, heard: j.shifted, valued: j.shifted}
		}
	}
}
