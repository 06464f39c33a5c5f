package nginxconf

import (
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

// Fence is the folder rollouts of one app: what nginx asks at each request, and what a cutback renames. It needs neither
// configuration nor journal nor nginx.
//
//	000017        the rollout is open: the split of its generations holds
//	000017.cut    it was cut back; it never revives (000017.cut.1 where that name is taken)
//	000017.done   it was accepted and is being finished: the candidate has everything
//
// Where locations pass to a fixed name, nginx asks for nothing: a rollout's folder then holds the link to its stable tree, which a
// cutback makes current right after it has taken the folder away (see descent.go).
//
// Invariant: each path is absolute and built anew for each call. See doc.go for why nothing here holds a folder open.
type Fence struct {
	// Root is the app's folder, <nginx.dir>/<app>.
	Root string
}

// FolderState is what became of a rollout's folder.
type FolderState string

// The states of a rollout's folder.
const (
	FolderNone FolderState = "none"
	FolderOpen FolderState = "open"
	FolderCut  FolderState = "cut"
	FolderDone FolderState = "done"
)

// Last is the newest rollout that left a folder.
type Last struct {
	// ID is zero where State is FolderNone.
	ID    traffic.RolloutID
	State FolderState
	// Since is when the folder got into this state. Zero where State is FolderNone.
	Since time.Time
}

// Why is a reason that somebody who cut back could not write into the journal.
type Why struct {
	Rollout traffic.RolloutID
	Data    []byte
	// path is the file to be removed once the journal has it.
	path string
}

// errFinished says that a cutback came too late.
var errFinished = errors.New("this rollout was accepted and is being finished: the candidate has everything")

func (f Fence) rollouts() string { return filepath.Join(f.Root, "rollouts") }

func (f Fence) openFolder(id traffic.RolloutID) string {
	return filepath.Join(f.rollouts(), id.String())
}

func (f Fence) doneFolder(id traffic.RolloutID) string { return f.openFolder(id) + ".done" }

// candidateFolder is what nginx asks for. The id and the color stand in it, so that no later rollout wakes an older tree.
func (f Fence) candidateFolder(id traffic.RolloutID, candidate traffic.Color) string {
	return filepath.Join(f.openFolder(id), string(candidate))
}

// Standing lists the rollouts whose folder stands, oldest first.
func (f Fence) Standing() ([]traffic.RolloutID, error) {
	folders, err := f.list()
	var ids []traffic.RolloutID
	for _, r := range folders {
		if r.state == FolderOpen {
			ids = append(ids, r.id)
		}
	}
	return ids, err
}

// cutBecause takes the rollout's folder away. It succeeds also where that was done before, or the rollout never began; it fails
// where the rollout is being finished, since then stable does not get the traffic.
//
// Where locations pass to a fixed name it is not the whole cutback, and so it is nobody's but Proxy.Cut's, Back's and CutOne's, which
// have it proven by a descent.
func (f Fence) cutBecause(id traffic.RolloutID, why string) error {
	taken, err := f.take(id.String(), why)
	if taken || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Lstat(f.doneFolder(id)); err == nil {
		return fmt.Errorf("cut rollout %s: %w", id, errFinished)
	}
	return f.restoreLast()
}

// cutAll takes the folder of every open rollout away and tells which ones, oldest first. A folder that cannot be renamed does
// not keep it from the others. It is no more of the cutback than cutBecause is.
func (f Fence) cutAll() ([]traffic.RolloutID, error) {
	folders, err := f.list()
	failed := []error{err}
	var cut []traffic.RolloutID
	for _, r := range folders {
		if r.state != FolderOpen {
			continue
		}
		switch taken, err := f.take(r.name, ""); {
		case taken:
			cut, failed = append(cut, r.id), append(failed, err)
		case !errors.Is(err, fs.ErrNotExist): // somebody else was quicker
			failed = append(failed, err)
		}
	}
	if len(cut) == 0 {
		failed = append(failed, f.restoreLast())
	}
	return cut, errors.Join(failed...)
}

// marker is a file in a cut folder. Its time is that of the cutback, which later writes to the folder must not hide; its
// text is the reason, where one is known.
const marker = "cut"

// take renames an open folder away and tells whether it did; fs.ErrNotExist where there is none. An error of a folder that was taken
// says that its stable tree could not be made current.
func (f Fence) take(name, why string) (taken bool, err error) {
	from := filepath.Join(f.rollouts(), name)
	to := from + ".cut"
	for n := 1; ; n++ {
		err := os.Rename(from, to)
		if errors.Is(err, fs.ErrExist) {
			to = from + ".cut." + strconv.Itoa(n)
			continue
		}
		if err != nil {
			return false, fmt.Errorf("cut rollout %s: %w", name, err)
		}
		break
	}
	err = f.restore(to)
	// The cutback has happened. That the mark cannot be written, on a full disk, must not make it look as if it had not.
	_ = os.WriteFile(filepath.Join(to, marker), []byte(why), 0o644)
	return true, err
}

// Done begins the finishing of a rollout by one rename, so that of it and a cutback exactly one succeeds.
// It succeeds also where that was done before. traffic.ErrCut where a cutback came first.
func (f Fence) Done(id traffic.RolloutID) error {
	err := os.Rename(f.openFolder(id), f.doneFolder(id))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(f.doneFolder(id)); err == nil {
			return nil
		}
		return fmt.Errorf("finish rollout %s: %w", id, traffic.ErrCut)
	}
	if err != nil {
		return fmt.Errorf("finish rollout %s: %w", id, err)
	}
	return syncFolder(f.rollouts())
}

// Last is the newest rollout that left a folder; FolderNone where there is none.
func (f Fence) Last() (Last, error) {
	folders, err := f.list()
	if err != nil || len(folders) == 0 {
		return Last{State: FolderNone}, err
	}
	last := folders[len(folders)-1]
	return Last{ID: last.id, State: last.state, Since: f.since(last)}, nil
}

func (f Fence) since(r rolloutFolder) time.Time {
	path := filepath.Join(f.rollouts(), r.name)
	if mark, err := os.Stat(filepath.Join(path, marker)); err == nil && r.state == FolderCut {
		return mark.ModTime()
	}
	info, err := os.Lstat(path)
	if err != nil {
		return time.Time{}
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(stat.Ctim.Unix()) // a rename leaves the time of the content as it was
	}
	return info.ModTime()
}

// whyFile is where the reason of a cutback waits for the next who writes the journal.
const whyFile = "why.json"

// WriteWhy leaves a reason in the folder of a rollout that was cut back.
func (f Fence) WriteWhy(id traffic.RolloutID, data []byte) error {
	folders, err := f.list()
	if err != nil {
		return err
	}
	for _, r := range slices.Backward(folders) {
		if r.id == id && r.state == FolderCut {
			return writeSynced(filepath.Join(f.rollouts(), r.name, whyFile), data, 0o644)
		}
	}
	return fmt.Errorf("rollout %s was not cut back: nowhere to leave the reason", id)
}

// Whys gives the reasons that no journal has yet, oldest rollout first.
func (f Fence) Whys() ([]Why, error) {
	folders, err := f.list()
	var all []Why
	for _, r := range folders {
		path := filepath.Join(f.rollouts(), r.name, whyFile)
		data, readErr := os.ReadFile(path)
		if r.state != FolderCut || errors.Is(readErr, fs.ErrNotExist) {
			continue
		}
		if readErr != nil {
			err = errors.Join(err, readErr)
			continue
		}
		all = append(all, Why{Rollout: r.id, Data: data, path: path})
	}
	return all, err
}

// Adopt forgets a reason that the journal has now.
func (f Fence) Adopt(w Why) error {
	if err := os.Remove(w.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// open makes the folder of a new rollout, which takes its id: the first one above after and above every other.
// nginx asks for the candidate's folder, which is not in it yet.
func (f Fence) open(after traffic.RolloutID) (traffic.RolloutID, error) {
	for {
		folders, err := f.list()
		if err != nil {
			return 0, err
		}
		for _, r := range folders {
			after = max(after, r.id)
		}
		id := after + 1
		if err := makeFolder(f.openFolder(id), fs.ModeSetgid|0o775); errors.Is(err, fs.ErrExist) {
			continue
		} else if err != nil {
			return 0, fmt.Errorf("open rollout %s: %w", id, err)
		}
		revived, err := f.ended(id)
		if err == nil && !revived {
			return id, syncFolder(f.rollouts())
		}
		// Somebody opened and ended it between our look and our mkdir: the id is theirs.
		if err := errors.Join(err, os.Remove(f.openFolder(id))); err != nil {
			return 0, err
		}
	}
}

// ended tells whether a folder says that the rollout was cut back or finished.
func (f Fence) ended(id traffic.RolloutID) (bool, error) {
	folders, err := f.list()
	return slices.ContainsFunc(folders, func(r rolloutFolder) bool { return r.id == id && r.state != FolderOpen }), err
}

// stands gives traffic.ErrCut unless the rollout's folder stands.
func (f Fence) stands(id traffic.RolloutID) error {
	_, err := os.Lstat(f.openFolder(id))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("rollout %s: %w", id, traffic.ErrCut)
	}
	return err
}

// rolloutFolder is one entry of rollouts/.
type rolloutFolder struct {
	name  string
	id    traffic.RolloutID
	state FolderState
	// times tells how often the id was cut; 0 for all but 000017.cut.N.
	times int
}

// list gives the folders by id; of one id the open one last, then the finished, then the latest cut.
func (f Fence) list() ([]rolloutFolder, error) {
	entries, err := os.ReadDir(f.rollouts())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []rolloutFolder
	for _, e := range entries {
		if r, ok := parseFolder(e.Name()); ok {
			all = append(all, r)
		}
	}
	rank := map[FolderState]int{FolderCut: 0, FolderDone: 1, FolderOpen: 2}
	slices.SortFunc(all, func(a, b rolloutFolder) int {
		if a.id != b.id {
			return int(a.id) - int(b.id)
		}
		if a.state != b.state {
			return rank[a.state] - rank[b.state]
		}
		return a.times - b.times
	})
	return all, nil
}

// parseFolder reads a name in rollouts/. Any name of digits only is an open rollout's.
func parseFolder(name string) (rolloutFolder, bool) {
	digits, ending, _ := strings.Cut(name, ".")
	id, err := traffic.ParseRolloutID(digits)
	if err != nil {
		return rolloutFolder{}, false
	}
	r := rolloutFolder{name: name, id: id}
	times, again := strings.CutPrefix(ending, "cut.")
	switch {
	case name == digits:
		r.state = FolderOpen
	case ending == "done":
		r.state = FolderDone
	case ending == "cut":
		r.state = FolderCut
	case again:
		r.state = FolderCut
		r.times, err = strconv.Atoi(times)
		return r, err == nil && r.times > 0
	default:
		return rolloutFolder{}, false
	}
	return r, true
}

// Rehearse renames an empty folder beside the rollouts, to see whether whoever asks could cut back.
func (f Fence) Rehearse() error {
	trial, err := os.MkdirTemp(f.rollouts(), ".rehearsal-")
	if err != nil {
		return fmt.Errorf("rehearse a cutback: %w", err)
	}
	moved := trial + ".cut"
	if err := os.Rename(trial, moved); err != nil {
		return errors.Join(fmt.Errorf("rehearse a cutback: %w", err), os.Remove(trial))
	}
	return errors.Join(os.Remove(moved), f.rehearseDescent())
}
