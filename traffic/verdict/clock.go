package verdict

import "time"

// moment is a point of the judge's clock in nanoseconds. The clock is the log's, made to never step back.
type moment int64

func (m moment) since(earlier moment) time.Duration { return time.Duration(m - earlier) }

func (m moment) after(d time.Duration) moment { return m + moment(d) }

// clockSetBack is how far the source's clock must step back to be taken as set anew. Less than that is lines out of
// order or a batch that waited, and the judge's clock just stands still meanwhile.
const clockSetBack = time.Minute

// clock turns times of the log into moments. If it merely stood still until the log's clock had caught up, an hour that the
// host's clock was set back would be an hour in which no bucket closes and no run grows old enough to convict.
type clock struct {
	latest moment        // Invariant: never decreases
	ahead  time.Duration // what setting back has taken from the source's clock so far
}

// read is the moment that the source's own clock shows; the judge's clock does not move to it yet.
func (c *clock) read(now time.Time) moment {
	if back := c.latest.since(c.stamp(now)); back > clockSetBack {
		c.ahead += back
	}
	return c.stamp(now)
}

// stamp is the moment that a time of the log shows; it may lie before latest.
func (c *clock) stamp(at time.Time) moment { return moment(at.UnixNano()).after(c.ahead) }

// advance moves to m, or stays where m is past.
func (c *clock) advance(m moment) moment {
	c.latest = max(c.latest, m)
	return c.latest
}
