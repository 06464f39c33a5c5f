package nginxconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cutover/traffic"
)

// bareFence is a fence without any nginx.
func bareFence(t testing.TB) Fence {
	t.Helper()
	f := Fence{t.TempDir()}
	require.NoError(t, os.Mkdir(f.rollouts(), 0o755))
	return f
}

func putFolders(t *testing.T, f Fence, names ...string) {
	t.Helper()
	for _, name := range names {
		require.NoError(t, os.Mkdir(filepath.Join(f.rollouts(), name), 0o755))
	}
}

func names(t testing.TB, f Fence) []string {
	t.Helper()
	entries, err := os.ReadDir(f.rollouts())
	require.NoError(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestFenceOfAnAppThatHasNone(t *testing.T) {
	f := Fence{filepath.Join(t.TempDir(), "nowhere")}
	cut, err := f.cutAll()
	require.NoError(t, err)
	require.Empty(t, cut)
	require.NoError(t, f.cutBecause(17, ""))
	require.ErrorIs(t, f.Done(17), traffic.ErrCut)
	last, err := f.Last()
	require.NoError(t, err)
	require.Equal(t, Last{State: FolderNone}, last)
}

func TestCutAllTakesEveryOpenRollout(t *testing.T) {
	f := bareFence(t)
	putFolders(t, f, "000015.cut", "000016", "000017", "000017.cut", "000017.cut.1", "000018.done", "notes", "17x")
	require.NoError(t, os.WriteFile(filepath.Join(f.rollouts(), "open"), nil, 0o644))
	standing, err := f.Standing()
	require.NoError(t, err)
	require.Equal(t, []traffic.RolloutID{16, 17}, standing)
	cut, err := f.cutAll()
	require.NoError(t, err)
	require.Equal(t, []traffic.RolloutID{16, 17}, cut)
	require.Equal(t, []string{"000015.cut", "000016.cut", "000017.cut", "000017.cut.1", "000017.cut.2", "000018.done", "17x", "notes", "open"}, names(t, f))
	cut, err = f.cutAll()
	require.NoError(t, err)
	require.Empty(t, cut)
}

func TestLastTellsWhenItWasCut(t *testing.T) {
	f := bareFence(t)
	putFolders(t, f, "000017")
	require.NoError(t, f.cutBecause(17, ""))
	before, err := f.Last()
	require.NoError(t, err)
	require.Equal(t, FolderCut, before.State)
	require.WithinDuration(t, time.Now(), before.Since, time.Minute)

	require.NoError(t, os.Chtimes(filepath.Join(f.rollouts(), "000017.cut", marker), time.Time{}, before.Since.Add(-time.Hour)))
	require.NoError(t, f.WriteWhy(17, []byte("{}")))
	after, err := f.Last()
	require.NoError(t, err)
	require.True(t, before.Since.Add(-time.Hour).Equal(after.Since), "a reason that is written later hides nothing")

	require.NoError(t, os.Remove(filepath.Join(f.rollouts(), "000017.cut", marker)))
	unmarked, err := f.Last()
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), unmarked.Since, time.Minute, "somebody's mv counts too")
}

func TestWhyWaitsForItsJournal(t *testing.T) {
	f := bareFence(t)
	putFolders(t, f, "000016", "000017", "000018")
	require.Error(t, f.WriteWhy(17, []byte("early")))
	_, err := f.cutAll()
	require.NoError(t, err)
	require.NoError(t, f.WriteWhy(18, []byte("second")))
	require.NoError(t, f.WriteWhy(16, []byte("first")))
	whys, err := f.Whys()
	require.NoError(t, err)
	require.Len(t, whys, 2)
	require.Equal(t, traffic.RolloutID(16), whys[0].Rollout)
	require.Equal(t, "second", string(whys[1].Data))
	require.NoError(t, f.Adopt(whys[0]))
	require.NoError(t, f.Adopt(whys[0]), "to adopt twice does no harm")
	whys, err = f.Whys()
	require.NoError(t, err)
	require.Len(t, whys, 1)
}

func TestCutOfAFinishedRolloutFails(t *testing.T) {
	f := bareFence(t)
	putFolders(t, f, "000017")
	require.NoError(t, f.Done(17))
	require.NoError(t, f.Done(17), "again")
	require.ErrorIs(t, f.cutBecause(17, ""), errFinished)
}

// A cut that may not write must not stop the others, and must not claim to have cut.
func TestCutAllSaysWhatItCouldNotDo(t *testing.T) {
	f := bareFence(t)
	// With .cut the first name is too long for any file system.
	putFolders(t, f, fmt.Sprintf("%0254d", 16), "000017")
	cut, err := f.cutAll()
	require.Error(t, err)
	require.Equal(t, []traffic.RolloutID{17}, cut)
}

// Of a cutback and a finishing exactly one succeeds, whatever their order.
func TestFinishRacesCut(t *testing.T) {
	f := bareFence(t)
	wins := map[string]int{}
	for id := traffic.RolloutID(1); id <= 500; id++ {
		putFolders(t, f, id.String())
		var racers sync.WaitGroup
		var done, cut error
		begin := make(chan struct{})
		racers.Go(func() { <-begin; done = f.Done(id) })
		racers.Go(func() { <-begin; cut = f.cutBecause(id, "") })
		close(begin)
		racers.Wait()
		require.True(t, (done == nil) != (cut == nil), "rollout %s: done %v, cut %v", id, done, cut)
		if done == nil {
			require.ErrorIs(t, cut, errFinished)
			wins["done"]++
		} else {
			require.ErrorIs(t, done, traffic.ErrCut)
			wins["cut"]++
		}
	}
	require.Len(t, names(t, f), 500)
	t.Log(wins)
}

// Two promoters never get one id, and none gets that of a rollout that is over.
func TestOpenRacesOpenAndCut(t *testing.T) {
	f := bareFence(t)
	var promoters sync.WaitGroup
	ids := make([][]traffic.RolloutID, 4)
	for n := range ids {
		promoters.Go(func() {
			for range 50 {
				if id, err := f.open(0); err == nil {
					ids[n] = append(ids[n], id)
				}
				_, _ = f.cutAll()
			}
		})
	}
	promoters.Wait()
	all := slices.Concat(ids...)
	slices.Sort(all)
	require.Equal(t, len(all), len(slices.Compact(slices.Clone(all))), "an id was given twice")
}

// fenceModel is what the rollouts of one app are supposed to be, kept apart from any folder.
type fenceModel struct {
	fence  Fence
	newest traffic.RolloutID
	state  map[traffic.RolloutID]FolderState
}

func (m *fenceModel) pick(t *rapid.T) traffic.RolloutID {
	return traffic.RolloutID(rapid.IntRange(1, int(m.newest)+1).Draw(t, "id"))
}

func (m *fenceModel) Open(t *rapid.T) {
	after := traffic.RolloutID(rapid.IntRange(0, int(m.newest)+3).Draw(t, "after"))
	id, err := m.fence.open(after)
	require.NoError(t, err)
	require.Equal(t, max(after, m.newest)+1, id)
	m.newest, m.state[id] = id, FolderOpen
}

func (m *fenceModel) Cut(t *rapid.T) {
	id := m.pick(t)
	err := m.fence.cutBecause(id, "")
	switch m.state[id] {
	case FolderDone:
		require.ErrorIs(t, err, errFinished)
	case FolderOpen:
		require.NoError(t, err)
		m.state[id] = FolderCut
	default:
		require.NoError(t, err)
	}
}

func (m *fenceModel) Finish(t *rapid.T) {
	id := m.pick(t)
	err := m.fence.Done(id)
	switch m.state[id] {
	case FolderDone:
		require.NoError(t, err)
	case FolderOpen:
		require.NoError(t, err)
		m.state[id] = FolderDone
	default:
		require.ErrorIs(t, err, traffic.ErrCut)
	}
}

// Raise renames a link that was prepared at any time before, as a promoter does that was frozen in between.
func (m *fenceModel) Raise(t *rapid.T) {
	id := m.pick(t)
	g := generations{m.fence.Root}
	link := filepath.Join(m.fence.openFolder(id), fmt.Sprintf("current.%d", id))
	prepared := g.prepare(link, traffic.Generation(id))
	if rapid.Bool().Draw(t, "cut while frozen") {
		m.Back(t)
	}
	swapped := g.swap(link)
	if m.state[id] == FolderOpen {
		require.NoError(t, errors.Join(prepared, swapped))
		current, err := g.current()
		require.NoError(t, err)
		require.Equal(t, traffic.Generation(id), current)
		return
	}
	require.ErrorIs(t, swapped, fs.ErrNotExist)
}

func (m *fenceModel) Back(t *rapid.T) {
	var want []traffic.RolloutID
	for id, state := range m.state {
		if state == FolderOpen {
			want = append(want, id)
			m.state[id] = FolderCut
		}
	}
	slices.Sort(want)
	cut, err := m.fence.cutAll()
	require.NoError(t, err)
	require.Equal(t, want, cut)
}

// Crash loses whatever a process knew: the folders are all that is left.
func (m *fenceModel) Crash(*rapid.T) { m.fence = Fence{m.fence.Root} }

func (m *fenceModel) Check(t *rapid.T) {
	var open []traffic.RolloutID
	for id, state := range m.state {
		if state == FolderOpen {
			open = append(open, id)
		}
	}
	slices.Sort(open)
	standing, err := m.fence.Standing()
	require.NoError(t, err)
	require.Equal(t, open, standing)
	last, err := m.fence.Last()
	require.NoError(t, err)
	require.Equal(t, m.newest, last.ID)
	if m.newest != 0 {
		require.Equal(t, m.state[m.newest], last.State)
	}
}

func TestFenceAgainstItsModel(t *testing.T) {
	top := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		root, err := os.MkdirTemp(top, "")
		require.NoError(rt, err)
		require.NoError(rt, os.Mkdir(filepath.Join(root, "rollouts"), 0o755))
		m := &fenceModel{fence: Fence{root}, state: map[traffic.RolloutID]FolderState{}}
		rt.Repeat(map[string]func(*rapid.T){
			"": m.Check, "open": m.Open, "cut": m.Cut, "finish": m.Finish, "raise": m.Raise, "back": m.Back, "crash": m.Crash,
		})
	})
}

func TestRehearsalLeavesNothing(t *testing.T) {
	f := bareFence(t)
	putFolders(t, f, "000017")
	require.NoError(t, f.Rehearse())
	require.Equal(t, []string{"000017"}, names(t, f))
	require.Error(t, Fence{filepath.Join(f.Root, "nowhere")}.Rehearse())
}
