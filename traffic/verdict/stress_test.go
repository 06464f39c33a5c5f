package verdict

import (
	"math"
	"math/rand/v2"
	"time"
)

// Rollouts in which the assumptions do not hold: the candidate is as good as stable, but requests do not fail independently.

const stressSeconds = 900

// stress is a law under which both arms' rates change from second to second, by chance or by the clock.
type stress struct {
	name      string
	perSecond float64
	// rates draws the rates of one rollout's seconds.
	rates func(*rand.Rand) []armRates
	// retried has each failed request come once more in the same second, to an arm by chance.
	retried bool
}

type armRates struct{ candidate, baseline float64 }

// shared is one rate of both arms.
func shared(rate func(second float64) float64) func(*rand.Rand) []armRates {
	return func(*rand.Rand) []armRates {
		all := make([]armRates, stressSeconds)
		for s := range all {
			r := rate(float64(s))
			all[s] = armRates{r, r}
		}
		return all
	}
}

// crashes let each arm fail totally twelve times an hour for so many seconds, each on its own; else nothing fails.
func crashes(length float64) func(*rand.Rand) []armRates {
	return func(random *rand.Rand) []armRates {
		all := make([]armRates, stressSeconds)
		arm := func(rate func(*armRates) *float64) {
			for at := random.ExpFloat64() * 300; at < stressSeconds; at += length + random.ExpFloat64()*300 {
				for s := int(at); s < stressSeconds && float64(s) < at+length; s++ {
					*rate(&all[s]) += min(at+length, float64(s+1)) - max(at, float64(s))
				}
			}
		}
		arm(func(r *armRates) *float64 { return &r.candidate })
		arm(func(r *armRates) *float64 { return &r.baseline })
		for s := range all {
			all[s].candidate, all[s].baseline = min(1, all[s].candidate), min(1, all[s].baseline)
		}
		return all
	}
}

// overdispersed arms fail at 1 % times a gamma variable of mean 1, each arm's its own, drawn anew after so many seconds.
func overdispersed(shape float64, lag int) func(*rand.Rand) []armRates {
	return func(random *rand.Rand) []armRates {
		all := make([]armRates, stressSeconds)
		for s := range all {
			if s%lag == 0 {
				all[s] = armRates{min(1, 0.01*gamma(random, shape)), min(1, 0.01*gamma(random, shape))}
			} else {
				all[s] = all[s-1]
			}
		}
		return all
	}
}

// gamma draws a variable of mean 1, for the shape 1 or 1/4.
func gamma(random *rand.Rand, shape float64) float64 {
	if shape == 1 {
		return random.ExpFloat64()
	}
	// Marsaglia and Tsang for shape + 1, and the power of an even chance that brings it down
	d := shape + 1 - 1.0/3
	for {
		x := random.NormFloat64()
		v := math.Pow(1+x/math.Sqrt(9*d), 3)
		if v > 0 && math.Log(1-random.Float64()) < x*x/2+d-d*v+d*math.Log(v) {
			return d * v * math.Pow(1-random.Float64(), 1/shape) / shape
		}
	}
}

func ramp(second float64) float64 { return 0.001 + (0.05-0.001)*second/stressSeconds }
func sine(second float64) float64 { return 0.05 - 0.05*math.Cos(2*math.Pi*second/120) }
func outageOf(second float64) float64 {
	if second >= 400 && second < 460 {
		return 0.6
	}
	return 0.001
}
func atBound(base float64) func(*rand.Rand) []armRates {
	return func(*rand.Rand) []armRates {
		all := make([]armRates, stressSeconds)
		for s := range all {
			all[s] = armRates{1.25*base + 0.001, base}
		}
		return all
	}
}

var stresses = []stress{
	{name: "shared drift 0.1 to 5 %", perSecond: 200, rates: shared(ramp)},
	{name: "shared sine 0 to 10 %", perSecond: 200, rates: shared(sine)},
	{name: "shared outage 60 %, 60 s", perSecond: 10, rates: shared(outageOf)},
	{name: "shared outage 60 %, 60 s", perSecond: 200, rates: shared(outageOf)},
	{name: "arm crashes 0.3 s", perSecond: 200, rates: crashes(0.3)},
	{name: "arm crashes 1 s", perSecond: 10, rates: crashes(1)},
	{name: "arm crashes 1 s", perSecond: 200, rates: crashes(1)},
	{name: "arm crashes 2 s", perSecond: 10, rates: crashes(2)},
	{name: "arm crashes 2 s", perSecond: 200, rates: crashes(2)},
	{name: "arm crashes 4 s", perSecond: 10, rates: crashes(4)},
	{name: "arm crashes 4 s", perSecond: 200, rates: crashes(4)},
	{name: "overdispersed shape 1, lag 1 s", perSecond: 200, rates: overdispersed(1, 1)},
	{name: "overdispersed shape 1, lag 5 s", perSecond: 200, rates: overdispersed(1, 5)},
	{name: "overdispersed shape 1/4, lag 1 s", perSecond: 200, rates: overdispersed(0.25, 1)},
	{name: "overdispersed shape 1/4, lag 5 s", perSecond: 200, rates: overdispersed(0.25, 5)},
	{name: "retries at the bound, 1 %", perSecond: 10, rates: atBound(0.01), retried: true},
	{name: "retries at the bound, 1 %", perSecond: 200, rates: atBound(0.01), retried: true},
	{name: "retries at the bound, 30 %", perSecond: 10, rates: atBound(0.3), retried: true},
	{name: "retries at the bound, 30 %", perSecond: 200, rates: atBound(0.3), retried: true},
}

// seconds draws what happens in each second of one rollout.
func (s *stress) seconds(random *rand.Rand, arrivals *[len(ocShares)][2]poisson) []exposure {
	all := make([]exposure, stressSeconds)
	if s.retried {
		all = all[:2*stepSeconds]
	}
	for second, r := range s.rates(random)[:len(all)] {
		step := second / stepSeconds
		p, x := &arrivals[step], &all[second]
		x.nc, x.nb = p[Candidate].count(random.Float64), p[Baseline].count(random.Float64)
		x.kc, x.kb = failures(random, x.nc, r.candidate), failures(random, x.nb, r.baseline)
		if s.retried {
			again := x.kc + x.kb
			toCandidate := failures(random, again, ocShares[step])
			x.nc, x.nb = x.nc+toCandidate, x.nb+again-toCandidate
			x.kc += failures(random, toCandidate, r.candidate)
			x.kb += failures(random, again-toCandidate, r.baseline)
		}
	}
	return all
}

// failures draws how many of n fail, by leaping from one failure to the next.
func failures(random *rand.Rand, n, rate float64) (k float64) {
	switch {
	case n == 0 || rate <= 0:
		return 0
	case rate >= 1:
		return n
	}
	scale := -1 / math.Log1p(-rate)
	for at := math.Floor(random.ExpFloat64() * scale); at < n; at += 1 + math.Floor(random.ExpFloat64()*scale) {
		k++
	}
	return k
}

func (s *stress) arrivals() (p [len(ocShares)][2]poisson) {
	for i, share := range ocShares {
		p[i] = [2]poisson{Baseline: newPoisson(s.perSecond * (1 - share)), Candidate: newPoisson(s.perSecond * share)}
	}
	return p
}

// calm is for how many seconds the order of requests is taken to matter after one in which nearly all failed: only those make a run of
// failures, and the first good answer ends it. The score of severe failures needs longer than any crash here lasts.
const calm = 10

// reverted tells whether a judge takes back a rollout in which that happens.
func reverted(j *Judge, seconds []exposure, draw func() float64) bool {
	played, inOrder := Played{judge: j, draw: draw}, 0
	for second, seen := range seconds {
		if second%stepSeconds == 0 {
			j.Shift(played.Now(), ocShares[second/stepSeconds])
		}
		from := played.now
		played.now = from.after(time.Second)
		if inOrder--; seen.kc > 0 && seen.kc >= 0.9*seen.nc {
			inOrder = calm
		}
		if seen == (exposure{}) {
			j.Advance(played.Now())
		} else if inOrder > 0 {
			j.Fold(Batch{Samples: played.shuffled(from, seen), Now: played.Now()})
		} else {
			j.foldTick(from, played.now, seen)
		}
		if j.convicted() {
			return true
		}
	}
	return false
}

// revertedBy tells the same of all peers.
func revertedBy(seconds []exposure) []bool {
	reverted, seen := make([]bool, len(peers)), make([]exposure, 0, len(seconds)/peerTick)
	watchers := make([]peer, len(peers))
	for i, p := range peers {
		watchers[i] = p.new()
	}
	for second := 0; second < len(seconds); second += peerTick {
		var x exposure
		for _, y := range seconds[second : second+peerTick] {
			x = exposure{nc: x.nc + y.nc, kc: x.kc + y.kc, nb: x.nb + y.nb, kb: x.kb + y.kb}
		}
		seen = append(seen, x)
		for i, w := range watchers {
			reverted[i] = reverted[i] || w.look(second+peerTick, seen, ocShares[second/stepSeconds])
		}
	}
	return reverted
}

// stressed counts the false reverts of so many rollouts, in percent: the judge's, those of the impatient one, and all peers'.
func (s *stress) stressed(seed uint64, rollouts int) []float64 {
	const atOnce = 100
	arrivals := s.arrivals()
	counts := make([][]float64, rollouts/atOnce)
	each(len(counts), func(n int) {
		counts[n] = make([]float64, 2+len(peers))
		for r := n * atOnce; r < (n+1)*atOnce; r++ {
			seconds := s.seconds(rand.New(rand.NewPCG(seed, uint64(r))), &arrivals)
			order := func() func() float64 { return rand.New(rand.NewPCG(seed+1, uint64(r))).Float64 }
			yes := append([]bool{reverted(NewJudge(ocConfig()), seconds, order()), reverted(impatient(), seconds, order())},
				revertedBy(seconds)...)
			for i := range yes {
				if yes[i] {
					counts[n][i]++
				}
			}
		}
	})
	all := make([]float64, 2+len(peers))
	for _, c := range counts {
		for i, k := range c {
			all[i] += 100 * k / float64(rollouts)
		}
	}
	return all
}
