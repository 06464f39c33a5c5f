package verdict

import (
	"math"
	"slices"
)

// The rules of others, as their documentation and sources state them, for the tables beside our own. They get every ten seconds what
// happened in them, which is as fine as any of them looks.

// peerTick is how many seconds a peer's count covers.
const peerTick = 10

// peer looks at a rollout once more and tells whether it takes the candidate back.
type peer interface {
	// look takes what happened in the last ticks; second counts from the first share. Exposures are kept by whoever calls.
	look(second int, seen []exposure, share float64) bool
}

// rule is a peer by its name, and as a column of a table.
type rule struct {
	name, short string
	new         func() peer
}

var peers = []rule{
	{"Argo Rollouts, 95 %, failureLimit 0", "argo .95 fl0", func() peer { return &argo{least: 0.95} }},
	{"Argo Rollouts, 95 %, failureLimit 3", "argo .95 fl3", func() peer { return &argo{least: 0.95, limit: 3} }},
	{"Argo Rollouts, 99 %, failureLimit 3", "argo .99 fl3", func() peer { return &argo{least: 0.99, limit: 3} }},
	{"Flagger, 99 %, 5 failed checks", "flagger .99", func() peer { return &flagger{least: 0.99, threshold: 5} }},
	{"Kayenta every 5 min", "kayenta 5min", func() peer { return &kayenta{every: 300} }},
	{"Kayenta every minute", "kayenta 1min", func() peer { return &kayenta{every: 60} }},
	{"Fisher p < .01 every 10 s", "fisher 10s", func() peer { return &fisher{} }},
}

// lastMinute adds up the candidate's last minute and tells whether its success rate was too low; nothing is no failure.
func lastMinute(seen []exposure, least float64) (bad bool) {
	var n, k float64
	for _, x := range seen[max(0, len(seen)-60/peerTick):] {
		n, k = n+x.nc, k+x.kc
	}
	return n > 0 && (n-k)/n < least
}

// argo measures the success rate of the last minute every minute, and fails when more than limit measurements failed.
type argo struct {
	least         float64
	limit, failed int
}

func (a *argo) look(second int, seen []exposure, _ float64) bool {
	if second%60 == 0 && lastMinute(seen, a.least) {
		a.failed++
	}
	return a.failed > a.limit
}

// flagger checks the same, and rolls back at the check after the one with which the failed ones reached the threshold. Successes
// do not reset them. The real one raises the share no further once a check failed; here the timeline is the same for all.
type flagger struct {
	least             float64
	threshold, failed int
}

func (f *flagger) look(second int, seen []exposure, _ float64) bool {
	if second%60 != 0 {
		return false
	}
	if f.failed >= f.threshold {
		return true
	}
	if lastMinute(seen, f.least) {
		f.failed++
	}
	return false
}

// kayenta compares the error rates of all minutes so far: Mann-Whitney with confidence 0.98, and the shift must be more than a quarter
// of its own estimate. It needs five minutes of both arms.
type kayenta struct {
	every               int
	candidate, baseline []float64
	minute              exposure
}

func (y *kayenta) look(second int, seen []exposure, share float64) bool {
	if share >= 1 {
		return false
	}
	x := seen[len(seen)-1]
	y.minute = exposure{nc: y.minute.nc + x.nc, kc: y.minute.kc + x.kc, nb: y.minute.nb + x.nb, kb: y.minute.kb + x.kb}
	if second%60 != 0 {
		return false
	}
	if y.minute.nc > 0 {
		y.candidate = append(y.candidate, y.minute.kc/y.minute.nc)
	}
	if y.minute.nb > 0 {
		y.baseline = append(y.baseline, y.minute.kb/y.minute.nb)
	}
	y.minute = exposure{}
	return second%y.every == 0 && len(y.candidate) >= 5 && len(y.baseline) >= 5 && higher(y.candidate, y.baseline)
}

// higher tells whether the confidence interval of the shift between two samples lies above the tolerance.
func higher(a, b []float64) bool {
	const normal98, tolerance = 2.3263478740408408, 0.25
	m, n := float64(len(a)), float64(len(b))
	shifts := make([]float64, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			shifts = append(shifts, x-y)
		}
	}
	slices.Sort(shifts)
	middle := len(shifts) / 2
	estimate := (shifts[middle] + shifts[(len(shifts)-1)/2]) / 2
	rank := max(0, int(m*n/2-0.5-normal98*math.Sqrt(m*n*(m+n+1)/12)))
	return shifts[rank] > tolerance*math.Abs(estimate)
}

// fisher asks the one-sided exact test of the step's counts every ten seconds, as if each look were the only one.
type fisher struct {
	share float64
	step  exposure
}

func (f *fisher) look(_ int, seen []exposure, share float64) bool {
	if share != f.share {
		f.share, f.step = share, exposure{}
	}
	x := seen[len(seen)-1]
	f.step = exposure{nc: f.step.nc + x.nc, kc: f.step.kc + x.kc, nb: f.step.nb + x.nb, kb: f.step.kb + x.kb}
	return share < 1 && fisherP(f.step) < 0.01
}

// fisherP is the chance of at least kc failures of the candidate when all kc+kb fall on the two arms by chance. Where the candidate
// fails no more often than stable it is at least a third, and 1 is answered.
func fisherP(x exposure) float64 {
	if x.kc*x.nb <= x.kb*x.nc || x.kc == 0 {
		return 1
	}
	k := x.kc + x.kb
	chance := math.Exp(logChoose(x.nc, x.kc) + logChoose(x.nb, x.kb) - logChoose(x.nc+x.nb, k))
	sum := 0.0
	for c := x.kc; c <= min(x.nc, k) && chance > 1e-9; c++ {
		sum += chance
		chance *= (x.nc - c) * (k - c) / ((c + 1) * (x.nb - k + c + 1))
	}
	return sum
}

func logChoose(n, k float64) float64 {
	a, _ := math.Lgamma(n + 1)
	b, _ := math.Lgamma(k + 1)
	c, _ := math.Lgamma(n - k + 1)
	return a - b - c
}
