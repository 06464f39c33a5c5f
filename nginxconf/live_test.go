package nginxconf

import (
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cutover/traffic"
)

// adapted is serving with other options.
func adapted(t *testing.T, adapt func(*Config)) *rig {
	t.Helper()
	r := newRig(t)
	adapt(&r.options.Config)
	r.options.StickyFor = time.Hour
	r.proxy = New(r.options)
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	r.start()
	return r
}

func live(c *Config) { c.Switch = SwitchLive }

// A whole promotion, its cutback and its finishing load nothing into nginx.
func TestLive_APromotionLoadsNothing(t *testing.T) {
	r := adapted(t, live)
	require.Zero(t, r.share(50))
	l := r.load()
	first := r.open()
	require.Zero(t, r.share(50), "an open rollout moves nothing")
	for _, percent := range []int{0, 5, 20, 20, 100} {
		r.raise(first, percent)
	}
	require.EqualValues(t, 100, r.share(50))
	require.NoError(t, cutback(t, r, first))
	require.Zero(t, r.share(50))

	id, err := r.proxy.Open(t.Context(), first, split(0, 0))
	require.NoError(t, err)
	r.raise(id, 50)
	require.InDelta(t, 50, r.share(400), 15)
	r.raise(id, 1)
	r.raise(id, 100)
	answered, err := r.proxy.Finish(briefly(t), split(id, 100))
	require.NoError(t, err)
	require.Equal(t, traffic.Green, answered.Split.Stable)
	require.Equal(t, traffic.Full, answered.Share(traffic.Green))
	require.EqualValues(t, 100, r.share(50))
	require.NoDirExists(t, r.proxy.fence.doneFolder(id))
	_, err = r.proxy.Finish(briefly(t), split(id, 100))
	require.NoError(t, err, "twice is as once")
	outcome, err := Back(t.Context(), r.root, &realHost{}, time.Now)
	require.NoError(t, err)
	require.True(t, outcome.NothingWarm)
	require.Equal(t, traffic.Green, outcome.Color)

	// The next rollout goes the other way.
	next, err := r.proxy.Open(t.Context(), id, traffic.Split{Stable: traffic.Green, Releases: tags})
	require.NoError(t, err)
	other := traffic.Split{Rollout: next, Stable: traffic.Green, Weight: 2000, Releases: tags}
	answered, err = r.proxy.Raise(t.Context(), other)
	require.NoError(t, err)
	require.Equal(t, traffic.Weight(2000), answered.Share(traffic.Blue))
	require.InDelta(t, 80, r.share(400), 12)
	require.NoError(t, cutback(t, r, next))
	l.stop()
	require.Zero(t, l.failed.Load())
	require.Zero(t, r.host.hangups.Load(), "nothing was loaded")
	require.EqualValues(t, 100, r.share(50))
	r.restart()
	require.EqualValues(t, 100, r.share(50))
}

// cutback is `back`, with a proof that agrees.
func cutback(t *testing.T, r *rig, id traffic.RolloutID) error {
	t.Helper()
	outcome, err := Back(t.Context(), r.root, &realHost{}, time.Now)
	require.Equal(t, []traffic.RolloutID{id}, outcome.Cut)
	require.False(t, outcome.Live.Open)
	require.Equal(t, traffic.Full, outcome.Live.Share(outcome.Color))
	return err
}

// While nothing of the folder is left, nobody gets the candidate; what begins after the cutback never does.
func TestLive_CutUnderLoad(t *testing.T) {
	r := adapted(t, live)
	for n := range 20 {
		id, err := r.proxy.Open(t.Context(), traffic.RolloutID(n), split(0, 0))
		require.NoError(t, err)
		r.raise(id, 50)
		l := r.load()
		l.more(t, 20)
		_, err = r.proxy.Cut(t.Context(), id, "")
		require.NoError(t, err)
		l.marked.Store(true)
		l.more(t, 40)
		l.stop()
		require.Zero(t, l.failed.Load())
	}
	require.Zero(t, r.green.late.Load())
}

// A promoter that was frozen before a rename finds nothing to rename, whatever has happened since.
func TestLive_AFrozenRaiseComesToNothing(t *testing.T) {
	r := adapted(t, live)
	old := r.open()
	r.raise(old, 5)
	b, folder := r.proxy.buckets(), r.proxy.fence.openFolder(old)
	require.NoError(t, b.make(50))
	require.NoError(t, os.Symlink("../../"+b.set(50), filepath.Join(folder, "late")))
	late := func() error {
		return os.Rename(filepath.Join(folder, "late"), r.proxy.fence.candidateFolder(old, traffic.Green))
	}
	require.NoError(t, cutback(t, r, old))
	require.ErrorIs(t, late(), os.ErrNotExist)
	next, err := r.proxy.Open(t.Context(), old, split(0, 0))
	require.NoError(t, err)
	r.raise(next, 20)
	require.ErrorIs(t, late(), os.ErrNotExist)
	_, err = r.proxy.Raise(t.Context(), split(old, 50))
	require.ErrorIs(t, err, traffic.ErrCut)
	_, err = r.proxy.Finish(briefly(t), split(old, 100))
	require.ErrorIs(t, err, traffic.ErrCut)
	answered, err := r.proxy.Live(t.Context())
	require.NoError(t, err)
	require.Equal(t, traffic.Weight(2000), answered.Share(traffic.Green))
	require.NoError(t, os.Mkdir(folder, 0o755), "somebody makes the folder of before again")
	answered, err = r.proxy.Live(t.Context())
	require.NoError(t, err)
	require.Equal(t, traffic.Weight(2000), answered.Share(traffic.Green))
}

// Killed or overtaken between any two renames of finishing: one more finish, or a cutback, ends it.
func TestLive_FinishingIsInterrupted(t *testing.T) {
	for _, c := range []struct {
		name  string
		until func(f Fence, id traffic.RolloutID) error
		back  bool
	}{
		{"before it begins", func(Fence, traffic.RolloutID) error { return nil }, true},
		{"the default is changed", func(f Fence, id traffic.RolloutID) error {
			return os.Rename(filepath.Join(f.openFolder(id), stableNew), f.stableLink())
		}, true},
		{"the way back is gone", func(f Fence, id traffic.RolloutID) error {
			if err := os.Rename(filepath.Join(f.openFolder(id), stableNew), f.stableLink()); err != nil {
				return err
			}
			return f.Done(id)
		}, false},
	} {
		for _, then := range []string{"finish", "back", "restart, back"} {
			t.Run(c.name+", "+then, func(t *testing.T) {
				r := adapted(t, live)
				id := r.open()
				r.raise(id, 100)
				require.NoError(t, c.until(r.proxy.fence, id))
				require.EqualValues(t, 100, r.share(20))
				if then == "restart, back" {
					r.restart()
					require.EqualValues(t, 100, r.share(20))
				}
				if then == "finish" {
					_, err := r.proxy.Finish(briefly(t), split(id, 100))
					require.NoError(t, err)
					require.EqualValues(t, 100, r.share(20))
					return
				}
				outcome, err := Back(t.Context(), r.root, &realHost{}, time.Now)
				require.NoError(t, err)
				require.Equal(t, c.back, !outcome.NothingWarm)
				_, err = r.proxy.Finish(briefly(t), split(id, 100))
				if c.back {
					require.ErrorIs(t, err, traffic.ErrCut)
					require.Zero(t, r.share(20))
					return
				}
				require.NoError(t, err)
				require.EqualValues(t, 100, r.share(20))
			})
		}
	}
}

// The shares that users see are those that were asked for, beyond what chance explains.
func TestLive_SharesAreWhatTheyShouldBe(t *testing.T) {
	const n = 2000
	for _, c := range []struct {
		name  string
		adapt func(*Config)
	}{{"100 buckets", live}, {"1000 buckets", func(c *Config) { live(c); c.Buckets = 1000 }}} {
		t.Run(c.name, func(t *testing.T) {
			r := adapted(t, c.adapt)
			id := r.open()
			for _, percent := range []int{1, 20, 99} {
				r.raise(id, percent)
				p := float64(percent) / 100
				require.InDelta(t, 100*p, r.share(n), 100*4.5*math.Sqrt(p*(1-p)/n)+0.01)
			}
		})
	}
}

// What nginx cannot see is no share: the raise is undone, and says what is in the way.
func TestLive_WorkersCannotReachTheLinks(t *testing.T) {
	workers := unprivileged(t)
	r := newRig(t)
	live(&r.options.Config)
	r.proxy = New(r.options)
	r.configure(workers)
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	r.start()
	id := r.open()
	r.raise(id, 5)
	require.NoError(t, os.Chmod(r.proxy.fence.rollouts(), 0o700))
	_, err := r.proxy.Raise(t.Context(), split(id, 20))
	require.ErrorContains(t, err, "was not seen to take effect")
	require.ErrorContains(t, err, "undone")
	require.Zero(t, r.share(50))
	require.NoError(t, os.Chmod(r.proxy.fence.rollouts(), 0o775))
	answered, err := r.proxy.Live(t.Context())
	require.NoError(t, err)
	require.Zero(t, answered.Share(traffic.Green), "an undo gives back no share that nobody had")
}

// The way of switching changes with the next rollout, in both directions, and never under one that is open.
func TestLive_ChangesOfTheWay(t *testing.T) {
	r := serving(t)
	slow, id := r.proxy, r.open()
	r.raise(id, 20)
	options := r.options
	live(&options.Config)
	quick := New(options)
	_, err := quick.Raise(t.Context(), split(id, 50))
	require.ErrorContains(t, err, "nginx.switch and nginx.buckets were changed")
	require.InDelta(t, 20, r.share(200), 15)
	require.NoError(t, cutback(t, r, id))
	for _, p := range []*Proxy{quick, slow, quick} {
		r.proxy = p
		next, err := p.Open(t.Context(), id, split(0, 0))
		require.NoError(t, err)
		r.raise(next, 100)
		require.EqualValues(t, 100, r.share(20))
		_, err = p.Cut(t.Context(), next, "")
		require.NoError(t, err)
		require.Zero(t, r.share(20))
		id = next
	}
	hangups := r.host.hangups.Load()
	last, err := r.proxy.Open(t.Context(), id, split(0, 0))
	require.NoError(t, err)
	r.raise(last, 5)
	require.Equal(t, hangups, r.host.hangups.Load())
}

// Broken links are an error with its place, and never a share.
func TestLive_BrokenLinks(t *testing.T) {
	for name, damage := range map[string]func(f Fence, id traffic.RolloutID) error{
		"stable is gone": func(f Fence, _ traffic.RolloutID) error { return os.Remove(f.stableLink()) },
		"open leads to itself": func(f Fence, _ traffic.RolloutID) error {
			return firstError(os.Remove(f.openLink()), os.Symlink("open", f.openLink()))
		},
		"the set is a file": func(f Fence, id traffic.RolloutID) error {
			path := f.candidateFolder(id, traffic.Green)
			return firstError(os.Remove(path), os.WriteFile(path, nil, 0o644))
		},
		"the rollouts are gone": func(f Fence, _ traffic.RolloutID) error { return os.RemoveAll(f.rollouts()) },
	} {
		t.Run(name, func(t *testing.T) {
			r := adapted(t, live)
			id := r.open()
			r.raise(id, 100)
			require.NoError(t, damage(r.proxy.fence, id))
			_, err := r.proxy.Raise(t.Context(), split(id, 100))
			if name == "the set is a file" { // the raise is a rename onto it, and mends it
				require.NoError(t, err)
				require.EqualValues(t, 100, r.share(20))
				return
			}
			if name != "stable is gone" { // everything goes to blue, or to its candidate: who that is nobody says
				require.Zero(t, r.share(20))
			}
			require.Error(t, err)
			_, err = Back(t.Context(), r.root, &realHost{}, time.Now)
			if name != "stable is gone" && err == nil {
				require.Zero(t, r.share(20))
			}
		})
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// visitor is a client that keeps its cookies.
type visitor struct{ cookies []*http.Cookie }

func (v *visitor) visits(t *testing.T, r *rig, headers ...string) string {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, "http://"+r.site+"/", nil)
	require.NoError(t, err)
	for n := 0; n+1 < len(headers); n += 2 {
		request.Header.Set(headers[n], headers[n+1])
	}
	for _, c := range v.cookies {
		request.AddCookie(c)
	}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	v.cookies = append(v.cookies, response.Cookies()...)
	body := make([]byte, 8)
	n, _ := response.Body.Read(body)
	return string(body[:n])
}

// While the share only grows no client goes back to the release before, whatever the steps; all do on a cutback.
func TestClients_AreMonotone(t *testing.T) {
	for _, way := range []string{SwitchReload, SwitchLive} {
		t.Run(way, func(t *testing.T) {
			r := adapted(t, func(c *Config) { c.Switch, c.Split = way, SplitClient })
			after := traffic.RolloutID(0)
			for seed := range 3 {
				steps := rapid.SliceOfNDistinct(rapid.IntRange(1, 99), 1, 6, rapid.ID).Example(seed)
				slices.Sort(steps)
				id, err := r.proxy.Open(t.Context(), after, split(0, 0))
				require.NoError(t, err)
				after = id
				r.raise(id, 0)
				visitors, moved := make([]visitor, 60), map[int]bool{}
				for _, percent := range append(steps, 100) {
					r.raise(id, percent)
					for n := range visitors {
						color := visitors[n].visits(t, r)
						require.False(t, moved[n] && color == "blue", "client %d went back at %d %%", n, percent)
						require.Equal(t, color, visitors[n].visits(t, r), "client %d is not sticky", n)
						moved[n] = color == "green"
						require.Len(t, visitors[n].cookies, 1)
					}
				}
				_, err = r.proxy.Cut(t.Context(), id, "")
				require.NoError(t, err)
				for n := range visitors {
					require.Equal(t, "blue", visitors[n].visits(t, r))
				}
			}
			var v visitor
			v.visits(t, r)
			require.Empty(t, v.cookies, "nobody is given a cookie for nothing")
		})
	}
}

// A tester gets the color that he asks for, at any share, while a rollout is open; nobody else does.
func TestClients_TestersChoose(t *testing.T) {
	for _, way := range []string{SwitchReload, SwitchLive} {
		t.Run(way, func(t *testing.T) {
			r := adapted(t, func(c *Config) { c.Switch = way })
			var v visitor
			require.Equal(t, "blue", v.visits(t, r, "X-Release", "green"), "no rollout is open")
			id := r.open()
			r.raise(id, 0)
			for range 20 {
				require.Equal(t, "green", v.visits(t, r, "X-Release", "green"))
				require.Equal(t, "green", v.visits(t, r, "Cookie", "release=green"))
				require.Equal(t, "blue", v.visits(t, r, "X-Release", "red"))
			}
			r.raise(id, 100)
			require.Equal(t, "blue", v.visits(t, r, "X-Release", "blue"))
			_, err := r.proxy.Cut(t.Context(), id, "")
			require.NoError(t, err)
			require.Equal(t, "blue", v.visits(t, r, "X-Release", "green"))
			log := filepath.Join(r.folder, "cutover-shop.log")
			eventually(t, func() bool { text, _ := os.ReadFile(log); return len(text) > 0 }, func() string { return "no log" })

			r.options.Config.Override.Networks = []string{"192.0.2.0/24"}
			r.proxy = New(r.options)
			id, err = r.proxy.Open(t.Context(), id, split(0, 0))
			require.NoError(t, err)
			r.raise(id, 0)
			require.Equal(t, "blue", v.visits(t, r, "X-Release", "green"), "from elsewhere")
		})
	}
}

// What the candidate does not answer stable does, where each color has a pool of its own; an asset that one color lacks is the other's.
func TestRescue(t *testing.T) {
	for _, c := range []struct{ name, way, split string }{{"live", SwitchLive, SplitRequest}, {"client", SwitchReload, SplitClient}} {
		t.Run(c.name, func(t *testing.T) {
			r := adapted(t, func(o *Config) { o.Switch, o.Split = c.way, c.split })
			id := r.open()
			r.raise(id, 50)
			require.NoError(t, r.green.server.Close())
			require.Zero(t, r.share(200), "each is answered, by blue")
			eventually(t, func() bool {
				text, _ := os.ReadFile(filepath.Join(r.folder, "cutover-shop.log"))
				return strings.Count(string(text), `"us":"502, 200","ua":"`+r.green.address+`, `+r.blue.address+`"`) > 20
			}, func() string { return "nothing counts against the candidate" })
		})
	}
}
