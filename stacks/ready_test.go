package stacks

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAwait(t *testing.T) {
	slow, never := errors.New("answered 503"), &trouble{services: []string{"backend"}, err: errors.New("has ended"), final: true}
	ready := Ready{Timeout: 2 * time.Second, Consecutive: 3}
	for name, c := range map[string]struct {
		looks []error // the last one is repeated
		want  string
		took  time.Duration
		told  int
	}{
		"at once":             {looks: []error{nil}, took: 2 * pollEvery},
		"after a while":       {looks: []error{slow, slow, nil}, took: 4 * pollEvery, told: 1},
		"in a row only":       {looks: []error{nil, nil, slow, nil}, took: 5 * pollEvery, told: 1},
		"never":               {looks: []error{slow}, want: "answered 503; not ready within 2s", took: 2 * time.Second, told: 1},
		"flapping to the end": {looks: []error{nil, slow, nil, slow, nil, slow, nil, slow, nil}, want: "answered 503; not ready within 2s", took: 2 * time.Second, told: 1},
		"final":               {looks: []error{slow, never}, want: "backend: has ended", took: pollEvery, told: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, n, told := time.Now(), 0, 0
				err := await(t.Context(), ready, func(error) { told++ }, func(context.Context) error {
					n++
					return c.looks[min(n, len(c.looks))-1]
				})
				if c.want == "" {
					require.NoError(t, err)
				} else {
					require.EqualError(t, err, c.want)
				}
				require.Equal(t, c.took, time.Since(began))
				require.Equal(t, c.told, told)
			})
		})
	}
}

// A look that hangs until our deadline says nothing; the reason before it does.
func TestAwaitKeepsTheReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := 0
		err := await(t.Context(), Ready{Timeout: time.Second, Consecutive: 1}, func(error) {}, func(ctx context.Context) error {
			if looks++; looks == 1 {
				return errors.New("answered 503")
			}
			<-ctx.Done()
			return ctx.Err()
		})
		require.EqualError(t, err, "answered 503; not ready within 1s")
	})
}

func TestAwaitEndsWithItsCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := await(ctx, Ready{Timeout: time.Minute, Consecutive: 1}, func(error) {}, func(context.Context) error { return errors.New("no") })
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestWrong(t *testing.T) {
	w := NewCompose(Options{}).watch(stack{}, model{})
	for _, step := range []struct {
		box   box
		want  string
		final bool
	}{
		{box: box{State: "running", Restarts: 7}}, // restarts of old are no matter
		{box: box{State: "running", Restarts: 8}, want: "was restarted"},
		{box: box{State: "running", Restarts: 8}},
		{box: box{State: "running", Restarts: 8, Health: "starting"}, want: "health check says starting"},
		{box: box{State: "running", Restarts: 8, Health: "healthy"}},
		{box: box{State: "restarting", Restarts: 9}, want: "is restarting"},
		{box: box{State: "paused", Restarts: 9}, want: "is paused"},
		{box: box{State: "running", Restarts: 12}, want: "keeps crashing", final: true},
		{box: box{ID: "other", State: "exited", Exit: 137}, want: "exit code 137", final: true},
	} {
		final, err := w.wrong(step.box)
		require.Equal(t, step.final, final, "%+v", step)
		if step.want == "" {
			require.NoError(t, err, "%+v", step)
		} else {
			require.ErrorContains(t, err, step.want)
		}
	}
}
