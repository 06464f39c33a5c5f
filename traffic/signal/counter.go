package signal

import (
	"errors"
	"fmt"
	"math"
	"time"

	"cutover/traffic/verdict"
)

const (
	// exactUpTo is the largest value up to which a float tells each whole number from the next.
	exactUpTo = 1 << 53
	// fallsAllowed of the last fallsWithin looks may have seen a counter fall. More is no restart any more.
	fallsAllowed, fallsWithin = 2, 20
)

// counter is one series as it stood at one moment.
type counter struct {
	value float64
	// origin is the target or process that counts. A series that is new while its origin is known began to count since the
	// last look; one of an unknown origin may have counted for days.
	origin string
}

// counters are series by the text of their labels.
type counters map[string]counter

// add puts one series in, or says why its value is not a count.
func (c counters) add(labels string, s counter) error {
	switch v := s.value; {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return fmt.Errorf("%s is %v, which is no count", labels, v)
	case v < 0:
		return fmt.Errorf("%s is %v: a counter is never below 0", labels, v)
	case v > exactUpTo:
		return fmt.Errorf("%s is %v: too large to be told from the next count", labels, v)
	case v != math.Trunc(v):
		return fmt.Errorf("%s is %v, not a whole number: rate() and increase() estimate, a counter counts", labels, v)
	}
	if _, twice := c[labels]; twice {
		return fmt.Errorf("%s is there twice", labels)
	}
	c[labels] = s
	return nil
}

// errFell says that a counter stands lower than before: its process began anew, or another one answered.
var errFell = errors.New("began to count anew")

// since is how much was counted after the earlier look, in whose time the known origins were seen.
//
// What a counter lost by falling is unknown. To count it from zero, as rate() does, is right after a restart, and far too much
// where several processes with counters of their own answer by turns, so that the whole stretch is given up.
func (c counters) since(earlier counters, known map[string]bool) (int64, error) {
	grown := 0.0
	for labels, now := range c {
		before, was := earlier[labels]
		switch {
		case was && (now.origin != before.origin || now.value < before.value):
			return 0, fmt.Errorf("%s %w", labels, errFell)
		case was:
			grown += now.value - before.value
		case now.origin != "" && known[now.origin]:
			grown += now.value
		}
	}
	if grown > exactUpTo {
		return 0, fmt.Errorf("counted %v in one stretch: too many to be told from the next number", grown)
	}
	return int64(grown), nil
}

// stand is what one arm's counters showed at one moment: all that happened, and a part of it.
type stand struct {
	// all is nil where nothing was shown, and empty where nothing was counted yet.
	all, part counters
	// process is the origin of all of them, where there is only one.
	process string
}

// since is the tally between two moments.
func (s stand) since(earlier stand, of meaning) (verdict.Tally, error) {
	if s.process != earlier.process {
		return verdict.Tally{}, fmt.Errorf("its process %w", errFell)
	}
	known := map[string]bool{s.process: true}
	for _, series := range []counters{earlier.all, earlier.part} {
		for _, c := range series {
			known[c.origin] = true
		}
	}
	all, err := s.all.since(earlier.all, known)
	if err != nil {
		return verdict.Tally{}, err
	}
	part, err := s.part.since(earlier.part, known)
	switch {
	case err != nil:
		return verdict.Tally{}, err
	case part > all:
		return verdict.Tally{}, fmt.Errorf("%d %s of %d: they are not counted of the same requests", part, of, all)
	case of == theGood:
		part = all - part
	}
	return verdict.Tally{Requests: all, Errors: part}, nil
}

// meaning is what the part of a stand counts.
type meaning string

const (
	theBad  meaning = "bad ones"
	theGood meaning = "good ones"
)

// snapshot is what both arms showed at one and the same moment.
type snapshot struct {
	at   time.Time
	arms [2]stand // by verdict.Arm
}

// counting turns the snapshots of one metric into intervals.
type counting struct {
	metric int // place in verdict.Beside.Counted
	of     meaning
	// arms are what texts call the two sides, by verdict.Arm.
	arms [2]string
	// base is where the open stretch began. Invariant: zero before the first snapshot.
	base snapshot
	// falls remembers of the last looks, newest in the lowest bit, which of them saw a counter fall.
	falls uint32
}

// take ends the open stretch with the snapshot; false at the first one, which begins it.
//
// A stretch ends for both arms or for none. Where one of them shows nothing it stays open, so that what is counted in it
// later is again of both.
func (c *counting) take(s snapshot) (verdict.Interval, bool) {
	for arm, stand := range s.arms {
		if stand.all == nil {
			return c.missing(s.at, fmt.Sprintf("no value for %s", c.arms[arm])), true
		}
	}
	if c.base.at.IsZero() {
		c.base = s
		return verdict.Interval{}, false
	}
	if !s.at.After(c.base.at) { // a clock that was set back: which stretch this was nobody can tell
		c.base = s
		return c.missing(s.at, "the clock was set back"), true
	}
	i := verdict.Interval{Metric: c.metric, At: s.at, Length: s.at.Sub(c.base.at)}
	c.falls <<= 1
	for arm, tally := range [2]*verdict.Tally{verdict.Baseline: &i.Baseline, verdict.Candidate: &i.Candidate} {
		var err error
		if *tally, err = s.arms[arm].since(c.base.arms[arm], c.of); err != nil {
			return c.refuse(s, fmt.Errorf("%s: %w", c.arms[arm], err)), true
		}
	}
	if c.fallen() > fallsAllowed { // even what rises may be another process's
		c.base = s
		return c.missing(s.at, c.turns()), true
	}
	c.base = s
	return i, true
}

// refuse tells why a stretch gives no counts. After a fall the next one begins here; else this one stays open.
func (c *counting) refuse(s snapshot, err error) verdict.Interval {
	if errors.Is(err, errFell) {
		c.base = s
		if c.falls |= 1; c.fallen() > fallsAllowed {
			return c.missing(s.at, c.turns())
		}
	}
	return c.missing(s.at, err.Error())
}

// fallen is how many of the last looks saw a counter fall.
func (c *counting) fallen() (n int) {
	for look := range fallsWithin {
		n += int(c.falls >> look & 1)
	}
	return n
}

func (c *counting) turns() string {
	return fmt.Sprintf("counters fell at %d of the last %d looks: restarts, or several processes that answer by turns "+
		"(a Python application needs prometheus_multiproc)", c.fallen(), fallsWithin)
}

func (c *counting) missing(at time.Time, why string) verdict.Interval {
	return verdict.Interval{Metric: c.metric, At: at, Missing: why}
}
