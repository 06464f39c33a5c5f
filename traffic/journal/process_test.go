package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestProcessesAppendWhileTheJournalIsRotated(t *testing.T) {
	const writers, each = 4, 50
	j := open(t, t.TempDir())
	stop := readOnAndOn(t, j)
	var all []*process
	for w := range writers {
		all = append(all, start(t, "append", j.dir, fmt.Sprint("writer", w), strconv.Itoa(each), strconv.Itoa(7+w)))
	}
	told := map[uint64]string{}
	for w, p := range all {
		for range each {
			line, ok := p.line()
			require.True(t, ok)
			seq, err := strconv.ParseUint(line, 10, 64)
			require.NoError(t, err)
			require.NotContains(t, told, seq)
			told[seq] = fmt.Sprint("writer", w)
		}
		require.NoError(t, p.Wait())
	}
	stop()
	got := read(t, j)
	require.Len(t, got, writers*each)
	prev := ""
	for i, e := range got {
		require.Equal(t, uint64(i+1), e.Seq)
		require.Equal(t, told[e.Seq], e.Actor)
		require.Equal(t, prev, e.Prev)
		prev = e.Sum
	}
	require.Greater(t, len(names(t, j.dir)), 10)
}

// readOnAndOn has readers at work until stop is called; none ever sees damage, or less than it saw before.
func readOnAndOn(t *testing.T, j *Journal) (stop func()) {
	ended := make(chan struct{})
	var reading sync.WaitGroup
	for range 2 {
		reading.Go(func() {
			for before := 0; ; {
				got, err := j.Read()
				if err != nil || len(got) < before {
					t.Errorf("read %d entries after %d: %v", len(got), before, err)
					return
				}
				before = len(got)
				select {
				case <-ended:
					return
				default:
				}
			}
		})
	}
	return func() {
		close(ended)
		reading.Wait()
	}
}

// A reader takes no lock, so that its reading may straddle the cut of a torn tail, or a rotation.
func TestReadersMeetNoDamageWhileTailsAreCut(t *testing.T) {
	j := open(t, t.TempDir())
	stop := readOnAndOn(t, j)
	for n := range 300 {
		f, err := os.OpenFile(j.active(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
		require.NoError(t, err)
		_, err = f.WriteString(strings.Repeat("torn ", 150*(1+n%8)))
		require.NoError(t, err)
		require.NoError(t, f.Close())
		add(t, j, strings.Repeat("whole ", 300))
		if n%3 == 0 {
			require.NoError(t, j.Rotate())
		}
	}
	stop()
	require.Len(t, read(t, j), 300)
}

func TestAKilledAppenderLosesNothingThatItTold(t *testing.T) {
	j := open(t, t.TempDir())
	var told uint64
	for round := range 8 {
		actor := fmt.Sprint("victim", round)
		p := start(t, "append", j.dir, actor, "0", "5")
		var last uint64
		for range 3 + round {
			line, ok := p.line()
			require.True(t, ok)
			seq, err := strconv.ParseUint(line, 10, 64)
			require.NoError(t, err)
			require.Greater(t, seq, told)
			last = seq
		}
		p.kill()
		e := add(t, j, round)
		got := read(t, j)
		require.Equal(t, actor, got[last-1].Actor)
		require.Equal(t, e, got[len(got)-1])
		require.Equal(t, uint64(len(got)), e.Seq)
		told = e.Seq
	}
}

func TestAStoppedAppenderHoldsNobodyUpForLong(t *testing.T) {
	j := open(t, t.TempDir())
	p := start(t, "append", j.dir, "frozen", "0", "0")
	_, ok := p.line()
	require.True(t, ok)
	for range 20 { // some of these stop it with the lock in its hand
		require.NoError(t, p.Process.Signal(syscall.SIGSTOP))
		_, err := j.Append(context.Background(), "", "alice", "abort")
		if err != nil {
			require.ErrorIs(t, err, ErrLockHeld)
		}
		require.NoError(t, p.Process.Signal(syscall.SIGCONT))
	}
	p.kill()
	read(t, j)
}

func TestAFullDiskIsToldAndForgotten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "small")
	require.NoError(t, os.Mkdir(dir, 0o750))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		missing(t, "the right to mount a small file system: "+err.Error())
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	j := open(t, filepath.Join(dir, "shop"))
	want := []Entry{add(t, j, 1), add(t, j, 2)}
	ballast := filepath.Join(dir, "ballast")
	fill := func() {
		f, err := os.Create(ballast)
		require.NoError(t, err)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.NoError(t, f.Close())
	}
	for round := range 3 {
		fill()
		// What is longer than a page is written by half before the disk is full.
		_, err := j.Append(context.Background(), "", "ci", strings.Repeat("x", 10_000))
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorContains(t, err, j.active())
		data, err := os.ReadFile(j.active())
		require.NoError(t, err)
		require.Len(t, settled(data), len(data), "no half line is left")
		require.Equal(t, want, read(t, j))
		require.NoError(t, os.Remove(ballast))
		want = append(want, add(t, j, round))
		require.Equal(t, want, read(t, j))
		require.NoError(t, j.Rotate())
	}
	fill()
	_, err := j.Append(context.Background(), "", "ci", "the file itself is new")
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, j.Rotate(), "an empty file is not worth a rotation")
	require.NoError(t, os.Remove(ballast))
	require.Equal(t, append(want, add(t, j, "back")), read(t, j))
}

func TestAppendsOfOneProcessQueueToo(t *testing.T) {
	j := open(t, t.TempDir())
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			for range 5 {
				err := patiently(func() error {
					_, err := j.Append(context.Background(), "", strconv.Itoa(n), n)
					return err
				})
				if err = errors.Join(err, patiently(j.Rotate)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	require.Len(t, read(t, j), 40)
}
