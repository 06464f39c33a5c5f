package nginxconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"cutover/traffic"
)

// CheckReach makes sure that nginx's workers, running as the user, can look into the folder: each folder above it must
// let them pass, and it itself be readable. To a worker a folder that it cannot reach looks like one that is missing,
// which here means: everything to stable, whatever the share. The fault names the first folder that bars the way.
// An empty user, and root, reach everything.
func CheckReach(dir, userName string) error {
	if userName == "" || userName == "root" {
		return nil
	}
	w, err := lookUpWorker(userName)
	if err != nil {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("nginx's worker user %s: %w", userName, err),
			Hint: "Name a user of this host in nginx's `user` directive."}
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("reach %s: %w", dir, err), Hint: "`cutover init` makes this folder."}
	}
	for _, path := range slices.Concat(fromRoot(filepath.Clean(dir)), fromRoot(real)) {
		need := mayEnter
		if path == real {
			need = mayEnter | mayRead
		}
		if err := w.enter(path, need); err != nil {
			return err
		}
	}
	return nil
}

// What a mode grants to one class of users.
const (
	mayEnter fs.FileMode = 1
	mayRead  fs.FileMode = 4
)

// fromRoot lists a path's folders, the root first and the path itself last.
func fromRoot(path string) []string {
	folders := []string{path}
	for path != "/" && path != "." {
		path = filepath.Dir(path)
		folders = append(folders, path)
	}
	slices.Reverse(folders)
	return folders
}

// worker is whom the kernel asks about when an nginx worker opens something.
type worker struct {
	name   string
	uid    uint32
	groups []uint32
}

func lookUpWorker(name string) (worker, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return worker{}, err
	}
	ids, err := u.GroupIds()
	if err != nil {
		return worker{}, err
	}
	w := worker{name: name}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	w.uid = uint32(uid)
	for _, id := range append(ids, u.Gid) {
		gid, bad := strconv.ParseUint(id, 10, 32)
		err = errors.Join(err, bad)
		w.groups = append(w.groups, uint32(gid))
	}
	return w, err
}

// enter checks one folder as the kernel does: the owner's bits if the worker owns it, else the group's if it is in the
// group, else those of all others.
func (w worker) enter(path string, need fs.FileMode) error {
	info, err := os.Stat(path)
	if err != nil {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("reach %s: %w", path, err)}
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || w.uid == 0 || hasAccessList(path) {
		return nil
	}
	class, shift := "o", 0
	switch {
	case owner.Uid == w.uid:
		class, shift = "u", 6
	case slices.Contains(w.groups, owner.Gid):
		class, shift = "g", 3
	}
	missing := need &^ (info.Mode().Perm() >> shift)
	if missing == 0 {
		return nil
	}
	letters, verb := "x", "enter"
	switch missing {
	case mayRead:
		letters, verb = "r", "read"
	case mayRead | mayEnter:
		letters, verb = "rx", "enter or read"
	}
	return &traffic.Fault{Kind: traffic.Preflight,
		Err: fmt.Errorf("nginx's workers run as %s, who cannot %s %s (%s)", w.name, verb, path, info.Mode()),
		Hint: fmt.Sprintf("`chmod %s+%s %s`, or set nginx.dir to a folder that they reach. To them a folder behind this one looks missing, so that all requests would go to stable.",
			class, letters, shellWord(path))}
}

// hasAccessList tells whether the folder has an access list, which may allow more than its mode shows: only a request can tell then.
func hasAccessList(path string) bool {
	size, err := syscall.Getxattr(path, "system.posix_acl_access", nil)
	return err == nil && size > 0
}

// shellWord quotes a path for a command that somebody may copy.
func shellWord(path string) string {
	if strings.ContainsAny(path, " \t\n'\"\\$`*?[](){}<>|&;#~!") {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	return path
}
