package nginxconf

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

func TestBackThenAgain(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 20)
	first, err := Back(t.Context(), r.root, &realHost{}, time.Now)
	require.NoError(t, err)
	require.Equal(t, []traffic.RolloutID{id}, first.Cut)
	require.Equal(t, traffic.Blue, first.Color)
	require.Equal(t, "v1.3.2", first.Tag)
	require.Equal(t, traffic.Full, first.Live.Share(traffic.Blue))
	require.Less(t, first.Took, 2*time.Second)
	require.Zero(t, r.share(50))

	second, err := Back(t.Context(), r.root, &realHost{}, time.Now)
	require.NoError(t, err)
	require.True(t, second.Already)
	require.False(t, second.NothingWarm)
	require.Empty(t, second.Cut)
	require.WithinDuration(t, time.Now(), second.Since, time.Minute)
	require.Equal(t, "v1.3.2", second.Tag)
}

func TestBackWhereNothingEverBegan(t *testing.T) {
	r := serving(t)
	outcome, err := Back(t.Context(), r.root, &realHost{}, time.Now)
	require.NoError(t, err)
	require.True(t, outcome.NothingWarm)
	require.Equal(t, traffic.Blue, outcome.Color)
	require.Zero(t, r.share(20))
}

// The lock is held, nginx's configuration is broken, and nothing but the app's folder is left of cutover.
func TestBackNeedsNothing(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 100)
	unlock, err := r.proxy.lock(t.Context())
	require.NoError(t, err)
	defer unlock()
	r.breakForeign()
	require.NoError(t, os.Remove(filepath.Join(r.folder, "nginx.conf")))
	_, err = Back(t.Context(), r.root, &realHost{}, time.Now)
	require.NoError(t, err)
	require.Zero(t, r.share(50))
}

// A torn or missing back.json takes the proof away, never the cutback.
func TestBackWithoutItsCard(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"missing": os.Remove,
		"torn":    func(path string) error { return os.Truncate(path, 20) },
		"foreign": func(path string) error { return os.WriteFile(path, []byte("{}"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			r := serving(t)
			id := r.open()
			r.raise(id, 100)
			require.NoError(t, spoil(cardPath(r.root)))
			outcome, err := Back(t.Context(), r.root, &realHost{}, time.Now)
			require.Equal(t, traffic.Unproven, traffic.KindOf(err))
			require.ErrorContains(t, err, "no proof is possible")
			require.Equal(t, []traffic.RolloutID{id}, outcome.Cut)
			require.Zero(t, r.share(50))

			next, err := r.proxy.Open(t.Context(), 0, split(0, 0))
			require.NoError(t, err, "the next rollout writes it anew")
			card, err := ReadCard(r.root)
			require.NoError(t, err)
			require.Equal(t, next, card.Rollout)
		})
	}
}

func TestBackWhileNginxIsStopped(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 100)
	r.kill()
	outcome, err := Back(t.Context(), r.root, &realHost{}, time.Now)
	var fault *traffic.Fault
	require.ErrorAs(t, err, &fault)
	require.Equal(t, traffic.Unproven, fault.Kind)
	require.Contains(t, fault.Hint, "nginx is not running")
	require.Equal(t, []traffic.RolloutID{id}, outcome.Cut)
	require.Equal(t, traffic.Blue, outcome.Color)
	r.start()
	require.Zero(t, r.share(50))
}

// A frozen nginx neither answers nor hears; the cutback holds as soon as it goes on.
func TestBackWhileNginxIsFrozen(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 100)
	group := -r.nginx.Process.Pid
	require.NoError(t, syscall.Kill(group, syscall.SIGSTOP))
	outcome, err := Back(t.Context(), r.root, &realHost{}, time.Now)
	require.NoError(t, syscall.Kill(group, syscall.SIGCONT))
	require.Equal(t, traffic.Unproven, traffic.KindOf(err))
	require.Equal(t, []traffic.RolloutID{id}, outcome.Cut)
	require.Zero(t, r.share(50))
}

// A cutback that is older than the last finished promotion is history, not "already back".
func TestBackAfterAFinishForgetsOlderCutbacks(t *testing.T) {
	r := serving(t)
	r.raise(r.open(), 20)
	_, err := Back(t.Context(), r.root, &realHost{}, time.Now)
	require.NoError(t, err)
	id := r.open()
	r.raise(id, 100)
	_, err = r.proxy.Finish(briefly(t), split(id, 100))
	require.NoError(t, err)
	outcome, err := Back(t.Context(), r.root, &realHost{}, time.Now)
	require.NoError(t, err)
	require.False(t, outcome.Already)
	require.True(t, outcome.NothingWarm)
	require.Equal(t, traffic.Green, outcome.Color)
}
