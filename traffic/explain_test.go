package traffic_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// told are the moments that explain.golden shows: a place of the scripts, and what happened there.
var told = []string{
	"nowhere", "idle", "waiting(start)", "preparing", "ready", "waiting(0)", "shifting(0)", "soaking(0)",
	"soaking(0); +1m judged undecided/evidence needs 300 more of 800 requests",
	"soaking(0); +1m judged pass 0 of 800 failed",
	"soaking(0); +11m judged undecided/evidence needs 100 more of 800 requests",
	"soaking(0); +31m judged undecided/evidence needs 100 more of 800 requests",
	"soaking(0); +1m judged blind/silence no line for 60 s",
	"soaking(0); +12m judged blind/silence no line for 12 min",
	"soaking(0); paused",
	"shifting(1); paused",
	"waiting(1)",
	"asked in time", "asked in time; judged blind/silence no line",
	"waiting(1); approved; judged undecided/suspicion worse, but not for certain",
	"baking; +1m judged undecided/evidence needs 300 more of 800 requests",
	"baking; +5m judged pass 0 of 800 failed",
	"accepted", "warm", "finishing", "finishing; finish-failed 2 old workers still serve", "served",
	"served; retired", "served; retired backend of blue did not stop",
	"accepted; handed-over worker of green did not start",
	"cutting-back", "taking-back", "workers-back",
	"hand-made", "20 by hand", "100 by hand", "100 by hand; accepted-by-hand; handed-over; finish-now; finished; retired",
	"guarded", "guarded; judged blind/silence no line",
	"preparing; prepare-failed backend is not ready: /healthz answers 503; cut-proven",
	"shifting(1); raise-failed nginx -t: unknown directive; cut-unproven the probe does not answer",
	"soaking(0); judged fail/errors errors 20 % (31 of 153) against 0.1 %; cut-proven",
	"soaking(0); judged blind/silence no line; +30m judged blind/silence no line; cut-proven",
	"soaking(0); cut-seen ann cut back; cut-proven",
	"taking-back; cut-proven; handed-over worker of blue did not start",
}

// TestExplain holds every sentence that people read about a state. `go test -run TestExplain -update` writes them.
func TestExplain(t *testing.T) {
	var text strings.Builder
	for _, moment := range told {
		s := newScript()
		require.NoError(t, s.walk("at "+moment))
		now := s.now.Add(90 * time.Second)
		fmt.Fprintf(&text, "# %s\n", moment)
		for _, line := range []string{traffic.Headline(s.state), traffic.Doing(s.state, now), traffic.Coming(s.state, now)} {
			if line != "" {
				fmt.Fprintln(&text, line)
			}
		}
	}
	const golden = "testdata/explain.golden"
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(text.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), text.String())
}

// TestExplainSaysSomething holds that in every place that a rollout can be in people are told what is going on.
func TestExplainSaysSomething(t *testing.T) {
	for place := range places {
		s := at(t, place)
		require.NotEmpty(t, traffic.Headline(s), place)
		require.NotEmpty(t, traffic.Doing(s, time.Now()), place)
		require.True(t, slices.ContainsFunc(told, func(m string) bool { return m == place || strings.HasPrefix(m, place+";") }) ||
			strings.HasPrefix(place, "shifting") || strings.HasPrefix(place, "soaking") || place == "ended", "explain.golden does not show %q", place)
	}
}
