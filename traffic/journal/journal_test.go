package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestWhatIsAppendedIsRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "shop")
	j := open(t, dir)
	require.Empty(t, read(t, j))

	e := add(t, j, map[string]any{"kind": "shift", "why": "5xx < 0.1 % & \"fine\"\n\u2028"})
	require.Equal(t, uint64(1), e.Seq)
	require.Equal(t, date.Add(time.Second), e.Time)
	require.Equal(t, "000017", e.Rollout)
	require.Empty(t, e.Prev)
	next, err := j.Append(context.Background(), "", "alice", nil)
	require.NoError(t, err)
	require.Equal(t, uint64(2), next.Seq)
	require.Equal(t, e.Sum, next.Prev)
	require.Equal(t, "null", string(next.Event))

	require.Equal(t, []Entry{e, next}, read(t, open(t, dir)))
	data, err := os.ReadFile(filepath.Join(dir, "journal.jsonl"))
	require.NoError(t, err)
	require.Equal(t, 2, bytes.Count(data, []byte("\n")))
	for line := range bytes.Lines(data) {
		require.True(t, json.Valid(line))
	}
}

func TestAnEventThatIsNoJSONWritesNothing(t *testing.T) {
	j := open(t, t.TempDir())
	_, err := j.Append(context.Background(), "", "ci", make(chan int))
	require.ErrorContains(t, err, "journal.jsonl")
	require.NoFileExists(t, j.active())
}

func TestAnEndedContextWritesNothing(t *testing.T) {
	j := open(t, t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := j.Append(ctx, "", "ci", 1)
	require.ErrorIs(t, err, context.Canceled)
	require.NoFileExists(t, j.active())
}

func TestTheGroupReadsWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	base := t.TempDir()
	require.NoError(t, os.Chmod(base, 0o750|fs.ModeSetgid))
	dir := filepath.Join(base, "state", "shop")
	j := open(t, dir)
	add(t, j, 1)
	require.NoError(t, j.Rotate())
	add(t, j, 2)
	l, err := TryLock(dir, Holder{})
	require.NoError(t, err)
	defer l.Unlock()

	for path, mode := range map[string]fs.FileMode{
		filepath.Dir(dir):                     fs.ModeDir | fs.ModeSetgid | 0o750,
		dir:                                   fs.ModeDir | fs.ModeSetgid | 0o750,
		filepath.Join(dir, "journal.jsonl"):   0o640,
		filepath.Join(dir, "journal-1.jsonl"): 0o640,
		filepath.Join(dir, "lock"):            0o640,
	} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode(), path)
	}
}

func TestAFolderThatIsThereKeepsItsMode(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o700))
	open(t, dir)
	info, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o700), info.Mode().Perm())
}

func TestOpenNamesWhatIsInItsWay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, dir := range []string{file, filepath.Join(file, "shop")} {
		_, err := Open(dir, ticking())
		require.ErrorContains(t, err, file)
	}
}

func TestALockThatOthersKeepIsNotWaitedFor(t *testing.T) {
	j := open(t, t.TempDir())
	first := add(t, j, 1)
	f, err := os.Open(j.active())
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))

	_, err = j.Append(context.Background(), "", "ci", 2)
	require.ErrorIs(t, err, ErrLockHeld)
	require.ErrorContains(t, err, j.active())
	require.ErrorIs(t, j.Rotate(), ErrLockHeld)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	_, err = j.Append(ctx, "", "ci", 2)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, []Entry{first}, read(t, j))

	require.NoError(t, unix.Flock(int(f.Fd()), unix.LOCK_UN))
	require.Equal(t, uint64(2), add(t, j, 2).Seq)
}

// Between opening the file and locking it, it may be rotated away, and a new one begun.
func TestOnlyTheFileThatThePathNamesIsTaken(t *testing.T) {
	j := open(t, t.TempDir())
	add(t, j, 1)
	opened := func() *os.File {
		f, err := os.OpenFile(j.active(), os.O_RDWR, 0)
		require.NoError(t, err)
		t.Cleanup(func() { release(f) })
		return f
	}
	f := opened()
	require.NoError(t, j.Rotate())
	ours, err := take(f)
	require.NoError(t, err)
	require.False(t, ours, "nothing has that name")
	add(t, j, 2)
	ours, err = take(f)
	require.NoError(t, err)
	require.False(t, ours, "another file has that name")
	ours, err = take(opened())
	require.NoError(t, err)
	require.True(t, ours)
}

// A child that is being forked has the open file too, for an instant.
func TestAForkedChildDoesNotKeepTheLock(t *testing.T) {
	j := open(t, t.TempDir())
	f, err := j.lock(context.Background(), os.O_RDWR|os.O_CREATE)
	require.NoError(t, err)
	child, err := unix.Dup(int(f.Fd()))
	require.NoError(t, err)
	defer unix.Close(child)
	release(f)
	add(t, j, 1)

	l, err := TryLock(j.dir, Holder{})
	require.NoError(t, err)
	child, err = unix.Dup(int(l.file.Fd()))
	require.NoError(t, err)
	defer unix.Close(child)
	require.NoError(t, l.Unlock())
	_, held, err := Holding(j.dir)
	require.NoError(t, err)
	require.False(t, held)
}

func TestRotationGoesOnWithSeqAndChain(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	require.NoError(t, j.Rotate(), "nothing is there yet")
	var want []Entry
	for file := range 3 {
		for n := range 4 {
			want = append(want, add(t, j, fmt.Sprint(file, n)))
		}
		require.NoError(t, j.Rotate())
		require.Equal(t, want, read(t, j))
		require.NoError(t, j.Rotate(), "nothing is new")
	}
	want = append(want, add(t, j, "last"))
	require.Equal(t, want, read(t, j))
	require.Equal(t, want[11].Sum, want[12].Prev)
	require.ElementsMatch(t, []string{"journal-1.jsonl", "journal-5.jsonl", "journal-9.jsonl", "journal.jsonl"}, names(t, dir))

	require.NoError(t, os.Remove(filepath.Join(dir, "journal-1.jsonl")))
	require.Equal(t, want[4:], read(t, j), "the oldest may be moved away")
	require.NoError(t, os.Remove(filepath.Join(dir, "journal-9.jsonl")))
	got, err := j.Read()
	require.Equal(t, &CorruptError{j.active(), 1, "entries 9 to 12 are missing before it"}, err)
	require.Equal(t, append(want[4:8:8], want[12]), got)
}

func TestReadingFromASeqLeavesOutOnlyWhatIsBeforeIt(t *testing.T) {
	j := open(t, t.TempDir())
	for n := range 7 {
		add(t, j, n)
		if n%2 == 1 {
			require.NoError(t, j.Rotate())
		}
	}
	for from, first := range []uint64{1, 1, 1, 3, 3, 5, 5, 5, 5} {
		got, err := j.read(uint64(from))
		require.NoError(t, err)
		require.Equal(t, first, got[0].Seq, "from %d", from)
		require.Equal(t, uint64(7), got[len(got)-1].Seq)
	}
}

func TestRotationNeverOverwrites(t *testing.T) {
	j := open(t, t.TempDir())
	e := add(t, j, 1)
	old := filepath.Join(j.dir, "journal-1.jsonl")
	require.NoError(t, os.WriteFile(old, nil, 0o640))
	require.ErrorContains(t, j.Rotate(), old)
	require.Equal(t, []Entry{e}, read(t, j))
}

func TestForeignNamesAreNotRead(t *testing.T) {
	j := open(t, t.TempDir())
	e := add(t, j, 1)
	for _, name := range []string{"journal-0.jsonl", "journal-01.jsonl", "journal-1.jsonl.gz", "journal-x.jsonl", "2"} {
		require.NoError(t, os.WriteFile(filepath.Join(j.dir, name), []byte("nonsense\n"), 0o640))
	}
	require.Equal(t, []Entry{e}, read(t, j))
	require.NoError(t, j.Rotate())
	require.Equal(t, uint64(2), add(t, j, 2).Seq)
}

func TestALineMayBeLongerThanTheWindow(t *testing.T) {
	j := open(t, t.TempDir())
	var want []Entry
	for _, size := range []int{10, 3 * tailWindow, 10, tailWindow, tailWindow - 300} {
		want = append(want, add(t, j, strings.Repeat("x", size)))
	}
	require.Equal(t, want, read(t, j))
}

// A crash may stop the disk at any byte of the last append, and of each before it.
func TestCutAtEveryByteReplayIsAPrefix(t *testing.T) {
	j := open(t, t.TempDir())
	var want []Entry
	for n := range 4 {
		want = append(want, add(t, j, map[string]int{"step": n}))
	}
	whole, err := os.ReadFile(j.active())
	require.NoError(t, err)
	for n := range len(whole) + 1 {
		kept := bytes.Count(whole[:n], []byte("\n"))
		require.NoError(t, os.WriteFile(j.active(), whole[:n], 0o640))
		require.Equal(t, append([]Entry(nil), want[:kept]...), read(t, j), "cut at byte %d", n)
		e := add(t, j, "after")
		require.Equal(t, uint64(kept+1), e.Seq)
		require.Equal(t, append(want[:kept:kept], e), read(t, j), "cut at byte %d", n)
	}
}

// Power loss may leave a file with its new length, and blocks in it that were never written.
func TestUnwrittenBlocksAreATornTail(t *testing.T) {
	j := open(t, t.TempDir())
	first := add(t, j, 1)
	kept, err := os.ReadFile(j.active())
	require.NoError(t, err)
	add(t, j, strings.Repeat("x", 1000))
	whole, err := os.ReadFile(j.active())
	require.NoError(t, err)
	line := whole[len(kept):]
	hole := bytes.Repeat([]byte{0}, 512)
	for name, torn := range map[string][]byte{
		"first block":  append(make([]byte, 40), line[40:]...),
		"middle block": slices.Replace(bytes.Clone(line), 300, 812, hole...),
		"last blocks":  append(bytes.Clone(line[:40]), hole...),
		"all of it":    hole,
	} {
		require.NoError(t, os.WriteFile(j.active(), append(kept[:len(kept):len(kept)], torn...), 0o640))
		require.Equal(t, []Entry{first}, read(t, j), name)
		require.Equal(t, []Entry{first, add(t, j, "after")}, read(t, j), name)
	}
	line[500] = 0
	require.NoError(t, os.WriteFile(j.active(), append(kept, line...), 0o640))
	_, err = j.Read()
	require.Error(t, err, "one byte that turned into NUL is damage: the line was synced once")
}

// Each byte in turn is another one; a flipped newline takes two lines with it, a new one splits one in two.
func TestAFlippedByteIsNamedAndTheRestIsRead(t *testing.T) {
	j := open(t, t.TempDir())
	var want []Entry
	for n := range 4 {
		want = append(want, add(t, j, n))
	}
	whole, err := os.ReadFile(j.active())
	require.NoError(t, err)
	lastLine := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	for at := range lastLine {
		line := bytes.Count(whole[:at], []byte("\n"))
		rest := append(want[:line:line], want[line+1:]...)
		if whole[at] == '\n' {
			rest = append(want[:line:line], want[line+2:]...)
		}
		for _, flipped := range []byte{whole[at] ^ 1, 0, '\n'} {
			if flipped == whole[at] {
				continue
			}
			data := bytes.Clone(whole)
			data[at] = flipped
			require.NoError(t, os.WriteFile(j.active(), data, 0o640))
			got, err := j.Read()
			require.Equal(t, rest, got, "byte %d", at)
			damage, ok := err.(*CorruptError)
			require.True(t, ok, "byte %d: %v", at, err)
			require.Equal(t, j.active(), damage.Path)
			require.Equal(t, line+1, damage.Line, "byte %d", at)
			require.NotEmpty(t, damage.Why)
		}
		e := add(t, j, "cutback")
		got, err := j.Read()
		require.Error(t, err)
		require.Equal(t, append(rest, e), got, "byte %d", at)
	}
}

func TestABrokenLastLineKeepsItsSeq(t *testing.T) {
	j := open(t, t.TempDir())
	first := add(t, j, 1)
	require.NoError(t, j.Rotate())
	add(t, j, 2)
	data, err := os.ReadFile(j.active())
	require.NoError(t, err)
	data[12] ^= 1
	require.NoError(t, os.WriteFile(j.active(), data, 0o640))
	require.NoError(t, j.Rotate(), "nothing in it is whole")
	require.FileExists(t, filepath.Join(j.dir, "journal-2.jsonl"))

	third := add(t, j, 3)
	require.Equal(t, uint64(3), third.Seq)
	require.Equal(t, first.Sum, third.Prev)
	got, err := j.Read()
	require.Equal(t, &CorruptError{filepath.Join(j.dir, "journal-2.jsonl"), 1, "its checksum does not match"}, err)
	require.ErrorContains(t, err, "line 1 is damaged")
	require.Equal(t, []Entry{first, third}, got)
}

func TestLinesThatWereMovedAreNamed(t *testing.T) {
	j := open(t, t.TempDir())
	var want []Entry
	for n := range 4 {
		want = append(want, add(t, j, n))
	}
	whole, err := os.ReadFile(j.active())
	require.NoError(t, err)
	l := bytes.SplitAfter(whole, []byte("\n"))
	stranger := want[1]
	stranger.Actor = "mallory"
	forged, _, err := seal(stranger)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		lines [][]byte
		line  int
		why   string
		want  []Entry
	}{
		"taken out": {[][]byte{l[0], l[2], l[3]}, 2, "entries 2 to 2 are missing", []Entry{want[0], want[2], want[3]}},
		"twice":     {[][]byte{l[0], l[1], l[1], l[2]}, 3, "entry 2 stands behind entry 2", want[:3]},
		"swapped":   {[][]byte{l[0], l[2], l[1], l[3]}, 2, "entries 2 to 2 are missing", []Entry{want[0], want[2], want[3]}},
		"forged":    {[][]byte{l[0], forged, l[2]}, 3, "does not follow entry 2", nil},
		"foreign":   {[][]byte{l[0], []byte("hello\n"), l[1]}, 2, "does not end in a checksum", want[:2]},
		"empty":     {[][]byte{l[0], []byte("\n"), l[1]}, 2, "does not end in a checksum", want[:2]},
	} {
		require.NoError(t, os.WriteFile(j.active(), bytes.Join(c.lines, nil), 0o640))
		got, err := j.Read()
		damage, ok := err.(*CorruptError)
		require.True(t, ok, name)
		require.Equal(t, c.line, damage.Line, name)
		require.Contains(t, damage.Why, c.why, name)
		if c.want != nil {
			require.Equal(t, c.want, got, name)
		}
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	listing, err := os.ReadDir(dir)
	require.NoError(t, err)
	var found []string
	for _, item := range listing {
		found = append(found, item.Name())
	}
	return found
}
