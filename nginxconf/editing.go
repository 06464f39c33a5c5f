package nginxconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// editing is an edit on its way into the user's files.
type editing struct {
	backup string // empty where the edit has no files
	files  []*editedFile
	told   bool // nginx was told to load them
}

// editedFile is one of the files, with what a rename needs in either direction: neither asks for space on the disk.
type editedFile struct {
	FileEdit
	fresh, old string // beside the file; old is the very file that stood there, by another name
	replaced   bool
}

// write puts down everything that replacing and putting back will need. It leaves nothing where that fails.
func (p *Proxy) write(e Edit) (*editing, error) {
	w := &editing{}
	if len(e.Files) == 0 {
		return w, nil
	}
	folder, err := p.newBackup()
	if err != nil {
		return nil, err
	}
	w.backup = folder
	paths := ""
	for _, f := range e.Files {
		paths += f.Path + "\n"
		if err = p.prepareFile(w, f); err != nil {
			break
		}
	}
	if err == nil {
		err = errors.Join(writeSynced(w.marker(), []byte(paths), 0o600), syncFolder(folder), syncFolder(p.backups()))
	}
	if err != nil {
		w.discard()
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	return w, nil
}

// newBackup makes a folder named by the time. Only its owner may look into it: files may hold what is not for everybody.
func (p *Proxy) newBackup() (string, error) {
	if err := makeFolder(p.backups(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	stem := filepath.Join(p.backups(), p.options.Now().Format("20060102-150405"))
	folder := stem
	for n := 2; ; n++ {
		err := makeFolder(folder, 0o700)
		if !errors.Is(err, fs.ErrExist) {
			return folder, err
		}
		folder = stem + "-" + strconv.Itoa(n)
	}
}

// prepareFile writes a file's backup, and beside it what the renames will take.
func (p *Proxy) prepareFile(w *editing, f FileEdit) error {
	info, err := os.Stat(f.Path)
	if err != nil {
		return err
	}
	saved := filepath.Join(w.backup, f.Path)
	if err := os.MkdirAll(filepath.Dir(saved), 0o700); err != nil {
		return err
	}
	if err := writeLike(saved, f.Before, info); err != nil {
		return err
	}
	one := &editedFile{FileEdit: f}
	w.files = append(w.files, one)
	if one.fresh, err = claim(view{}, p.aside(f.Path)); err != nil {
		return err
	}
	if one.old, err = claim(view{}, p.aside(f.Path)); err != nil {
		return err
	}
	if err := writeLike(one.fresh, f.After, info); err != nil {
		return err
	}
	if err := os.Remove(one.old); err != nil {
		return err
	}
	if err := os.Link(f.Path, one.old); err != nil { // some file systems know no second name
		return writeLike(one.old, f.Before, info)
	}
	return nil
}

// writeLike writes a file with mode, owner and group of another, and has it on disk.
func writeLike(path string, data []byte, like fs.FileInfo) error {
	if err := writeSynced(path, data, like.Mode().Perm()); err != nil {
		return err
	}
	stat, ok := like.Sys().(*syscall.Stat_t)
	if !ok || int(stat.Uid) == os.Geteuid() && int(stat.Gid) == os.Getegid() {
		return nil
	}
	if err := os.Chown(path, int(stat.Uid), int(stat.Gid)); err != nil {
		return fmt.Errorf("keep the owner of the file: %w", err)
	}
	return os.Chmod(path, like.Mode().Perm())
}

// replace makes each file what the edit wants, in its order.
func (w *editing) replace() error {
	for _, f := range w.files {
		if err := f.unchanged(); err != nil {
			return err
		}
		if err := os.Rename(f.fresh, f.Path); err != nil {
			return err
		}
		f.replaced = true
		if err := syncFolder(filepath.Dir(f.Path)); err != nil {
			return err
		}
	}
	return nil
}

// putBack makes each file that was replaced what it was, the last one first. One that somebody else has changed since is left.
func (w *editing) putBack() error {
	var failed []error
	for n := len(w.files) - 1; n >= 0; n-- {
		f := w.files[n]
		if !f.replaced {
			continue
		}
		ours := FileEdit{Path: f.Path, Before: f.After}
		if err := ours.unchanged(); err != nil {
			failed = append(failed, err)
			continue
		}
		failed = append(failed, os.Rename(f.old, f.Path), syncFolder(filepath.Dir(f.Path)))
	}
	return errors.Join(failed...)
}

// discard removes what the renames did not take.
func (w *editing) discard() {
	for _, f := range w.files {
		for _, path := range []string{f.fresh, f.old} {
			if path != "" {
				_ = os.Remove(path) // litter at worst, and hidden from nginx
			}
		}
	}
}

// marker tells, while it is there, that the edit has not come to its end.
func (w *editing) marker() string { return filepath.Join(w.backup, unfinished) }
