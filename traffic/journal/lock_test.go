package journal

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestTheSecondOneIsToldWhoIsBusy(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "shop")
	_, held, err := Holding(dir)
	require.NoError(t, err)
	require.False(t, held, "no folder, no holder")

	alice := Holder{PID: 4711, Actor: "alice@ops", Command: "promote --tag v1.4.0", Since: date}
	l, err := TryLock(dir, alice)
	require.NoError(t, err)
	requireHolder(t, dir, alice)
	_, err = TryLock(dir, Holder{Actor: "bob"})
	busy, ok := errors.AsType[*BusyError](err)
	require.True(t, ok, err)
	require.Equal(t, alice, busy.Holder)
	require.EqualError(t, err, "busy: alice@ops since 2026-03-01 03:12:04 UTC: promote --tag v1.4.0 (process 4711)")

	alice.Rollout = "000017"
	require.NoError(t, l.Update(alice))
	requireHolder(t, dir, alice)
	_, err = TryLock(dir, Holder{})
	require.ErrorContains(t, err, "(rollout 000017, process 4711)")
	alice = Holder{PID: 1, Actor: "a", Since: date}
	require.NoError(t, l.Update(alice))
	requireHolder(t, dir, alice)

	require.NoError(t, l.Unlock())
	_, held, err = Holding(dir)
	require.NoError(t, err)
	require.False(t, held, "the text of one who has gone means nobody")
	require.Error(t, l.Unlock())
	l, err = TryLock(dir, Holder{Actor: "bob"})
	require.NoError(t, err)
	require.NoError(t, l.Unlock())
}

func TestKillingTheHolderFreesTheLock(t *testing.T) {
	dir := t.TempDir()
	for _, role := range []string{"hold", "hold-with-child"} {
		p := start(t, role, dir)
		line, ok := p.line()
		require.True(t, ok)
		require.Equal(t, "held", line)
		h, held, err := Holding(dir)
		require.NoError(t, err)
		require.True(t, held)
		require.Equal(t, p.Process.Pid, h.PID)
		_, err = TryLock(dir, Holder{})
		busy, ok := errors.AsType[*BusyError](err)
		require.True(t, ok)
		require.Equal(t, p.Process.Pid, busy.Holder.PID)

		require.NoError(t, p.Process.Kill()) // its child lives until our end of the pipe is closed
		eventually(t, func() bool {
			_, held, err := Holding(dir)
			return err == nil && !held
		}, "the lock dies with its process")
		l, err := TryLock(dir, Holder{Actor: "next"})
		require.NoError(t, err, role)
		requireHolder(t, dir, Holder{Actor: "next"})
		require.NoError(t, l.Unlock())
		p.kill()
	}
}

// Whoever asks never makes anybody else busy.
func TestAskingTakesNothing(t *testing.T) {
	dir := t.TempDir()
	ended := make(chan struct{})
	var asking sync.WaitGroup
	for range 3 {
		asking.Go(func() {
			for {
				if _, _, err := Holding(dir); err != nil {
					t.Error(err)
				}
				select {
				case <-ended:
					return
				default:
				}
			}
		})
	}
	for range 300 {
		l, err := TryLock(dir, Holder{Actor: "only one"})
		require.NoError(t, err)
		require.NoError(t, l.Unlock())
	}
	close(ended)
	asking.Wait()
}

// A killed holder's text stays; one who has the seat and has not said who they are must not be taken for them.
func TestANewHolderIsNeverTakenForAnOlder(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, lockName)
	require.NoError(t, os.WriteFile(path, []byte(`{"pid":1,"actor":"dead"}`), 0o640))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, span(unix.F_WRLCK, seatByte, 1)))
	requireHolder(t, dir, Holder{})
	_, err = TryLock(dir, Holder{Actor: "bob"})
	require.EqualError(t, err, "busy: another process holds the app and has not said who it is")
	require.NoError(t, introduce(f, Holder{Actor: "alive"}))
	requireHolder(t, dir, Holder{Actor: "alive"})
}

func TestOnlyOneOfManyGetsTheLock(t *testing.T) {
	dir := t.TempDir()
	for range 30 {
		var trying sync.WaitGroup
		won := make(chan *Lock, 8)
		for range cap(won) {
			trying.Go(func() {
				l, err := TryLock(dir, Holder{Actor: "winner"})
				if err == nil {
					won <- l
				} else if _, busy := errors.AsType[*BusyError](err); !busy {
					t.Error(err)
				}
			})
		}
		trying.Wait()
		require.Len(t, won, 1)
		require.NoError(t, (<-won).Unlock())
	}
}

func TestTheLockNamesWhatIsInItsWay(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, lockName)
	require.NoError(t, os.Mkdir(path, 0o750))
	_, err := TryLock(dir, Holder{})
	require.ErrorContains(t, err, path)
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o640))
	_, err = TryLock(file, Holder{})
	require.ErrorContains(t, err, file)
	_, _, err = Holding(file)
	require.ErrorContains(t, err, file)
}

func requireHolder(t *testing.T, dir string, want Holder) {
	t.Helper()
	got, held, err := Holding(dir)
	require.NoError(t, err)
	require.True(t, held)
	require.Equal(t, want, got)
}
