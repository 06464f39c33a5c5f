package nginxconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"cutover/traffic"
)

// movable makes sure that the renames of a rollout can be made: both folders are there and not read-only, and both are of one mount, since
// what waits in a rollout's folder is renamed out of it at the end. Found before the first raise it costs nobody anything. Rights are
// not looked at: who has none is told so by the first thing that is made.
func (f Fence) movable() error {
	for _, folder := range []string{f.Root, f.rollouts()} {
		if err := isFolder(folder); err != nil {
			return err
		}
	}
	root, err := mountOf(f.Root)
	if err != nil {
		return err
	}
	rollouts, err := mountOf(f.rollouts())
	if err != nil || rollouts == root {
		return err
	}
	return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s is mounted by itself: nothing can be renamed from there to %s, and no rollout be finished", f.rollouts(), f.Root),
		Hint: "Unmount it, and mount " + f.Root + " as a whole where it has to be elsewhere."}
}

// isFolder makes sure that there is a folder in which things can be renamed.
func isFolder(folder string) error {
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s is gone: nginx finds no rollout there, and stable gets everything", folder),
			Hint: "`cutover init --stable COLOR` makes it anew, where nothing else of it is to be brought back."}
	case err != nil:
		return &traffic.Fault{Kind: traffic.Preflight, Err: err}
	case !info.IsDir():
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s is no folder: nginx finds no rollout there, and stable gets everything", folder),
			Hint: "Move it away, then `cutover init --stable COLOR`."}
	}
	if err := unix.Access(folder, unix.W_OK); errors.Is(err, unix.EROFS) {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s is read-only: no rollout could be raised, nor cut back", folder),
			Hint: "As root: mount -o remount,rw " + shellWord(folder) + ", or where that is mounted."}
	}
	return nil
}

// mount is one mount of a file system. Two of one file system are apart for a rename; an older kernel tells only the file system.
type mount struct {
	id           uint64
	major, minor uint32
}

func mountOf(folder string) (mount, error) {
	var found unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, folder, 0, unix.STATX_MNT_ID, &found); err != nil {
		return mount{}, &fs.PathError{Op: "statx", Path: folder, Err: err}
	}
	m := mount{major: found.Dev_major, minor: found.Dev_minor}
	if found.Mask&unix.STATX_MNT_ID != 0 {
		m.id = found.Mnt_id
	}
	return m, nil
}
