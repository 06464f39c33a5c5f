package verdict

import "math"

// passRatios are the effects that the PASS test bets on: the candidate's rate as a part of what the pass margin allows.
var passRatios = [...]float64{0.01, 0.1, 0.3, 0.6, 0.8}

// passCap is the most that one bucket may add, in nats: a crash of stable, which makes the candidate look good, must not
// buy a pass, and no pass takes fewer than twelve buckets.
const passCap = 0.25

// assurance is the PASS test of one metric: evidence against "the candidate is at least as bad as the pass margin".
// It is reset at every step and has no start mixture: a pass speaks for the whole step.
type assurance struct {
	margin
	cap  float64
	logP [len(passRatios)]float64
}

// reset forgets all evidence.
func (a *assurance) reset() { a.logP = [len(passRatios)]float64{} }

// fold bets on one closed bucket, candidate against baseline.
func (a *assurance) fold(x exposure) {
	for i, m := range passRatios {
		a.logP[i] += min(a.ell(m, x), a.cap)
	}
}

// foldAlone bets on one closed bucket at the full share, candidate against a limit.
func (a *assurance) foldAlone(x exposure, limit float64) {
	for i, m := range passRatios {
		a.logP[i] += min(oneArmedEll(m, limit, x), a.cap)
	}
}

// log is the logarithm of the evidence; 0 at the start.
func (a *assurance) log() float64 { return logMeanExp(&a.logP) }

// cleanGain is what one clean candidate request adds to each bet while the baseline answers perCandidate requests.
func (a *assurance) cleanGain(perCandidate float64) (gain [len(passRatios)]float64) {
	for i, m := range passRatios {
		gain[i] = a.ell(m, exposure{nc: 1, nb: perCandidate})
	}
	return gain
}

// cleanGainAlone is what one clean candidate request adds to each bet at the full share.
func (a *assurance) cleanGainAlone(limit float64) (gain [len(passRatios)]float64) {
	for i, m := range passRatios {
		gain[i] = oneArmedEll(m, limit, exposure{nc: 1})
	}
	return gain
}

// mostMissing ends the search for how many requests a pass still takes.
const mostMissing = 1 << 40

// missing is how many more clean candidate requests bring the evidence to logGoal, when each adds gain and so many of
// them share one bucket and its cap.
func (a *assurance) missing(logGoal float64, gain [len(passRatios)]float64, perBucket float64) int64 {
	reached := func(n int64) bool {
		after := a.logP
		for i := range after {
			after[i] += float64(n) * min(gain[i], a.cap/perBucket)
		}
		return logMeanExp(&after) >= logGoal
	}
	few, enough := int64(-1), int64(0)
	for !reached(enough) && enough < mostMissing {
		few, enough = enough, 2*enough+1
	}
	for enough-few > 1 {
		if middle := few + (enough-few)/2; reached(middle) {
			enough = middle
		} else {
			few = middle
		}
	}
	return enough
}

func logMeanExp(logs *[len(passRatios)]float64) float64 {
	top := logs[0]
	for _, l := range logs {
		top = max(top, l)
	}
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(l - top)
	}
	return top + math.Log(sum/float64(len(logs)))
}
