package verdict

import "math"

// margin is how much worse than the baseline the candidate's rate may be: up to ratio·baseline + worseBy.
type margin struct {
	ratio   float64
	worseBy float64 // a share of the requests, 0 to 1
}

// exposure is what one metric saw in one bucket: requests asked of each arm and how many of them were bad.
// The counts are whole numbers, exact up to 2^53.
//
// Invariant: 0 <= kc <= nc and 0 <= kb <= nb.
type exposure struct {
	nc, kc float64 // candidate
	nb, kb float64 // baseline
}

// ask counts one request of the arm.
func (x *exposure) ask(a Arm) {
	if a == Candidate {
		x.nc++
	} else {
		x.nb++
	}
}

// blame calls the request that was counted last a bad one.
func (x *exposure) blame(a Arm) {
	if a == Candidate {
		x.kc++
	} else {
		x.kb++
	}
}

// logStakes answers what a bet on the rate ratio ratio·m pays, given the exposures of a bucket: lnA for each bad candidate
// request, lnB for each bad baseline request, and a-1. Both arms must have been asked.
//
// For m > 1 a is above and b below 1; for m < 1 it is the other way round. a-1 is computed first and the logarithms
// from it: exp(lnA)-1 would lose eight digits where one arm is a billion times the other.
func logStakes(m, ratio, nc, nb float64) (lnA, lnB, aLess1 float64) {
	theta := ratio * m
	d := theta*nc + nb
	aLess1 = (m - 1) * nb / d
	bLess1 := (ratio - theta) * nc / d
	if math.Abs(bLess1) > 0.5 {
		return math.Log1p(aLess1), math.Log((ratio*nc + nb) / d), aLess1
	}
	return math.Log1p(aLess1), math.Log1p(bLess1), aLess1
}

// ell is the logarithm of one bucket's e-value: for m > 1 against "the candidate keeps to the margin", for m < 1 against
// "it is at least as bad as the margin". It is zero while an arm was not asked.
//
// Why its exponential has a mean of at most 1 (m > 1; for m < 1 all signs turn): with k independent requests
// E[a^kc] <= exp(nc·pc·(a-1)) and E[b^kb] <= exp(-nb·pb·(1-b)). Put pc <= ratio·pb + worseBy in: the exponent is at most
// pb·[ratio·nc·(a-1) - nb·(1-b)] + worseBy·nc·(a-1). The bracket is exactly zero, since both of its terms are
// (theta-ratio)·nc·nb/d, and the rest is what ell charges. So the baseline's rate is free in every bucket.
func (g margin) ell(m float64, x exposure) float64 {
	if x.nc == 0 || x.nb == 0 {
		return 0
	}
	lnA, lnB, aLess1 := logStakes(m, g.ratio, x.nc, x.nb)
	return x.kc*lnA + x.kb*lnB - g.worseBy*x.nc*aLess1
}

// oneArmedEll is the logarithm of one bucket's e-value with no baseline to compare with: for a > 1 against "the
// candidate's rate is at most limit", for a < 1 against "it is at least limit".
func oneArmedEll(a, limit float64, x exposure) float64 {
	return x.kc*math.Log(a) - limit*x.nc*(a-1)
}

// logAddExp is ln(e^x + e^y) without leaving the range of a float.
func logAddExp(x, y float64) float64 {
	if x < y {
		x, y = y, x
	}
	if math.IsInf(x, -1) {
		return x
	}
	return x + math.Log1p(math.Exp(y-x))
}
