package nginxconf

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cutover/traffic"
)

// Chain is the user's configuration as nginx reads it: the main file and everything that it includes.
type Chain struct {
	// Main is the file that nginx starts with. Its folder is where relative includes hang, in included files too.
	Main *File
	// Files are all files by their paths, each once, in the order in which nginx first opens them.
	Files []*File
	// prefix is nginx's -p, where other relative paths hang.
	prefix string
	// view is where the files lie.
	view view
}

// File is one file of the chain. Path is spelled as nginx opens it: symbolic links are not followed in it.
type File struct {
	Path       string
	Directives []*Directive

	source []byte
	// edited tells that source is not what lies on the disk, but what an edit would put there.
	edited bool
}

// Directive is one statement of a configuration file.
type Directive struct {
	Name string
	Args []string
	// File and Line (from 1) say where it starts.
	File string
	Line int
	// Block is what stands between its braces. Invariant: nil means that it has none, or one of Lua.
	Block []*Directive
	// Included are the files that an include directive brings, in nginx's order; their directives stand in its place.
	// Invariant: empty for other directives, and for a wildcard that matches nothing.
	Included []*File

	// argument is where the first argument stands in the file's source, whole the directive with the semicolon or the brace that
	// ends it, body what lies between its braces.
	argument, whole, body span
}

type span struct{ start, end int }

// is tells whether the directive has one of the names.
func (d *Directive) is(names ...string) bool { return slices.Contains(names, d.Name) }

// arg is the n-th argument, counted from 0, and "" where there is none.
func (d *Directive) arg(n int) string {
	if n >= len(d.Args) {
		return ""
	}
	return d.Args[n]
}

// ReadChain reads the main file conf and everything it includes, the way nginx does: relative includes hang on the
// folder of conf, wildcards are sorted by bytes, one without a match is empty. A relative conf hangs on prefix.
// What nginx would refuse (a missing file, a cycle, an open brace) is a fault that names file and line.
func ReadChain(conf, prefix string) (*Chain, error) { return readChain(view{}, conf, prefix, nil) }

// readChain is ReadChain where nginx sees those files, with other bytes for some, by their paths with symbolic links followed.
func readChain(v view, conf, prefix string, edited map[string][]byte) (*Chain, error) {
	if !filepath.IsAbs(conf) {
		conf = filepath.Join(prefix, conf)
	}
	r := chainReader{view: v, root: filepath.Dir(conf), edited: edited, files: map[string]*File{}}
	main, err := r.read(conf, "")
	if err != nil {
		return nil, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("read nginx's configuration: %w", err),
			Hint: "nginx itself would not start with this; `nginx -t` shows what it says."}
	}
	return &Chain{Main: main, Files: r.order, prefix: prefix, view: v}, nil
}

// chainReader follows includes. Each file is parsed once, however often it is included.
type chainReader struct {
	view   view
	root   string // the folder of the main file
	edited map[string][]byte
	files  map[string]*File
	order  []*File
	open   []string // the files being read, symbolic links followed: a file among them includes itself
}

// read opens a file that is included at a place, "file:line: include of ", or nowhere where it is the main one.
func (r *chainReader) read(path, at string) (*File, error) {
	real, err := r.view.real(path)
	if err != nil {
		return nil, fmt.Errorf("%s%s: %w", at, path, cause(err))
	}
	if slices.Contains(r.open, real) {
		return nil, fmt.Errorf("%s%s: the file includes itself", at, path)
	}
	if f := r.files[path]; f != nil {
		return f, nil
	}
	f := &File{Path: path}
	if f.source, f.edited = r.edited[real]; !f.edited {
		if f.source, err = readFile(r.view.root + real); err != nil {
			return nil, fmt.Errorf("%s%s: %w", at, path, cause(err))
		}
	}
	if f.Directives, err = parse(path, f.source); err != nil {
		return nil, err
	}
	r.files[path] = f
	r.order = append(r.order, f)
	r.open = append(r.open, real)
	defer func() { r.open = r.open[:len(r.open)-1] }()
	return f, r.include(f.Directives)
}

// cause is an error without the operation and the path that the os package puts before it.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// readFile gives a file's bytes. nginx asks for the size first, so that a device or a pipe is empty to it.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() && !info.IsDir() {
		return nil, nil
	}
	return os.ReadFile(path)
}

// include brings the files of each include directive, in blocks too.
func (r *chainReader) include(list []*Directive) error {
	for _, d := range list {
		if err := r.include(d.Block); err != nil {
			return err
		}
		if d.Name != "include" || len(d.Args) != 1 {
			continue
		}
		at := fmt.Sprintf("%s:%d: include of ", d.File, d.Line)
		paths, err := r.expand(d.Args[0])
		if err != nil {
			return fmt.Errorf("%s%s: %w", at, d.Args[0], err)
		}
		for _, path := range paths {
			f, err := r.read(path, at)
			if err != nil {
				return err
			}
			d.Included = append(d.Included, f)
		}
	}
	return nil
}

// expand gives the paths that an include's argument stands for.
func (r *chainReader) expand(argument string) ([]string, error) {
	path := argument
	if !strings.HasPrefix(path, "/") {
		path = r.root + "/" + path
	}
	if !isPattern(path) {
		return []string{path}, nil
	}
	return r.view.expandPattern(path)
}

// parse reads one file's directives; includes are not followed yet.
func parse(path string, source []byte) ([]*Directive, error) {
	tokens, err := lex(source)
	if err != nil {
		if e, ok := errors.AsType[*syntaxError](err); ok {
			return nil, fmt.Errorf("%s:%d: %s", path, e.line, e.what)
		}
		return nil, err
	}
	top := &Directive{Block: []*Directive{}}
	around := []*Directive{top} // the blocks that are open, innermost last
	var d *Directive            // the directive whose words are being read
	for _, t := range tokens {
		inner := around[len(around)-1]
		switch t.kind {
		case tokenWord:
			if d == nil {
				d = &Directive{Name: t.text, File: path, Line: t.line, whole: span{start: t.start}}
				inner.Block = append(inner.Block, d)
				continue
			}
			if len(d.Args) == 0 {
				d.argument = span{t.start, t.end}
			}
			d.Args = append(d.Args, t.text)
		case tokenOpen:
			d.Block, d.body.start = []*Directive{}, t.end
			around = append(around, d)
			d = nil
		case tokenClose:
			inner.body.end, inner.whole.end = t.start, t.end
			around = around[:len(around)-1]
		case tokenEnd, tokenLua:
			d.whole.end = t.end
			d = nil
		}
	}
	return top.Block, nil
}

// flat lists the directives of one block as nginx reads them: each include is followed by what it brings.
func flat(list []*Directive) iter.Seq[*Directive] {
	return func(yield func(*Directive) bool) { flatten(list, yield) }
}

func flatten(list []*Directive, yield func(*Directive) bool) bool {
	for _, d := range list {
		if !yield(d) {
			return false
		}
		for _, f := range d.Included {
			if !flatten(f.Directives, yield) {
				return false
			}
		}
	}
	return true
}

// PidFile is where nginx writes its master's process id; a relative one hangs on the prefix.
func (c *Chain) PidFile(b Build) string {
	pid := c.last("pid", b.Pid)
	if filepath.IsAbs(pid) {
		return pid
	}
	prefix := c.prefix
	if prefix == "" {
		prefix = b.Prefix
	}
	return filepath.Join(prefix, pid)
}

// User is whom nginx's workers run as where its master is root; otherwise they run as the master does.
func (c *Chain) User(b Build) string { return c.last("user", b.User) }

// last is the first argument of a directive outside all blocks, or what nginx was built with.
func (c *Chain) last(name, built string) string {
	value := built
	for d := range flat(c.Main.Directives) {
		if d.Name == name && len(d.Args) > 0 {
			value = d.Args[0]
		}
	}
	return value
}
