package verdict

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var baselineRates = []float64{0, 0.001, 0.05, 1.0 / 3, 0.9, 1}

// At the margin, and inside it, no bet may have a mean above 1: on this all of the promise rests.
func TestMeanOfEllIsAtMostOne(t *testing.T) {
	worst, cases := 0.0, 0
	check := func(g margin, m, pc, pb float64) {
		for nc := 0.0; nc <= 6; nc++ {
			for nb := 0.0; nb <= 6; nb++ {
				e := mean(nc, pc, nb, pb, func(x exposure) float64 { return math.Exp(g.ell(m, x)) })
				require.LessOrEqual(t, e, 1+1e-12, "%+v m=%v pc=%v pb=%v nc=%v nb=%v", g, m, pc, pb, nc, nb)
				worst, cases = max(worst, e), cases+1
			}
		}
	}
	for _, pb := range baselineRates {
		for _, g := range []margin{{1, 0}, {1.25, 0.001}, {1.5, 0.01}} {
			for _, m := range excessRatios {
				bound := min(1, g.ratio*pb+g.worseBy)
				check(g, m, bound, pb)
				check(g, m, bound/2, pb)
			}
		}
		for _, g := range []margin{{1.5, 0.005}, {2, 0.02}} {
			bound := g.ratio*pb + g.worseBy
			if bound > 1 {
				continue // no rate is that bad: the null is empty
			}
			for _, m := range passRatios {
				check(g, m, bound, pb)
				check(g, m, (bound+1)/2, pb)
			}
		}
	}
	require.Greater(t, cases, 6000)
	require.InDelta(t, 1, worst, 1e-12, "the bound is sharp")
}

func TestMeanOfOneArmedEllIsAtMostOne(t *testing.T) {
	for _, limit := range []float64{0.01, 0.1, 0.5} {
		for n := 0.0; n <= 8; n++ {
			at := func(p, a float64) float64 {
				return mean(n, p, 0, 0, func(x exposure) float64 { return math.Exp(oneArmedEll(a, limit, x)) })
			}
			for _, a := range ceilingFactors {
				require.LessOrEqual(t, at(limit, a), 1+1e-12)
				require.LessOrEqual(t, at(limit/2, a), 1+1e-12)
			}
			for _, a := range passRatios {
				require.LessOrEqual(t, at(limit, a), 1+1e-12)
				require.LessOrEqual(t, at((1+limit)/2, a), 1+1e-12)
			}
		}
	}
}

// After three buckets, over every path of outcomes, with tokens and start mixture on. The wanted figures are those of an
// independent implementation with a horizon of four buckets.
func TestMeanOfEvidenceIsAtMostOne(t *testing.T) {
	short := standardBetting
	short.horizon = 4
	require.InDelta(t, 0.991, meanOfThreeBuckets(short, 0.05), 0.0005)
	require.InDelta(t, 0.570, meanOfThreeBuckets(short, 0.5), 0.0005)
	for _, pb := range baselineRates {
		require.LessOrEqual(t, meanOfThreeBuckets(short, pb), 1+1e-12, "pb=%v", pb)
		require.LessOrEqual(t, meanOfThreeBuckets(standardBetting, pb), 1+1e-12, "pb=%v", pb)
	}
}

// meanOfThreeBuckets is the exact mean of M after three buckets of two candidate and three baseline requests, at the margin.
func meanOfThreeBuckets(b betting, pb float64) (sum float64) {
	g := margin{1.25, 0.001}
	pc := min(1, g.ratio*pb+g.worseBy)
	var walk func(test excess, chance float64, left int)
	walk = func(test excess, chance float64, left int) {
		if left == 0 {
			sum += chance * math.Exp(test.logM())
			return
		}
		for kc := 0.0; kc <= 2; kc++ {
			for kb := 0.0; kb <= 3; kb++ {
				next := test
				next.components = slices.Clone(test.components)
				next.fold(exposure{nc: 2, kc: kc, nb: 3, kb: kb}, 1)
				walk(next, chance*binomial(2, kc, pc)*binomial(3, kb, pb), left-1)
			}
		}
	}
	walk(newExcess(g, b), 1, 3)
	return sum
}

// anyExposure draws one bucket with both arms asked.
func anyExposure(t *rapid.T) exposure {
	nc, nb := rapid.IntRange(1, 400).Draw(t, "nc"), rapid.IntRange(1, 400).Draw(t, "nb")
	kc, kb := rapid.IntRange(0, nc).Draw(t, "kc"), rapid.IntRange(0, nb).Draw(t, "kb")
	return exposure{nc: float64(nc), kc: float64(kc), nb: float64(nb), kb: float64(kb)}
}

func TestEllFollowsTheOutcomes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := anyExposure(t)
		g := margin{1 + rapid.Float64Range(0, 1).Draw(t, "ratio"), rapid.Float64Range(0, 0.05).Draw(t, "worse by")}
		m := rapid.SampledFrom(excessRatios[:]).Draw(t, "m")
		worse, shared := x, x
		worse.kc++
		shared.kb++
		require.Greater(t, g.ell(m, worse), g.ell(m, x), "a bad candidate request must count against it")
		require.Less(t, g.ell(m, shared), g.ell(m, x), "a bad baseline request must count for it")
		if x.kc*x.nb <= g.ratio*x.nc*x.kb {
			require.LessOrEqual(t, g.ell(m, x), 1e-9, "no worse than allowed is no evidence against it")
		}
		clean := exposure{nc: x.nc, nb: x.nb}
		require.LessOrEqual(t, g.ell(m, clean), 0.0)
		for _, m := range passRatios {
			require.GreaterOrEqual(t, g.ell(m, clean), 0.0)
			require.Less(t, g.ell(m, worse), g.ell(m, x))
			require.Greater(t, g.ell(m, shared), g.ell(m, x))
		}
	})
}

func logAfter(b betting, buckets []exposure) float64 {
	e := newExcess(margin{1.25, 0.001}, b)
	for _, x := range buckets {
		e.fold(x, 1)
	}
	return e.logM()
}

func TestOrderOfBuckets(t *testing.T) {
	free := betting{first: 1, horizon: 3600, burst: math.Inf(1), refill: math.Inf(1)}
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 12).Draw(t, "buckets")
		buckets := make([]exposure, n)
		for i := range buckets {
			buckets[i] = anyExposure(t)
		}
		turned := rapid.Permutation(buckets).Draw(t, "permuted")
		want := logAfter(free, buckets)
		require.InDelta(t, want, logAfter(free, turned), 1e-9*max(1, math.Abs(want)), "without tokens and start mixture order is nothing")
	})
	clean, fault := exposure{nc: 20, nb: 80}, exposure{nc: 20, kc: 6, nb: 80}
	together, apart := []exposure{clean, clean, fault, fault}, []exposure{fault, clean, clean, fault}
	withTokens := betting{first: 1, horizon: 3600, burst: 2.5, refill: 1}
	withStarts := betting{first: 0.5, horizon: 3600, burst: math.Inf(1), refill: math.Inf(1)}
	require.Greater(t, math.Abs(logAfter(withTokens, together)-logAfter(withTokens, apart)), 0.01)
	require.Greater(t, math.Abs(logAfter(withStarts, together)-logAfter(withStarts, apart)), 1e-4)
}

func TestMoreErrorsAreMoreEvidence(t *testing.T) {
	noTokens := betting{first: 0.5, horizon: 3600, burst: math.Inf(1), refill: math.Inf(1)}
	rapid.Check(t, func(t *rapid.T) {
		buckets := make([]exposure, rapid.IntRange(1, 10).Draw(t, "buckets"))
		for i := range buckets {
			buckets[i] = anyExposure(t)
		}
		before := logAfter(noTokens, buckets)
		i := rapid.IntRange(0, len(buckets)-1).Draw(t, "worse bucket")
		if buckets[i].kc == buckets[i].nc {
			return
		}
		buckets[i].kc++
		require.GreaterOrEqual(t, logAfter(noTokens, buckets), before)
	})
}

func TestStakesAddUpToOne(t *testing.T) {
	for _, b := range []betting{standardBetting, {first: 0.5, horizon: 60}, {first: 1, horizon: 3600}, {first: 0.1, horizon: 7}} {
		p := newProcess(b, 1)
		invested := 0.0
		require.Equal(t, 1.0, p.uninvested())
		for range b.horizon + 50 {
			p.fold([]float64{0}, 1)
			invested += p.stake(p.buckets)
			require.InDelta(t, 1, invested+p.uninvested(), 1e-9, "bucket %d of %+v", p.buckets, b)
		}
		require.Zero(t, p.uninvested(), "after the horizon all is invested")
		require.InDelta(t, 0, p.logM(), 1e-9, "bets that never moved are worth what they were")
	}
}

func TestNumbersStayFinite(t *testing.T) {
	e := newEvidence(newTuning(DefaultConfig()))
	for _, x := range []exposure{{nc: 1e9, nb: 1}, {nc: 1, kc: 1, nb: 1e9, kb: 1e9}, {nc: 1e9, kc: 1e9, nb: 1e9}, {nc: 1, nb: 1}} {
		for range 5000 {
			e.fold(bucket{errors: x, seconds: 600})
		}
		for _, v := range []float64{e.logM(), e.logPass(), e.errors.logM(), e.ceiling.logM()} {
			require.False(t, math.IsNaN(v) || math.IsInf(v, 0), "%+v: %v", x, v)
		}
		require.Positive(t, e.needed(1))
	}
}

func TestCeilingAtTheFullShare(t *testing.T) {
	for _, c := range []struct {
		name   string
		stable Tally
		want   float64
	}{
		{"no baseline keeps the ceiling", Tally{}, 0.1},
		{"a clean baseline lowers it to 1 %", Tally{Requests: 100000}, 0.01},
		{"a baseline of 2 % lowers it to three times that", Tally{Requests: 10000, Errors: 197}, 0.06},
		{"a bad baseline does not raise it", Tally{Requests: 1000, Errors: 300}, 0.1},
		{"a short baseline proves little", Tally{Requests: 100}, 0.09},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEvidence(newTuning(DefaultConfig()))
			e.fold(bucket{errors: exposure{nc: 1, nb: 10, kb: 10}, seconds: 1})
			e.enter(1, c.stable)
			require.InDelta(t, c.want, e.ceiling.limit, 1e-12)
			require.Zero(t, e.ceiling.baselines)
			e.enter(0.5, Tally{})
			e.enter(1, Tally{Requests: 1e9})
			require.InDelta(t, c.want, e.ceiling.limit, 1e-12, "it is lowered once")
		})
	}
}

func TestCeilingForgetsTheBaseline(t *testing.T) {
	c := newCeiling(0.1, standardBetting)
	c.fold(exposure{nc: 1, nb: 100, kb: 30}, 1)
	require.True(t, c.baselineOver(0.1))
	c.fold(exposure{nc: 1}, 20)
	require.InDelta(t, 50, c.baselines, 1e-12, "half of it in twenty seconds")
	require.InDelta(t, 15, c.baselinesBad, 1e-12)
	c.fold(exposure{nc: 1, nb: 1000}, 1)
	require.False(t, c.baselineOver(0.1))
}

// The figures of the design's own simulation: a pass of a clean 5 % canary takes about 784 requests.
func TestNeededFromAFreshStart(t *testing.T) {
	e := newEvidence(newTuning(DefaultConfig()))
	e.enter(0.05, Tally{})
	fresh := e.needed(19)
	require.InDelta(t, 784, fresh, 20)
	for range 100 {
		e.fold(bucket{errors: exposure{nc: 5, nb: 95}, seconds: 1})
	}
	require.InDelta(t, float64(fresh), e.needed(19), 2, "clean requests bring a pass no nearer and no further than foretold")
	e.fold(bucket{errors: exposure{nc: 5, kc: 1, nb: 95}, seconds: 1})
	require.Greater(t, e.needed(19), fresh+100, "a bad one costs")
	e.enter(1, Tally{Requests: 10000})
	require.Equal(t, 0.01, e.ceiling.limit)
	require.InDelta(t, 390, e.needed(1), 20)
}

func TestNeededIsWhenItPasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share := rapid.SampledFrom([]float64{0.05, 0.2, 0.5, 1}).Draw(t, "share")
		perSecond := rapid.IntRange(1, 300).Draw(t, "candidate requests per second")
		e := newEvidence(newTuning(DefaultConfig()))
		e.enter(share, Tally{Requests: 1e6})
		b := bucket{errors: exposure{nc: float64(perSecond), nb: math.Round(float64(perSecond) * (1 - share) / share)}, seconds: 1}
		e.fold(b)
		foretold := float64(e.needed(b.errors.nb / b.errors.nc))
		for !e.assured() {
			e.fold(b)
		}
		require.InDelta(t, foretold, e.step.candidates, float64(perSecond)+1)
	})
}
