package nginxconf

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// view is the file system as nginx sees it. In a container that is another one than ours, which is read and written through the root
// of the container's first process. Links are followed by hand there: the kernel would follow an absolute one into our own files.
// The zero value is this host's own.
type view struct {
	// container is the one that nginx runs in; zero where it runs on this host itself.
	container Container
	// root is where the container's files hang, and owner whom nginx runs as there.
	root  string
	owner int
	// ours is the folder that is the same one on both sides, nginx.dir. The container may have it read-only.
	ours string
}

// inside tells that nginx runs in a container.
func (v view) inside() bool { return v.container.Init != 0 }

// mostLinks is how many symbolic links the kernel follows in one path.
const mostLinks = 40

// real is the path with all symbolic links followed, as nginx would write it.
func (v view) real(path string) (string, error) {
	if !v.inside() {
		return filepath.EvalSymlinks(path)
	}
	followed, rest, links := "/", strings.Split(path, "/"), 0
	for len(rest) > 0 {
		next := filepath.Join(followed, rest[0])
		rest = rest[1:]
		info, err := os.Lstat(v.root + next)
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			followed = next
			continue
		}
		target, err := os.Readlink(v.root + next)
		if err != nil {
			return "", err
		}
		if links++; links > mostLinks {
			return "", fmt.Errorf("%s: too many symbolic links", path)
		}
		if filepath.IsAbs(target) {
			followed = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return followed, nil
}

// entry is where we find the name itself that nginx finds at the path: the folders before it are followed, it is not.
func (v view) entry(path string) string {
	if !v.inside() || strings.HasPrefix(path, v.ours+"/") {
		return path
	}
	folder, err := v.real(filepath.Dir(path))
	if err != nil {
		folder = filepath.Dir(path) // what is not there for nginx is not there for us
	}
	return filepath.Join(v.root, folder, filepath.Base(path))
}

// give lets nginx read what we wrote for it there.
func (v view) give(path string) error {
	if v.owner == 0 {
		return nil
	}
	return os.Chown(path, v.owner, -1)
}

// outside is a process's number on this host, by the one that it has where nginx runs.
func (p processes) outside(v view, pid int) (int, error) {
	if !v.inside() {
		return pid, nil
	}
	space, err := os.Readlink(filepath.Join(p.folder, strconv.Itoa(v.container.Init), "ns", "pid"))
	if err != nil {
		return 0, err
	}
	all, err := os.ReadDir(p.folder)
	if err != nil {
		return 0, err
	}
	for _, e := range all {
		found, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		own, err := os.Readlink(filepath.Join(p.folder, e.Name(), "ns", "pid"))
		if err == nil && own == space && p.innermost(found) == pid {
			return found, nil
		}
	}
	return 0, fmt.Errorf("no process of the container has the number %d", pid)
}

// innermost is the number by which a process knows itself; zero where it is gone.
func (p processes) innermost(pid int) int {
	text, _ := os.ReadFile(filepath.Join(p.folder, strconv.Itoa(pid), "status"))
	for line := range strings.Lines(string(text)) {
		if numbers, is := strings.CutPrefix(line, "NSpid:"); is {
			fields := strings.Fields(numbers)
			own, _ := strconv.Atoi(fields[len(fields)-1])
			return own
		}
	}
	return 0
}
