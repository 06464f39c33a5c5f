package notify

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// smallDisk is a real file system of a few pages, which can be filled and made read-only.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=32k"); err != nil {
		require.Empty(t, os.Getenv("CUTOVER_REQUIRE_REAL"), "this run demands the right to mount: %v", err)
		t.Skip("NOT TESTED: a full and a read-only disk: mounting is not allowed here")
	}
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, 0)) })
	return dir
}

func fill(t *testing.T, dir string) {
	t.Helper()
	err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 1<<20), 0o600)
	require.ErrorIs(t, err, unix.ENOSPC)
}

func TestFullDisk(t *testing.T) {
	disk := smallDisk(t)
	s := Open(filepath.Join(disk, "notify"), func(line string) { t.Error(line) })
	address, got := receiver(t, nil)
	configs := []Config{{Webhook: address, Format: JSON}}
	require.NoError(t, s.Put(configs, numbered(1)))
	fill(t, disk)
	require.ErrorIs(t, s.Put(configs, numbered(2)), unix.ENOSPC)
	require.NoError(t, s.Deliver(t.Context(), configs, sender(t)), "what is queued needs no space to be sent")
	require.NoError(t, s.Deliver(t.Context(), configs, sender(t)))
	require.Equal(t, []string{"m-1"}, got.list())
	left, err := os.ReadDir(s.queue(configs[0]).dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "half a message was left")
}

// Sent and never struck off the list, the same message would come with each later command.
func TestReadOnlyDiskSendsNothing(t *testing.T) {
	disk := smallDisk(t)
	s := Open(filepath.Join(disk, "notify"), func(line string) { t.Error(line) })
	address, got := receiver(t, nil)
	configs := []Config{{Webhook: address, Format: JSON}}
	require.NoError(t, s.Put(configs, numbered(1)))
	require.NoError(t, unix.Mount("none", disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	require.ErrorIs(t, s.Put(configs, numbered(2)), unix.EROFS)
	require.ErrorIs(t, s.Deliver(t.Context(), configs, sender(t)), unix.EROFS)
	require.Empty(t, got.list())
	require.NoError(t, unix.Mount("none", disk, "", unix.MS_REMOUNT, ""))
	require.NoError(t, s.Deliver(t.Context(), configs, sender(t)))
	require.Equal(t, []string{"m-1"}, got.list())
}
