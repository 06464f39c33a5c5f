package nginxconf

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

func TestBaseBeforeNginxRuns(t *testing.T) {
	r := newRig(t)
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Green, tags))
	link, err := os.Readlink(filepath.Join(r.root, "current"))
	require.NoError(t, err)
	require.Equal(t, "gen/000001", link)
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Green, tags), "twice")
	r.start()
	require.EqualValues(t, 100, r.share(20))
	err = r.proxy.Base(t.Context(), traffic.Blue, tags)
	require.Equal(t, traffic.Preflight, traffic.KindOf(err), "no word moves all the traffic without a proof")
}

// A tree that nginx refuses is said to be refused, also where nginx does not run yet.
func TestBaseInABrokenConfiguration(t *testing.T) {
	r := newRig(t)
	r.breakForeign()
	err := r.proxy.Base(t.Context(), traffic.Blue, tags)
	require.Equal(t, traffic.Refused, traffic.KindOf(err))
	r.mend()
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	r.start()
	require.Zero(t, r.share(20))
}

func TestBaseReloadsAnNginxThatIncludesIt(t *testing.T) {
	r := newRig(t)
	ours, err := os.ReadFile(filepath.Join(r.folder, "nginx.conf"))
	require.NoError(t, err)
	r.write("nginx.conf", "pid nginx.pid; events {} http { access_log off; server { listen "+r.site+"; return 200; } }")
	r.start()
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	require.Zero(t, r.host.hangups.Load(), "a reload would tell an nginx that does not include us nothing")
	require.NoError(t, os.WriteFile(filepath.Join(r.folder, "nginx.conf"), ours, 0o644))
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	live, err := r.proxy.Live(t.Context())
	require.NoError(t, err)
	require.Equal(t, traffic.Generation(1), live.Generation)
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	require.EqualValues(t, 1, r.host.hangups.Load())
}

func TestFoldersAreForWhomTheyMustBe(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 5)
	for path, want := range map[string]fs.FileMode{
		"": 0o755, "gen": 0o755, "gen/000002": 0o755, "gen/000002/http.conf": 0o644, "gen/000002/server.conf": 0o644, "back.json": 0o644,
		"rollouts": fs.ModeSetgid | 0o775, "rollouts/000001": fs.ModeSetgid | 0o775, "rollouts/000001/green": 0o755,
	} {
		info, err := os.Stat(filepath.Join(r.root, path))
		require.NoError(t, err)
		require.Equal(t, want, info.Mode()&(fs.ModePerm|fs.ModeSetgid|fs.ModeSetuid|fs.ModeSticky), path)
	}
}

func TestOpenTakesTheNextID(t *testing.T) {
	r := serving(t)
	id, err := r.proxy.Open(t.Context(), 16, split(0, 0))
	require.NoError(t, err)
	require.Equal(t, traffic.RolloutID(17), id)
	require.DirExists(t, r.proxy.fence.candidateFolder(17, traffic.Green))
	card, err := ReadCard(r.root)
	require.NoError(t, err)
	require.Equal(t, Card{App: "shop", Probe: r.options.Config.Probe, Host: "cutover-shop", Stable: traffic.Blue, Releases: tags,
		Rollout: 17, Pid: filepath.Join(r.folder, "nginx.pid")}, card)
	_, err = r.proxy.Open(t.Context(), 17, split(0, 0))
	require.Equal(t, traffic.Busy, traffic.KindOf(err))
	require.NoError(t, r.proxy.fence.cutBecause(17, ""))
	id, err = r.proxy.Open(t.Context(), 3, split(0, 0))
	require.NoError(t, err)
	require.Equal(t, traffic.RolloutID(18), id, "an id is never used twice")
}

func TestPreflight(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(r *rig)
		kind  traffic.Kind
		says  string
	}{
		"all well":        {func(*rig) {}, "", ""},
		"nginx missing":   {func(r *rig) { r.proxy.options.Config.Binary = "/nowhere/nginx" }, traffic.Preflight, "not found"},
		"nginx stopped":   {func(r *rig) { r.kill() }, traffic.Preflight, "not running"},
		"foreign file":    {func(r *rig) { r.breakForeign() }, traffic.Refused, "refuses its own configuration"},
		"includes gone":   {func(r *rig) { r.write("nginx.conf", "pid nginx.pid; events {} http { }") }, traffic.Preflight, "http.conf"},
		"no generation":   {func(r *rig) { require.NoError(r.t, os.Remove(filepath.Join(r.root, "current"))) }, traffic.Preflight, "current"},
		"unusable option": {func(r *rig) { r.proxy.options.App = "Shop" }, traffic.Usage, "app:"},
	} {
		t.Run(name, func(t *testing.T) {
			r := serving(t)
			c.spoil(r)
			before := snapshot(t, r.root)
			err := r.proxy.Preflight(t.Context())
			require.Equal(t, c.kind, traffic.KindOf(err), "%v", err)
			if c.kind != "" {
				require.ErrorContains(t, err, c.says)
			}
			require.Equal(t, before, snapshot(t, r.root))
		})
	}
}

func TestPruneKeepsWhatIsNeeded(t *testing.T) {
	r := serving(t)
	for range 8 {
		id := r.open()
		m, err := r.proxy.prepare(t.Context(), split(id, 5), r.proxy.fence.openFolder(id))
		require.NoError(t, err)
		require.NoError(t, r.proxy.trees.swap(m.link))
		require.NoError(t, r.proxy.fence.cutBecause(id, ""))
	}
	require.NoError(t, r.proxy.fence.WriteWhy(1, []byte("{}")))
	require.NoError(t, os.Mkdir(r.proxy.trees.scratch(3), 0o700))
	id := r.open()
	require.NoError(t, r.proxy.trees.prepare(filepath.Join(r.proxy.fence.openFolder(id), "undo.9"), 2))
	require.NoError(t, r.proxy.Prune(t.Context()))
	gens, err := r.proxy.trees.list()
	require.NoError(t, err)
	require.Equal(t, []traffic.Generation{2, 5, 6, 7, 8, 9}, gens)
	require.NoDirExists(t, r.proxy.trees.scratch(3))
	require.Equal(t, []string{"000001.cut", "000005.cut", "000006.cut", "000007.cut", "000008.cut", "000009"}, names(t, r.proxy.fence))
}

func TestCurrentShowsWhatWasRendered(t *testing.T) {
	r := newRig(t)
	_, _, err := r.proxy.Current()
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	files, gen, err := r.proxy.Current()
	require.NoError(t, err)
	want, err := r.proxy.Render(traffic.Split{Stable: traffic.Blue, Releases: tags}, gen, nil)
	require.NoError(t, err)
	require.Equal(t, want, files)
}

// Names and tags that hold nginx's syntax come out of the probe and the log as they went in.
func TestOddTagsSurviveNginx(t *testing.T) {
	r := newRig(t)
	r.options.Env = `prod "east" {'1'}; \`
	r.proxy = New(r.options)
	odd := map[traffic.Color]string{traffic.Blue: `v1 "2"; }`, traffic.Green: `it's a \ 1 <é>`}
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, odd))
	r.start()
	live, err := r.proxy.Live(t.Context())
	require.NoError(t, err)
	require.Equal(t, odd, live.Split.Releases)
	eventually(t, func() bool {
		var line struct{ Env, Release, Color string }
		return firstLine(r.options.AccessLog, &line) == nil && line.Env == r.options.Env && line.Release == odd[traffic.Blue] && line.Color == "blue"
	}, func() string { text, _ := os.ReadFile(r.options.AccessLog); return string(text) })
}

// A site that cutover renders whole needs one include line of the user.
func TestWholeSite(t *testing.T) {
	r := newRig(t)
	r.options.Routes = []Route{{Listen: r.site, Host: "_", Path: "/", Service: "web"}}
	r.proxy = New(r.options)
	r.write("nginx.conf", fmt.Sprintf("%s pid nginx.pid; events {} http { access_log off; include %s/current/http.conf; }", currentUser(), r.root))
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	r.start()
	require.NoError(t, r.proxy.Preflight(t.Context()))
	id := r.open()
	r.raise(id, 20)
	require.InDelta(t, 20, r.share(200), 6)
	_, err := Back(t.Context(), r.root, &realHost{}, time.Now)
	require.NoError(t, err)
	require.Zero(t, r.share(50))
}
