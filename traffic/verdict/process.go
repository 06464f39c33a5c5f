package verdict

import "math"

// betting is how a process spreads its stake over start times and how fast it may grow.
type betting struct {
	// first is the part of the stake on "bad from the first bucket on". The rest is spread evenly over the following
	// horizon buckets, so that a candidate that was healthy for ten minutes can still be convicted in seconds.
	first   float64
	horizon int
	// burst and refill limit the growth by a token bucket, in nats and nats per second: what fails together in one
	// second is one event, not thirty independent ones.
	burst  float64
	refill float64
}

// standardBetting reaches over an hour of one-second buckets. A crash must show in five different seconds to convict.
var standardBetting = betting{first: 0.5, horizon: 3600, burst: 2.5, refill: 1}

// component is one bet: on one effect, continued from bucket to bucket.
type component struct {
	logW   float64 // logarithm of what its stakes have grown to; -Inf before the first bucket
	tokens float64 // nats that it may still grow by, from 0 to burst
}

// process is a mixture of bets over effects and start times: a supermartingale that starts at 1 (Robbins 1970; with
// start times Shin, Ramdas and Rinaldo 2022). It costs two floats per effect, however long it runs.
type process struct {
	betting
	components []component
	buckets    int
}

func newProcess(b betting, effects int) process {
	p := process{betting: b, components: make([]component, effects)}
	for i := range p.components {
		p.components[i] = component{logW: math.Inf(-1), tokens: b.burst}
	}
	return p
}

// fold takes each component's log e-value for a bucket that was open for so many seconds.
//
// Capping a gain by tokens that were known before the bucket only lowers a supermartingale's step, so it stays one.
func (p *process) fold(ell []float64, seconds float64) {
	p.buckets++
	logStart := math.Log(p.stake(p.buckets))
	for i := range p.components {
		c := &p.components[i]
		if p.buckets > 1 {
			c.tokens = min(p.burst, c.tokens+p.refill*max(1, seconds))
		}
		gain := min(ell[i], c.tokens)
		if gain > 0 {
			c.tokens -= gain
		}
		c.logW = logAddExp(c.logW, logStart) + gain
	}
}

// stake is the part of the capital that enters with the given bucket, counted from 1.
// Invariant: all stakes and uninvested add up to 1.
func (p *process) stake(bucket int) float64 {
	switch {
	case bucket == 1:
		return p.first
	case bucket <= p.horizon+1:
		return (1 - p.first) / float64(p.horizon)
	}
	return 0
}

// uninvested is the part of the capital that has not entered yet, and so is still worth itself.
func (p *process) uninvested() float64 {
	if p.buckets == 0 {
		return 1
	}
	return (1 - p.first) * max(0, 1-float64(p.buckets-1)/float64(p.horizon))
}

// logM is the logarithm of the evidence; 0 at the start.
func (p *process) logM() float64 {
	logRest := math.Log(p.uninvested())
	top := logRest
	logShare := math.Log(float64(len(p.components)))
	for _, c := range p.components {
		top = max(top, c.logW-logShare)
	}
	sum := math.Exp(logRest - top)
	for _, c := range p.components {
		sum += math.Exp(c.logW - logShare - top)
	}
	return top + math.Log(sum)
}

// excessRatios are the effects that the FAIL test bets on: the candidate's rate as a multiple of what the ratio allows.
var excessRatios = [...]float64{1.5, 2, 3, 5, 10, 30, 100, 1000}

// excess is the FAIL test of one metric: evidence against "the candidate keeps to the margin". One runs over all steps.
type excess struct {
	margin
	ratios []float64 // Invariant: no more than excessRatios
	process
}

func newExcess(g margin, b betting) excess {
	return excess{margin: g, ratios: excessRatios[:], process: newProcess(b, len(excessRatios))}
}

// fold bets on one closed bucket.
func (e *excess) fold(x exposure, seconds float64) {
	var ell [len(excessRatios)]float64
	for i, m := range e.ratios {
		ell[i] = e.ell(m, x)
	}
	e.process.fold(ell[:len(e.ratios)], seconds)
}

// patientRatios and patientBetting are of a second FAIL test of errors that stands in for the slow metric where that is off. It grows
// by no more than a fifth of a nat in a second, so that a burst is worth nothing to it that the first does not see, and
// spends its stake on what takes that one longest: faults of a few per cent, within twenty minutes.
var (
	patientRatios  = [...]float64{1.5, 2.5, 4, 8}
	patientBetting = betting{first: 0.6, horizon: 1200, burst: 2, refill: 0.2}
)

func newPatient(g margin) excess {
	return excess{margin: g, ratios: patientRatios[:], process: newProcess(patientBetting, len(patientRatios))}
}
