package verdict

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// watched is a judge with a counted metric, a guard that reverts after half a minute and one that only observes.
func watched(metrics ...string) *feed {
	f := newFeed(noWarmUp(), 7)
	f.Judge = NewJudgeBeside(noWarmUp(), Beside{Counted: metrics, Guards: []Guard{
		{Name: "queue", For: 30 * time.Second, Then: GuardRevert}, {Name: "memory", For: 30 * time.Second, Then: GuardObserve},
	}})
	return f
}

// hear gives one reading of a guard, now.
func (f *feed) hear(guard int, over bool, missing string) *feed {
	text := "12 tasks wait in celery, below 200"
	if over {
		text = "412 tasks wait in celery, above 200"
	}
	if missing != "" {
		text = ""
	}
	f.Fold(Batch{Readings: []Reading{{Guard: guard, At: f.now, Over: over, Text: text, Missing: missing}}})
	return f
}

// healthy lets users be served well for a while, both guards being read every ten seconds.
func (f *feed) healthy(d time.Duration) *feed {
	for end := f.now.Add(d); f.now.Before(end); {
		f.hear(0, false, "").hear(1, false, "").serve(10*time.Second, 100, 0, 0)
	}
	return f
}

// reads lets one guard be read every ten seconds, and the other be well, while users are served.
func (f *feed) reads(guard int, over ...bool) *feed {
	for _, o := range over {
		f.hear(guard, o, "").hear(1-guard, false, "").serve(10*time.Second, 100, 0, 0)
	}
	return f
}

func TestGuards(t *testing.T) {
	const over = true
	for _, c := range []struct {
		name         string
		play         func(f *feed)
		decision     Decision
		rule, of     string
		reason, note string
	}{
		{"all is well", func(f *feed) { f.healthy(100 * time.Second) }, Passed, "errors", "", "", ""},
		{"over for long enough", func(f *feed) { f.healthy(100*time.Second).reads(0, over, over, over, over) }, Failed, "guard", "queue",
			"412 tasks wait in celery, above 200, for 30s, since ", ""},
		{"over, not yet for long enough", func(f *feed) { f.healthy(100*time.Second).reads(0, over, over, over) }, Undecided, "guard", "queue",
			"412 tasks wait in celery, above 200, for 20s: no pass meanwhile, and after 30s it reverts (guard queue)", ""},
		{"over with a break", func(f *feed) { f.healthy(100*time.Second).reads(0, over, over, over, !over, over, over, over) }, Undecided, "guard", "queue", "for 20s", ""},
		{"well again", func(f *feed) { f.healthy(100*time.Second).reads(0, over, over, !over) }, Passed, "errors", "", "", ""},
		{"over and over, with a reading missing", func(f *feed) {
			f.healthy(100*time.Second).reads(0, over, over).hear(0, false, "no answer").serve(10*time.Second, 100, 0, 0).reads(0, over)
		}, Failed, "guard", "queue", "for 30s", ""},
		{"over, then unknown for long, then over", func(f *feed) {
			f.healthy(100*time.Second).reads(0, over).serve(61*time.Second, 100, 0, 0).reads(0, over)
		}, Undecided, "guard", "queue", "for 0s", ""},
		{"observed", func(f *feed) { f.healthy(100*time.Second).reads(1, over, over, over, over) }, Passed, "errors", "", "",
			"observed: 412 tasks wait in celery, above 200, for 30s, since "},
		{"not yet observed", func(f *feed) { f.healthy(100*time.Second).reads(1, over, over, over) }, Passed, "errors", "", "", ""},
		{"missing", func(f *feed) {
			f.healthy(100 * time.Second)
			for range 7 {
				f.hear(0, false, "connect to redis: refused").hear(1, false, "").serve(10*time.Second, 100, 0, 0)
			}
		}, Undecided, "source", "queue", "guard queue has told nothing for 1m20s: connect to redis: refused", ""},
		{"missing for a while", func(f *feed) {
			f.healthy(100*time.Second).hear(0, false, "no answer").serve(30*time.Second, 100, 0, 0)
		}, Passed, "errors", "", "", ""},
		{"never read", func(f *feed) {
			for range 10 {
				f.hear(1, false, "").serve(10*time.Second, 100, 0, 0)
			}
		}, Undecided, "source", "queue", "guard queue has told nothing for 1m40s: it is not read", ""},
		{"an observer that is never read", func(f *feed) {
			for range 10 {
				f.hear(0, false, "").serve(10*time.Second, 100, 0, 0)
			}
		}, Passed, "errors", "", "", "not observed: guard memory has told nothing for 1m40s: it is not read"},
		{"an unknown guard", func(f *feed) { f.healthy(100*time.Second).hear(2, over, "").hear(-1, over, "") }, Passed, "errors", "", "", ""},
		{"blind all the same", func(f *feed) { f.healthy(60*time.Second).hear(0, false, "").idle(20 * time.Second) }, Blind, "silence", "", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := watched().shift(0.5)
			c.play(f)
			r := f.Result()
			require.Equal(t, []string{string(c.decision), c.rule, c.of}, []string{string(r.Decision), r.Rule, r.Of}, r.Reason)
			require.Contains(t, r.Reason, c.reason)
			if c.note == "" {
				require.Empty(t, r.Notes)
				return
			}
			require.Len(t, r.Notes, 1)
			require.Contains(t, r.Notes[0], c.note)
		})
	}
}

// What was before the candidate had a share is not the candidate's, and a share that was taken away ends what is its.
func TestGuardsBeginWithTheShare(t *testing.T) {
	f := watched().reads(0, true, true, true, true, true, true)
	require.Equal(t, Undecided, f.Result().Decision, "no share: nothing to take back")
	f.shift(0.5).reads(0, true, true, true)
	require.Equal(t, RuleGuard, f.Result().Rule)
	require.Equal(t, Undecided, f.Result().Decision, f.Result().Reason)
	f.shift(0).reads(0, true, true).shift(0.2).reads(0, true, true, true)
	require.Equal(t, Undecided, f.Result().Decision, f.Result().Reason)
	f.shift(0.5).reads(0, true)
	require.Equal(t, Failed, f.Result().Decision, "a raise is no excuse")
}

// count gives one interval of a metric that ended now.
func (f *feed) counts(length time.Duration, candidate, baseline Tally) *feed {
	f.Fold(Batch{Intervals: []Interval{{At: f.now, Length: length, Candidate: candidate, Baseline: baseline}}})
	return f
}

// counting serves users well, with an interval of 15 s of the metric each 15 s.
func (f *feed) counting(intervals int, candidate, baseline Tally) *feed {
	for range intervals {
		f.hear(0, false, "").hear(1, false, "").serve(15*time.Second, 100, 0, 0).counts(15*time.Second, candidate, baseline)
	}
	return f
}

func TestCounted(t *testing.T) {
	good := Tally{Requests: 100}
	for _, c := range []struct {
		name         string
		play         func(f *feed)
		decision     Decision
		rule, of     string
		reason, note string
	}{
		{"all is well", func(f *feed) { f.counting(10, good, good) }, Passed, "errors", "", "", ""},
		{"worse", func(f *feed) { f.counting(10, Tally{100, 10}, Tally{100, 1}) }, Failed, "errors", "celery", "candidate fails 10.0% of celery (", ""},
		{"both bad", func(f *feed) { f.counting(20, Tally{100, 30}, Tally{100, 30}) }, Passed, "errors", "", "", ""},
		{"one burst", func(f *feed) { f.counting(6, good, good).counting(1, Tally{100, 100}, good).counting(6, good, good) }, Passed, "errors", "", "", ""},
		{"one arm only", func(f *feed) { f.counting(20, Tally{100, 100}, Tally{}) }, Passed, "errors", "", "", ""},
		{"few tasks", func(f *feed) { f.counting(10, Tally{Requests: 1}, Tally{Requests: 3}) }, Passed, "errors", "",
			"", "celery: only 10 counted for the candidate, too little to tell"},
		{"silent", func(f *feed) { f.counting(10, good, good).healthy(70 * time.Second) }, Undecided, "source", "celery",
			"celery has counted nothing for 1m10s: no pass while it is silent", ""},
		{"silent for a while", func(f *feed) { f.counting(10, good, good).healthy(60 * time.Second) }, Passed, "errors", "", "", ""},
		{"seldom", func(f *feed) {
			f.healthy(60*time.Second).counts(time.Minute, good, good).healthy(170 * time.Second)
		}, Passed, "errors", "", "", ""},
		{"nothing from the start", func(f *feed) { f.healthy(70 * time.Second) }, Undecided, "source", "celery", "for 1m10s", "celery: only 0 counted for the candidate"},
		{"more errors than requests", func(f *feed) { f.counting(10, good, good).counts(time.Second, Tally{3, 4}, good) }, Passed, "errors", "",
			"", "celery: 1 left out of what it counted, the last for 4 errors of 3"},
		{"negative", func(f *feed) { f.counting(10, good, good).counts(time.Second, good, Tally{3, -1}) }, Passed, "errors", "", "", "-1 errors of 3"},
		{"no length", func(f *feed) { f.counting(10, good, good).counts(0, good, good) }, Passed, "errors", "", "", "an interval of 0s"},
		{"counted twice", func(f *feed) { f.counting(10, good, good).counts(15*time.Second, good, good) }, Passed, "errors", "", "", "one of 15s overlaps the one before"},
		{"nonsense only", func(f *feed) { f.counting(10, Tally{1, 2}, good) }, Undecided, "source", "celery", "and what came was wrong: 2 errors of 1", "celery: 10 left out of what it counted, the last for 2 errors of 1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := watched("celery").shift(0.5)
			c.play(f)
			r := f.Result()
			t.Log(r.Reason)
			require.Equal(t, []string{string(c.decision), c.rule, c.of}, []string{string(r.Decision), r.Rule, r.Of}, r.Reason)
			require.Contains(t, r.Reason, c.reason)
			if c.note == "" {
				require.Empty(t, r.Notes)
				return
			}
			require.NotEmpty(t, r.Notes)
			require.Contains(t, r.Notes[0], c.note)
		})
	}
}

// An interval that begins before the step counts is none of it, but shows that the source is alive.
func TestIntervalsAcrossAShift(t *testing.T) {
	good := Tally{Requests: 100}
	f := watched("celery").counting(2, good, good).shift(0.2).counting(2, good, good)
	require.Equal(t, Tally{Requests: 200}, f.Result().Counted[0].Candidate)
	f.serve(5*time.Second, 100, 0, 0).shift(0.5).serve(10*time.Second, 100, 0, 0).counts(15*time.Second, Tally{100, 100}, good)
	require.Zero(t, f.Result().Counted[0].Candidate)
	require.Equal(t, 2, f.counted[0].errors.buckets)
	f.counting(1, good, good)
	require.Equal(t, good, f.Result().Counted[0].Candidate)
	require.Equal(t, Tally{Requests: 300}, f.counted[0].rollout[Candidate])
}

// A source beside the log tells nothing of the log: no bucket closes by it, and no gap or fault of the log is mended by it.
func TestBesideDoesNotSpeakForTheLog(t *testing.T) {
	f := watched("celery").shift(0.5).serve(time.Second, 100, 0, 0)
	f.Fold(Batch{Fault: "open shop.log: permission denied", Now: f.now})
	before := f.Result()
	f.Fold(Batch{Intervals: []Interval{{At: f.now.Add(time.Hour), Length: time.Minute}}, Readings: []Reading{{At: f.now.Add(time.Hour)}}})
	require.Equal(t, before, f.Result())
	require.Equal(t, RuleFault, f.Result().Rule)
}

// In any history of all sources: one answer that can be written down and names what it is about, and a failure that stays.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := withRoutes(2)
		f := newFeed(cfg, rapid.Uint64().Draw(t, "seed"))
		f.Judge = NewJudgeBeside(cfg, Beside{Counted: []string{"celery"}, Guards: []Guard{{Name: "queue", For: 20 * time.Second, Then: GuardRevert}}})
		var failed *Result
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			switch rapid.IntRange(0, 7).Draw(t, "event") {
			case 0:
				f.shift(rapid.SampledFrom([]float64{0, 0.05, 0.5, 1}).Draw(t, "share"))
			case 1:
				f.idle(time.Duration(rapid.IntRange(1, 90).Draw(t, "idle")) * time.Second)
			case 2:
				f.hear(rapid.IntRange(0, 1).Draw(t, "guard"), rapid.Bool().Draw(t, "over"), rapid.SampledFrom([]string{"", "", "gone"}).Draw(t, "missing"))
			case 3:
				tally := rapid.Custom(func(t *rapid.T) Tally {
					return Tally{Requests: rapid.Int64Range(-1, 300).Draw(t, "requests"), Errors: rapid.Int64Range(-1, 40).Draw(t, "errors")}
				})
				f.counts(time.Duration(rapid.IntRange(-1, 700).Draw(t, "length"))*time.Second, tally.Draw(t, "candidate"), tally.Draw(t, "baseline"))
			case 4:
				f.Fold(Batch{Gap: true, Now: f.now})
			default:
				f.play(rapid.IntRange(1, 20).Draw(t, "seconds"), play{candidate: 5, baseline: 9},
					play{candidate: 4, candidateBad: rapid.IntRange(0, 4).Draw(t, "bad"), baseline: 4, baselineBad: rapid.IntRange(0, 1).Draw(t, "baseline bad")})
			}
			r := f.Result()
			require.NotEmpty(t, r.Reason)
			written, err := json.Marshal(r)
			require.NoError(t, err)
			var read Result
			require.NoError(t, json.Unmarshal(written, &read))
			require.Equal(t, r, read)
			named := r.Rule == RuleGuard || r.Rule == RuleSource
			require.True(t, !named || r.Of != "", r.Rule)
			if failed != nil {
				require.Equal(t, *failed, r)
			}
			if r.Decision == Failed {
				failed = &r
			}
		}
	})
}

// A journal of a release before routes and guards is read as it was written.
func TestResultsOfOldJournals(t *testing.T) {
	const old = `{"decision":"pass","rule":"errors","reason":"fine","candidate":{"requests":9,"errors":1},"baseline":{"requests":90,"errors":2},"log_m":0.5,"log_pass":3.25,"needed":780}`
	var r Result
	require.NoError(t, json.Unmarshal([]byte(old), &r))
	again, err := json.Marshal(r)
	require.NoError(t, err)
	require.JSONEq(t, old, string(again))
}

// At the margin in the requests and in two counted metrics the promise holds as well.
func TestFalseRevertsAtTheMarginWithCounted(t *testing.T) {
	const rollouts = 1000
	reverts := 0
	for n := range rollouts {
		base := []float64{0, 0.001, 0.01, 0.05}[n%4]
		random := rand.New(rand.NewPCG(40, uint64(n)))
		draw := func(requests int64, rate float64) (t Tally) {
			for t.Requests = requests; requests > 0; requests-- {
				if random.Float64() < rate {
					t.Errors++
				}
			}
			return t
		}
		j := NewJudgeBeside(noWarmUp(), Beside{Counted: []string{"celery", "django"}})
		j.Shift(start, 0.2)
		for at := start; at.Sub(start) < 20*time.Minute; {
			at = at.Add(15 * time.Second)
			for metric := range 2 {
				j.Fold(Batch{Intervals: []Interval{{Metric: metric, At: at, Length: 15 * time.Second, Candidate: draw(20, 1.25*base+0.001), Baseline: draw(80, base)}}})
			}
		}
		if j.convicted() {
			reverts++
		}
	}
	t.Logf("%d of %d reverted", reverts, rollouts)
	require.LessOrEqual(t, float64(reverts), atMost(0.01, rollouts))
}
