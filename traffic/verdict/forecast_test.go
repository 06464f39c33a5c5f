package verdict

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// usualPlan is 5 → 20 → 100 %, ten minutes each, with the bake at the end.
var usualPlan = []ForecastStep{{0.05, 10 * time.Minute}, {0.2, 10 * time.Minute}, {1, 20 * time.Minute}}

func drawFrom(seed uint64) func() float64 { return rand.New(rand.NewPCG(seed, 31)).Float64 }

// patient gives up a step only after so long.
func patient(after time.Duration) Config {
	cfg := noWarmUp()
	cfg.Inconclusive.After = after
	return cfg
}

// rehearse plays a lone step as the forecast does.
func rehearse(cfg Config, t Traffic, share float64, times int) record {
	var all record
	draw := drawFrom(32)
	for range times {
		r := rehearsal{judge: NewJudge(cfg), draw: draw}
		all.add(r.step(ForecastStep{Share: share}, newCrowd(t, share, t.ErrorRate)))
	}
	return all
}

// by is the part of all that got there in a time.
func (r record) by(limit time.Duration) float64 {
	n := 0
	for _, took := range r.times {
		if took <= limit {
			n++
		}
	}
	return float64(n) / float64(r.all)
}

// requireTimes wants half of the rehearsals within the median and 95 % within p95, and neither much earlier.
func requireTimes(t *testing.T, r record, median, p95 time.Duration, slack float64) {
	t.Helper()
	longer := func(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }
	off := 3 * math.Sqrt(0.25/float64(r.all))
	require.GreaterOrEqual(t, r.by(longer(median, 1+slack)), 0.5-off)
	require.LessOrEqual(t, r.by(longer(median, 1-slack)), 0.5+off)
	off = 3 * math.Sqrt(0.05*0.95/float64(r.all))
	require.GreaterOrEqual(t, r.by(longer(p95, 1+slack)), 0.95-off)
	require.LessOrEqual(t, r.by(longer(p95, 1-slack)), 0.95+off)
}

// The table of times to a pass that an independent simulation measured for the same method.
var passTimes = []struct {
	share       float64
	rate        Fraction
	perSecond   float64
	median, p95 time.Duration
}{
	{0.05, 0, 10, 1569 * time.Second, 1659 * time.Second},
	{0.05, 0, 50, 313 * time.Second, 331 * time.Second},
	{0.05, 0.001, 50, 274 * time.Second, 808 * time.Second},
	{0.05, 0.01, 50, 458 * time.Second, 1204 * time.Second},
	{0.05, 0.01, 500, 67 * time.Second, 134 * time.Second},
	{0.2, 0, 10, 403 * time.Second, 425 * time.Second},
	{0.2, 0.001, 10, 406 * time.Second, 1180 * time.Second},
	{0.2, 0.001, 50, 80 * time.Second, 223 * time.Second},
	{0.2, 0.01, 50, 190 * time.Second, 392 * time.Second},
	{0.5, 0.001, 10, 266 * time.Second, 579 * time.Second},
	{0.5, 0.01, 10, 831 * time.Second, 1643 * time.Second},
	{0.5, 0.01, 500, 60 * time.Second, 60 * time.Second},
}

func TestForecastAgainstTheDesignsTable(t *testing.T) {
	for _, c := range passTimes {
		r := rehearse(patient(2*time.Hour), Traffic{PerSecond: c.perSecond, ErrorRate: c.rate}, c.share, 120)
		t.Logf("%+v: here %v / %v", c, r.within(0.5), r.within(enough))
		requireTimes(t, r, c.median, c.p95, 0.1)
	}
}

// inEarnest lets the judge hear single requests, each at its own moment, until it says pass; 0 if it does not in time.
func inEarnest(cfg Config, t Traffic, share float64, random *rand.Rand) time.Duration {
	j := NewJudge(cfg)
	j.Shift(start, share)
	var one [1]Sample
	asked := start
	for at := start; at.Sub(start) <= cfg.Inconclusive.After; {
		at = at.Add(time.Duration(random.ExpFloat64() / t.PerSecond * float64(time.Second)))
		one[0] = Sample{At: at, Bad: random.Float64() < float64(t.ErrorRate)}
		if random.Float64() < share {
			one[0].Arm = Candidate
		}
		j.Fold(Batch{Samples: one[:], Now: at})
		if at.Sub(asked) < time.Second {
			continue
		}
		if asked = at; j.Result().Decision == Passed {
			return at.Sub(start)
		}
	}
	return 0
}

// The forecast counts by ticks; in earnest single requests come at any moment. Both must tell the same times.
func TestForecastAgainstSingleRequests(t *testing.T) {
	cfg := patient(2 * time.Hour)
	for _, c := range []struct {
		perSecond, share float64
		rate             Fraction
	}{
		{0.5, 0.3, 0.001}, {10, 0.5, 0.01}, {50, 0.05, 0}, {50, 0.2, 0.001}, {50, 0.2, 0.05}, {20, 1, 0.01},
	} {
		const steps = 30
		traffic := Traffic{PerSecond: c.perSecond, ErrorRate: c.rate}
		forecast, earnest := rehearse(cfg, traffic, c.share, 2*rehearsals), record{}
		for n := range steps {
			earnest.add(inEarnest(cfg, traffic, c.share, rand.New(rand.NewPCG(33, uint64(n)))))
		}
		median, p95 := forecast.within(0.5), forecast.within(enough)
		t.Logf("%+v: forecast %v / %v, %.3f; single requests %v / %v, %.3f", c, median, p95, forecast.proven(),
			earnest.within(0.5), earnest.within(enough), earnest.proven())
		if p95 > 0 {
			requireTimes(t, earnest, median, p95, 0.05)
			continue
		}
		require.InDelta(t, forecast.proven(), earnest.proven(), 3*math.Sqrt(0.25/steps))
	}
}

func TestForecastOfAPlan(t *testing.T) {
	cfg := DefaultConfig()
	f := cfg.Forecast(Traffic{PerSecond: 300, ErrorRate: 0.001}, usualPlan, drawFrom(1))
	require.Len(t, f.Steps, 3)
	for i, s := range f.Steps {
		require.Equal(t, usualPlan[i].Share, s.Share)
		require.InDelta(t, usualPlan[i].Share*300, s.Requests, 1e-9)
		require.Equal(t, 30*time.Minute, s.Within)
		require.True(t, s.CanProve)
		require.GreaterOrEqual(t, s.Proven, enough)
		require.GreaterOrEqual(t, s.Median, 70*time.Second, "a minute behind the warm-up at least")
		require.LessOrEqual(t, s.Median, s.P95)
		require.Zero(t, s.WeightThatWould)
		require.Zero(t, s.MarginThatWould)
	}
	require.Equal(t, 40*time.Minute, f.Median, "soaks and bake are longer than the proof takes")
	require.InDelta(t, 784, f.Steps[0].Needed, 10)
	require.Equal(t, f, cfg.Forecast(Traffic{PerSecond: 300, ErrorRate: 0.001}, usualPlan, drawFrom(1)), "the same numbers, the same forecast")
	require.Equal(t, Forecast{Steps: []StepForecast{}}, cfg.Forecast(Traffic{}, nil, drawFrom(1)))
}

// What the forecast proposes for a step that cannot be proven does help.
func TestForecastProposesWhatWouldDo(t *testing.T) {
	cfg, traffic := patient(20*time.Minute), Traffic{PerSecond: 12, ErrorRate: 0.002}
	plan := []ForecastStep{{Share: 0.05}, {Share: 0.5}, {Share: 1}}
	f := cfg.Forecast(traffic, plan, drawFrom(2))
	t.Logf("%+v", f)
	first := f.Steps[0]
	require.False(t, first.CanProve)
	require.Zero(t, first.P95)
	require.Less(t, first.Proven, enough)
	require.Greater(t, first.WeightThatWould, 0.05)
	require.Greater(t, first.MarginThatWould, cfg.Pass.ErrorsWithin)
	require.True(t, f.Steps[1].CanProve)
	require.Zero(t, f.P95, "the rollout waits for a person")

	heavier := cfg.Forecast(traffic, []ForecastStep{{Share: first.WeightThatWould}}, drawFrom(3)).Steps[0]
	require.Greater(t, heavier.Proven, 0.9)
	cfg.Pass.ErrorsWithin = first.MarginThatWould
	wider := cfg.Forecast(traffic, plan[:1], drawFrom(4)).Steps[0]
	require.Greater(t, wider.Proven, 0.9)
}

func TestForecastOfASoakLongerThanTheWait(t *testing.T) {
	cfg := patient(time.Minute)
	f := cfg.Forecast(Traffic{PerSecond: 40}, []ForecastStep{{Share: 0.2, Soak: 30 * time.Minute}}, drawFrom(5))
	require.Equal(t, 30*time.Minute, f.Steps[0].Within, "the rule for too little evidence waits for the soak")
	require.True(t, f.Steps[0].CanProve)
	require.Equal(t, 30*time.Minute, f.Median)
}

// A plan that waits for days is simulated less often, so that the forecast does not take minutes.
func TestForecastIsBounded(t *testing.T) {
	draws, draw := 0, drawFrom(8)
	f := patient(24*time.Hour).Forecast(Traffic{}, []ForecastStep{{Share: 0.05}}, func() float64 { draws++; return draw() })
	require.Zero(t, f.Steps[0].Proven)
	perRehearsal := 4 * int(24*time.Hour/longestTick)
	require.Less(t, draws, 2*fewestRehearsals*perRehearsal)
	require.GreaterOrEqual(t, draws, fewestRehearsals*perRehearsal)
}

// Whatever the host's log says, the forecast ends, promises nothing without traffic, and contradicts itself nowhere.
func TestForecastHoldsTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := patient(time.Duration(rapid.IntRange(1, 130).Draw(t, "after")) * time.Second)
		cfg.WarmUp = time.Duration(rapid.IntRange(0, 400).Draw(t, "warm-up")) * 100 * time.Millisecond
		traffic := Traffic{
			PerSecond: rapid.SampledFrom([]float64{0, 1e-9, 0.3, 7, 90, 4000, 1e12, math.Inf(1), math.NaN(), -1}).Draw(t, "per second"),
			ErrorRate: Fraction(rapid.SampledFrom([]float64{0, 1e-6, 0.02, 0.2, 1, math.NaN()}).Draw(t, "error rate")),
		}
		var steps []ForecastStep
		for range rapid.IntRange(1, 2).Draw(t, "steps") {
			steps = append(steps, ForecastStep{
				Share: rapid.SampledFrom([]float64{0, 0.0001, 0.05, 0.5, 0.9, 1}).Draw(t, "share"),
				Soak:  time.Duration(rapid.IntRange(0, 100).Draw(t, "soak")) * time.Second,
			})
		}
		f := cfg.Forecast(traffic, steps, drawFrom(rapid.Uint64().Draw(t, "seed")))
		for _, s := range f.Steps {
			require.Equal(t, s.CanProve, s.P95 > 0)
			require.Equal(t, s.CanProve, s.Proven >= enough)
			require.LessOrEqual(t, s.P95, s.Within)
			require.True(t, s.Median == 0 || s.Median >= time.Minute)
			require.True(t, s.P95 == 0 || s.Median <= s.P95)
			require.False(t, s.CanProve && (s.WeightThatWould > 0 || s.MarginThatWould > 0))
			if !(traffic.PerSecond > 0.1) || s.Share == 0 {
				require.Zero(t, s.Proven)
			}
		}
	})
}

// Numbers drawn from the table have the mean and the variance of a Poisson law, and its chance of none.
func TestPoisson(t *testing.T) {
	for _, mean := range []float64{0, 0.003, 0.5, 4, 60, 5000, busiest} {
		p, draw := newPoisson(mean), drawFrom(6)
		require.InDelta(t, 1, p.below[len(p.below)-1], 1e-6)
		require.InDelta(t, math.Exp(-mean), p.below[0], 1e-12)
		const n = 20000
		sum, squares := 0.0, 0.0
		for range n {
			k := p.count(draw)
			sum += k
			squares += (k - mean) * (k - mean)
		}
		require.InDelta(t, mean, sum/n, 5*math.Sqrt(mean/n))
		require.InDelta(t, mean, squares/n, 5*math.Sqrt((mean+2*mean*mean)/n))
		require.Zero(t, p.count(func() float64 { return 0 })-p.least)
		require.GreaterOrEqual(t, p.count(func() float64 { return math.Nextafter(1, 0) }), mean)
	}
}

func BenchmarkForecast(b *testing.B) {
	for b.Loop() {
		DefaultConfig().Forecast(Traffic{PerSecond: 500, ErrorRate: 0.001}, usualPlan, drawFrom(7))
	}
}
