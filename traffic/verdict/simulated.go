package verdict

import "time"

// Scene is made-up traffic of a release that fails at a rate of its own, for asking how a plan fares before anybody runs it.
type Scene struct {
	cfg     Config
	traffic Traffic
	fails   Fraction
	crowds  map[float64]crowd // by the candidate's share
}

// Scene prepares traffic in which the candidate fails the given part of its requests. The configuration must be valid.
func (c Config) Scene(t Traffic, candidateFails Fraction) *Scene {
	return &Scene{cfg: c, traffic: t, fails: candidateFails, crowds: map[float64]crowd{}}
}

// seldom is a rate of failures at which a total run of them is one chance in a hundred million.
const seldom = 0.1

// runs tells whether the order of requests can matter, so that each must be played; else the counts of a second will do. In a
// candidate no worse than stable no run of failures convicts.
func (s *Scene) runs() bool { return s.fails >= seldom && s.fails > s.traffic.ErrorRate }

// Play begins one rollout before the Judge that decides in earnest. draw gives numbers of even chance from 0 up to 1.
func (s *Scene) Play(draw func() float64) *Played {
	return &Played{scene: s, judge: NewJudge(s.cfg.errorsOnly()), draw: draw}
}

// Played is one simulated rollout. Its clock begins at 1970.
type Played struct {
	scene *Scene
	judge *Judge
	draw  func() float64
	crowd crowd
	now   moment
	hurt  int64
	// effort is what it has taken so far.
	effort float64
	lines  []Sample
}

// secondsEffort is what a second takes besides the requests that are played one by one, of which each takes 1.
const secondsEffort = 10

// Now is the time of the simulation.
func (p *Played) Now() time.Time { return time.Unix(0, int64(p.now)) }

// Hurt counts the candidate's failed requests so far.
func (p *Played) Hurt() int64 { return p.hurt }

// Effort is what playing it has taken so far, so that whoever plays many can bound it: ten million take about a second.
func (p *Played) Effort() float64 { return p.effort }

// Shift makes a share live.
func (p *Played) Shift(share float64) {
	known, made := p.scene.crowds[share]
	if !made {
		known = newSecond(p.scene.traffic, share, p.scene.fails)
		p.scene.crowds[share] = known
	}
	p.crowd = known
	p.judge.Shift(p.Now(), share)
}

// Second lets one second pass and gives the judge's decision with its rule, without the words and numbers, which would take
// longer than all else.
func (p *Played) Second() Result {
	from := p.now
	p.now = p.now.after(time.Second)
	seen := p.crowd.requests(p.draw)
	p.hurt += int64(seen.kc)
	p.effort += secondsEffort
	switch {
	case seen == (exposure{}):
		p.judge.Advance(p.Now())
	case p.scene.runs():
		p.judge.Fold(Batch{Samples: p.shuffled(from, seen), Now: p.Now()})
	default:
		p.judge.foldTick(from, p.now, seen)
	}
	if p.judge.convicted() {
		return p.judge.verdict
	}
	decision, rule := p.judge.standing()
	return Result{Decision: decision, Rule: rule}
}

// shuffled spreads a second's outcomes evenly over it, in an order by chance: the runs of failures hang on it.
func (p *Played) shuffled(from moment, x exposure) []Sample {
	p.lines = p.lines[:0]
	all := x.nc + x.nb
	gap := time.Duration(float64(time.Second) / (all + 1))
	left := [...]struct {
		n float64
		s Sample
	}{
		{x.nb - x.kb, Sample{Arm: Baseline}}, {x.nc - x.kc, Sample{Arm: Candidate}},
		{x.kc, Sample{Arm: Candidate, Bad: true}}, {x.kb, Sample{Arm: Baseline, Bad: true}},
	}
	for ; all > 0; all-- {
		from = from.after(gap)
		i, at := 0, p.draw()*all
		for i < len(left)-1 && at >= left[i].n {
			at -= left[i].n
			i++
		}
		left[i].n--
		p.effort++
		left[i].s.At = time.Unix(0, int64(from))
		p.lines = append(p.lines, left[i].s)
	}
	return p.lines
}

// newSecond is the traffic of one share in one second.
func newSecond(t Traffic, share float64, candidateFails Fraction) crowd {
	perSecond := upTo(busiest, t.PerSecond)
	return crowd{
		tick:      time.Second,
		candidate: newOutcomes(perSecond*share, candidateFails),
		baseline:  newOutcomes(perSecond*(1-share), t.ErrorRate),
	}
}
