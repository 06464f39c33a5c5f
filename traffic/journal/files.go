package journal

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	folderMode fs.FileMode = 0o750
	fileMode   fs.FileMode = 0o640
)

// rotated is a file that is never written again.
type rotated struct {
	path  string
	first uint64
}

func rotatedName(first uint64) string { return fmt.Sprintf("journal-%d.jsonl", first) }

// rotatedFiles lists the rotated files, oldest first. Names that Rotate does not give are somebody else's.
func (j *Journal) rotatedFiles() ([]rotated, error) {
	listing, err := os.ReadDir(j.dir)
	if err != nil {
		return nil, err
	}
	var files []rotated
	for _, item := range listing {
		digits := strings.TrimSuffix(strings.TrimPrefix(item.Name(), "journal-"), ".jsonl")
		first, err := strconv.ParseUint(digits, 10, 64)
		if err == nil && first > 0 && item.Name() == rotatedName(first) {
			files = append(files, rotated{filepath.Join(j.dir, item.Name()), first})
		}
	}
	slices.SortFunc(files, func(a, b rotated) int { return cmp.Compare(a.first, b.first) })
	return files, nil
}

// rotatedTail finds the end of the chain in the rotated files.
func (j *Journal) rotatedTail() (tail, error) {
	files, err := j.rotatedFiles()
	if err != nil {
		return tail{}, err
	}
	var t tail
	for _, file := range slices.Backward(files) {
		older, err := fileTail(file.path)
		if err != nil {
			return tail{}, err
		}
		t.last, t.broken = older.last, t.broken+older.broken
		if t.last.Seq > 0 {
			break
		}
	}
	return t, nil
}

func fileTail(path string) (tail, error) {
	f, err := os.Open(path)
	if err != nil {
		return tail{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return tail{}, err
	}
	return readTail(f, info.Size())
}

// read gives the whole entries from a seq on; earlier ones may be among them.
// What is broken or missing is looked at again until two readings agree: a reader takes no lock, and may have
// looked while a torn tail was cut, while the journal was rotated, or while an old file was moved away.
func (j *Journal) read(from uint64) (entries []Entry, err error) {
	said := ""
	for range readings {
		entries, err = j.readOnce(from)
		if err == nil || err.Error() == said {
			return entries, err
		}
		said = err.Error()
	}
	return entries, err
}

// readOnce opens the active file before it lists the others: rotated after that, it is still the right one to
// read last. Rotated between the two it is met twice, which reads as damage that the next reading will not find.
func (j *Journal) readOnce(from uint64) ([]Entry, error) {
	active, err := os.Open(j.active())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	defer active.Close() // harmless where there is none
	older, err := j.rotatedFiles()
	if err != nil {
		return nil, fmt.Errorf("read journal: %w", err)
	}
	var r replay
	for i, file := range older {
		if i+1 < len(older) && older[i+1].first <= from {
			continue // all of it lies before
		}
		data, err := os.ReadFile(file.path)
		if err != nil {
			return r.entries, fmt.Errorf("read journal: %w", err)
		}
		r.add(file.path, data)
	}
	if active != nil {
		data, err := io.ReadAll(active)
		if err != nil {
			return r.entries, fmt.Errorf("read journal: %w", err)
		}
		r.add(j.active(), settled(data))
	}
	if r.fault != nil {
		return r.entries, r.fault
	}
	return r.entries, nil
}

// makeFolder makes a folder and its missing parents, readable for the group whatever the umask.
// A folder that is there keeps its mode.
func makeFolder(dir string) error {
	err := os.Mkdir(dir, folderMode)
	if errors.Is(err, fs.ErrNotExist) && filepath.Dir(dir) != dir {
		if err := makeFolder(filepath.Dir(dir)); err != nil {
			return err
		}
		err = os.Mkdir(dir, folderMode)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	there := err != nil
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	case there:
		return nil
	}
	// A setgid bit, inherited from the parent, is what hands the group on to the files: chmod must not drop it.
	if err := os.Chmod(dir, folderMode|info.Mode()&fs.ModeSetgid); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(dir))
}

// syncFolder makes names that were created or renamed in the folder survive a loss of power.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
