package nginxconf

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// newFixedRig is a rig whose location passes to the route's fixed name.
func newFixedRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.pass(PassName)
	r.edit("$cutover_shop_web", "cutover_shop_web")
	return r
}

// pass gives the rig a proxy of the other way.
func (r *rig) pass(way string) {
	r.options.Config.Pass = way
	r.proxy = New(r.options)
}

// edit changes the user's own nginx.conf.
func (r *rig) edit(from, to string) {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.folder, "nginx.conf"))
	require.NoError(r.t, err)
	require.Contains(r.t, string(text), from)
	r.write("nginx.conf", strings.Replace(string(text), from, to, 1))
}

func servingFixed(t *testing.T) *rig {
	t.Helper()
	r := newFixedRig(t)
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	r.start()
	return r
}

// back cuts back as somebody does who has nothing but the app's folder, and wants it proven.
func (r *rig) back() Outcome {
	r.t.Helper()
	outcome, err := Back(r.t.Context(), r.root, r.host, time.Now)
	require.NoError(r.t, err, r.errors())
	require.Equal(r.t, traffic.Blue, outcome.Color)
	require.Equal(r.t, traffic.Full, outcome.Live.Share(traffic.Blue))
	return outcome
}

func TestFixed_UpAndDown(t *testing.T) {
	for name, down := range map[string]func(r *rig, id traffic.RolloutID){
		"the promoter": func(r *rig, id traffic.RolloutID) {
			live, err := r.proxy.Cut(r.t.Context(), id, "it is worse")
			require.NoError(r.t, err)
			require.Equal(r.t, id, live.Split.Rollout, "so that whoever watches the rollout sees that it was cut")
			require.False(r.t, live.Open)
		},
		"somebody else": func(r *rig, id traffic.RolloutID) {
			require.Equal(r.t, []traffic.RolloutID{id}, r.back().Cut)
			require.True(r.t, r.back().Already)
		},
		"the guardian": func(r *rig, id traffic.RolloutID) {
			outcome, err := CutOne(r.t.Context(), r.root, id, r.host, time.Now)
			require.NoError(r.t, err)
			require.Equal(r.t, []traffic.RolloutID{id}, outcome.Cut)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := servingFixed(t)
			users := r.load()
			id := r.open()
			for _, percent := range []int{5, 20, 100} {
				r.raise(id, percent)
				require.InDelta(t, percent, r.share(200), 12)
			}
			down(r, id)
			users.marked.Store(true)
			users.more(t, 300)
			users.stop()
			require.Zero(t, users.failed.Load())
			require.Zero(t, r.green.late.Load())
			r.restart()
			require.Zero(t, r.share(50), "nginx starts with the stable tree")
			r.raise(r.open(), 20)
			require.InDelta(t, 20, r.share(200), 12)
		})
	}
}

// A folder that is gone does not move traffic by itself here: the probe says what is loaded, whoever was killed half-way is completed.
func TestFixed_ACutbackThatWasKilledHalfWay(t *testing.T) {
	for name, complete := range map[string]func(r *rig, id traffic.RolloutID){
		"back": func(r *rig, _ traffic.RolloutID) { require.True(r.t, r.back().Already) },
		"the promoter": func(r *rig, id traffic.RolloutID) {
			_, err := r.proxy.Cut(r.t.Context(), id, "")
			require.NoError(r.t, err)
		},
		"the guardian": func(r *rig, id traffic.RolloutID) {
			_, err := CutOne(r.t.Context(), r.root, id, r.host, time.Now)
			require.NoError(r.t, err)
		},
		"a reboot": func(r *rig, _ traffic.RolloutID) {
			r.kill()
			require.NoError(r.t, r.proxy.Fence().Complete())
			r.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := servingFixed(t)
			id := r.open()
			live := r.raise(id, 100)
			folder := r.proxy.fence.openFolder(id)
			require.NoError(t, os.Rename(folder, folder+".cut"))
			still, err := r.proxy.Live(t.Context())
			require.NoError(t, err)
			require.Equal(t, live.Generation, still.Generation)
			require.Equal(t, traffic.Full, still.Share(traffic.Green))
			_, err = r.proxy.Open(t.Context(), 0, split(0, 0))
			require.Equal(t, traffic.Busy, traffic.KindOf(err), "%v", err)
			require.NoError(t, r.proxy.Prune(t.Context()), "the stable tree is still needed")
			complete(r, id)
			require.Zero(t, r.share(50))
		})
	}
}

// A reload that is refused for somebody's broken file: the candidate has to go, and where its stack is nobody's of ours its owner is
// told so.
func TestFixed_AReloadThatIsRefused(t *testing.T) {
	for _, percent := range []int{20, 100} {
		r := servingFixed(t)
		id := r.open()
		r.raise(id, percent)
		r.breakForeign()
		outcome, err := Back(t.Context(), r.root, r.host, time.Now)
		require.Equal(t, traffic.Unproven, traffic.KindOf(err), "%v", err)
		require.ErrorContains(t, err, "did not load generation")
		var fault *traffic.Fault
		require.ErrorAs(t, err, &fault)
		require.Contains(t, fault.Hint, "Stop green yourself ("+r.green.address+")")
		require.Equal(t, []traffic.RolloutID{id}, outcome.Cut)
		require.InDelta(t, percent, r.share(100), 15)

		require.NoError(t, r.green.server.Close())
		outcome = r.back()
		require.True(t, outcome.Already)
		require.ErrorContains(t, outcome.Stop.Why, "did not load generation")
		require.Empty(t, outcome.Stop.Services)
		require.Zero(t, r.share(50), "nginx tries on stable what nobody answered")
		_, err = r.proxy.Open(t.Context(), 0, split(0, 0))
		require.Equal(t, traffic.Busy, traffic.KindOf(err), "a stack that starts there would get users")

		r.mend()
		outcome = r.back()
		require.NoError(t, outcome.Stop.Why)
		gen, err := r.proxy.trees.current()
		require.NoError(t, err)
		require.Equal(t, gen, outcome.Live.Generation)
	}
}

// The engine's own words are passed on where it cannot stop anything.
func TestFixed_TheEngineIsDeadToo(t *testing.T) {
	r := newFixedRig(t)
	t.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	r.options.Projects = map[traffic.Color]string{traffic.Blue: "shop-blue", traffic.Green: "shop-green"}
	r.options.Web[0].Service = "web"
	r.pass(PassName)
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	r.start()
	id := r.open()
	r.raise(id, 20)
	r.breakForeign()
	var fault *traffic.Fault
	_, err := r.proxy.Cut(t.Context(), id, "")
	require.ErrorAs(t, err, &fault)
	require.Equal(t, traffic.Unproven, fault.Kind)
	require.Contains(t, fault.Error(), "docker")
	require.Contains(t, fault.Hint, "com.docker.compose.project=shop-green")
}

// A promoter that sleeps before or after its rename, while somebody cuts back, raises nothing.
func TestFixed_AFrozenPromoter(t *testing.T) {
	t.Run("before the rename", func(t *testing.T) {
		r := servingFixed(t)
		id := r.open()
		m, err := r.proxy.prepare(t.Context(), split(id, 50), r.proxy.fence.openFolder(id))
		require.NoError(t, err)
		r.back()
		_, err = r.proxy.perform(t.Context(), m)
		require.ErrorIs(t, err, traffic.ErrCut)
		require.Zero(t, r.share(50))
	})
	t.Run("between rename and reload", func(t *testing.T) {
		r := servingFixed(t)
		id := r.open()
		r.raise(id, 5)
		own := &realHost{}
		r.host.beforeHangup = func() {
			_, err := Back(t.Context(), r.root, own, time.Now)
			require.NoError(t, err)
		}
		_, err := r.proxy.Raise(t.Context(), split(id, 50))
		require.ErrorIs(t, err, traffic.ErrCut)
		require.Zero(t, r.share(50))
		r.restart()
		require.Zero(t, r.share(20))
	})
}

// A stable tree that is gone leaves the last road, and what a restart of nginx would bring is said.
func TestFixed_TheStableTreeIsGone(t *testing.T) {
	r := servingFixed(t)
	id := r.open()
	r.raise(id, 20)
	require.NoError(t, os.Remove(filepath.Join(r.proxy.fence.openFolder(id), stableLink)))
	require.NoError(t, r.green.server.Close())
	outcome, err := Back(t.Context(), r.root, r.host, time.Now)
	require.Equal(t, traffic.Unproven, traffic.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "nginx would be started with a share for it")
	require.Equal(t, []traffic.RolloutID{id}, outcome.Cut)
	require.Zero(t, r.share(50))
}

func TestFixed_Rehearsal(t *testing.T) {
	r := servingFixed(t)
	users := r.load()
	for range 2 {
		done, err := r.proxy.Rehearse(t.Context(), traffic.Blue, 0, func() {
			live, err := r.proxy.Live(t.Context())
			require.NoError(t, err)
			require.True(t, live.Open)
		})
		require.NoError(t, err)
		require.Positive(t, done.Took)
	}
	require.NoError(t, r.proxy.Fence().Rehearse())
	users.stop()
	require.Zero(t, users.failed.Load())
	require.Zero(t, r.green.all.Load())
	r.raise(r.open(), 20)
	r.back()
	require.Zero(t, r.share(50))
}

func TestFixed_TwoCutbacksAtOnce(t *testing.T) {
	r := servingFixed(t)
	r.raise(r.open(), 50)
	var people sync.WaitGroup
	for range 3 {
		people.Go(func() {
			_, err := Back(t.Context(), r.root, r.host, time.Now)
			require.NoError(t, err)
		})
	}
	people.Wait()
	require.Zero(t, r.share(50))
}

// Neither a cutback of an older rollout nor one that comes too late touches what serves now.
func TestFixed_TheNewestIsNotMeant(t *testing.T) {
	r := servingFixed(t)
	first := r.open()
	r.raise(first, 5)
	r.back()
	second := r.open()
	r.raise(second, 100)
	outcome, err := CutOne(t.Context(), r.root, first, r.host, time.Now)
	require.NoError(t, err)
	require.NoError(t, outcome.Stop.Why)
	_, err = r.proxy.Cut(t.Context(), first, "")
	require.ErrorContains(t, err, "was not cut back")
	require.InDelta(t, 100, r.share(50), 0)
	require.NoError(t, r.proxy.fence.Done(second))
	_, err = CutOne(t.Context(), r.root, second, r.host, time.Now)
	require.ErrorIs(t, err, errFinished)
	require.InDelta(t, 100, r.share(50), 0)
}

func TestFixed_FinishGivesStableNothing(t *testing.T) {
	r := servingFixed(t)
	users := r.load()
	id := r.open()
	r.raise(id, 100)
	users.marked.Store(true)
	users.more(t, 200)
	live, err := r.proxy.Finish(briefly(t), split(id, 100))
	require.NoError(t, err)
	require.Equal(t, traffic.Full, live.Share(traffic.Green))
	users.more(t, 200)
	users.stop()
	require.Zero(t, users.failed.Load())
	require.Zero(t, r.blue.late.Load())
	outcome, err := Back(t.Context(), r.root, r.host, time.Now)
	require.NoError(t, err)
	require.True(t, outcome.NothingWarm)
	require.Equal(t, traffic.Green, outcome.Color)
	r.restart()
	require.InDelta(t, 100, r.share(50), 0)
}

// Law 4: the stable tree is judged before anything is raised; of a rollout whose way back would be refused nothing is.
func TestFixed_NoRaiseWithoutAWayBack(t *testing.T) {
	r := servingFixed(t)
	id := r.open()
	before, err := r.proxy.trees.current()
	require.NoError(t, err)
	r.breakForeign()
	_, err = r.proxy.Raise(t.Context(), split(id, 5))
	require.Equal(t, traffic.Refused, traffic.KindOf(err))
	require.ErrorContains(t, err, "the way back")
	after, err := r.proxy.trees.current()
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Zero(t, r.share(50))
	r.mend()
	r.raise(id, 5)
}

func TestFixed_WhileNginxIsStopped(t *testing.T) {
	r := servingFixed(t)
	id := r.open()
	r.raise(id, 100)
	r.kill()
	outcome, err := CutOne(t.Context(), r.root, id, r.host, time.Now)
	require.NoError(t, err, "it starts with everything on stable")
	require.NoError(t, outcome.Stop.Why)
	_, err = Back(t.Context(), r.root, r.host, time.Now)
	var fault *traffic.Fault
	require.ErrorAs(t, err, &fault)
	require.Equal(t, traffic.Unproven, fault.Kind)
	require.Contains(t, fault.Hint, "nginx is not running")
	r.start()
	require.Zero(t, r.share(50))
}

// The way may change while nobody has a share, in both directions and without a lost request; in a rollout it may not.
func TestFixed_TheWayChanges(t *testing.T) {
	r := serving(t)
	users := r.load()
	id := r.open()
	r.raise(id, 20)
	r.pass(PassName)
	_, err := r.proxy.Raise(t.Context(), split(id, 30))
	require.Equal(t, traffic.Usage, traffic.KindOf(err), "%v", err)
	_, err = r.proxy.Finish(briefly(t), split(id, 20))
	require.Equal(t, traffic.Usage, traffic.KindOf(err), "%v", err)
	require.Equal(t, []traffic.RolloutID{id}, r.back().Cut, "whatever cutover.yaml says")

	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	tree, err := r.proxy.trees.describe()
	require.NoError(t, err)
	require.True(t, tree.fixed())
	r.edit("$cutover_shop_web", "cutover_shop_web")
	r.raise(r.open(), 20)
	r.back()

	r.pass(PassVariable)
	err = r.proxy.Base(t.Context(), traffic.Blue, tags)
	require.Equal(t, traffic.Refused, traffic.KindOf(err), "the location names what would be gone")
	r.edit("//cutover_shop_web", "//$cutover_shop_web")
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	r.raise(r.open(), 20)
	require.InDelta(t, 20, r.share(200), 12)
	users.stop()
	require.Zero(t, users.failed.Load())
}

func TestFixed_CardTellsWhatIsToBeStopped(t *testing.T) {
	r := newFixedRig(t)
	r.options.Projects = map[traffic.Color]string{traffic.Blue: "shop-blue", traffic.Green: "shop-green"}
	r.options.Web[0].Service = "web"
	r.pass(PassName)
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	r.start()
	r.raise(r.open(), 5)
	card, err := ReadCard(r.root)
	require.NoError(t, err)
	require.Equal(t, WebStack{Project: "shop-green", Services: []string{"web"}, Addresses: []string{r.green.address}}, card.Stacks[traffic.Green])
	require.Equal(t, filepath.Join(r.folder, "nginx.pid"), card.Pid)
}
