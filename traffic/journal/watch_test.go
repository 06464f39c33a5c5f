package journal

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// sight collects what a watch hands over.
type sight struct {
	mutex   sync.Mutex
	entries []Entry
}

func (s *sight) see(e Entry) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.entries = append(s.entries, e)
}

func (s *sight) seen() []Entry {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return append([]Entry(nil), s.entries...)
}

func (s *sight) await(t *testing.T, want []Entry) {
	t.Helper()
	eventually(t, func() bool { return len(s.seen()) >= len(want) }, "the watch sees what is appended")
	require.Equal(t, want, s.seen())
}

// watch runs a watch until the test ends.
func watch(t *testing.T, run func(ctx context.Context, each func(Entry)) error) *sight {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, done := &sight{}, make(chan error, 1)
	go func() { done <- run(ctx, s.see) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return s
}

func TestAWatchSeesEachEntryOnceOverRotations(t *testing.T) {
	for name, run := range map[string]func(j *Journal) func(context.Context, func(Entry)) error{
		"with inotify": func(j *Journal) func(context.Context, func(Entry)) error {
			return func(ctx context.Context, each func(Entry)) error { return j.Watch(ctx, 2, each) }
		},
		"by polls alone": func(j *Journal) func(context.Context, func(Entry)) error {
			return func(ctx context.Context, each func(Entry)) error { return j.follow(ctx, stirs{}, 2, each) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := open(t, t.TempDir())
			add(t, j, 1)
			require.NoError(t, j.Rotate())
			add(t, j, 2)
			want := []Entry{add(t, j, 3)}
			require.NoError(t, j.Rotate())
			s := watch(t, run(j))
			s.await(t, want)
			for range 3 {
				for n := range 3 {
					want = append(want, add(t, j, n))
				}
				require.NoError(t, j.Rotate())
			}
			s.await(t, want)
		})
	}
}

func TestAWatchFollowsOtherProcesses(t *testing.T) {
	j := open(t, t.TempDir())
	s := watch(t, func(ctx context.Context, each func(Entry)) error { return j.Watch(ctx, 0, each) })
	for range 2 {
		start(t, "append", j.dir, "other", "20", "3")
	}
	eventually(t, func() bool { return len(s.seen()) >= 40 }, "both are seen")
	require.Equal(t, read(t, j), s.seen())
}

func TestAWatchSeesACutbackBehindDamage(t *testing.T) {
	j := open(t, t.TempDir())
	want := []Entry{add(t, j, 1), add(t, j, 2)}
	s := watch(t, func(ctx context.Context, each func(Entry)) error { return j.Watch(ctx, 0, each) })
	s.await(t, want)
	data, err := os.ReadFile(j.active())
	require.NoError(t, err)
	data[10] ^= 1
	require.NoError(t, os.WriteFile(j.active(), data, 0o640))
	want = append(want, add(t, j, "cutback"))
	s.await(t, want)
}

// A writer whose sync fails takes its line back after a watch may have seen it.
func TestAWatchSeesWhatReplacesALineThatWasTakenBack(t *testing.T) {
	j := open(t, t.TempDir())
	want := []Entry{add(t, j, 1)}
	info, err := os.Stat(j.active())
	require.NoError(t, err)
	s := watch(t, func(ctx context.Context, each func(Entry)) error { return j.Watch(ctx, 0, each) })
	want = append(want, add(t, j, "taken back"))
	s.await(t, want)
	require.NoError(t, os.Truncate(j.active(), info.Size()))
	want = append(want, add(t, j, "instead"))
	require.Equal(t, uint64(2), want[2].Seq)
	s.await(t, want)
}

func TestAWatchEndsWithItsContextOrItsFolder(t *testing.T) {
	j := open(t, t.TempDir())
	add(t, j, 1)
	add(t, j, 2)
	ctx, cancel := context.WithCancel(context.Background())
	var got []Entry
	require.NoError(t, j.Watch(ctx, 0, func(e Entry) {
		got = append(got, e)
		cancel()
	}))
	require.Len(t, got, 1)

	require.NoError(t, os.RemoveAll(j.dir))
	require.ErrorContains(t, j.Watch(context.Background(), 0, nil), j.dir)
}
