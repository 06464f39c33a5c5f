package nginxconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"cutover/traffic"
)

// generations is the folder gen of one app and the link current, below its root.
type generations struct{ root string }

// folder is where the generation lies.
func (g generations) folder(gen traffic.Generation) string {
	return filepath.Join(g.root, g.link(gen))
}

// link is what current holds: relative, as seen from the root, so that the root can be mounted anywhere.
func (g generations) link(gen traffic.Generation) string {
	return filepath.Join("gen", fmt.Sprintf("%06d", int(gen)))
}

// scratch is where copies of the user's files lie while the generation is tested.
func (g generations) scratch(gen traffic.Generation) string { return g.folder(gen) + ".test" }

// current is the generation that nginx reads at its next reload or start; fs.ErrNotExist where there is none yet.
func (g generations) current() (traffic.Generation, error) {
	path := filepath.Join(g.root, "current")
	target, err := os.Readlink(path)
	if err != nil {
		return 0, err
	}
	gen, ok := parseGeneration(filepath.Base(target))
	if !ok {
		return 0, fmt.Errorf("%s leads to %s, which is no generation", path, target)
	}
	return gen, nil
}

func parseGeneration(name string) (traffic.Generation, bool) {
	n, err := strconv.ParseUint(name, 10, 31)
	return traffic.Generation(n), err == nil && n > 0
}

// list gives the generations that are there, oldest first.
func (g generations) list() ([]traffic.Generation, error) {
	entries, err := os.ReadDir(filepath.Join(g.root, "gen"))
	if err != nil {
		return nil, err
	}
	var all []traffic.Generation
	for _, e := range entries {
		if gen, ok := parseGeneration(e.Name()); ok {
			all = append(all, gen)
		}
	}
	slices.Sort(all)
	return all, nil
}

// next is the number of the generation to come: no number is used twice, whatever became of it.
func (g generations) next() (traffic.Generation, error) {
	all, err := g.list()
	if err != nil {
		return 0, err
	}
	current, err := g.current()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return max(current, slices.Max(append(all, 0))) + 1, nil
}

// stage writes a generation that nobody names yet, and has it on disk when it returns.
func (g generations) stage(gen traffic.Generation, files []RenderedFile) error {
	if err := g.write(gen, files); err != nil {
		return err
	}
	if err := g.sync(gen, files); err != nil {
		return errors.Join(err, g.drop(gen))
	}
	return nil
}

// write makes a generation that nobody may name before it was synced. Its files need not appear whole: no generation that was left
// half written is ever named, nor its number used again.
func (g generations) write(gen traffic.Generation, files []RenderedFile) error {
	folder := g.folder(gen)
	if err := makeFolder(folder, 0o755); err != nil {
		return fmt.Errorf("stage generation %d: %w", gen, err)
	}
	const mode = 0o644
	for _, f := range files {
		path := filepath.Join(folder, f.Name)
		if err := errors.Join(os.WriteFile(path, f.Data, mode), os.Chmod(path, mode)); err != nil {
			return errors.Join(fmt.Errorf("stage generation %d: %w", gen, err), g.drop(gen))
		}
	}
	return nil
}

// sync makes a generation that was written survive a power loss.
func (g generations) sync(gen traffic.Generation, files []RenderedFile) error {
	folder := g.folder(gen)
	var failed []error
	for _, f := range files {
		failed = append(failed, syncPath(filepath.Join(folder, f.Name)))
	}
	if err := errors.Join(append(failed, syncPath(folder), syncPath(filepath.Dir(folder)))...); err != nil {
		return fmt.Errorf("stage generation %d: %w", gen, err)
	}
	return nil
}

// drop removes a generation and what is left of its test.
func (g generations) drop(gen traffic.Generation) error {
	return errors.Join(os.RemoveAll(g.folder(gen)), os.RemoveAll(g.scratch(gen)))
}

// prepare makes a link that swap can later rename onto current.
func (g generations) prepare(link string, gen traffic.Generation) error {
	err := os.Symlink(g.link(gen), link)
	if errors.Is(err, fs.ErrExist) {
		// Left by a promoter that was killed: it was never renamed, else it would be gone.
		if err = os.Remove(link); err == nil {
			err = os.Symlink(g.link(gen), link)
		}
	}
	return err
}

// swap makes a prepared link the current one. fs.ErrNotExist tells that the link's folder was renamed away.
func (g generations) swap(link string) error {
	if err := g.rename(link); err != nil {
		return err
	}
	return syncFolder(g.root)
}

// rename is swap before its folder is synced.
func (g generations) rename(link string) error {
	return os.Rename(link, filepath.Join(g.root, "current"))
}

// read gives the files of a generation and the split that it renders.
func (g generations) read(gen traffic.Generation) ([]RenderedFile, traffic.Split, error) {
	entries, err := os.ReadDir(g.folder(gen))
	if err != nil {
		return nil, traffic.Split{}, fmt.Errorf("read generation %d: %w", gen, err)
	}
	var files []RenderedFile
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(g.folder(gen), e.Name()))
		if err != nil {
			return nil, traffic.Split{}, fmt.Errorf("read generation %d: %w", gen, err)
		}
		files = append(files, RenderedFile{Name: e.Name(), Data: data})
	}
	split, err := describedSplit(files)
	if err != nil {
		return nil, traffic.Split{}, fmt.Errorf("read generation %d: %w", gen, err)
	}
	return files, split, nil
}

// describe gives what the current generation says of itself.
func (g generations) describe() (description, error) {
	gen, err := g.current()
	if err != nil {
		return description{}, err
	}
	text, err := os.ReadFile(filepath.Join(g.folder(gen), "http.conf"))
	if err != nil {
		return description{}, fmt.Errorf("read generation %d: %w", gen, err)
	}
	d, err := describedBy(text)
	d.Generation = gen
	return d, err
}

// describedSplit reads the first line of http.conf, where a generation describes itself.
func describedSplit(files []RenderedFile) (traffic.Split, error) {
	at := slices.IndexFunc(files, func(f RenderedFile) bool { return f.Name == "http.conf" })
	if at < 0 {
		return traffic.Split{}, errors.New("it has no http.conf")
	}
	d, err := describedBy(files[at].Data)
	return d.Split, err
}

// describedBy reads the description from the text of http.conf.
func describedBy(conf []byte) (description, error) {
	line, _, _ := strings.Cut(string(conf), "\n")
	text, ours := strings.CutPrefix(line, "# cutover ")
	var d description
	if err := json.Unmarshal([]byte(text), &d); !ours || err != nil {
		return description{}, errors.New("its http.conf does not begin with cutover's description")
	}
	return d, validateSplit(d.Split)
}

// Current gives the files of the generation that nginx reads at its next reload or start.
// fs.ErrNotExist where there is none yet.
func (p *Proxy) Current() ([]RenderedFile, traffic.Generation, error) {
	gen, err := p.trees.current()
	if err != nil {
		return nil, 0, fmt.Errorf("current generation of %s: %w", p.options.App, err)
	}
	files, _, err := p.trees.read(gen)
	return files, gen, err
}

// makeFolder makes one folder with exactly this mode, whatever the umask.
func makeFolder(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode.Perm()); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// writeSynced makes a file appear whole, with exactly this mode, whatever the umask. Its folder is not synced yet.
func writeSynced(path string, data []byte, mode fs.FileMode) error {
	aside := path + ".new"
	file, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	err = errors.Join(err, file.Chmod(mode), file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(aside, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(aside))
	}
	return nil
}

// syncFolder makes renames in a folder survive a power loss.
func syncFolder(path string) error { return syncPath(path) }

// syncPath makes what was written to a file or a folder survive a power loss.
func syncPath(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}
