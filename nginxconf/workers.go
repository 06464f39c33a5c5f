package nginxconf

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cutover/traffic"
)

// processes reads the process table. The folder is /proc, or what a test puts in its place.
type processes struct{ folder string }

// process is one process. The time of its start tells it from a later one with the same number.
type process struct {
	pid    int
	parent int
	// start is when it began, in the kernel's ticks since boot.
	start string
	ended bool
	// replaced tells of a worker that it belongs to the master whose binary the present one has replaced (USR2).
	replaced bool
}

// leaving is what nginx titles a worker as it closes its listeners; before that it accepts connections.
const leaving = "worker process is shutting down"

// errHidden says that the process table cannot be read, or not for nginx's processes (hidepid).
var errHidden = errors.New("the process table does not show nginx's workers")

// title is the command line, in which nginx writes what a process of it is doing.
func (p processes) title(pid int) (string, error) {
	text, err := os.ReadFile(filepath.Join(p.folder, strconv.Itoa(pid), "cmdline"))
	return strings.TrimRight(string(bytes.ReplaceAll(text, []byte{0}, []byte{' '})), " "), err
}

// read gives one process; fs.ErrNotExist where there is none.
func (p processes) read(pid int) (process, error) {
	text, err := os.ReadFile(filepath.Join(p.folder, strconv.Itoa(pid), "stat"))
	if errors.Is(err, syscall.ESRCH) {
		return process{}, fs.ErrNotExist
	}
	if err != nil {
		return process{}, err
	}
	// The name stands in parentheses and may hold anything, parentheses too. What follows begins with state and parent;
	// the start is the 22nd field of all, the 20th of these.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 {
		return process{}, fmt.Errorf("process %d: its stat has %d fields", pid, len(fields))
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return process{}, fmt.Errorf("process %d: parent: %w", pid, err)
	}
	state := string(fields[0])
	return process{pid: pid, parent: parent, start: string(fields[19]), ended: state == "Z" || state == "X"}, nil
}

// master reads the pid file and makes sure that the process is nginx's: a number that was left over may be anybody's.
func (p processes) master(v view, pidFile string) (int, error) {
	notRunning := func(err error) (int, error) {
		return 0, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("nginx is not running: %w", err), Hint: "Start nginx, then try again."}
	}
	real, err := v.real(pidFile)
	if err != nil {
		return notRunning(fmt.Errorf("open %s: %w", pidFile, cause(err)))
	}
	text, err := os.ReadFile(v.root + real)
	if err != nil {
		return notRunning(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 1 {
		return notRunning(fmt.Errorf("%s holds no process id", pidFile))
	}
	if pid, err = p.outside(v, pid); err != nil {
		return notRunning(fmt.Errorf("%s: %w", pidFile, err))
	}
	if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
		return notRunning(fmt.Errorf("process %d of %s is gone", pid, pidFile))
	}
	title, err := p.title(pid)
	if err == nil && !strings.Contains(title, "master process") {
		return notRunning(fmt.Errorf("process %d of %s is %q", pid, pidFile, title))
	}
	if err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
		return notRunning(err)
	}
	return pid, nil
}

// owner is the user that the process runs as; root where that cannot be seen.
func (p processes) owner(pid int) uint32 {
	info, err := os.Stat(filepath.Join(p.folder, strconv.Itoa(pid)))
	if err != nil {
		return 0
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return stat.Uid
}

// predecessor is the master whose binary was replaced by the given one's (USR2), and which has not ended; zero where there is none. The
// new master is its child. Until it is told to go its workers take connections too, and no reload reaches them.
func (p processes) predecessor(master int) int {
	m, err := p.read(master)
	if err != nil || m.parent <= 1 {
		return 0
	}
	if title, err := p.title(m.parent); err != nil || !strings.Contains(title, "nginx: master process") {
		return 0
	}
	return m.parent
}

// workers lists the worker processes of a running master, and those of its predecessor. errHidden where they cannot be seen: a
// running nginx has some.
func (p processes) workers(master int) ([]process, error) {
	before := p.predecessor(master)
	pids, known := p.children(master)
	if before != 0 && known {
		var others []int
		others, known = p.children(before)
		pids = append(pids, others...)
	}
	if !known {
		var err error
		if pids, err = p.all(); err != nil {
			return nil, errors.Join(errHidden, err)
		}
	}
	var found []process
	for _, pid := range pids {
		w, err := p.read(pid)
		w.replaced = before != 0 && w.parent == before
		if err != nil || w.parent != master && !w.replaced || w.ended {
			continue
		}
		if title, err := p.title(pid); err == nil && strings.Contains(title, "worker process") {
			found = append(found, w)
		}
	}
	if len(found) == 0 {
		return nil, errHidden
	}
	return found, nil
}

// children are the process's own, where the kernel lists them: on a busy host that is far quicker than to read every process. A list may
// lack some while one of those before them ends, but then the next list lacks that one: two that are the same lack nobody.
func (p processes) children(pid int) (pids []int, known bool) {
	number := strconv.Itoa(pid)
	path := filepath.Join(p.folder, number, "task", number, "children")
	const most = 10 // of a master whose workers die all the time the whole process table is read
	var last []byte
	for n := range most {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, false
		}
		if n > 0 && bytes.Equal(text, last) {
			return numbers(text), true
		}
		last = text
	}
	return nil, false
}

func numbers(text []byte) []int {
	var all []int
	for _, field := range strings.Fields(string(text)) {
		if n, err := strconv.Atoi(field); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// all are the numbers of every process.
func (p processes) all() ([]int, error) {
	entries, err := os.ReadDir(p.folder)
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, err
}

// accepting are those of the workers that still take connections: neither gone nor about to go.
func (p processes) accepting(old []process) []process {
	return slices.DeleteFunc(slices.Clone(old), func(w process) bool {
		now, err := p.read(w.pid)
		if errors.Is(err, fs.ErrNotExist) || err == nil && (now.start != w.start || now.ended) {
			return true
		}
		title, err := p.title(w.pid)
		return err == nil && (title == "" || strings.Contains(title, leaving))
	})
}

// leaving are those of the workers that were told to go and still have connections, and those of a binary that was replaced.
func (p processes) leaving(workers []process) []process {
	return slices.DeleteFunc(slices.Clone(workers), func(w process) bool {
		title, err := p.title(w.pid)
		return !w.replaced && (err != nil || !strings.Contains(title, leaving))
	})
}

// age is how long the process has been there; zero where the kernel does not tell.
func (p processes) age(w process) time.Duration {
	const tick = 10 * time.Millisecond // to programs on every Linux
	text, err := os.ReadFile(filepath.Join(p.folder, "uptime"))
	first, _, _ := strings.Cut(string(text), " ")
	up, wrong := strconv.ParseFloat(first, 64)
	start, odd := strconv.ParseInt(w.start, 10, 64)
	if errors.Join(err, wrong, odd) != nil {
		return 0
	}
	return max(0, time.Duration(up*float64(time.Second))-time.Duration(start)*tick)
}
