package signal

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic/verdict"
)

// sourceFunc is a source beside the log that follows by a function.
type sourceFunc func(ctx context.Context, fold func(verdict.Batch)) error

func (f sourceFunc) Follow(ctx context.Context, fold func(verdict.Batch)) error { return f(ctx, fold) }

func (f sourceFunc) Missing(at time.Time, why string) verdict.Batch {
	return verdict.Batch{Now: at, Intervals: []verdict.Interval{{At: at, Missing: why}}}
}

// counts folds a numbered batch now and then until the context ends.
func counts(make func(n int) verdict.Batch, every time.Duration) sourceFunc {
	return func(ctx context.Context, fold func(verdict.Batch)) error {
		for n := 0; ctx.Err() == nil; n++ {
			fold(make(n))
			select {
			case <-ctx.Done():
			case <-time.After(every):
			}
		}
		return nil
	}
}

func ofLog(n int) verdict.Batch { return verdict.Batch{Behind: time.Duration(n), Gap: n%2 == 0} }

func interval(n int) verdict.Batch {
	return verdict.Batch{Intervals: []verdict.Interval{{Metric: 7, Length: time.Duration(n)}}}
}

func TestJoinKeepsEachSourcesOrderAndLeavesTheLogAsItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var log, beside []verdict.Batch // appended without a lock: -race tells if fold had two callers
		j := Join(time.Now, counts(ofLog, 50*time.Millisecond), counts(interval, time.Second), counts(interval, time.Second))
		require.NoError(t, j.Follow(ctx, func(b verdict.Batch) {
			if b.Aside() {
				beside = append(beside, b)
			} else {
				log = append(log, b)
			}
		}))
		require.GreaterOrEqual(t, len(log), 199)
		for n, b := range log {
			require.Equal(t, ofLog(n), b)
		}
		require.GreaterOrEqual(t, len(beside), 2*9)
		seen := map[time.Duration]int{}
		last := time.Duration(0)
		for _, b := range beside {
			length := b.Intervals[0].Length
			seen[length]++
			require.GreaterOrEqual(t, length, last-1)
			last = max(last, length)
		}
		require.Equal(t, 2, seen[0])
	})
}

func TestJoinAsksALostSourceAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 12*time.Second)
		defer cancel()
		tries := 0
		fails := sourceFunc(func(context.Context, func(verdict.Batch)) error {
			if tries++; tries == 2 {
				return nil
			}
			return errors.New("try " + strconv.Itoa(tries) + " failed")
		})
		var said []string
		inLog := 0
		require.NoError(t, Join(time.Now, counts(ofLog, time.Second), fails).Follow(ctx, func(b verdict.Batch) {
			if b.Aside() {
				said = append(said, b.Intervals[0].Missing)
			} else {
				inLog++
			}
		}))
		require.Equal(t, []string{"try 1 failed", "the source ended", "try 3 failed"}, said)
		require.GreaterOrEqual(t, inLog, 12)
	})
}

func TestJoinEndsWithTheLog(t *testing.T) {
	lost := errors.New("the log is lost")
	stopped, begun := false, make(chan struct{})
	beside := sourceFunc(func(ctx context.Context, fold func(verdict.Batch)) error {
		close(begun)
		for ctx.Err() == nil {
			fold(interval(0)) // fold may refuse from then on, and must not block
		}
		stopped = true
		return nil
	})
	log := sourceFunc(func(context.Context, func(verdict.Batch)) error { <-begun; return lost })
	require.ErrorIs(t, Join(time.Now, log, beside).Follow(t.Context(), func(verdict.Batch) {}), lost)
	require.True(t, stopped)
	require.ErrorIs(t, Join(time.Now, log).Follow(t.Context(), func(verdict.Batch) {}), lost)
}
