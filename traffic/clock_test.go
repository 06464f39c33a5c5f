package traffic_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
	"cutover/traffic/verdict"
)

// A process that was suspended finds its soak over and an opinion that is as old as its sleep: nothing goes up before the evidence of
// that time was read.
func TestControllerGoesUpOnFreshEvidenceOnly(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		const asleep, awake = 5 * time.Minute, 15 * time.Minute // the first soak is over between them
		r.later(asleep, func() { r.signal.hangs.Store(true) })
		r.later(awake, func() { r.signal.hangs.Store(false) })
		end, err := r.Run(t.Context(), opened(t, ""))
		require.NoError(t, err)
		require.Equal(t, traffic.Accepted, end.Phase())
		require.GreaterOrEqual(t, r.when("raise 20 %"), awake)
		require.Less(t, r.when("raise 20 %"), awake+3*time.Second)
	})
	bubble(t, func(t *testing.T, r *rig) {
		r.later(5*time.Minute, func() { r.signal.hangs.Store(true) })
		r.later(15*time.Minute, func() {
			r.signal.batches <- verdict.Batch{Now: time.Now(), Samples: []verdict.Sample{{Arm: verdict.Candidate, Bad: true}}}
		})
		end, err := r.Run(t.Context(), opened(t, ""))
		require.NoError(t, err)
		require.Equal(t, traffic.Reverted, end.Last.Ending)
		require.NotContains(t, r.lines(), "raise 20 %")
	})
}

// A clock that jumps raises nothing without evidence. What waits for a time may come at once, or a day late; what goes down by time
// alone goes down.
func TestNext_AClockThatJumpsADay(t *testing.T) {
	const day = 24 * time.Hour
	opinion := func(d verdict.Decision, rule string) *verdict.Result {
		return &verdict.Result{Decision: d, Rule: rule, Reason: "as it is"}
	}
	for _, jump := range []time.Duration{day, -day} {
		for _, place := range []string{"soaking(0)", "soaking(1)", "baking"} {
			s := at(t, place)
			now := s.Open.Entered.Add(jump)
			for _, v := range []*verdict.Result{
				nil, opinion(verdict.Blind, verdict.RuleSilence), opinion(verdict.Undecided, verdict.RuleLag),
				opinion(verdict.Undecided, verdict.RuleCandidateSilent), opinion(verdict.Undecided, verdict.RuleSuspicion),
			} {
				after := traffic.Next(s, traffic.Event{Kind: traffic.Judged, At: now, Verdict: v})
				require.NotNil(t, after.Open)
				require.LessOrEqual(t, after.Open.Wanted, s.Open.Wanted, "%s, %v: %+v", place, jump, v)
				require.NotEqual(t, traffic.Accepted, after.Phase(), "%s, %v: %+v", place, jump, v)
			}
			failed := traffic.Next(s, traffic.Event{Kind: traffic.Judged, At: now, Verdict: opinion(verdict.Failed, verdict.RuleErrors)})
			require.Equal(t, traffic.CuttingBack, failed.Phase(), "a clock saves no bad release")
		}
	}

	s := at(t, "soaking(0)")
	s.Open.Plan.Timeout = time.Hour
	late := traffic.Next(s, traffic.Event{Kind: traffic.Judged, At: s.Open.Opened.Add(day)})
	require.Equal(t, traffic.CuttingBack, late.Phase(), "--timeout is over")

	s = at(t, "accepted")
	warm := s.WarmUntil()
	early := traffic.Next(s, traffic.Event{Kind: traffic.Judged, At: warm.Add(-day)})
	require.Equal(t, traffic.Accepted, early.Phase(), "kept warm for longer")
	require.Equal(t, traffic.Green, early.Stable)
}
