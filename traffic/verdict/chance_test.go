package verdict

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// chance is a simulated rollout: Poisson-like traffic, every request failing on its own.
type chance struct {
	random    *rand.Rand
	perSecond float64
	baseline  float64 // rate of failures
	candidate float64
	until     Decision // ends a step when it is reached; a failure always does
	// route sorts a request into a route and may change its rate of failures; nil sorts none.
	route func(a Arm, rate float64) (uint8, float64)
}

// step lets one share be judged for some time and answers the decision at its end.
func (c chance) step(j *Judge, from time.Time, share float64, d time.Duration) Decision {
	j.Shift(from, share)
	var batch []Sample
	at := from
	for second := time.Second; second <= d; second += time.Second {
		batch = batch[:0]
		for {
			at = at.Add(time.Duration(c.random.ExpFloat64() / c.perSecond * float64(time.Second)))
			if at.Sub(from) > second {
				break
			}
			s, rate := Sample{At: at}, c.baseline
			if c.random.Float64() < share {
				s.Arm, rate = Candidate, c.candidate
			}
			if c.route != nil {
				s.Route, rate = c.route(s.Arm, rate)
			}
			s.Bad = c.random.Float64() < rate
			batch = append(batch, s)
		}
		j.Fold(Batch{Samples: batch, Now: from.Add(second)})
		if j.convicted() {
			return Failed
		}
		if c.until != "" && j.Result().Decision == c.until {
			return c.until
		}
	}
	return j.Result().Decision
}

// The promise itself: a candidate that is exactly as bad as the margin allows is reverted in at most 1 % of the rollouts.
func TestFalseRevertsAtTheMargin(t *testing.T) {
	const rollouts = 2000
	reverts := 0
	for n := range rollouts {
		base := []float64{0, 0.001, 0.01, 0.05}[n%4]
		c := chance{random: rand.New(rand.NewPCG(20, uint64(n))), perSecond: 40, baseline: base, candidate: 1.25*base + 0.001}
		j := NewJudge(noWarmUp())
		c.step(j, start, 0.05, 15*time.Second)
		if c.step(j, start.Add(15*time.Second), 0.5, 15*time.Second) == Failed {
			reverts++
		}
	}
	t.Logf("%d of %d reverted", reverts, rollouts)
	require.LessOrEqual(t, float64(reverts), atMost(0.01, rollouts))
}

// A candidate that is exactly as bad as the pass margin passes in at most 5 % of the steps, looked at every second.
func TestFalsePassesAtTheMargin(t *testing.T) {
	const steps = 200
	passes := 0
	for n := range steps {
		base := []float64{0, 0.01}[n%2]
		c := chance{random: rand.New(rand.NewPCG(23, uint64(n))), perSecond: 60, baseline: base, candidate: 1.5*base + 0.005, until: Passed}
		if c.step(NewJudge(noWarmUp()), start, 0.5, 2*time.Minute) == Passed {
			passes++
		}
	}
	t.Logf("%d of %d passed", passes, steps)
	require.LessOrEqual(t, float64(passes), atMost(0.05, steps))
}

// atMost is the expected number of events plus three standard deviations.
func atMost(rate, n float64) float64 { return rate*n + 3*math.Sqrt(rate*(1-rate)*n) }

// And what it costs: the times within which 95 % of faulty releases were reverted in the design's simulation (fault
// from the first request, 5 % share), with room for a small sample.
func TestTimeToRevert(t *testing.T) {
	for _, c := range []struct {
		perSecond, baseline, candidate float64
		within                         time.Duration
	}{
		{10, 0.001, 1, 17 * time.Second},
		{10, 0.001, 0.5, 32 * time.Second},
		{50, 0.001, 1, 5 * time.Second},
		{50, 0.001, 0.5, 9 * time.Second},
		{50, 0.001, 0.1, 39 * time.Second},
		{50, 0.01, 0.5, 10 * time.Second},
		{500, 0.001, 0.05, 12 * time.Second},
		{500, 0.01, 0.1, 10 * time.Second},
	} {
		const rollouts = 40
		late := 0
		for n := range rollouts {
			world := chance{random: rand.New(rand.NewPCG(21, uint64(n))), perSecond: c.perSecond, baseline: c.baseline, candidate: c.candidate}
			if world.step(NewJudge(noWarmUp()), start, 0.05, c.within+time.Second) != Failed {
				late++
			}
		}
		require.LessOrEqual(t, late, 6, "%+v: 2 of 40 are expected to be late", c)
	}
}

// A healthy release passes in the times of the design's simulation, also where stable's own errors make single buckets
// of it look unhealthy.
func TestTimeToPass(t *testing.T) {
	for _, c := range []struct {
		perSecond, share, rate float64
		within                 time.Duration
	}{
		{500, 0.5, 0.01, 61 * time.Second},
		{50, 0.2, 0, 90 * time.Second},
		{50, 0.2, 0.001, 240 * time.Second},
		{50, 0.05, 0.05, 900 * time.Second},
	} {
		const rollouts = 12
		passed := 0
		for n := range rollouts {
			world := chance{random: rand.New(rand.NewPCG(22, uint64(n))), perSecond: c.perSecond, baseline: c.rate, candidate: c.rate, until: Passed}
			if world.step(NewJudge(noWarmUp()), start, c.share, c.within) == Passed {
				passed++
			}
		}
		t.Logf("%+v: %d of %d passed", c, passed, rollouts)
		require.GreaterOrEqual(t, passed, rollouts/2, "%+v", c)
	}
}

// secondOfTraffic is a batch as a busy site gives it, all well.
func secondOfTraffic(requests int) []Sample {
	samples := make([]Sample, requests)
	for i := range samples {
		samples[i].Arm = Arm(i % 2)
	}
	return samples
}

func foldSecond(j *Judge, samples []Sample, now time.Time) time.Time {
	gap := time.Second / time.Duration(len(samples))
	for i := range samples {
		now = now.Add(gap)
		samples[i].At = now
	}
	j.Fold(Batch{Samples: samples, Now: now})
	j.Advance(now)
	return now
}

func TestFoldDoesNotAllocate(t *testing.T) {
	j := NewJudge(noWarmUp())
	j.Shift(start, 0.5)
	samples, now := secondOfTraffic(500), start
	require.Zero(t, testing.AllocsPerRun(100, func() { now = foldSecond(j, samples, now) }))
}

func BenchmarkFold(b *testing.B) {
	j := NewJudge(noWarmUp())
	j.Shift(start, 0.5)
	samples, now := secondOfTraffic(1000), start
	b.ReportAllocs()
	for b.Loop() {
		now = foldSecond(j, samples, now)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(samples)), "ns/request")
}

func BenchmarkResult(b *testing.B) {
	j := NewJudge(noWarmUp())
	j.Shift(start, 0.05)
	foldSecond(j, secondOfTraffic(1000), start)
	for b.Loop() {
		j.Result()
	}
}
