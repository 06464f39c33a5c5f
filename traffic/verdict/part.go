package verdict

import "math"

// The parts of the error budget. Each part of the traffic is a test of its own, with its own buckets, that may err with its share
// of alpha: by the union bound they err with no more than alpha together, whatever they have in common.
//
// Why their evidence is not averaged, as that of errors, slowness and ceiling is: those three are folded at the same moments. An
// average of processes that move at different ones, each knowing what is in the other's open bucket, need not be fair at the moment
// when one stops (Choe and Ramdas 2024); to let each reach its own limit is, and costs next to nothing: where a fault is, one
// of them carries nearly all.
const (
	// countedShare goes to the metrics that are counted beside the requests, where there are any.
	countedShare = 0.2
	// routesShare, of what is left, goes to the routes, where there are any.
	routesShare = 0.5
)

// budget splits alpha: whole for all requests, route for each route, counted for each metric beside them.
// Invariant: whole + routes·route + metrics·counted = 1.
func budget(routes, metrics int) (whole, route, counted float64) {
	whole = 1
	if metrics > 0 {
		whole, counted = 1-countedShare, countedShare/float64(metrics)
	}
	if routes > 0 {
		whole, route = whole*(1-routesShare), whole*routesShare/float64(routes)
	}
	return whole, route, counted
}

// part is the evidence against the candidate in one part of what it does.
//
// It has no evidence for a pass: a part with little traffic would hold every rollout. It has no ceiling either: that is a promise
// about the whole application, and a route may well be one that always failed.
type part struct {
	name     string
	what     string  // what is asked of it, for a sentence: "requests to checkout"
	logShare float64 // logarithm of its share of alpha
	logLimit float64 // its logM convicts there: log(1/(alpha·share))
	errors   excess
	slow     *excess // nil while the metric is off
	logM     float64 // after the last bucket, kept because it is asked for far more often than it changes
	counts
}

func newPart(name, what string, t tuning, share float64) part {
	return part{
		name: name, what: what, errors: newExcess(t.errors, t.betting),
		logShare: math.Log(share), logLimit: -math.Log(t.falseRevert * share),
	}
}

// alsoSlow lets it bet on slow answers too.
func (p *part) alsoSlow(t tuning) {
	slow := newExcess(t.slow.excess, t.betting)
	p.slow = &slow
}

// fold takes one closed bucket.
func (p *part) fold(b bucket) {
	p.errors.fold(b.errors, b.seconds)
	if p.logM = p.errors.logM(); p.slow != nil {
		p.slow.fold(b.slow, b.seconds)
		errors, slow := p.logParts()
		p.logM = logAddExp(errors, slow)
	}
}

// logParts gives the two summands of its evidence, in the proportion that they have in that of the whole.
func (p *part) logParts() (errors, slow float64) {
	return math.Log(errorsPart/(errorsPart+slowPart)) + p.errors.logM(), math.Log(slowPart/(errorsPart+slowPart)) + p.slow.logM()
}

func (p *part) convicts() bool { return p.logM >= p.logLimit }

// rule names what carries most of its evidence.
func (p *part) rule() string {
	if p.slow != nil {
		if errors, slow := p.logParts(); slow > errors {
			return RuleSlow
		}
	}
	return RuleErrors
}

// counts is what both arms did in some part of the traffic.
type counts struct {
	step    [2]Tally // by Arm, since the last Shift, warm-up left out
	rollout [2]Tally // by Arm, over all steps
	slow    [2]int64 // by Arm, over all steps, where slowness is measured
}

func (c *counts) count(s *Sample) {
	c.step[s.Arm].Requests++
	c.rollout[s.Arm].Requests++
	if s.Bad {
		c.step[s.Arm].Errors++
		c.rollout[s.Arm].Errors++
	}
	if s.Slow {
		c.slow[s.Arm]++
	}
}

// slowOf tallies the slow answers over all steps.
func (c *counts) slowOf(a Arm) Tally {
	return Tally{Requests: c.rollout[a].Requests, Errors: c.slow[a]}
}
