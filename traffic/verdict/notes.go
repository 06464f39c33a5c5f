package verdict

import "fmt"

// requestsTo is what a route is asked.
func requestsTo(route string) string { return requests + " to " + route }

// fares says how both arms fare in this part.
func (p *part) fares() string { return compared(p.what, p.step) + p.whole() }

func (p *part) strength() string { return strength(p.logM, p.logLimit) }

func (p *part) failedReason(rule string) string {
	if rule == RuleSlow {
		return p.slowReason(p.what, p.strength())
	}
	return fmt.Sprintf("%s: worse beyond chance %s", p.fares(), p.strength())
}

func (r *route) runReason(rule string, now moment) string {
	if rule == RuleSevere {
		return r.severe.reason(r.what, now)
	}
	return r.total.reason(r.what, now)
}

// mostly names the route of at least half of the candidate's failures at this step; empty where there is none.
func (j *Judge) mostly() string {
	all := j.step[Candidate].Errors
	for i := range j.routes {
		if r := &j.routes[i]; all > 0 && 2*r.step[Candidate].Errors >= all {
			return fmt.Sprintf(", %s of %s failures are %s", count(r.step[Candidate].Errors), count(all), r.what)
		}
	}
	return ""
}

func (j *Judge) silentSourceReason() string {
	if g := j.silentGuard(); g != nil {
		return g.silentReason(j.clock.latest)
	}
	return j.silentMetric().silentReason(j.clock.latest)
}

// notes says what does not decide but should be known.
func (j *Judge) notes() (notes []string) {
	if j.share == 0 {
		return nil
	}
	for i := range j.guards {
		if note := j.guards[i].note(j.clock.latest); note != "" {
			notes = append(notes, note)
		}
	}
	for i := range j.counted {
		if c := &j.counted[i]; c.dropped > 0 {
			notes = append(notes, fmt.Sprintf("%s: %s left out of what it counted, the last for %s", c.name, count(c.dropped), c.why))
		}
	}
	if j.evidence.assured() {
		notes = append(notes, j.untold()...)
	}
	return notes
}

// note is what an observing guard has to say; empty while all is well, and for one that decides.
func (g *guard) note(now moment) string {
	switch {
	case g.Then == GuardRevert:
	case g.silent(now):
		return "not observed: " + g.silentReason(now)
	case g.speaks():
		return "observed: " + g.reason()
	}
	return ""
}

// untold names the parts in which the candidate had too little for anybody to tell, while the whole has enough. They block nothing.
func (j *Judge) untold() (notes []string) {
	for p := range j.parts {
		if n := p.step[Candidate].Requests; float64(n) < j.evidence.tuning.passSample {
			notes = append(notes, fmt.Sprintf("%s: only %s counted for the candidate, too little to tell", p.name, count(n)))
		}
	}
	return notes
}
