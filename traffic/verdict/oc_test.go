package verdict

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The operating characteristics: what the judge does to thousands of made-up rollouts, beside the rules of others.
//
// Every rollout has the same timeline, whatever anybody thinks of it: 5 %, 20 % and 100 % for five minutes each. Requests come as
// a Poisson process and fail on their own. Nothing warms up.

// ocShares are the candidate's shares, stepSeconds the length of each.
var ocShares = [...]float64{0.05, 0.2, 1}

const (
	stepSeconds = 300
	wholeOC     = stepSeconds * len(ocShares)
)

// ocWorld is the law of a rollout: the rates at which both arms fail, and from which second on the candidate does.
type ocWorld struct {
	perSecond           float64
	baseline, candidate Fraction
	// onset is the second from which on the candidate fails at its own rate. Before, it is as good as stable.
	onset int
}

// ocCrowds are the draws of a world by step, before and after the onset.
type ocCrowds [len(ocShares)][2]crowd

func (w ocWorld) crowds(tick float64) (c ocCrowds) {
	for i, share := range ocShares {
		t := Traffic{PerSecond: w.perSecond * tick, ErrorRate: w.baseline}
		c[i] = [2]crowd{newSecond(t, share, w.baseline), newSecond(t, share, w.candidate)}
	}
	return c
}

// at is the draw of the second that begins then.
func (c *ocCrowds) at(second, onset int) *crowd {
	when := 0
	if second >= onset {
		when = 1
	}
	return &c[second/stepSeconds][when]
}

// fate is how a rollout ended.
type fate struct {
	// after is how many seconds after the onset it was reverted, or ended; below zero where it was reverted before.
	after int
	// failed are the candidate's failed requests from the onset on.
	failed   float64
	reverted bool
}

// ocConfig is what cutover does by default, without the warm-up that no peer has.
func ocConfig() Config {
	c := DefaultConfig()
	c.WarmUp = 0
	return c
}

// impatient is the same judge without the second test of errors, which shows what that is worth.
func impatient() *Judge {
	j := NewJudge(ocConfig())
	j.evidence.patient = nil
	return j
}

// judged plays one rollout before the judge that decides in earnest, or one less patient, up to its revert.
func (w ocWorld) judged(j *Judge, crowds *ocCrowds, draw func() float64) (f fate) {
	played := Played{judge: j, draw: draw}
	for second := range wholeOC {
		if second%stepSeconds == 0 {
			j.Shift(played.Now(), ocShares[second/stepSeconds])
		}
		from := played.now
		played.now = from.after(time.Second)
		seen := crowds.at(second, w.onset).requests(draw)
		if second >= w.onset {
			f.failed += seen.kc
		}
		// the runs of failures hang on the order of requests, which matters only where many fail
		if inOrder := w.candidate >= seldom && second >= w.onset; seen == (exposure{}) {
			j.Advance(played.Now())
		} else if inOrder {
			j.Fold(Batch{Samples: played.shuffled(from, seen), Now: played.Now()})
		} else {
			j.foldTick(from, played.now, seen)
		}
		if f.after = second + 1 - w.onset; j.convicted() {
			f.reverted = true
			return f
		}
	}
	return f
}

// watched plays one rollout before all peers.
func (w ocWorld) watched(crowds *ocCrowds, draw func() float64) []fate {
	fates, watchers := make([]fate, len(peers)), make([]peer, len(peers))
	for i, p := range peers {
		watchers[i] = p.new()
	}
	seen := make([]exposure, 0, wholeOC/peerTick)
	for second := 0; second < wholeOC; second += peerTick {
		share := ocShares[second/stepSeconds]
		x := crowds.at(second, w.onset).requests(draw)
		seen = append(seen, x)
		for i := range fates {
			f := &fates[i]
			if f.reverted {
				continue
			}
			if second >= w.onset {
				f.failed += x.kc
			}
			f.after = second + peerTick - w.onset
			f.reverted = watchers[i].look(second+peerTick, seen, share)
		}
	}
	return fates
}

// fates are those of many rollouts under one rule.
type fates []fate

// reverts is the share of all that were reverted, in percent.
func (f fates) reverts() float64 {
	n := 0
	for _, one := range f {
		if one.reverted {
			n++
		}
	}
	return 100 * float64(n) / float64(len(f))
}

// afterOnset leaves out what was reverted before anything was wrong.
func (f fates) afterOnset() fates {
	return slices.DeleteFunc(slices.Clone(f), func(one fate) bool { return one.after <= 0 })
}

// within is the time after the onset in which that part of all were reverted. Who never was counts with the time to the end.
func (f fates) within(part float64) float64 {
	return quantile(f, part, func(one fate) float64 { return float64(one.after) })
}

// failed is the median number of failed requests, by whoever is left to the end those to the end.
func (f fates) failed() float64 {
	return quantile(f, 0.5, func(one fate) float64 { return one.failed })
}

func quantile(f fates, part float64, of func(fate) float64) float64 {
	values := make([]float64, len(f))
	for i, one := range f {
		values[i] = of(one)
	}
	if len(values) == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return values[max(0, int(math.Ceil(part*float64(len(values))))-1)]
}

// ocCell is what came of one world.
type ocCell struct {
	ocWorld
	// ours and impatient are of the same requests, theirs of others.
	ours, impatient fates
	theirs          []fates // in the order of peers
}

// playAll fills the cells with so many rollouts each, on all cores. Each rollout has numbers of its own, whoever plays it.
func playAll(cells []ocCell, rollouts int) {
	for i := range cells {
		c := &cells[i]
		c.ours, c.impatient, c.theirs = make(fates, rollouts), make(fates, rollouts), make([]fates, len(peers))
		for p := range c.theirs {
			c.theirs[p] = make(fates, rollouts)
		}
	}
	const atOnce = 100
	each(len(cells)*rollouts/atOnce, func(n int) {
		c, first := &cells[n*atOnce/rollouts], n*atOnce%rollouts
		ours, theirs := c.crowds(1), c.crowds(peerTick)
		for r := first; r < first+atOnce; r++ {
			c.ours[r] = c.judged(NewJudge(ocConfig()), &ours, c.numbers("ours", r))
			c.impatient[r] = c.judged(impatient(), &ours, c.numbers("ours", r))
			for p, f := range c.watched(&theirs, c.numbers("theirs", r)) {
				c.theirs[p][r] = f
			}
		}
	})
}

// numbers are those of one rollout, of a stream of its own.
func (w ocWorld) numbers(stream string, rollout int) func() float64 {
	law := fnv.New64a()
	fmt.Fprint(law, w, stream)
	return rand.New(rand.NewPCG(law.Sum64(), uint64(rollout))).Float64
}

// each does all jobs on all cores.
func each(jobs int, do func(n int)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for n := next.Add(1); n <= int64(jobs); n = next.Add(1) {
				do(int(n - 1))
			}
		})
	}
	workers.Wait()
}
