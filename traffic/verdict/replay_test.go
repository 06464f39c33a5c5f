package verdict

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recorded is evenly spaced traffic, in which arms fail and are slow by rates of their own.
type recorded struct {
	samples []Sample
	random  *rand.Rand
	now     time.Time
}

func newRecorded() *recorded { return &recorded{random: rand.New(rand.NewPCG(7, 7)), now: start} }

// goesOn adds so much time with a hundred requests a second; by arm, how many fail and are slow.
func (r *recorded) goesOn(d time.Duration, share float64, fails, slow [2]float64) *recorded {
	for end := r.now.Add(d); r.now.Before(end); {
		r.now = r.now.Add(10 * time.Millisecond)
		s := Sample{At: r.now}
		if r.random.Float64() < share {
			s.Arm = Candidate
		}
		s.Bad, s.Slow = r.random.Float64() < fails[s.Arm], r.random.Float64() < slow[s.Arm]
		r.samples = append(r.samples, s)
	}
	return r
}

// opinions replays the recording, and gives the decisions in order and the last one.
func (r *recorded) opinions(m Metrics, until time.Time, shifts ...Shift) (decisions []Decision, last Opinion, played *Replay) {
	played = NewReplay(noWarmUp(), m, shifts, until)
	for _, s := range r.samples {
		played.Play(s)
	}
	last, _ = played.End()
	for _, o := range played.Opinions() {
		decisions = append(decisions, o.Result.Decision)
	}
	return decisions, last, played
}

var clean [2]float64

func TestReplayNotesEachChange(t *testing.T) {
	r := newRecorded().goesOn(2*time.Minute, 0.2, clean, clean)
	decisions, last, played := r.opinions(ErrorsOnly, time.Time{}, Shift{start, 0.2})
	require.Equal(t, []Decision{Undecided, Passed}, decisions)
	require.Equal(t, Passed, last.Result.Decision)
	first := played.Opinions()[0]
	require.Equal(t, start, first.At)
	require.Equal(t, 0.2, first.Share)
	passed := played.Opinions()[1]
	require.WithinDuration(t, start.Add(time.Minute), passed.At, 2*time.Second)
	require.Negative(t, passed.Log.Errors)
	require.Negative(t, passed.Log.Ceiling)
	require.Zero(t, passed.Log.Slow)
	require.EqualValues(t, len(r.samples), played.Counted(Baseline).Requests+played.Counted(Candidate).Requests)

	r.goesOn(time.Minute, 0.2, [2]float64{Candidate: 0.5}, clean).goesOn(time.Minute, 0.2, clean, clean)
	decisions, last, played = r.opinions(ErrorsOnly, time.Time{}, Shift{start, 0.2})
	require.Equal(t, []Decision{Undecided, Passed, Undecided, Failed}, decisions, "nothing follows a failure")
	require.Equal(t, Failed, last.Result.Decision)
	require.EqualValues(t, len(r.samples), played.Counted(Baseline).Requests+played.Counted(Candidate).Requests)
	require.Greater(t, played.Counted(Candidate).Errors, last.Result.Candidate.Errors, "those after the failure count too")
}

func TestReplayOfTheFirstShareAndTheEnd(t *testing.T) {
	r := newRecorded().goesOn(3*time.Minute, 0.2, clean, clean)
	_, last, played := r.opinions(ErrorsOnly, start.Add(90*time.Second), Shift{start.Add(time.Minute), 0.2})
	require.Equal(t, Undecided, last.Result.Decision, "half a minute is no proof")
	require.Equal(t, start.Add(90*time.Second), last.At)
	counted := played.Counted(Baseline).Requests + played.Counted(Candidate).Requests
	require.EqualValues(t, 3000, counted)

	_, _, played = r.opinions(ErrorsOnly, time.Time{}, Shift{start.Add(time.Hour), 0.2})
	_, judged := played.End()
	require.False(t, judged, "its first share came after all of it")
	require.Zero(t, played.Counted(Baseline))
}

// A share that changes takes the pass of the share before away, and what only time brings is seen between two lines.
func TestReplayLetsTimePass(t *testing.T) {
	r := newRecorded().goesOn(2*time.Minute, 0.2, clean, clean)
	quiet := r.now
	r.now = r.now.Add(time.Hour)
	r.goesOn(time.Second, 0.2, clean, clean)
	decisions, _, played := r.opinions(ErrorsOnly, time.Time{}, Shift{start, 0.2}, Shift{start.Add(100 * time.Second), 0.5})
	require.Equal(t, []Decision{Undecided, Passed, Undecided}, decisions)
	require.Equal(t, start.Add(100*time.Second), played.Opinions()[2].At)

	decisions, _, played = r.opinions(ErrorsOnly, time.Time{}, Shift{start, 0.2})
	require.Equal(t, []Decision{Undecided, Passed, Blind, Passed}, decisions)
	require.WithinDuration(t, quiet.Add(silentAfter), played.Opinions()[2].At, time.Second)
	require.Less(t, r.now.Sub(played.Opinions()[3].At), 2*time.Second)
}

// In silence the clock goes on to the very end, and no further.
func TestReplayEndsInSilence(t *testing.T) {
	r := newRecorded().goesOn(2*time.Minute, 0.2, clean, clean)
	_, last, _ := r.opinions(ErrorsOnly, r.now.Add(time.Hour), Shift{start, 0.2})
	require.Equal(t, Blind, last.Result.Decision)
	require.Equal(t, r.now.Add(time.Hour), last.At)
	_, last, _ = r.opinions(ErrorsOnly, r.now.Add(10*time.Second), Shift{start, 0.2})
	require.Equal(t, Passed, last.Result.Decision)
}

func TestReplayOfASlowCandidate(t *testing.T) {
	slow := newRecorded().goesOn(2*time.Minute, 0.2, clean, [2]float64{Baseline: 0.02, Candidate: 0.3})
	_, last, played := slow.opinions(ErrorsAndSlowness, time.Time{}, Shift{start, 0.2})
	require.Equal(t, Failed, last.Result.Decision)
	require.Equal(t, RuleSlow, last.Result.Rule)
	require.Regexp(t, `^candidate is slow in \d+\.\d% of requests \(\d+ of \d+\), stable in \d\.\d% \(\d+ of [\d,]+\): worse`, last.Result.Reason)
	require.Greater(t, played.Opinions()[1].Log.Slow, 4.6)
	require.Positive(t, played.Counted(Candidate).Slow)
	_, last, _ = slow.opinions(ErrorsOnly, time.Time{}, Shift{start, 0.2})
	require.Equal(t, Passed, last.Result.Decision, "nobody asked for slowness")

	asSlow := newRecorded().goesOn(3*time.Minute, 0.2, clean, [2]float64{0.02, 0.02})
	_, last, _ = asSlow.opinions(ErrorsAndSlowness, time.Time{}, Shift{start, 0.2})
	require.Equal(t, Passed, last.Result.Decision)
	between := newRecorded().goesOn(3*time.Minute, 0.2, clean, [2]float64{0.02, 0.05})
	_, last, _ = between.opinions(ErrorsAndSlowness, time.Time{}, Shift{start, 0.2})
	require.Equal(t, Undecided, last.Result.Decision, "without errors, and still no pass: %+v", last)

	alone := newRecorded().goesOn(time.Minute, 0.2, clean, clean).goesOn(4*time.Minute, 1, clean, [2]float64{0, 1})
	_, last, _ = alone.opinions(ErrorsAndSlowness, time.Time{}, Shift{start, 0.2}, Shift{start.Add(time.Minute), 1})
	require.Equal(t, Passed, last.Result.Decision, "beside no stable slowness proves nothing")
}

// Lines of several workers come out of order by a moment; a host's clock may be set back.
func TestReplayOfLinesOutOfOrder(t *testing.T) {
	r := newRecorded().goesOn(2*time.Minute, 0.2, clean, clean)
	for i := 10; i < len(r.samples); i += 10 {
		r.samples[i], r.samples[i-3] = r.samples[i-3], r.samples[i]
	}
	decisions, _, played := r.opinions(ErrorsOnly, time.Time{}, Shift{start, 0.2})
	require.Equal(t, []Decision{Undecided, Passed}, decisions)
	require.False(t, played.Opinions()[1].At.Before(start.Add(time.Minute)))

	r.now = start.Add(-time.Hour)
	r.goesOn(10*time.Second, 0.2, [2]float64{Candidate: 1}, clean)
	decisions, _, _ = r.opinions(ErrorsOnly, time.Time{}, Shift{start, 0.2})
	require.Equal(t, []Decision{Undecided, Passed, Undecided, Failed}, decisions)
}

// What a replay says is what a judge says that gets them in batches of a twentieth of a second, as a promoter does,
// but for the moment.
func TestReplayAgreesWithBatches(t *testing.T) {
	r := newRecorded().goesOn(time.Minute, 0.2, clean, clean).goesOn(time.Minute, 0.2, [2]float64{0.01, 0.15}, clean)
	_, last, played := r.opinions(ErrorsOnly, time.Time{}, Shift{start, 0.2})
	j := NewJudge(noWarmUp())
	j.Shift(start, 0.2)
	var failed time.Time
	rest := r.samples
	for now := start; len(rest) > 0 && failed.IsZero(); now = now.Add(50 * time.Millisecond) {
		n := 0
		for n < len(rest) && rest[n].At.Before(now.Add(-100*time.Millisecond)) { // nginx holds lines back
			n++
		}
		j.Fold(Batch{Samples: rest[:n], Now: now})
		rest = rest[n:]
		if j.convicted() {
			failed = now
		}
	}
	require.Equal(t, last.Result.Rule, j.Result().Rule)
	opinions := played.Opinions()
	require.WithinDuration(t, failed, opinions[len(opinions)-1].At, 2*bucketLength)
}
