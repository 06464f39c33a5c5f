package signal

import (
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cutover/traffic/verdict"
)

// epoch is when the snapshots of these tests begin.
var epoch = time.Unix(1_800_000_000, 0)

// ones is the stand of one series of each kind, of one target.
func ones(all, part float64) stand {
	return stand{all: counters{"all": {all, "t"}}, part: counters{"part": {part, "t"}}}
}

func TestCountingTakesStretchesOfBothArms(t *testing.T) {
	nothing := stand{}
	steps := []struct {
		name                string
		baseline, candidate stand
		requests, errors    [2]int64
		length              time.Duration
		missing             string
	}{
		{name: "the first look begins", baseline: ones(1000, 10), candidate: ones(50, 5)},
		{name: "the next one counts", baseline: ones(1100, 11), candidate: ones(60, 8),
			requests: [2]int64{100, 10}, errors: [2]int64{1, 3}, length: time.Second},
		{name: "an arm without a value", baseline: ones(1200, 12), candidate: nothing, missing: "no value for green"},
		{name: "its stretch went on in both", baseline: ones(1300, 13), candidate: ones(61, 8),
			requests: [2]int64{200, 1}, errors: [2]int64{2, 0}, length: 2 * time.Second},
		{name: "a fall ends the stretch of both", baseline: ones(1400, 14), candidate: ones(3, 0), missing: "green: all began to count anew"},
		{name: "and begins one", baseline: ones(1410, 14), candidate: ones(13, 2),
			requests: [2]int64{10, 10}, errors: [2]int64{0, 2}, length: time.Second},
		{name: "more errors than requests", baseline: ones(1420, 14), candidate: ones(14, 5),
			missing: "green: 3 bad ones of 1: they are not counted of the same requests"},
		{name: "until the requests have come too", baseline: ones(1430, 14), candidate: ones(18, 5),
			requests: [2]int64{20, 5}, errors: [2]int64{0, 3}, length: 2 * time.Second},
		{name: "nothing happened, which is no lack", baseline: ones(1430, 14), candidate: ones(18, 5), length: time.Second},
	}
	c := counting{metric: 3, of: theBad, arms: [2]string{"blue", "green"}}
	for n, s := range steps {
		at := epoch.Add(time.Duration(n) * time.Second)
		i, ok := c.take(snapshot{at: at, arms: [2]stand{s.baseline, s.candidate}})
		require.Equal(t, n > 0, ok, s.name)
		if !ok {
			continue
		}
		require.Equal(t, verdict.Interval{
			Metric: 3, At: at, Length: s.length, Missing: s.missing,
			Baseline:  verdict.Tally{Requests: s.requests[0], Errors: s.errors[0]},
			Candidate: verdict.Tally{Requests: s.requests[1], Errors: s.errors[1]},
		}, i, s.name)
	}
}

func TestCountingFromTheGoodOnes(t *testing.T) {
	c := counting{of: theGood, arms: [2]string{"blue", "green"}}
	c.take(snapshot{at: epoch, arms: [2]stand{ones(10, 10), ones(10, 10)}})
	i, _ := c.take(snapshot{at: epoch.Add(time.Second), arms: [2]stand{ones(110, 105), ones(20, 10)}})
	require.Equal(t, verdict.Tally{Requests: 100, Errors: 5}, i.Baseline)
	require.Equal(t, verdict.Tally{Requests: 10, Errors: 10}, i.Candidate)
}

func TestCountingOfSeriesThatAppear(t *testing.T) {
	before := stand{all: counters{"a 200": {100, "a"}}, part: counters{}}
	known := stand{all: counters{"a 200": {110, "a"}, "a 500": {2, "a"}}, part: counters{"a 500": {2, "a"}}}
	got, err := known.since(before, theBad)
	require.NoError(t, err)
	require.Equal(t, verdict.Tally{Requests: 12, Errors: 2}, got, "the first failures of a known target")

	another := stand{all: counters{"a 200": {110, "a"}, "b 200": {90000, "b"}}, part: counters{"b 500": {800, "b"}}}
	got, err = another.since(before, theBad)
	require.NoError(t, err)
	require.Equal(t, verdict.Tally{Requests: 10}, got, "a target that was never seen may have counted for days")

	nameless := stand{all: counters{"a 200": {110, "a"}, "200": {90000, ""}}, part: counters{}}
	got, err = nameless.since(before, theBad)
	require.NoError(t, err)
	require.Equal(t, verdict.Tally{Requests: 10}, got, "a series without a target")

	other := stand{all: counters{"x": {500, "p2"}}, process: "p2"}
	_, err = other.since(stand{all: counters{"x": {100, "p1"}}, process: "p1"}, theBad)
	require.ErrorIs(t, err, errFell, "another process answers, with a higher count")
}

// TestCountingByTurns holds that two processes that answer by turns are seen through, and believed again once only one is left.
func TestCountingByTurns(t *testing.T) {
	c := counting{arms: [2]string{"blue", "green"}}
	value, counted, told := [2]float64{1000, 900}, 0, 0
	for n := range 40 {
		value[n%2] += 5
		i, ok := c.take(snapshot{at: epoch.Add(time.Duration(n) * time.Second), arms: [2]stand{ones(float64(n), 0), ones(value[n%2], 0)}})
		switch {
		case ok && i.Missing == "":
			counted++
		case ok && i.Missing == c.turns():
			told++
		}
	}
	require.LessOrEqual(t, counted, 2, "only until they had fallen a third time")
	require.Greater(t, told, 30)
	for n := 40; n < 70; n++ {
		value[0]++
		i, _ := c.take(snapshot{at: epoch.Add(time.Duration(n) * time.Second), arms: [2]stand{ones(float64(n), 0), ones(value[0], 0)}})
		if n >= 62 {
			require.Empty(t, i.Missing)
			require.Equal(t, int64(1), i.Candidate.Requests)
		}
	}
}

func TestCountingWhenTheClockIsSetBack(t *testing.T) {
	c := counting{arms: [2]string{"blue", "green"}}
	c.take(snapshot{at: epoch, arms: [2]stand{ones(1, 0), ones(1, 0)}})
	i, _ := c.take(snapshot{at: epoch.Add(-time.Hour), arms: [2]stand{ones(2, 0), ones(2, 0)}})
	require.Equal(t, "the clock was set back", i.Missing)
	i, _ = c.take(snapshot{at: epoch.Add(-time.Hour + time.Second), arms: [2]stand{ones(5, 0), ones(3, 0)}})
	require.Equal(t, int64(3), i.Baseline.Requests)
}

func TestCountersTakeCountsOnly(t *testing.T) {
	for value, says := range map[float64]string{
		math.Inf(1): "no count", math.NaN(): "no count", -1: "below 0", 2.5: "not a whole number", 1 << 54: "too large",
	} {
		require.ErrorContains(t, counters{}.add("x", counter{value: value}), says)
	}
	c := counters{}
	require.NoError(t, c.add("x", counter{value: 1 << 53}))
	require.ErrorContains(t, c.add("x", counter{value: 1}), "there twice")
}

// TestCountingNeverCountsMoreThanHappened lets processes count, restart and vanish at random, and adds up what is told.
func TestCountingNeverCountsMoreThanHappened(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type process struct{ all, bad float64 }
		var truth [2]verdict.Tally
		var told [2]verdict.Tally
		arms := [2][]process{make([]process, 2), make([]process, 2)}
		c := counting{of: theBad, arms: [2]string{"blue", "green"}}
		for n := range rapid.IntRange(2, 40).Draw(t, "looks") {
			s := snapshot{at: epoch.Add(time.Duration(n) * time.Second)}
			for arm := range arms {
				for p := range arms[arm] {
					one := &arms[arm][p]
					if rapid.IntRange(0, 9).Draw(t, "restarts") == 0 {
						*one = process{}
					}
					bad := rapid.IntRange(0, 3).Draw(t, "bad")
					all := bad + rapid.IntRange(0, 5).Draw(t, "good")
					one.all, one.bad = one.all+float64(all), one.bad+float64(bad)
					truth[arm].Requests += int64(all)
					truth[arm].Errors += int64(bad)
					if rapid.IntRange(0, 9).Draw(t, "unseen") == 0 {
						continue
					}
					if s.arms[arm].all == nil {
						s.arms[arm] = stand{all: counters{}, part: counters{}}
					}
					target := strconv.Itoa(p)
					s.arms[arm].all["all "+target] = counter{one.all, target}
					if one.bad > 0 {
						s.arms[arm].part["bad "+target] = counter{one.bad, target}
					}
				}
			}
			i, ok := c.take(s)
			if !ok || i.Missing != "" {
				require.Zero(t, i.Length)
				require.Zero(t, i.Baseline)
				require.Zero(t, i.Candidate)
				continue
			}
			for arm, tally := range [2]verdict.Tally{i.Baseline, i.Candidate} {
				require.LessOrEqual(t, tally.Errors, tally.Requests)
				told[arm].Requests += tally.Requests
				told[arm].Errors += tally.Errors
			}
		}
		for arm := range truth {
			require.LessOrEqual(t, told[arm].Requests, truth[arm].Requests)
			require.LessOrEqual(t, told[arm].Errors, truth[arm].Errors)
		}
	})
}
