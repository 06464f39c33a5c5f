package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALockIsHandedOnWithoutAGap(t *testing.T) {
	dir := t.TempDir()
	parent, err := TryLock(dir, Holder{PID: 1, Actor: "ann", Since: date})
	require.NoError(t, err)
	handed := startWith(t, []*os.File{parent.Handle()}, "inherit", dir)
	line, ok := handed.line()
	require.True(t, ok)
	require.Equal(t, "held", line)
	require.NoError(t, parent.Handle().Close()) // the parent ends, and lets nothing go
	_, err = TryLock(dir, Holder{Actor: "bob"})
	busy, ok := errors.AsType[*BusyError](err)
	require.True(t, ok, err)
	require.Equal(t, handed.Process.Pid, busy.Holder.PID)

	require.NoError(t, handed.Process.Kill())
	eventually(t, func() bool {
		_, held, err := Holding(dir)
		return err == nil && !held
	}, "it is let go with the one who inherited it")
}

func TestOnlyTheAppsOwnLockIsInherited(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	_, err := Inherit(dir, os.Stdin, Holder{})
	require.ErrorContains(t, err, "inherit lock "+filepath.Join(dir, lockName), "there is none")
	l, err := TryLock(other, Holder{Actor: "ann"})
	require.NoError(t, err)
	held, err := TryLock(dir, Holder{Actor: "bob"})
	require.NoError(t, err)
	_, err = Inherit(dir, l.Handle(), Holder{})
	require.ErrorContains(t, err, "it is another file")
	free, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = Inherit(dir, free, Holder{})
	require.ErrorContains(t, err, "busy: bob", "the right file, and not what holds it")
	require.NoError(t, free.Close())
	require.NoError(t, l.Unlock())
	require.NoError(t, held.Unlock())
}
