package verdict

import (
	"fmt"
	"time"
)

// guard is what one guard has read since the candidate got its first share.
type guard struct {
	Guard
	heard  moment    // of the last reading, or of the first share
	valued moment    // of the last reading with a value, or of the first share
	over   bool      // at the last reading with a value
	since  moment    // where over: of the first such reading in an unbroken row
	begin  time.Time // the same by the source's own clock, for a person
	text   string    // of the last reading with a value
	why    string    // there is no value; empty where the last reading had one
}

// take hears a reading. One that comes late is none: what came after it is known.
//
// A reading without a value breaks no row, for it may be the trouble itself that keeps the answer; but over a longer silence
// than sources are granted nobody knows that it stayed over, and the row begins anew.
func (g *guard) take(r Reading, at moment) {
	if at < g.heard {
		return
	}
	g.heard = at
	if g.why = r.Missing; g.why != "" {
		return
	}
	if !g.over || at.since(g.valued) > sourcePatience {
		g.since, g.begin = at, r.At
	}
	g.over, g.valued, g.text = r.Over, at, r.Text
}

// lasted is how long it was over its limit at each reading.
func (g *guard) lasted() time.Duration {
	if !g.over {
		return 0
	}
	return g.valued.since(g.since)
}

// speaks tells that it was over its limit for as long as it takes.
func (g *guard) speaks() bool { return g.over && g.lasted() >= g.For }

// silent tells that nobody knows any more how things are.
func (g *guard) silent(now moment) bool { return now.since(g.valued) > sourcePatience }

func (g *guard) reason() string {
	return fmt.Sprintf("%s, for %s, since %s (guard %s)", g.text, span(g.lasted()), g.begin.Format(time.TimeOnly), g.Name)
}

func (g *guard) waitingReason() string {
	return fmt.Sprintf("%s, for %s: no pass meanwhile, and after %s it reverts (guard %s)", g.text, span(g.lasted()), span(g.For), g.Name)
}

func (g *guard) silentReason(now moment) string {
	why := g.why
	if why == "" {
		why = "it is not read"
	}
	return fmt.Sprintf("guard %s has told nothing for %s: %s", g.Name, now.since(g.valued).Truncate(time.Second), why)
}
