package verdict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// script plays attempts to a run detector, one each gap: "x" is a failure of the candidate and "." a success of it,
// "X" and "o" are stable's. It answers the number of the attempt that convicts, counted from 1, or 0.
func script(observe func(moment, Sample, float64) bool, attempts string, gap time.Duration, share float64) int {
	for i, a := range attempts {
		s := Sample{Bad: a == 'x' || a == 'X'}
		if a == 'x' || a == '.' {
			s.Arm = Candidate
		}
		if observe(moment(time.Hour).after(time.Duration(i)*gap), s, share) {
			return i + 1
		}
	}
	return 0
}

func repeat(attempts string, times int) (all string) {
	for range times {
		all += attempts
	}
	return all
}

func TestRuns(t *testing.T) {
	for _, c := range []struct {
		name          string
		attempts      string
		gap           time.Duration
		share         float64
		total, severe int
	}{
		{"eight in a row over 2.5 s", repeat("x", 12), 250 * time.Millisecond, 1, 11, 0},
		{"seven are not eight", repeat("x", 7), time.Second, 1, 0, 0},
		{"the eighth", repeat("x", 8), time.Second, 1, 8, 0},
		{"a success starts anew", repeat("xxxxxxx.", 4), 100 * time.Millisecond, 1, 0, 0},
		{"severe over 5 s", repeat("x", 30), 250 * time.Millisecond, 1, 11, 21},
		{"severe by score", repeat("xx.", 20), time.Second, 1, 0, 38},
		{"one success for each failure climbs slowly", repeat("x.", 30), time.Second, 1, 0, 0},
		{"and gets there", repeat("x.", 60), time.Second, 1, 0, 77},
		{"one failure in three does not", repeat("x..", 400), time.Second, 1, 0, 0},
		{"no witness", repeat("x", 60), time.Second, 0.5, 0, 0},
		{"a witness", repeat("xo", 60), time.Second, 0.5, 15, 39},
		{"stable fails one in five", "xX" + repeat("xoxoxoxoxX", 20), time.Second, 0.5, 21, 41},
		{"stable fails more", repeat("xXxoxoxo", 40), time.Second, 0.5, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var total totalFailure
			var severe severe
			require.Equal(t, c.total, script(total.observe, c.attempts, c.gap, c.share), "total failure")
			require.Equal(t, c.severe, script(severe.observe, c.attempts, c.gap, c.share), "severe")
		})
	}
}

// A run that is witnessed by one lucky request of a stable that was failing a moment ago convicts nobody.
func TestRunsInASharedOutage(t *testing.T) {
	f := newFeed(noWarmUp(), 5).shift(0.5).serve(30*time.Second, 50, 0.5, 0.5)
	f.only(Candidate, 1).only(Baseline, 1)
	convicted := false
	for range 20 {
		f.now = f.now.Add(200 * time.Millisecond)
		s := Sample{At: f.now, Arm: Candidate, Bad: true}
		total := f.total
		convicted = convicted || total.observe(moment(f.now.UnixNano()), s, f.share)
		f.Fold(Batch{Samples: []Sample{s, {At: f.now}}, Now: f.now})
	}
	require.True(t, convicted, "the run alone would convict")
	require.Equal(t, "baseline-unhealthy", f.Result().Rule, f.Result().Reason)
}
