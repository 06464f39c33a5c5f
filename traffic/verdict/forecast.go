package verdict

import (
	"math"
	"slices"
	"sort"
	"sync"
	"time"
)

// Traffic is what reaches an app while a plan runs.
type Traffic struct {
	// PerSecond is how many requests a second reach the two colors together.
	PerSecond float64 `json:"requests_per_second"`
	// ErrorRate is the share of its requests that stable fails.
	ErrorRate Fraction `json:"error_rate"`
}

// ForecastStep is one share of a plan.
type ForecastStep struct {
	// Share is the candidate's, from 0 to 1.
	Share float64
	// Soak is the least time at this share. At the full share the bake belongs to it.
	Soak time.Duration
}

// Forecast is how long a plan takes a candidate that is as good as stable.
type Forecast struct {
	Steps []StepForecast `json:"steps"`
	// Median and P95 are the times from the first share to the end of the last step within which half and 95 % of the
	// simulated rollouts came through. Zero: fewer did without a person or without the plan's rule for too little evidence.
	Median time.Duration `json:"median"`
	P95    time.Duration `json:"p95"`
}

// StepForecast is how long one step takes to a verdict for a candidate that is as good as stable.
type StepForecast struct {
	Share float64 `json:"share"`
	// Requests is how many a second reach the candidate.
	Requests float64 `json:"requests_per_second"`
	// Needed is how many requests of the candidate a pass takes if none fails on either side.
	Needed int64 `json:"needed"`
	// Within is when the plan stops waiting for the verdict, from when the share is live; Median and P95 count from
	// there too, and include the warm-up.
	Within time.Duration `json:"within"`
	// Median and P95 are the times in which half and 95 % of the simulated steps passed. Zero: fewer passed in time.
	Median time.Duration `json:"median"`
	P95    time.Duration `json:"p95"`
	// Proven is the share of the simulated steps that passed in time.
	Proven float64 `json:"proven"`
	// CanProve tells that 95 % did.
	CanProve bool `json:"can_prove"`
	// WeightThatWould is the smallest share that can be proven in time, and MarginThatWould the smallest
	// pass.errors_within with which this share can. Zero where the step can be proven as it is, and where none would do.
	WeightThatWould float64  `json:"weight_that_would,omitempty"`
	MarginThatWould Fraction `json:"margin_that_would,omitempty"`
}

const (
	// rehearsals is how many rollouts are simulated: the 95 % time then rests on the ten slowest. They are fewer, but no
	// less than fewestRehearsals, once longestRehearsals were simulated, which takes a second or two.
	rehearsals        = 200
	fewestRehearsals  = 50
	longestRehearsals = 1e6 * time.Second
	// trials is how many steps are simulated to try a remedy.
	trials = 100
	// enough is the part of the steps that must pass in time for a step to count as provable.
	enough = 0.95
)

// The remedies that are tried, each better than the one before. Beyond half of the traffic stable is asked too little.
var (
	weightsToTry = [...]float64{0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5}
	marginsToTry = [...]Fraction{0.001, 0.002, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1}
)

// Forecast simulates rollouts of a candidate that fails as often as stable, second by second, before the Judge that will
// decide in earnest, and tells how long each step of the plan takes to a verdict. The configuration must be valid.
//
// draw gives numbers of even chance from 0 up to 1; the same numbers give the same forecast. Requests come as a Poisson
// process at one rate and fail independently: real traffic comes in waves, so the times are a guide and no promise.
func (c Config) Forecast(t Traffic, steps []ForecastStep, draw func() float64) Forecast {
	f := Forecast{Steps: make([]StepForecast, len(steps))}
	crowds, times, whole := make([]crowd, len(steps)), make([]record, len(steps)), record{}
	for i, s := range steps {
		crowds[i] = newCrowd(t, s.Share, t.ErrorRate)
	}
	for spent := time.Duration(0); whole.all < rehearsals && (whole.all < fewestRehearsals || spent < longestRehearsals); {
		r := rehearsal{judge: NewJudge(c.errorsOnly()), draw: draw}
		whole.add(r.rollout(steps, crowds, times))
		spent += time.Duration(r.now)
	}
	for i, s := range steps {
		f.Steps[i] = c.stepForecast(t, s, times[i])
	}
	c.remedy(t, f.Steps, draw)
	f.Median, f.P95 = whole.within(0.5), whole.within(enough)
	return f
}

// stepForecast puts what the rehearsals of one step gave into numbers.
func (c Config) stepForecast(t Traffic, s ForecastStep, times record) StepForecast {
	fresh := NewJudge(c.errorsOnly())
	fresh.Shift(time.Unix(0, 0), s.Share)
	return StepForecast{
		Share: s.Share, Requests: s.Share * t.PerSecond, Needed: fresh.numbers().Needed, Within: c.deadline(s),
		Median: times.within(0.5), P95: times.within(enough), Proven: times.proven(), CanProve: times.within(enough) > 0,
	}
}

// deadline is when the plan's rule for too little evidence acts: never before the soak is over.
func (c Config) deadline(s ForecastStep) time.Duration { return max(c.Inconclusive.After, s.Soak) }

// remedy finds what would do where a step cannot be proven. At the full share neither helps: there is no smaller share of
// a plan that ends there, and the pass margin has no part in it.
func (c Config) remedy(t Traffic, steps []StepForecast, draw func() float64) {
	tooSmall := 0.0 // by the rehearsals: a trial, which is shorter, must not say otherwise
	for _, s := range steps {
		if last := weightsToTry[len(weightsToTry)-1]; !s.CanProve && s.Share <= last {
			tooSmall = max(tooSmall, s.Share)
		}
	}
	weight := sync.OnceValue(func() float64 {
		return firstThat(weightsToTry[:], func(w float64) bool { return w > tooSmall && c.canProve(t, w, draw) })
	})
	for i := range steps {
		if s := &steps[i]; !s.CanProve && s.Share < 1 {
			s.WeightThatWould, s.MarginThatWould = weight(), c.marginThatWould(t, *s, draw)
		}
	}
}

// marginThatWould finds the smallest pass margin above the present one with which the step can be proven in time, or 0.
func (c Config) marginThatWould(t Traffic, s StepForecast, draw func() float64) Fraction {
	present := c.Pass.ErrorsWithin
	c.Inconclusive.After = s.Within
	return firstThat(marginsToTry[:], func(m Fraction) bool {
		c.Pass.ErrorsWithin = m
		return m > present && c.canProve(t, s.Share, draw)
	})
}

// firstThat finds the first value that will do, where all after it would do too; zero if none does.
func firstThat[V float64 | Fraction](values []V, would func(V) bool) V {
	i := sort.Search(len(values), func(i int) bool { return would(values[i]) })
	if i == len(values) {
		return 0
	}
	return values[i]
}

// canProve tells whether a first step of that share can be proven in time. It ends as soon as that is clear.
func (c Config) canProve(t Traffic, share float64, draw func() float64) bool {
	crowd, late := newCrowd(t, share, t.ErrorRate), 0
	for range trials {
		r := rehearsal{judge: NewJudge(c.errorsOnly()), draw: draw}
		if r.step(ForecastStep{Share: share}, crowd) == 0 {
			late++
		}
		if trials-late < enough*trials {
			return false
		}
	}
	return true
}

// record is how long the rehearsals took; 0 stands for one that did not get there in time.
type record struct {
	times []time.Duration // Invariant: all above 0
	all   int
}

func (r *record) add(took time.Duration) {
	r.all++
	if took > 0 {
		r.times = append(r.times, took)
	}
}

func (r *record) proven() float64 { return float64(len(r.times)) / float64(max(1, r.all)) }

// within is the time in which the given part of all got there; 0 if fewer did.
func (r *record) within(part float64) time.Duration {
	slices.Sort(r.times)
	i := max(1, int(math.Ceil(part*float64(r.all)))) - 1
	if i >= len(r.times) {
		return 0
	}
	return r.times[i]
}
