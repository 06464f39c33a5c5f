package verdict

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var start = time.UnixMilli(1_700_000_000_000)

// noWarmUp is the configuration of most tests: the evidence begins with the share.
func noWarmUp() Config {
	cfg := DefaultConfig()
	cfg.WarmUp = 0
	return cfg
}

// feed is a judge with a simulated nginx before it: evenly spaced requests, split exactly, failing by a rate.
type feed struct {
	*Judge
	now    time.Time
	random *rand.Rand
	owed   float64 // part of a candidate request that the split still owes
}

func newFeed(cfg Config, seed uint64) *feed {
	return &feed{Judge: NewJudge(cfg), now: start, random: rand.New(rand.NewPCG(seed, 1))}
}

func (f *feed) shift(share float64) *feed {
	f.Shift(f.now, share)
	return f
}

// serve lets requests come for a while, in batches of a tenth of a second or of one request.
func (f *feed) serve(d time.Duration, perSecond int, candidateFails, baselineFails float64) *feed {
	end := f.now.Add(d)
	gap := time.Second / time.Duration(perSecond)
	var batch []Sample
	for f.now.Before(end) {
		f.now = f.now.Add(gap)
		s, rate := Sample{At: f.now}, baselineFails
		if f.owed += f.share; f.owed >= 0.5 {
			f.owed--
			s.Arm, rate = Candidate, candidateFails
		}
		s.Bad = f.random.Float64() < rate
		if batch = append(batch, s); len(batch) >= perSecond/10 {
			f.Fold(Batch{Samples: batch, Now: f.now})
			batch = batch[:0]
		}
	}
	f.Fold(Batch{Samples: batch, Now: f.now})
	return f
}

// idle lets time go by without a request.
func (f *feed) idle(d time.Duration) *feed {
	f.now = f.now.Add(d)
	f.Advance(f.now)
	return f
}

func TestResults(t *testing.T) {
	for _, c := range []struct {
		name     string
		play     func(f *feed)
		decision Decision
		rule     string
		reason   string // whole, or a part
	}{
		{"no share yet", func(f *feed) { f.serve(time.Minute, 100, 0, 0) }, Undecided, "evidence", "the candidate has no share of the traffic"},
		{"share taken away", func(f *feed) { f.shift(0.05).serve(time.Second, 100, 0, 0).shift(0) }, Undecided, "evidence", "no share"},
		{"a fresh share", func(f *feed) { f.shift(0.05) }, Undecided, "nothing", "no candidate request counted yet, about 780 clean ones needed"},
		{"too little evidence", func(f *feed) { f.shift(0.05).serve(10*time.Second, 100, 0, 0) }, Undecided, "evidence",
			"candidate fails 0% of requests (0 of 50), stable 0% (0 of 950): too little to tell, 50 of about 780 clean candidate requests needed"},
		{"enough evidence too early", func(f *feed) { f.shift(0.5).serve(59*time.Second, 500, 0, 0) }, Undecided, "soak", "counted for only 59s of 60s"},
		{"pass", func(f *feed) { f.shift(0.5).serve(61*time.Second, 500, 0, 0) }, Passed, "errors",
			"candidate fails 0% of requests (0 of 15,250), stable 0% (0 of 15,250): below 1.5 times stable's plus 0.5% beyond chance (evidence below 1:1,000,000, pass at 1:20)"},
		{"pass at the full share", func(f *feed) { f.shift(0.5).serve(20*time.Second, 500, 0, 0).shift(1).serve(61*time.Second, 100, 0, 0) },
			Passed, "errors", "candidate fails 0% of requests (0 of 6,100): below 1% beyond chance"},
		{"worse", func(f *feed) { f.shift(0.2).serve(20*time.Second, 200, 0.1, 0.001) }, Failed, "errors", "worse beyond chance (evidence 1:"},
		{"worse, over two steps", func(f *feed) {
			f.shift(0.05).serve(100*time.Second, 100, 0, 0).shift(0.2).serve(20*time.Second, 200, 0.2, 0.001)
		}, Failed, "errors", ", in the whole rollout candidate "},
		{"above the ceiling", func(f *feed) { f.shift(1).serve(30*time.Second, 50, 0.35, 0) }, Failed, "ceiling", "above the 10% that it may never fail, beyond chance"},
		{"total failure", func(f *feed) { f.shift(0.05).serve(5*time.Second, 300, 1, 0) }, Failed, "total-failure", "requests all failed, within 2.5"},
		{"total failure at the full share", func(f *feed) { f.shift(1).serve(5*time.Second, 50, 1, 0) }, Failed, "total-failure",
			"the candidate's last 126 requests all failed, within 2.5s"},
		{"severe", func(f *feed) {
			f.shift(0.5).serve(2*time.Minute, 500, 0.01, 0.01).serve(20*time.Second, 500, 0.6, 0.01)
		}, Failed, "severe", "candidate failed "},
		{"both bad", func(f *feed) { f.shift(0.2).serve(time.Minute, 100, 0.5, 0.5) }, Undecided, "baseline-unhealthy", "stable itself was above 10% in the last 30s"},
		{"suspicion", func(f *feed) {
			for f.shift(0.5).serve(100*time.Second, 300, 0, 0); !f.evidence.suspicious(); {
				f.burst(5)
			}
		}, Undecided, "suspicion", "suspicious, no pass while the evidence against it is 1:10 or more"},
		{"silence", func(f *feed) { f.shift(0.05).serve(time.Second, 100, 0, 0).idle(18 * time.Second) }, Blind, "silence",
			"no request was logged for 18s: no traffic reaches nginx, or its access log is not written"},
		{"silence from the start", func(f *feed) { f.shift(0.05).idle(15 * time.Second) }, Blind, "silence", "for 15s"},
		{"not yet silence", func(f *feed) { f.shift(0.05).idle(14 * time.Second) }, Undecided, "nothing", ""},
		{"lag", func(f *feed) { f.shift(0.05).Fold(Batch{Now: f.now.Add(6 * time.Second), Behind: 6 * time.Second}) }, Undecided, "lag",
			"the reading of the log is 6s behind its writing, at most 5s will do"},
		{"a little lag", func(f *feed) { f.shift(0.05).Fold(Batch{Now: f.now.Add(5 * time.Second), Behind: 5 * time.Second}) }, Undecided, "nothing", ""},
		{"fault", func(f *feed) { f.shift(0.05).Fold(Batch{Fault: "open shop.log: permission denied"}) }, Blind, "fault",
			"no evidence can be read: open shop.log: permission denied"},
		{"silent candidate", func(f *feed) { f.shift(0.05).only(Baseline, 280) }, Undecided, "candidate-silent",
			"no request of the candidate was logged while stable had 280, at a share of 5%: its requests hang, or are not sent to it"},
		{"not yet a silent candidate", func(f *feed) { f.shift(0.05).only(Baseline, 279) }, Undecided, "nothing", ""},
		{"a candidate that falls silent", func(f *feed) { f.shift(0.5).serve(70*time.Second, 500, 0, 0).only(Baseline, 28) }, Undecided, "candidate-silent", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFeed(noWarmUp(), 7)
			c.play(f)
			r := f.Result()
			t.Logf("%+v", r)
			require.Equal(t, c.decision, r.Decision, r.Reason)
			require.Equal(t, c.rule, r.Rule)
			require.Contains(t, r.Reason, c.reason)
		})
	}
}

// only lets one arm answer well, some requests at 100 a second.
func (f *feed) only(arm Arm, requests int) *feed {
	for range requests {
		f.now = f.now.Add(10 * time.Millisecond)
		f.Fold(Batch{Samples: []Sample{{At: f.now, Arm: arm}}, Now: f.now})
	}
	return f
}

// burst is a second in which some candidate requests fail together, beside a healthy baseline.
func (f *feed) burst(failures int) {
	f.now = f.now.Add(time.Second)
	batch := make([]Sample, 300)
	for i := range batch {
		batch[i] = Sample{At: f.now, Arm: Arm(i % 2), Bad: i%2 == int(Candidate) && i < 2*failures}
	}
	f.Fold(Batch{Samples: batch, Now: f.now})
}

func TestWarmUpIsNotCountedButSeen(t *testing.T) {
	f := newFeed(DefaultConfig(), 1).shift(0.5).serve(9*time.Second, 300, 0.3, 0)
	r := f.Result()
	require.Equal(t, "warming up, nothing is counted for another 1s", r.Reason)
	require.Equal(t, "nothing", r.Rule)
	require.Zero(t, r.Candidate.Requests)
	require.Zero(t, r.LogM, "a cold start is no evidence")
	f.serve(30*time.Second, 300, 0, 0)
	require.Equal(t, Undecided, f.Result().Decision)
	require.InDelta(t, 29*150, f.Result().Candidate.Requests, 2)

	f = newFeed(DefaultConfig(), 1).shift(0.5).serve(9*time.Second, 300, 1, 0)
	require.Equal(t, "total-failure", f.Result().Rule, "a total failure is one from the first request")
	require.Contains(t, f.Result().Reason, "within 2.5")

	f = newFeed(DefaultConfig(), 1).shift(0.5).shift(0.2).serve(time.Second, 300, 0, 0)
	require.Positive(t, f.Result().Candidate.Requests, "less share needs no warm-up")
}

func TestLinesFromBeforeAShiftAreNoEvidence(t *testing.T) {
	f := newFeed(noWarmUp(), 1).shift(0.05).serve(time.Second, 100, 0, 0)
	late := Sample{At: f.now, Arm: Candidate}
	f.now = f.now.Add(time.Second)
	f.shift(0.2)
	f.Fold(Batch{Samples: []Sample{late}, Now: f.now})
	require.Zero(t, f.Result().Candidate.Requests)
}

func TestFailureIsLatched(t *testing.T) {
	f := newFeed(noWarmUp(), 3).shift(0.2).serve(time.Minute, 100, 0.5, 0)
	failed := f.Result()
	require.Equal(t, Failed, failed.Decision)
	f.serve(10*time.Minute, 100, 0, 0).shift(0.5).serve(time.Minute, 500, 0, 0).idle(time.Hour)
	f.Fold(Batch{Fault: "gone"})
	require.Equal(t, failed, f.Result())
}

func TestSharedOutageDecidesNothing(t *testing.T) {
	for _, perSecond := range []int{1, 10, 100} {
		for _, share := range []float64{0.05, 0.2, 0.5} {
			for _, rate := range []float64{0.3, 0.6, 1} {
				t.Run(fmt.Sprintf("%d a second, share %v, %v bad", perSecond, share, rate), func(t *testing.T) {
					f := newFeed(noWarmUp(), 11).shift(share)
					for range 60 {
						f.serve(10*time.Second, perSecond, rate, rate)
						r := f.Result()
						require.NotEqual(t, Failed, r.Decision, r.Reason)
						require.NotEqual(t, Passed, r.Decision, r.Reason)
					}
				})
			}
		}
	}
}

// Which color is the candidate makes no difference to an outage of both. Fixed seeds: chance may not fail a build.
func TestSwappedColorsInASharedOutage(t *testing.T) {
	for _, rate := range []float64{0.25, 0.3125, 0.4, 0.6, 0.8, 1} {
		for seed := range uint64(25) {
			random := rand.New(rand.NewPCG(0x140+seed, 2)) // 0x14a at 0.3125 is one that the severe path alone would convict
			one, other := NewJudge(noWarmUp()), NewJudge(noWarmUp())
			one.Shift(start, 0.5)
			other.Shift(start, 0.5)
			for i := range 3000 {
				at := start.Add(time.Duration(i) * 20 * time.Millisecond)
				s := Sample{At: at, Arm: Arm(random.IntN(2)), Bad: random.Float64() < rate}
				one.Fold(Batch{Samples: []Sample{s}, Now: at})
				s.Arm = Candidate - s.Arm
				other.Fold(Batch{Samples: []Sample{s}, Now: at})
			}
			for _, j := range []*Judge{one, other} {
				require.Equal(t, RuleBaselineUnhealthy, j.Result().Rule, "rate %v, seed %d: %s", rate, seed, j.Result().Reason)
			}
		}
	}
}

// In any history: no pass before 60 s and 50 candidate requests, none without either arm, and a failure stays.
func TestNoPassWithoutEvidence(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := newFeed(noWarmUp(), rapid.Uint64().Draw(t, "seed"))
		var since time.Time
		var failed *Result
		for range rapid.IntRange(1, 25).Draw(t, "events") {
			switch rapid.IntRange(0, 6).Draw(t, "event") {
			case 0:
				since = f.now
				f.shift(rapid.SampledFrom([]float64{0, 0.05, 0.2, 0.5, 1}).Draw(t, "share"))
			case 1:
				f.idle(time.Duration(rapid.IntRange(1, 40).Draw(t, "idle")) * time.Second)
			case 2:
				f.only(Arm(rapid.IntRange(0, 1).Draw(t, "arm")), rapid.IntRange(1, 400).Draw(t, "requests"))
			case 3:
				f.Fold(Batch{Gap: true, Now: f.now})
			default:
				f.serve(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds"))*time.Second, rapid.SampledFrom([]int{5, 50, 300}).Draw(t, "per second"),
					rapid.SampledFrom([]float64{0, 0, 0.01, 0.2, 1}).Draw(t, "candidate fails"), rapid.SampledFrom([]float64{0, 0, 0.01, 0.3}).Draw(t, "baseline fails"))
			}
			r := f.Result()
			require.NotEmpty(t, r.Reason)
			require.LessOrEqual(t, r.Candidate.Errors, r.Candidate.Requests)
			require.LessOrEqual(t, r.Baseline.Errors, r.Baseline.Requests)
			if r.Decision == Passed {
				require.GreaterOrEqual(t, f.now.Sub(since), time.Minute)
				require.GreaterOrEqual(t, r.Candidate.Requests, int64(50))
				require.True(t, f.share == 1 || f.share > 0 && r.Baseline.Requests > 0)
			}
			if failed != nil {
				require.Equal(t, *failed, r)
			}
			if r.Decision == Failed {
				failed = &r
			}
		}
	})
}

func TestSentences(t *testing.T) {
	require.Equal(t, []string{"0", "999", "1,000", "1,234,567"}, []string{count(0), count(999), count(1000), count(1234567)})
	require.Equal(t, []string{"99", "780", "1,900", "99,000"}, []string{about(99), about(784), about(1911), about(98765)})
	require.Equal(t, "20.3%", percent(Tally{Requests: 153, Errors: 31}))
	require.Equal(t, "0.03%", percent(Tally{Requests: 3000, Errors: 1}))
	require.Equal(t, "0%", percent(Tally{}))
}
