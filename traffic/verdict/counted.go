package verdict

import (
	"fmt"
	"time"
)

// counted is one metric that a source beside the request log counts in both arms. Each of its intervals is a bucket: their ends are
// set by the source's clock, and never by what happened in them.
type counted struct {
	part
	heard   moment        // end of the last interval that could be right, or of the first share
	length  time.Duration // of that interval
	ended   moment        // of the last one that was counted
	dropped int64         // intervals that cannot be right
	why     string        // the last of them was dropped
}

// overlap is the part of an interval by which it may reach into the one before: clocks are read to the millisecond, and no better.
const overlap = 0.01

// take counts an interval that ended then, if it lies wholly behind the moment from which this step counts: in one that reaches
// across a raise the arms had their requests at different times. It is now heard of, whatever the source's clock says.
func (c *counted) take(i Interval, end, countFrom, now moment) {
	begin := end.after(-i.Length)
	if why := i.wrong(); why != "" {
		c.drop(why)
		return
	}
	if begin.after(time.Duration(overlap*float64(i.Length))) < c.ended {
		c.drop(fmt.Sprintf("one of %s overlaps the one before", i.Length))
		return
	}
	c.heard, c.length = max(c.heard, min(end, now)), i.Length
	if begin < countFrom {
		return
	}
	c.ended = end
	arms := [2]Tally{Baseline: i.Baseline, Candidate: i.Candidate}
	for arm, seen := range arms {
		c.step[arm].add(seen)
		c.rollout[arm].add(seen)
	}
	c.fold(bucket{errors: exposed(arms), seconds: bucketSeconds(i.Length)})
}

func (c *counted) drop(why string) { c.dropped, c.why = c.dropped+1, why }

// wrong says why an interval cannot be right; empty where it can.
func (i Interval) wrong() string {
	for _, t := range [...]Tally{i.Candidate, i.Baseline} {
		if t.Errors < 0 || t.Errors > t.Requests {
			return fmt.Sprintf("%d errors of %d", t.Errors, t.Requests)
		}
	}
	if i.Length <= 0 {
		return fmt.Sprintf("an interval of %s", i.Length)
	}
	return ""
}

// patience is how long it may be silent: what comes at each interval's end may be lost twice.
func (c *counted) patience() time.Duration { return max(sourcePatience, 3*c.length) }

func (c *counted) silent(now moment) bool { return now.since(c.heard) > c.patience() }

func (c *counted) silentReason(now moment) string {
	why := ""
	if c.why != "" {
		why = ", and what came was wrong: " + c.why
	}
	return fmt.Sprintf("%s has counted nothing for %s%s: no pass while it is silent", c.name, now.since(c.heard).Truncate(time.Second), why)
}

func exposed(arms [2]Tally) exposure {
	return exposure{
		nc: float64(arms[Candidate].Requests), kc: float64(arms[Candidate].Errors),
		nb: float64(arms[Baseline].Requests), kb: float64(arms[Baseline].Errors),
	}
}
