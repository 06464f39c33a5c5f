package verdict

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// The same lines in the same order give the same result, however the source cut them into batches.
func TestBatchesDoNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 3))
		samples := make([]Sample, 3000)
		at := start
		for i := range samples {
			at = at.Add(time.Duration(random.IntN(60)) * time.Millisecond)
			samples[i] = Sample{At: at, Arm: Arm(random.IntN(2)), Bad: random.Float64() < 0.02}
		}
		whole, parts := NewJudge(noWarmUp()), NewJudge(noWarmUp())
		whole.Shift(start, 0.5)
		parts.Shift(start, 0.5)
		whole.Fold(Batch{Samples: samples, Now: at})
		for len(samples) > 0 {
			n := min(len(samples), 1+random.IntN(200))
			parts.Fold(Batch{Samples: samples[:n], Now: samples[n-1].At})
			parts.Advance(samples[n-1].At)
			samples = samples[n:]
		}
		require.Equal(t, whole.Result(), parts.Result())
	})
}

// Inside one bucket the order of lines matters to the runs of failures only.
func TestOrderInsideABucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 4))
		straight, shuffled := NewJudge(noWarmUp()), NewJudge(noWarmUp())
		straight.Shift(start, 0.5)
		shuffled.Shift(start, 0.5)
		for second := range 20 {
			at := start.Add(time.Duration(second)*time.Second + 500*time.Millisecond)
			samples := make([]Sample, 40)
			for i := range samples {
				samples[i] = Sample{At: at, Arm: Arm(i % 2), Bad: random.Float64() < 0.05}
			}
			now := at.Add(499 * time.Millisecond)
			straight.Fold(Batch{Samples: samples, Now: now})
			samples = slices.Clone(samples)
			random.Shuffle(len(samples), func(i, k int) { samples[i], samples[k] = samples[k], samples[i] })
			shuffled.Fold(Batch{Samples: samples, Now: now})
		}
		require.Equal(t, straight.Result(), shuffled.Result())
	})
}

func TestGapDropsTheOpenBucketAndTheRun(t *testing.T) {
	f := newFeed(noWarmUp(), 1).shift(0.5)
	bad := []Sample{{At: f.now.Add(400 * time.Millisecond), Arm: Candidate, Bad: true}, {At: f.now.Add(500 * time.Millisecond)}}
	f.Fold(Batch{Samples: bad, Now: f.now.Add(600 * time.Millisecond)})
	f.Fold(Batch{Gap: true, Now: f.now.Add(700 * time.Millisecond)})
	f.Advance(f.now.Add(10 * time.Second))
	require.Zero(t, f.evidence.step.buckets)
	require.Zero(t, f.total.run)
	require.Zero(t, f.severe.score)
}

// A bucket opens where the last one closed, waits for both arms, and at the full share for the candidate only.
func TestBuckets(t *testing.T) {
	second := func(n float64) time.Time { return start.Add(time.Duration(n * float64(time.Second))) }
	j := NewJudge(noWarmUp())
	j.Shift(start, 0.5)
	fold := func(n float64, arm Arm) {
		j.Fold(Batch{Samples: []Sample{{At: second(n), Arm: arm}}, Now: second(n)})
	}
	fold(0.2, Candidate)
	fold(5, Candidate)
	require.Zero(t, j.evidence.step.buckets, "stable was not asked")
	fold(7, Baseline)
	require.Equal(t, 1.0, j.evidence.step.buckets, "its first request closes the old bucket")
	require.Equal(t, 7.0, j.evidence.step.seconds)
	fold(7.3, Candidate)
	fold(7.4, Baseline)
	j.Advance(second(7.9))
	require.Equal(t, 1.0, j.evidence.step.buckets, "not a second old")
	j.Advance(second(12))
	require.Equal(t, 2.0, j.evidence.step.buckets, "the clock closes it")
	require.Equal(t, 8.0, j.evidence.step.seconds, "at the first moment that it could")
	j.Shift(second(13), 1)
	fold(13.5, Candidate)
	j.Advance(second(14))
	require.Equal(t, 1.0, j.evidence.step.buckets, "at the full share there is no baseline to wait for")
	fold(14+7200, Candidate)
	require.Equal(t, 601.0, j.evidence.step.seconds, "two hours count as ten minutes")
}

func TestUnhealthyBaseline(t *testing.T) {
	f := newFeed(noWarmUp(), 1).shift(0.5).serve(61*time.Second, 500, 0, 0)
	require.Equal(t, Passed, f.Result().Decision)
	second := func(requests, failures int) {
		f.now = f.now.Add(400 * time.Millisecond)
		batch := []Sample{{At: f.now, Arm: Candidate}}
		for i := range requests {
			batch = append(batch, Sample{At: f.now, Bad: i < failures})
		}
		f.Fold(Batch{Samples: batch, Now: f.now})
		f.idle(600 * time.Millisecond)
	}
	f.Fold(Batch{Gap: true, Now: f.now}) // a fresh bucket
	before := f.Result().LogPass
	second(9, 2)
	require.Equal(t, Passed, f.Result().Decision, "nine requests say nothing")
	second(10, 1)
	require.Equal(t, Passed, f.Result().Decision, "the ceiling is not above the ceiling")
	second(10, 2)
	require.Equal(t, "baseline-unhealthy", f.Result().Rule)
	require.GreaterOrEqual(t, f.Result().LogPass, before, "one bucket may be chance: the evidence stays")
	f.serve(31*time.Second, 100, 0, 0)
	require.Equal(t, Passed, f.Result().Decision)
	f.serve(20*time.Second, 500, 0.5, 0.5)
	require.Equal(t, "baseline-unhealthy", f.Result().Rule)
	require.Zero(t, f.Result().LogPass, "an outage is none: the evidence for a pass starts anew")
}

func TestSuspicionBlocksAPass(t *testing.T) {
	f := newFeed(noWarmUp(), 7).shift(0.5).serve(100*time.Second, 300, 0, 0)
	require.Equal(t, Passed, f.evidence.decide())
	for !f.evidence.suspicious() {
		f.burst(5)
	}
	require.True(t, f.evidence.assured())
	require.Equal(t, Undecided, f.evidence.decide())
}

func TestClockNeverStepsBack(t *testing.T) {
	f := newFeed(noWarmUp(), 1).shift(0.05).serve(10*time.Second, 100, 0, 0)
	f.now = f.now.Add(-20 * time.Second) // small: lines out of order
	f.serve(10*time.Second, 100, 0, 0)
	require.Equal(t, Undecided, f.Result().Decision)
	f.now = f.now.Add(-24 * time.Hour) // the host's clock is set back
	f.serve(5*time.Second, 300, 1, 0)
	require.Equal(t, "total-failure", f.Result().Rule, "a clock that was set back does not protect a broken release")

	f = newFeed(noWarmUp(), 1).shift(0.05)
	f.Fold(Batch{Samples: []Sample{{At: f.now.Add(50 * time.Second)}}, Now: f.now})
	f.serve(5*time.Second, 300, 1, 0)
	require.Equal(t, "total-failure", f.Result().Rule, "one line from the future does not move the clock")
}

// A straggler of the old stack that fails while it drains must not silence the only guard of the full share.
func TestStragglersDoNotSilenceTheCeiling(t *testing.T) {
	f := newFeed(noWarmUp(), 1).shift(0.5).serve(20*time.Second, 100, 0, 0).shift(1)
	f.Fold(Batch{Samples: []Sample{{At: f.now, Bad: true}}, Now: f.now})
	f.serve(60*time.Second, 50, 0.3, 0)
	require.Equal(t, Failed, f.Result().Decision, f.Result().Reason)
}
