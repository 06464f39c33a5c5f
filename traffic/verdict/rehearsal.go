package verdict

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// rehearsal is one simulated rollout.
type rehearsal struct {
	judge *Judge
	now   moment // by the simulated clock, which begins at 0
	draw  func() float64
}

// rollout plays all steps, each to the moment when the plan goes on, with a person's leave where the evidence did not
// suffice. It adds the time of each pass to times, and answers how long the rollout took; 0 if it took such leave.
func (r *rehearsal) rollout(steps []ForecastStep, crowds []crowd, times []record) time.Duration {
	began, unaided := r.now, true
	for i, s := range steps {
		passed := r.step(s, crowds[i])
		times[i].add(passed)
		if r.judge.convicted() {
			return 0
		}
		unaided = unaided && passed > 0
	}
	if !unaided {
		return 0
	}
	return r.now.since(began)
}

// step plays one share to the moment when the plan goes on, and answers when it first passed; 0 if it did not in time.
func (r *rehearsal) step(s ForecastStep, c crowd) (passed time.Duration) {
	began := r.now
	r.judge.Shift(time.Unix(0, int64(began)), s.Share)
	for live := c.tick; live <= r.judge.cfg.deadline(s); live += c.tick {
		tick := r.now
		r.now = began.after(live)
		seen := c.requests(r.draw)
		if seen == (exposure{}) {
			continue
		}
		r.judge.foldTick(tick, r.now, seen)
		if r.judge.convicted() {
			return passed
		}
		if passed > 0 && live < s.Soak || !r.passes() {
			continue
		}
		passed = cmp.Or(passed, live)
		if live >= s.Soak {
			return passed
		}
	}
	return passed
}

// passes asks the evidence first: to word a whole result each second would take longer than all else.
func (r *rehearsal) passes() bool {
	return r.judge.evidence.decide() == Passed && r.judge.Result().Decision == Passed
}

// foldTick takes the counts of a stretch of time at its end, as Fold takes its lines one by one. The runs of failures are
// not asked: they hang on the order of single requests, and a candidate as good as stable has none that convicts.
func (j *Judge) foldTick(from, at moment, x exposure) {
	j.lastLine = j.clock.advance(at)
	j.unanswered += int64(x.nb)
	if x.nc > 0 {
		j.unanswered = 0
	}
	if from >= j.countFrom {
		j.open.errors = exposure{
			nc: j.open.errors.nc + x.nc, kc: j.open.errors.kc + x.kc,
			nb: j.open.errors.nb + x.nb, kb: j.open.errors.kb + x.kb,
		}
		for arm, seen := range [2]Tally{Baseline: {int64(x.nb), int64(x.kb)}, Candidate: {int64(x.nc), int64(x.kc)}} {
			j.step[arm].add(seen)
			j.rollout[arm].add(seen)
		}
	}
	j.closeDue(at)
}

func (t *Tally) add(more Tally) {
	t.Requests += more.Requests
	t.Errors += more.Errors
}

const (
	// busiest bounds the simulated traffic, in requests a second: far below it every pass takes its least time.
	busiest = 1e6
	// ticksPerRequest is how finely the gap between two requests of the candidate is simulated where it is long, and
	// longestTick bounds a tick, lest it hide a silence that blinds.
	ticksPerRequest = 20
	longestTick     = 10 * time.Second
)

// crowd is the traffic of one share: how many requests of each arm end well and badly in a tick, which is a second, like
// the judge's buckets, or more where requests are rare. Requests that come as a Poisson process and are sorted by chance
// make a Poisson process of each sort, independent of the others.
type crowd struct {
	tick                time.Duration
	candidate, baseline outcomes
}

type outcomes struct{ good, bad poisson }

// newCrowd splits the traffic by the share; the candidate fails by a rate of its own.
func newCrowd(t Traffic, candidatesShare float64, candidateFails Fraction) crowd {
	perSecond, share := upTo(busiest, t.PerSecond), upTo(1, candidatesShare)
	gap := time.Duration(min(1e6, 1/(perSecond*share)) * float64(time.Second))
	tick := min(longestTick, max(time.Second, (gap/ticksPerRequest).Truncate(time.Second)))
	inTick := perSecond * tick.Seconds()
	return crowd{
		tick:      tick,
		candidate: newOutcomes(inTick*share, candidateFails),
		baseline:  newOutcomes(inTick*(1-share), t.ErrorRate),
	}
}

func newOutcomes(requests float64, fails Fraction) outcomes {
	rate := upTo(1, float64(fails))
	return outcomes{good: newPoisson(requests * (1 - rate)), bad: newPoisson(requests * rate)}
}

// upTo brings a number between 0 and most; what was divided by nothing counts as 0.
func upTo(most, x float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return min(most, max(0, x))
}

// requests draws the outcomes of one tick.
func (c *crowd) requests(draw func() float64) (x exposure) {
	x.kc, x.kb = c.candidate.bad.count(draw), c.baseline.bad.count(draw)
	x.nc, x.nb = x.kc+c.candidate.good.count(draw), x.kb+c.baseline.good.count(draw)
	return x
}

// poisson draws the number of events in a tick. below[i] is the chance of at most least+i.
type poisson struct {
	least float64
	below []float64
}

// newPoisson tabulates all numbers within nine standard deviations of the mean.
func newPoisson(mean float64) poisson {
	if mean == 0 {
		return poisson{below: []float64{1}}
	}
	reach := 9*math.Sqrt(mean) + 9
	p := poisson{least: math.Floor(max(0, mean-reach))}
	logFactorial, _ := math.Lgamma(p.least + 1)
	chance, below := math.Exp(p.least*math.Log(mean)-mean-logFactorial), 0.0
	for n := p.least; n <= mean+reach; n++ {
		below += chance
		p.below = append(p.below, below)
		chance *= mean / (n + 1)
	}
	return p
}

func (p *poisson) count(draw func() float64) float64 {
	i, _ := slices.BinarySearch(p.below, draw())
	return p.least + float64(min(i, len(p.below)-1))
}
