package traffic_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "cutover"

// house says which of our packages each of them may import. A package that is not in it
// does not exist: a new one needs a sentence there that no existing one could own.
var house = map[string][]string{
	"traffic":         {"traffic/verdict"},
	"traffic/verdict": {},
	"traffic/journal": {},
	"traffic/signal":  {"traffic/verdict"},
	"traffic/notify":  {},
	"templates":       {},
	"stacks":          {"traffic"},
	"nginxconf":       {"traffic", "templates"},
	"cmd/cutover": {
		"traffic", "traffic/verdict", "traffic/journal", "traffic/signal", "traffic/notify", "templates", "stacks", "nginxconf",
	},
	"e2e": {"traffic/journal"},
}

// outside says which packages alone may import something that touches the world, by the beginning of its path.
var outside = map[string][]string{
	"os/signal":              {"cmd/cutover", "e2e"},
	"os/user":                {"stacks", "nginxconf", "cmd/cutover", "e2e"},
	"os/exec":                {"cmd/cutover", "e2e"},
	"math/rand":              {"cmd/cutover", "e2e"},
	"crypto/rand":            {"cmd/cutover", "e2e"},
	"flag":                   {"cmd/cutover", "e2e"},
	"github.com/urfave/cli":  {"cmd/cutover"},
	"github.com/docker/":     {"stacks", "e2e"},
	"github.com/fsnotify/":   {"traffic/journal"},
	"github.com/gofrs/flock": {"traffic/notify", "traffic/journal", "stacks", "nginxconf", "cmd/cutover"},
	"embed":                  {"templates", "cmd/cutover", "e2e"},
	"os":                     {"traffic/notify", "traffic/journal", "traffic/signal", "stacks", "nginxconf", "cmd/cutover", "e2e"},
	"io/fs":                  {"traffic/notify", "traffic/journal", "traffic/signal", "stacks", "nginxconf", "templates", "cmd/cutover", "e2e"},
	"syscall":                {"traffic/notify", "traffic/journal", "traffic/signal", "stacks", "nginxconf", "cmd/cutover", "e2e"},
	"golang.org/x/sys":       {"traffic/notify", "traffic/journal", "traffic/signal", "stacks", "nginxconf", "cmd/cutover", "e2e"},
	"net":                    {"traffic/notify", "traffic/signal", "stacks", "nginxconf", "cmd/cutover", "e2e"},
	"github.com/hashicorp/":  {"traffic/notify", "traffic/signal", "stacks", "nginxconf", "cmd/cutover"},
	"log":                    {"cmd/cutover", "e2e"},
	"unsafe":                 {},
	"github.com/stretchr/":   {"e2e"},
	"pgregory.net/":          {"e2e"},
	"go.uber.org/goleak":     {"e2e"},
	"github.com/rogpeppe/go-internal/testscript": {"e2e"},
}

// worldly says which packages alone may use these names of the standard library, as a call or as a value.
var worldly = map[string][]string{
	"time.Now": {"cmd/cutover", "e2e"}, "time.Since": {"cmd/cutover", "e2e"}, "time.Until": {"cmd/cutover", "e2e"},
	"os.Exit": {"cmd/cutover", "e2e"}, "os.Args": {"cmd/cutover", "e2e"},
	"os.Getenv": {"cmd/cutover", "e2e"}, "os.LookupEnv": {"cmd/cutover", "e2e"}, "os.Environ": {"cmd/cutover", "e2e"},
	"os.Setenv": {"e2e"}, "os.ExpandEnv": {}, "os.Stdin": {"cmd/cutover", "e2e"},
	"os.Stdout": {"cmd/cutover", "e2e"}, "os.Stderr": {"cmd/cutover", "e2e"},
}

// timers may be used nowhere in the pure core; in traffic they are the controller's.
var timers = []string{"time.Sleep", "time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker", "time.Tick"}

const (
	fileLimit     = 400
	functionLimit = 60
)

// source is one file of the module.
type source struct {
	name   string // from the module's root
	pkg    string // its folder there
	test   bool
	lines  int
	syntax *ast.File
	fset   *token.FileSet
}

// place is a position for a person.
func (s source) place(p token.Pos) string {
	return s.name + ":" + strconv.Itoa(s.fset.Position(p).Line)
}

// room is the package's row in the tables; e2e is one room with many folders.
func (s source) room() string {
	if strings.HasPrefix(s.pkg, "e2e/") {
		return "e2e"
	}
	return s.pkg
}

// sources parses every file of the module; nested modules, hidden folders and testdata are not part of it.
func sources(t *testing.T) (all []source) {
	root, err := filepath.Abs(".")
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		require.NotEqual(t, root, filepath.Dir(root), "no go.mod above the test")
		root = filepath.Dir(root)
	}
	fset := token.NewFileSet()
	require.NoError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, name)
		if d.IsDir() {
			_, nested := os.Stat(filepath.Join(name, "go.mod"))
			if rel != "." && (nested == nil || strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		syntax, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		rel = filepath.ToSlash(rel)
		all = append(all, source{
			name: rel, pkg: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"),
			lines: fset.File(syntax.FileStart).LineCount(), syntax: syntax, fset: fset,
		})
		return nil
	}))
	require.NotEmpty(t, all)
	return all
}

// imports gives the path of each import and the name that it has in the file.
func (s source) imports(t *testing.T) map[string]string {
	byName := map[string]string{}
	for _, i := range s.syntax.Imports {
		imported, err := strconv.Unquote(i.Path.Value)
		require.NoError(t, err)
		name := path.Base(imported)
		if i.Name != nil {
			name = i.Name.Name
		}
		byName[name] = imported
	}
	return byName
}

func TestLayoutImports(t *testing.T) {
	for _, s := range sources(t) {
		may, known := house[s.room()]
		if !known {
			t.Errorf("%s: the package %s has no place in the house", s.name, s.pkg)
			continue
		}
		for _, imported := range s.imports(t) {
			ours, inside := strings.CutPrefix(imported, module+"/")
			same := ours == s.pkg || s.room() == "e2e" && (ours == "e2e" || strings.HasPrefix(ours, "e2e/"))
			if inside && !same && !slices.Contains(may, ours) {
				t.Errorf("%s: %s may not import %s", s.name, s.room(), ours)
			}
			if !inside && !s.test {
				checkOutside(t, s, imported)
			}
		}
	}
}

func checkOutside(t *testing.T, s source, imported string) {
	for beginning, rooms := range outside {
		under := imported == beginning || strings.HasPrefix(imported, strings.TrimSuffix(beginning, "/")+"/")
		if beginning == "os" || beginning == "log" { // what lies below these has its own row, or reaches nothing
			under = imported == beginning
		}
		if under && !slices.Contains(rooms, s.room()) {
			t.Errorf("%s: %s may not touch %s", s.name, s.room(), imported)
		}
	}
	if s.pkg == "traffic" && (imported == "context" || imported == "log/slog") {
		if !slices.Contains([]string{"traffic/controller.go", "traffic/ports.go"}, s.name) {
			t.Errorf("%s: only the controller and its ports know %s", s.name, imported)
		}
	}
	if s.pkg == "traffic/verdict" && (imported == "context" || strings.HasPrefix(imported, "log/")) {
		t.Errorf("%s: the verdict is only maths, not %s", s.name, imported)
	}
}

// TestLayoutTimeEntersAtOnePlace holds Law 9.
func TestLayoutTimeEntersAtOnePlace(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		imports := s.imports(t)
		ast.Inspect(s.syntax, func(n ast.Node) bool {
			selector, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := selector.X.(*ast.Ident); ok {
				used := imports[x.Name] + "." + selector.Sel.Name
				if rooms, limited := worldly[used]; limited && !slices.Contains(rooms, s.room()) {
					t.Errorf("%s: %s may not use %s: it is handed in", s.place(n.Pos()), s.room(), used)
				}
				pure := s.pkg == "traffic" && s.name != "traffic/controller.go" || s.pkg == "traffic/verdict"
				if pure && slices.Contains(timers, used) {
					t.Errorf("%s: %s has no place in what decides: time is data in the event", s.place(n.Pos()), used)
				}
			}
			return true
		})
	}
}

func TestLayoutSizes(t *testing.T) {
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		if s.lines > fileLimit {
			t.Errorf("%s has %d lines; %d is the limit", s.name, s.lines, fileLimit)
		}
		for _, d := range s.syntax.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1
			if lines > functionLimit {
				t.Errorf("%s: %s has %d lines; %d is the limit", s.place(f.Pos()), f.Name.Name, lines, functionLimit)
			}
			for _, p := range f.Type.Params.List {
				forced := len(p.Names) == 1 && p.Names[0].Name == "_" // by somebody else's function type
				if kind, ok := p.Type.(*ast.Ident); ok && kind.Name == "bool" && !forced {
					t.Errorf("%s: %s has a boolean parameter; make it two functions, or name the type", s.place(p.Pos()), f.Name.Name)
				}
			}
		}
	}
}

func TestLayoutDocs(t *testing.T) {
	told := map[string]bool{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		told[s.pkg] = told[s.pkg] || s.syntax.Doc != nil
		for _, d := range s.syntax.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && ofExported(d) {
					t.Errorf("%s: %s has no comment", s.place(d.Pos()), d.Name.Name)
				}
			case *ast.GenDecl:
				checkDocs(t, s, d)
			}
		}
	}
	for pkg, ok := range told {
		if !ok {
			t.Errorf("%s tells nobody what it is for: it has no package comment", pkg)
		}
	}
}

// ofExported tells whether a function has no receiver, or one that others can name.
func ofExported(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	receiver := f.Recv.List[0].Type
	if star, ok := receiver.(*ast.StarExpr); ok {
		receiver = star.X
	}
	name, ok := receiver.(*ast.Ident)
	return !ok || name.IsExported()
}

// checkDocs wants a comment above each exported name, above its group, or on its line.
func checkDocs(t *testing.T, s source, d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			if spec.Name.IsExported() && spec.Doc == nil && d.Doc == nil {
				t.Errorf("%s: %s has no comment", s.place(spec.Pos()), spec.Name.Name)
			}
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				if name.IsExported() && spec.Doc == nil && spec.Comment == nil && d.Doc == nil {
					t.Errorf("%s: %s has no comment", s.place(name.Pos()), name.Name)
				}
			}
		}
	}
}
