package verdict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// probed lets requests come for a while, with stable asked each second beside them.
func (f *feed) probed(d time.Duration, candidateFails float64, stable string) *feed {
	for end := f.now.Add(d); f.now.Before(end); {
		f.Fold(Batch{Probes: []Probe{{At: f.now, Failed: stable}}})
		f.serve(time.Second, 50, candidateFails, 0)
	}
	return f
}

// At the full share an outage that stable has too reverts nobody and passes nobody, and the candidate answers for its own alone.
func TestOutageThatStableSharesAtTheFullShare(t *testing.T) {
	const refused = "connection refused"
	for name, fails := range map[string]float64{"all fail": 1, "half of them fail": 0.5, "a tenth fails": 0.1} {
		t.Run(name, func(t *testing.T) {
			f := newFeed(noWarmUp(), 1).shift(0.2).probed(2*time.Minute, 0, "").shift(1).probed(time.Minute, 0, "")
			f.probed(time.Second, 0, refused).probed(10*time.Minute, fails, refused)
			require.Equal(t, Undecided, f.Result().Decision)
			require.Equal(t, RuleBaselineUnhealthy, f.Result().Rule)
			require.Contains(t, f.Result().Reason, "does not answer either (connection refused)")

			f.probed(2*time.Minute, 0, "")
			require.Equal(t, Passed, f.Result().Decision, "both are well again: %s", f.Result().Reason)
		})
		t.Run(name+", and stable is well", func(t *testing.T) {
			f := newFeed(noWarmUp(), 1).shift(0.2).probed(2*time.Minute, 0, "").shift(1).probed(time.Minute, fails, "")
			require.Equal(t, Failed, f.Result().Decision)
		})
		t.Run(name+", and stable is well again before it", func(t *testing.T) {
			f := newFeed(noWarmUp(), 1).shift(0.2).probed(2*time.Minute, 0, "").shift(1)
			require.NotEqual(t, Failed, f.probed(time.Minute, fails, refused).Result().Decision)
			require.Equal(t, Failed, f.probed(time.Minute+sharedFor, fails, "").Result().Decision)
		})
	}
}

// Below it both have traffic, which tells more than a probe.
func TestProbesCountAtTheFullShareOnly(t *testing.T) {
	f := newFeed(noWarmUp(), 1).shift(0.2).probed(time.Minute, 0.5, "timed out")
	require.Equal(t, Failed, f.Result().Decision)
}
