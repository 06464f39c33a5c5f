package verdict

import "math"

const (
	// baselineHalfLife is how fast the ceiling forgets what the baseline did, in seconds.
	baselineHalfLife = 20.0
	// lowestCeiling is where the ceiling at the full share ends, however clean stable was.
	lowestCeiling = 0.01
	// ceilingSlack is how far above stable's own rate in this rollout the ceiling at the full share lies.
	ceilingSlack = 3.0
)

// ceilingFactors are the effects that the ceiling bets on: the candidate's rate as a multiple of the limit.
var ceilingFactors = [...]float64{1.5, 2, 4, 10}

// ceiling is evidence against "the candidate's rate is at most the limit", whatever the baseline does. It is the only
// statistical guard at the full share.
type ceiling struct {
	process
	limit float64 // a share of the requests, 0 to 1
	// While stable itself is over the limit the trouble is shared, and a bucket says nothing about the candidate. Skipping on the
	// baseline's outcomes alone leaves the candidate's bets fair.
	lately
}

// lately are decayed counts of the baseline's requests.
type lately struct{ baselines, baselinesBad float64 }

// remember takes one closed bucket.
func (l *lately) remember(x exposure, seconds float64) {
	keep := math.Exp2(-seconds / baselineHalfLife)
	l.baselines = l.baselines*keep + x.nb
	l.baselinesBad = l.baselinesBad*keep + x.kb
}

// baselineOver tells whether the baseline has lately been over the limit by more than two standard deviations.
func (l *lately) baselineOver(limit float64) bool {
	expected := limit * l.baselines
	return l.baselinesBad > expected+2*math.Sqrt(expected)
}

func newCeiling(limit float64, b betting) ceiling {
	return ceiling{process: newProcess(b, len(ceilingFactors)), limit: limit}
}

// fold bets on one closed bucket.
func (c *ceiling) fold(x exposure, seconds float64) {
	c.remember(x, seconds)
	var ell [len(ceilingFactors)]float64
	if x.kb <= c.limit*x.nb && c.baselinesBad <= c.limit*c.baselines {
		for i, a := range ceilingFactors {
			ell[i] = oneArmedEll(a, c.limit, x)
		}
	}
	c.process.fold(ell[:], seconds)
}

// standAlone prepares for the full share, where no baseline answers beside the candidate: the limit comes down to what
// stable did in this rollout, and its last second is forgotten, lest a burst in it silences the guard for good.
func (c *ceiling) standAlone(stable Tally) {
	if stable.Requests > 0 {
		near := ceilingSlack * (float64(stable.Errors) + 3) / float64(stable.Requests)
		c.limit = min(c.limit, max(lowestCeiling, near))
	}
	c.lately = lately{}
}
