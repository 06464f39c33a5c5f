package nginxconf

import (
	"context"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

func TestRaiseGivesTheShareUnderLoad(t *testing.T) {
	r := serving(t)
	require.Zero(t, r.share(50))
	id := r.open()
	require.Zero(t, r.share(50), "an open rollout moves nothing")
	for _, percent := range []int{5, 20, 50, 100} {
		l := r.load()
		live := r.raise(id, percent)
		current, err := r.proxy.trees.current()
		require.NoError(t, err)
		require.Equal(t, current, live.Generation)
		const asked = 400
		share := r.share(asked)
		l.stop()
		// Whose turn it is depends on the others' requests: five standard deviations. TestShares is sharper.
		p := float64(percent) / 100
		require.InDelta(t, percent, share, 500*math.Sqrt(p*(1-p)/asked))
	}
	log, err := os.ReadFile(r.options.AccessLog)
	require.NoError(t, err)
	require.Contains(t, string(log), `"rollout":"000001","generation":5,"pool":"split","color":"green","release":"v1.4.0","status":200,"method":"GET"`)
	require.Contains(t, string(log), `"rollout":"","generation":1,"pool":"stable","color":"blue","release":"v1.3.2","status":200,"method":"GET"`)
}

func TestRaiseTwiceIsTheSameAsOnce(t *testing.T) {
	r := serving(t)
	id := r.open()
	first := r.raise(id, 20)
	hangups := r.host.hangups.Load()
	second := r.raise(id, 20)
	require.Equal(t, first.Generation, second.Generation)
	require.Equal(t, hangups, r.host.hangups.Load(), "nothing is reloaded for what is served already")
}

// A cutback renames one folder. It needs neither a test nor a reload, so nothing that somebody else broke can refuse it.
func TestCutUnderLoad(t *testing.T) {
	for _, foreign := range []string{"whole", "broken"} {
		t.Run("foreign file "+foreign, func(t *testing.T) {
			r := serving(t)
			id := r.open()
			r.raise(id, 50)
			if foreign == "broken" {
				r.breakForeign()
				require.NoError(t, r.host.Hangup(r.nginx.Process.Pid)) // nginx ignores it and serves on
			}
			l := r.load()
			l.more(t, 200)
			require.Positive(t, r.green.all.Load())
			live, err := r.proxy.Cut(t.Context(), id, "too many errors")
			l.marked.Store(true)
			require.NoError(t, err)
			require.Equal(t, traffic.Full, live.Share(traffic.Blue))
			l.more(t, 500)
			l.stop()
			require.Zero(t, r.green.late.Load(), "no request that begins after the cutback reaches the candidate")
			require.Zero(t, l.failed.Load())

			again, err := r.proxy.Cut(t.Context(), id, "")
			require.NoError(t, err, "to cut again is to prove it again")
			require.False(t, again.Open)
			why, err := os.ReadFile(filepath.Join(r.root, "rollouts", "000001.cut", "cut"))
			require.NoError(t, err)
			require.Equal(t, "too many errors", string(why))
		})
	}
}

func TestCutGoesOnWhenItsContextHasEnded(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 20)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.proxy.Cut(ended, id, "")
	require.NoError(t, err)
	require.Zero(t, r.share(50))
}

func TestCutWithoutNginxSaysWhatItCouldNotProve(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 20)
	r.kill()
	r.proxy.cutPatience = 100 * time.Millisecond
	_, err := r.proxy.Cut(t.Context(), id, "")
	require.Equal(t, traffic.Unproven, traffic.KindOf(err))
	r.start()
	require.Zero(t, r.share(50), "the cutback was done all the same")
}

// Whatever a frozen promoter does when it wakes, its rename has its source in the folder that a cutback took away.
func TestFrozenPromoterCannotRaise(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 5)
	m, err := r.proxy.prepare(t.Context(), split(id, 100), r.proxy.fence.openFolder(id))
	require.NoError(t, err)
	_, err = Back(t.Context(), r.root, &realHost{}, time.Now)
	require.NoError(t, err)
	_, err = r.proxy.perform(t.Context(), m)
	require.ErrorIs(t, err, traffic.ErrCut)
	require.NoDirExists(t, r.proxy.trees.folder(m.gen))
	_, err = r.proxy.Raise(t.Context(), split(id, 100))
	require.ErrorIs(t, err, traffic.ErrCut)
	require.Zero(t, r.share(50))
}

func TestFrozenPromoterCannotUndo(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 5)
	r.proxy.patience = 500 * time.Millisecond
	r.host.beforeHangup = func() {
		r.breakForeign() // so that the reload is ignored
		_, err := Back(t.Context(), r.root, &realHost{}, time.Now)
		require.NoError(t, err)
	}
	_, err := r.proxy.Raise(t.Context(), split(id, 20))
	require.ErrorIs(t, err, traffic.ErrCut)
	require.Zero(t, r.share(50))
	r.mend()
	r.restart()
	require.Zero(t, r.share(50))
}

func TestRaiseThatIsCutBeforeItsProof(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.host.beforeHangup = func() { _, _ = r.proxy.fence.cutAll() }
	_, err := r.proxy.Raise(t.Context(), split(id, 100))
	require.ErrorIs(t, err, traffic.ErrCut)
	require.Zero(t, r.share(50))
}

func TestOlderRolloutNeverRaises(t *testing.T) {
	r := serving(t)
	id := r.open()
	require.NoError(t, os.Mkdir(filepath.Join(r.root, "rollouts", "000002.cut"), 0o755))
	_, err := r.proxy.Raise(t.Context(), split(id, 5))
	require.Equal(t, traffic.Busy, traffic.KindOf(err))
}

func TestRefusedTreeChangesNothing(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 5)
	before := snapshot(t, r.root)
	hangups := r.host.hangups.Load()
	r.breakForeign()
	_, err := r.proxy.Raise(t.Context(), split(id, 20))
	var fault *traffic.Fault
	require.ErrorAs(t, err, &fault)
	require.Equal(t, traffic.Refused, fault.Kind)
	require.Contains(t, fault.Detail[0], "foreign/broken.conf:1")
	require.Equal(t, before, snapshot(t, r.root))
	require.Equal(t, hangups, r.host.hangups.Load())
	hidden, err := filepath.Glob(filepath.Join(r.folder, ".nginx.conf*"))
	require.NoError(t, err)
	require.Empty(t, hidden, "the copy that was tested is gone")
	require.InDelta(t, 5, r.share(400), 3)
}

// snapshot lists what lies below a folder, with where links lead.
func snapshot(t *testing.T, root string) []string {
	t.Helper()
	var all []string
	require.NoError(t, filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		target, _ := os.Readlink(path)
		all = append(all, path+" "+info.Mode().String()+" "+target)
		return err
	}))
	return all
}

// The exit code of a reload proves nothing: here somebody breaks a file between our test and nginx's reading.
func TestIgnoredReloadIsUndone(t *testing.T) {
	r := serving(t)
	id := r.open()
	before := r.raise(id, 5)
	r.proxy.patience = 700 * time.Millisecond
	r.host.beforeHangup = r.breakForeign
	_, err := r.proxy.Raise(t.Context(), split(id, 20))
	require.Equal(t, traffic.Refused, traffic.KindOf(err))
	require.ErrorContains(t, err, "nginx ignored the reload")
	require.ErrorContains(t, err, "undone: generation 2 serves, blue 95 %, green 5 %")
	current, err := r.proxy.trees.current()
	require.NoError(t, err)
	require.Equal(t, before.Generation, current)
	r.host.beforeHangup = nil
	r.mend()
	r.restart()
	require.InDelta(t, 5, r.share(400), 3)
}

// Where even the undo cannot be proven, that is the first fault; nginx starts with the tree of before.
func TestNginxDiesInARaise(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 5)
	r.proxy.patience = 300 * time.Millisecond
	r.host.beforeHangup = r.kill
	_, err := r.proxy.Raise(t.Context(), split(id, 50))
	require.Equal(t, traffic.Unproven, traffic.KindOf(err), "%v", err)
	r.host.beforeHangup = nil
	r.start()
	require.InDelta(t, 5, r.share(400), 3)
	r.raise(id, 50)
}

func TestLoweringIsNeverUndone(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 50)
	r.proxy.patience = 300 * time.Millisecond
	r.host.beforeHangup = r.breakForeign
	_, err := r.proxy.Raise(t.Context(), split(id, 5))
	require.ErrorContains(t, err, "stays in place")
	r.host.beforeHangup = nil
	r.mend()
	r.restart()
	require.InDelta(t, 5, r.share(400), 3)
}

func TestCalledOffRaiseIsTakenBack(t *testing.T) {
	r := serving(t)
	id := r.open()
	ctx, cancel := context.WithCancel(t.Context())
	r.host.beforeHangup = cancel
	_, err := r.proxy.Raise(ctx, split(id, 100))
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, r.share(50))
	r.restart()
	require.Zero(t, r.share(50))
}

func TestProbeTakenByAStranger(t *testing.T) {
	r := newRig(t)
	listener, err := net.Listen("tcp", r.options.Config.Probe)
	require.NoError(t, err)
	stranger := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = stranger.Serve(listener) }()
	defer stranger.Close()
	err = r.proxy.Base(t.Context(), traffic.Blue, tags)
	require.Equal(t, traffic.Preflight, traffic.KindOf(err))
	require.ErrorContains(t, err, "answered by something else: 404 Not Found")
	require.NoFileExists(t, filepath.Join(r.root, "current"))

	require.NoError(t, stranger.Close())
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
}

func TestProbeTakenByASilentStranger(t *testing.T) {
	r := newRig(t)
	listener, err := net.Listen("tcp", r.options.Config.Probe)
	require.NoError(t, err)
	defer listener.Close()
	err = r.proxy.Base(t.Context(), traffic.Blue, tags)
	require.Equal(t, traffic.Preflight, traffic.KindOf(err))
}

// nginx runs, but has never loaded our http.conf, and now cannot: the port went to somebody else after we looked.
func TestProbeTakenAtTheReload(t *testing.T) {
	r := newRig(t)
	conf := filepath.Join(r.folder, "nginx.conf")
	ours, err := os.ReadFile(conf)
	require.NoError(t, err)
	r.write("nginx.conf", "pid nginx.pid; events {} http { access_log off; server { listen "+r.site+"; return 200; } }")
	r.start()
	require.NoError(t, os.WriteFile(conf, ours, 0o644))
	r.proxy.patience = 500 * time.Millisecond
	var listener net.Listener
	r.host.beforeHangup = func() {
		listener, err = net.Listen("tcp", r.options.Config.Probe)
		require.NoError(t, err)
	}
	err = r.proxy.Base(t.Context(), traffic.Blue, tags)
	require.NoError(t, listener.Close())
	require.Equal(t, traffic.Refused, traffic.KindOf(err))
	require.FileExists(t, filepath.Join(r.root, "current", "http.conf"), "without a tree nginx could not start again")

	r.host.beforeHangup = nil
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags), "a second try has it loaded")
	require.Zero(t, r.share(20))
}

// To a worker that may not look into it the folder is missing: everything would go to stable, unseen.
func TestUnreachableFolderIsSaidAndUndone(t *testing.T) {
	workers := unprivileged(t)
	r := newRig(t)
	r.configure(workers)
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	r.start()
	require.NoError(t, os.Chmod(r.options.Config.Dir, 0o700))
	id := r.open()
	err := r.proxy.Preflight(t.Context())
	require.Equal(t, traffic.Preflight, traffic.KindOf(err))
	require.ErrorContains(t, err, "nobody")
	_, err = r.proxy.Raise(t.Context(), split(id, 20))
	require.Equal(t, traffic.Preflight, traffic.KindOf(err))
	require.ErrorContains(t, err, "cannot reach "+r.proxy.fence.candidateFolder(id, traffic.Green))
	require.ErrorContains(t, err, "undone: generation 1 serves, blue 100 %")

	require.NoError(t, os.Chmod(r.options.Config.Dir, 0o755))
	require.NoError(t, r.proxy.Preflight(t.Context()))
	r.raise(id, 20)
}

// Where the process table is hidden, 150 ms of nothing but new answers are the proof.
func TestRaiseWithoutTheProcessTable(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.proxy.procs = processes{filepath.Join(r.folder, "no-proc")}
	r.raise(id, 20)
	require.InDelta(t, 20, r.share(400), 5)
}

func TestRaiseWaitsForTheLock(t *testing.T) {
	r := serving(t)
	id := r.open()
	unlock, err := r.proxy.lock(t.Context())
	require.NoError(t, err)
	r.proxy.patience = 50 * time.Millisecond
	_, err = r.proxy.Raise(t.Context(), split(id, 5))
	require.Equal(t, traffic.Busy, traffic.KindOf(err))
	_, err = r.proxy.Cut(t.Context(), id, "")
	require.NoError(t, err, "a cutback waits for no lock")
	unlock()
}
