package nginxconf

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// A rehearsed cutback is a real one on which nobody is: users get stable before, while the folder stands, and after it.
func TestRehearse(t *testing.T) {
	for way, set := range map[string]func(*testing.T) *rig{
		"reload": serving, "name": servingFixed, "live": func(t *testing.T) *rig { return adapted(t, live) },
	} {
		t.Run(way, func(t *testing.T) { rehearses(t, set(t)) })
	}
}

func rehearses(t *testing.T, r *rig) {
	users := r.load()
	for n := range 2 {
		id := traffic.RolloutID(5)
		if !r.proxy.live() {
			id += traffic.RolloutID(n) // it is a raise each time
		}
		seen := false
		done, err := r.proxy.Rehearse(t.Context(), traffic.Blue, 4, func() {
			seen = true
			live, err := r.proxy.Live(t.Context())
			require.NoError(t, err)
			require.True(t, live.Open)
			require.Equal(t, id, live.Split.Rollout)
			require.Equal(t, traffic.Full, live.Share(traffic.Blue))
			users.more(t, 50)
		})
		require.NoError(t, err)
		require.True(t, seen)
		require.Equal(t, id, done.Rollout)
		require.Positive(t, done.Took)
	}
	users.more(t, 50)
	users.stop()
	require.Zero(t, r.green.all.Load())
	require.Zero(t, users.failed.Load())
	left, err := filepath.Glob(filepath.Join(r.root, "rollouts", "0*"))
	require.NoError(t, err)
	require.Empty(t, left)
	outcome, err := Back(t.Context(), r.root, r.host, r.options.Now)
	require.NoError(t, err)
	require.True(t, outcome.NothingWarm, "nobody has cut back")

	// the rollout that takes the same id next has its share, and can be cut back
	id := r.open()
	r.raise(id, 50)
	require.InDelta(t, 50, r.share(100), 25)
	_, err = r.proxy.Cut(t.Context(), id, "")
	require.NoError(t, err)
	require.Zero(t, r.share(10))
}

// What nginx or somebody else refuses leaves nothing open, and moves nothing.
func TestRehearse_Refused(t *testing.T) {
	r := serving(t)
	nobody := func() { t.Error("nothing stands") }
	_, err := r.proxy.Rehearse(t.Context(), traffic.Green, 0, nobody)
	require.ErrorContains(t, err, "generation 1 makes blue the default, while the journal says that green is stable")

	r.breakForeign()
	_, err = r.proxy.Rehearse(t.Context(), traffic.Blue, 0, nobody)
	require.Equal(t, traffic.Refused, traffic.KindOf(err), "%v", err)
	r.mend()
	standing, err := r.proxy.Fence().Standing()
	require.NoError(t, err)
	require.Empty(t, standing)

	r.raise(r.open(), 20)
	_, err = r.proxy.Rehearse(t.Context(), traffic.Blue, 0, nobody)
	require.Equal(t, traffic.Busy, traffic.KindOf(err), "%v", err)
	require.InDelta(t, 20, r.share(20), 10)
}

// Who cuts back in the middle of a rehearsal, and cannot write it down, finds that it was done.
func TestRehearse_CutBySomebodyElse(t *testing.T) {
	r := serving(t)
	done, err := r.proxy.Rehearse(t.Context(), traffic.Blue, 0, func() {
		outcome, err := Back(t.Context(), r.root, r.host, r.options.Now)
		require.NoError(t, err)
		require.Equal(t, []traffic.RolloutID{1}, outcome.Cut)
		require.NoError(t, r.proxy.Fence().WriteWhy(1, []byte("{}")))
	})
	require.NoError(t, err)
	require.Equal(t, traffic.RolloutID(1), done.Rollout)
	whys, err := r.proxy.Fence().Whys()
	require.NoError(t, err)
	require.Len(t, whys, 1)
}

func TestNamesake(t *testing.T) {
	r := newRig(t)
	for _, app := range []string{"other", "shop"} {
		require.NoError(t, os.MkdirAll(filepath.Join(r.options.Config.Dir, app), 0o755))
		require.NoError(t, os.Symlink("gen/000001", filepath.Join(r.options.Config.Dir, app, "current")))
	}
	require.NoError(t, r.proxy.namesake())
	r.options.App = "shop-api"
	require.NoError(t, os.MkdirAll(filepath.Join(r.options.Config.Dir, "shop_api"), 0o755))
	require.NoError(t, New(r.options).namesake(), "without a tree it is no app")
	require.NoError(t, os.Symlink("gen/000001", filepath.Join(r.options.Config.Dir, "shop_api", "current")))
	require.ErrorContains(t, New(r.options).namesake(), "app shop_api beside it has the same names in nginx, cutover_shop_api_…")
}
