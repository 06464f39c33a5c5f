package nginxconf

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// briefly bounds what may wait for old workers.
func briefly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestFinishMakesTheCandidateTheDefault(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 100)
	l := r.load()
	live, err := r.proxy.Finish(briefly(t), split(id, 100))
	l.stop()
	require.NoError(t, err)
	require.Equal(t, traffic.Full, live.Share(traffic.Green))
	require.Equal(t, traffic.Split{Stable: traffic.Green, Releases: tags}, live.Split)
	require.NoDirExists(t, r.proxy.fence.doneFolder(id))
	require.EqualValues(t, 100, r.share(50))

	hangups := r.host.hangups.Load()
	again, err := r.proxy.Finish(briefly(t), split(id, 100))
	require.NoError(t, err)
	require.Equal(t, live.Generation, again.Generation)
	require.Equal(t, hangups, r.host.hangups.Load(), "to finish again only proves")

	outcome, err := Back(t.Context(), r.root, &realHost{}, time.Now)
	require.NoError(t, err)
	require.True(t, outcome.NothingWarm)
	require.Equal(t, "v1.3.2", outcome.Card.Previous)
	require.Equal(t, traffic.Green, outcome.Color)
	require.EqualValues(t, 100, r.share(50))
	r.restart()
	require.EqualValues(t, 100, r.share(50))

	// The next rollout goes the other way.
	next, err := r.proxy.Open(t.Context(), id, traffic.Split{Stable: traffic.Green, Releases: tags})
	require.NoError(t, err)
	require.Greater(t, next, id)
	live, err = r.proxy.Raise(t.Context(), traffic.Split{Rollout: next, Stable: traffic.Green, Weight: 2000, Releases: tags})
	require.NoError(t, err)
	require.Equal(t, traffic.Weight(2000), live.Share(traffic.Blue))
}

func TestFinishAfterACutback(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 100)
	_, err := r.proxy.Cut(t.Context(), id, "")
	require.NoError(t, err)
	_, err = r.proxy.Finish(briefly(t), split(id, 100))
	require.ErrorIs(t, err, traffic.ErrCut)
	require.Zero(t, r.share(50))
}

// A connection that an old worker still has may be answered from the old color: the folder, and the old stack, must stay.
func TestFinishWaitsForOldWorkers(t *testing.T) {
	r := serving(t)
	defer close(r.green.stall)
	id := r.open()
	r.raise(id, 100)
	conn, err := net.Dial("tcp", r.site)
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "GET /slow HTTP/1.1\r\nHost: shop\r\n\r\n")
	eventually(t, func() bool { return r.green.slow.Load() == 1 }, r.errors)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = r.proxy.Finish(ctx, split(id, 100))
	require.ErrorIs(t, err, ErrDraining)
	require.Equal(t, traffic.Busy, traffic.KindOf(err))
	require.DirExists(t, r.proxy.fence.doneFolder(id))
	require.EqualValues(t, 100, r.share(50))
	_, err = r.proxy.Open(t.Context(), id, traffic.Split{Stable: traffic.Green})
	require.Equal(t, traffic.Busy, traffic.KindOf(err), "the next rollout has to wait")
	require.ErrorIs(t, r.proxy.fence.cutBecause(id, ""), errFinished)

	require.NoError(t, conn.Close())
	_, err = r.proxy.Finish(briefly(t), split(id, 100))
	require.NoError(t, err)
	require.NoDirExists(t, r.proxy.fence.doneFolder(id))
}

// A foreign broken file is seen before the first rename: the way back stays open.
func TestFinishInABrokenConfiguration(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 100)
	r.breakForeign()
	_, err := r.proxy.Finish(briefly(t), split(id, 100))
	require.Equal(t, traffic.Refused, traffic.KindOf(err))
	require.DirExists(t, r.proxy.fence.openFolder(id))
	_, err = r.proxy.Cut(t.Context(), id, "")
	require.NoError(t, err)
	require.Zero(t, r.share(50))
}

// The reload is ignored: the folder .done keeps everything on the candidate until a later call completes it.
func TestFinishThatNginxIgnores(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 100)
	r.proxy.patience = 500 * time.Millisecond
	r.host.beforeHangup = r.breakForeign
	_, err := r.proxy.Finish(briefly(t), split(id, 100))
	require.Equal(t, traffic.Refused, traffic.KindOf(err))
	require.EqualValues(t, 100, r.share(50))
	live, err := r.proxy.Live(t.Context())
	require.NoError(t, err)
	require.True(t, live.Finished)
	require.Equal(t, traffic.Full, live.Share(traffic.Green))

	outcome, err := Back(t.Context(), r.root, &realHost{}, time.Now)
	require.NoError(t, err)
	require.True(t, outcome.NothingWarm)
	require.Equal(t, traffic.Green, outcome.Color)

	r.host.beforeHangup = nil
	r.mend()
	r.restart()
	require.EqualValues(t, 100, r.share(50))
	_, err = r.proxy.Finish(briefly(t), split(id, 100))
	require.NoError(t, err)
	require.EqualValues(t, 100, r.share(50))
}

// stopAt is a place where a promoter is killed, and what nginx must serve of green when it is started then.
type stopAt struct {
	name string
	// run does everything up to the place.
	run   func(r *rig, id traffic.RolloutID)
	green []float64
}

func raiseStops() []stopAt {
	prepare := func(r *rig, id traffic.RolloutID) move {
		m, err := r.proxy.prepare(r.t.Context(), split(id, 50), r.proxy.fence.openFolder(id))
		require.NoError(r.t, err)
		return m
	}
	return []stopAt{
		{"opened", func(*rig, traffic.RolloutID) {}, []float64{0}},
		{"half staged", func(r *rig, _ traffic.RolloutID) {
			require.NoError(r.t, makeFolder(r.proxy.trees.folder(2), 0o755))
			require.NoError(r.t, writeSynced(r.proxy.trees.folder(2)+"/http.conf", []byte("half of"), 0o644))
		}, []float64{0}},
		{"staged", func(r *rig, id traffic.RolloutID) { require.NoError(r.t, r.proxy.stage(split(id, 50), 2, nil)) }, []float64{0}},
		{"prepared", func(r *rig, id traffic.RolloutID) { prepare(r, id) }, []float64{0}},
		{"swapped", func(r *rig, id traffic.RolloutID) { require.NoError(r.t, r.proxy.trees.swap(prepare(r, id).link)) }, []float64{0, 50}},
		{"reloading", func(r *rig, id traffic.RolloutID) {
			m := prepare(r, id)
			require.NoError(r.t, r.proxy.trees.swap(m.link))
			require.NoError(r.t, r.host.Hangup(m.master))
		}, []float64{0, 50}},
		{"undoing", func(r *rig, id traffic.RolloutID) {
			m := prepare(r, id)
			require.NoError(r.t, r.proxy.trees.swap(m.link))
			require.NoError(r.t, r.proxy.trees.swap(m.undo))
		}, []float64{0}},
	}
}

// A promoter may die anywhere in a raise. nginx starts with what it left, serves a share that was asked for, obeys a cutback,
// and the raise can be performed again.
func TestKilledInARaise(t *testing.T) {
	for _, stop := range raiseStops() {
		t.Run(stop.name, func(t *testing.T) {
			r := serving(t)
			id := r.open()
			stop.run(r, id)
			r.restart()
			require.Contains(t, stop.green, r.share(100))
			r.raise(id, 50)
			require.InDelta(t, 50, r.share(200), 5)
			require.NoError(t, r.proxy.Prune(t.Context()))
			_, err := Back(t.Context(), r.root, &realHost{}, time.Now)
			require.NoError(t, err)
			r.restart()
			require.Zero(t, r.share(50))
		})
	}
}

func TestKilledInAFinish(t *testing.T) {
	wanted := traffic.Split{Stable: traffic.Green, Releases: tags}
	prepare := func(r *rig, id traffic.RolloutID) move {
		require.NoError(r.t, r.proxy.fence.Done(id))
		m, err := r.proxy.prepare(r.t.Context(), wanted, r.proxy.fence.doneFolder(id))
		require.NoError(r.t, err)
		return m
	}
	for _, stop := range []stopAt{
		{"begun", func(r *rig, id traffic.RolloutID) { require.NoError(r.t, r.proxy.fence.Done(id)) }, nil},
		{"prepared", func(r *rig, id traffic.RolloutID) { prepare(r, id) }, nil},
		{"swapped", func(r *rig, id traffic.RolloutID) { require.NoError(r.t, r.proxy.trees.swap(prepare(r, id).link)) }, nil},
		{"proven", func(r *rig, id traffic.RolloutID) {
			_, err := r.proxy.perform(r.t.Context(), prepare(r, id))
			require.NoError(r.t, err)
		}, nil},
	} {
		for _, restarts := range []string{"nginx stays", "nginx restarts"} {
			t.Run(stop.name+", "+restarts, func(t *testing.T) {
				r := serving(t)
				id := r.open()
				r.raise(id, 100)
				stop.run(r, id)
				if restarts == "nginx restarts" {
					r.restart()
				}
				require.EqualValues(t, 100, r.share(50))
				_, err := r.proxy.Finish(briefly(t), split(id, 100))
				require.NoError(t, err)
				require.EqualValues(t, 100, r.share(50))
				_, err = os.Lstat(r.proxy.fence.doneFolder(id))
				require.ErrorIs(t, err, os.ErrNotExist)
				outcome, err := Back(t.Context(), r.root, &realHost{}, time.Now)
				require.NoError(t, err)
				require.True(t, outcome.NothingWarm)
				require.Equal(t, "v1.3.2", outcome.Card.Previous)
			})
		}
	}
}
