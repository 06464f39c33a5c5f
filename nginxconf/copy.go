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

	"cutover/traffic"
)

// Copy is a second set of the chain's files that leads to a tree which is not live, so that `nginx -t` can judge it
// in the user's own configuration.
type Copy struct {
	// Main is the file to give to `nginx -t -c`. It is hidden and lies beside the user's own main file, because relative
	// includes hang on that folder.
	Main string

	view      view
	originals map[string]string // by the path of the copy
	folder    string            // the scratch folder where it was made for this copy, else ""
}

// Substitute writes copies of exactly those files that an edit changes, or that lead, directly or not, to such a file or to
// something below the folder from (…/<app>/current): there each such include leads below to instead, and each include of a copied file to its copy.
// A wildcard that matches either is spelled out. All other bytes stay as they are, and so do the line numbers.
// The main file's copy lies beside the original, the others in scratch, which is made if it is not there.
//
// The files named in wanted must be included from below from, else it is a fault that says what to write where.
// None named means http.conf and server.conf; who has no server of the user's own names http.conf only.
func (c *Chain) Substitute(from, to, scratch string, wanted ...string) (*Copy, error) {
	s := substitution{chain: c, from: newFolder(c.view, from), to: to, leads: map[*File]bool{}, paths: map[*File]string{}}
	if len(wanted) == 0 {
		wanted = []string{"http.conf", "server.conf"}
	}
	if err := s.demand(wanted); err != nil {
		return nil, err
	}
	copied := &Copy{view: c.view, originals: map[string]string{}}
	if err := s.write(copied, scratch); err != nil {
		return nil, errors.Join(err, copied.Remove())
	}
	return copied, nil
}

// Remove deletes the copies, and the scratch folder if Substitute made it. Removing twice does no harm.
func (c *Copy) Remove() error {
	var failed []error
	for path := range c.originals {
		if err := os.Remove(c.view.entry(path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	if c.folder != "" {
		if err := os.Remove(c.view.entry(c.folder)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// Translate names the originals in what nginx said about their copies. Line numbers hold as they are.
func (c *Copy) Translate(output string) string {
	for copied, original := range c.originals {
		output = strings.ReplaceAll(output, copied+":", original+":")
		output = strings.ReplaceAll(output, copied+" ", original+" ")
	}
	return output
}

// substitution is one call of Substitute.
type substitution struct {
	chain *Chain
	from  folder
	to    string
	leads map[*File]bool   // the file leads to something below from
	paths map[*File]string // where the copies lie
}

// replaced tells whether an include of the file has to lead elsewhere: to another generation, or to a copy.
func (s *substitution) replaced(f *File) bool {
	if s.from.holds(f.Path) || f.edited {
		return true
	}
	lead, known := s.leads[f]
	if !known {
		lead = slices.ContainsFunc(f.includes(), func(d *Directive) bool { return slices.ContainsFunc(d.Included, s.replaced) })
		s.leads[f] = lead
	}
	return lead
}

// target is where an include of the file leads in the copies.
func (s *substitution) target(f *File) string {
	if name, ours := s.from.name(f.Path); ours {
		return s.to + "/" + name
	}
	if path := s.paths[f]; path != "" {
		return path
	}
	return f.Path
}

// write claims a path for each copy, then fills them: they name each other.
func (s *substitution) write(copied *Copy, scratch string) error {
	v := copied.view
	switch err := os.Mkdir(v.entry(scratch), 0o700); {
	case err == nil:
		copied.folder = scratch
		if err := v.give(v.entry(scratch)); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return fmt.Errorf("make the folder for copies of nginx's files: %w", err)
	}
	for _, f := range s.chain.Files {
		if s.from.holds(f.Path) || !s.replaced(f) {
			continue
		}
		stem := filepath.Join(scratch, filepath.Base(f.Path)+"-")
		if f == s.chain.Main {
			app := filepath.Base(filepath.Dir(s.from.path))
			stem = filepath.Join(filepath.Dir(f.Path), "."+filepath.Base(f.Path)+".cutover-"+app+"-")
		}
		path, err := claim(v, stem)
		if err != nil {
			return fmt.Errorf("copy %s: %w", f.Path, err)
		}
		s.paths[f] = path
		copied.originals[path] = f.Path
	}
	copied.Main = s.paths[s.chain.Main]
	for f, path := range s.paths {
		if err := errors.Join(os.WriteFile(v.entry(path), s.rewrite(f), 0o600), v.give(v.entry(path))); err != nil {
			return fmt.Errorf("copy %s: %w", f.Path, err)
		}
	}
	return nil
}

// claim makes an empty file named by the stem and the first number that is free. Only its owner may read it: the
// original may hold what is not for everybody.
func claim(v view, stem string) (string, error) {
	for n := 1; ; n++ {
		path := stem + strconv.Itoa(n)
		file, err := os.OpenFile(v.entry(path), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		return path, file.Close()
	}
}

// rewrite gives the copy's bytes.
func (s *substitution) rewrite(f *File) []byte {
	var out []byte
	done := 0
	for _, d := range f.includes() {
		if !slices.ContainsFunc(d.Included, s.replaced) {
			continue
		}
		var targets []string
		for _, included := range d.Included {
			targets = append(targets, quote(literal(s.target(included))))
		}
		out = append(out, f.source[done:d.argument.start]...)
		out = append(out, strings.Join(targets, "; include ")...)
		done = d.argument.end
	}
	return append(out, f.source[done:]...)
}

// literal spells a path so that an include takes it by name even where it holds characters of a pattern.
func literal(path string) string {
	if !isPattern(path) {
		return path
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// includes lists the file's include directives that bring something, in blocks too, in the order of its bytes.
func (f *File) includes() []*Directive {
	var found []*Directive
	var collect func(list []*Directive)
	collect = func(list []*Directive) {
		for _, d := range list {
			if len(d.Included) > 0 {
				found = append(found, d)
			}
			collect(d.Block)
		}
	}
	collect(f.Directives)
	return found
}

// demand finds each wanted file among those that the user's configuration includes.
func (s *substitution) demand(wanted []string) error {
	var missing []string
	for _, name := range wanted {
		if !slices.ContainsFunc(s.chain.Files, func(f *File) bool { return s.includesOurs(f, name) }) {
			missing = append(missing, name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	blocks := outline(s.chain, s.from.holds)
	var hints []string
	for _, name := range missing {
		hints = append(hints, blocks.advice(s.from.path, name))
	}
	return &traffic.Fault{Kind: traffic.Preflight,
		Err:  fmt.Errorf("nginx's configuration %s does not include %s of %s", s.chain.Main.Path, strings.Join(missing, " and "), s.from.path),
		Hint: strings.Join(hints, " ")}
}

// includesOurs tells whether a file of the user's brings the named file from below from.
func (s *substitution) includesOurs(f *File, name string) bool {
	if s.from.holds(f.Path) {
		return false
	}
	return slices.ContainsFunc(f.includes(), func(d *Directive) bool {
		return slices.ContainsFunc(d.Included, func(included *File) bool {
			got, ours := s.from.name(included.Path)
			return ours && got == name
		})
	})
}

// folder is a place that users may spell in several ways: through symbolic links above it, with a doubled slash.
// Its own last part is usually a symbolic link (current), which must not be followed.
type folder struct {
	view view
	path string
	real string // the folder above it with all symbolic links followed, "" where there is none
}

func newFolder(v view, path string) folder {
	path = filepath.Clean(path)
	real, _ := v.real(filepath.Dir(path))
	return folder{v, path, real}
}

// holds tells whether the path lies below the folder.
func (f folder) holds(path string) bool {
	_, below := f.name(path)
	return below
}

// name is the path relative to the folder, where it lies below it.
func (f folder) name(path string) (string, bool) {
	path = filepath.Clean(path)
	for above := filepath.Dir(path); above != "/" && above != "."; above = filepath.Dir(above) {
		if filepath.Base(above) != filepath.Base(f.path) {
			continue
		}
		real, err := f.view.real(filepath.Dir(above))
		if above == f.path || err == nil && real == f.real {
			return path[len(above)+1:], true
		}
	}
	return "", false
}
