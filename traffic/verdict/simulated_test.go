package verdict

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// What Second says without words is what the judge's whole result says.
func TestSecondsAreJudgedAsInEarnest(t *testing.T) {
	for name, fails := range map[string]Fraction{"healthy": 0.01, "a fault": 0.05, "a bad fault": 0.3, "a dead release": 1} {
		t.Run(name, func(t *testing.T) {
			p := noWarmUp().Scene(Traffic{PerSecond: 100, ErrorRate: 0.01}, fails).Play(drawFrom(5))
			p.Shift(0.2)
			seen := map[Decision]bool{}
			for range 300 {
				got, whole := p.Second(), p.judge.Result()
				require.Equal(t, whole.Decision, got.Decision)
				require.Equal(t, whole.Rule, got.Rule)
				seen[got.Decision] = true
			}
			require.Equal(t, fails > 0.01, seen[Failed])
			require.Equal(t, fails == 0.01, seen[Passed])
			require.Equal(t, time.Unix(300, 0), p.Now())
		})
	}
}

// A dead release is found by its run of failures, which counts alone would not show, and hurts no more than its share until then.
func TestSimulatedRunsOfFailuresConvict(t *testing.T) {
	p := noWarmUp().Scene(Traffic{PerSecond: 500}, 1).Play(drawFrom(6))
	p.Shift(0.05)
	for range 10 {
		if r := p.Second(); r.Decision == Failed {
			require.Equal(t, RuleTotalFailure, r.Rule)
			require.Equal(t, time.Unix(3, 0), p.Now())
			require.InDelta(t, 75, p.Hurt(), 40)
			return
		}
	}
	t.Fatal("never convicted")
}

func TestSimulatedSilence(t *testing.T) {
	p := noWarmUp().Scene(Traffic{}, 0).Play(drawFrom(7))
	p.Shift(0.5)
	var last Result
	for range 20 {
		last = p.Second()
	}
	require.Equal(t, Result{Decision: Blind, Rule: RuleSilence}, last)
}

// However a second is shuffled, it holds what was drawn, in order of time and within the second.
func TestShuffledKeepsTheCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := anyExposure(t)
		p := noWarmUp().Scene(Traffic{}, 0).Play(drawFrom(rapid.Uint64().Draw(t, "seed")))
		var got exposure
		last := time.Unix(10, 0)
		for _, s := range p.shuffled(moment(10*time.Second), x) {
			got.ask(s.Arm)
			if s.Bad {
				got.blame(s.Arm)
			}
			require.False(t, s.At.Before(last))
			last = s.At
		}
		require.Equal(t, x, got)
		require.False(t, last.After(time.Unix(11, 0)))
	})
}
