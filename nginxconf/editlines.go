package nginxconf

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// lineChange is one place of a file and what shall stand there. An empty span is a place between two bytes.
type lineChange struct {
	span
	text string
}

// fileChanges are the changes of one file.
type fileChanges struct {
	file    *File
	path    string
	changes []lineChange
	// first tells that it brings http.conf, whose names the others need.
	first bool
}

// change adds a change once, however often the file is included.
func (f *fileChanges) change(c lineChange) {
	if !slices.Contains(f.changes, c) {
		f.changes = append(f.changes, c)
	}
}

// after gives the file with its changes.
func (f *fileChanges) after() []byte {
	slices.SortStableFunc(f.changes, func(a, b lineChange) int { return a.start - b.start })
	var out []byte
	done := 0
	for _, c := range f.changes {
		out = append(append(out, f.file.source[done:c.start]...), c.text...)
		done = c.end
	}
	return append(out, f.file.source[done:]...)
}

// join writes our include as the server's first line.
func (e *editor) join(server *Directive) {
	if len(e.joined(server)) > 0 {
		return
	}
	f := e.files[server.File]
	f.change(f.opening(server, fmt.Sprintf("include %s;", filepath.Join(e.current.path, "server.conf"))))
}

// joinHTTP writes our include into http { }, before the first server and whatever brings one: settings that stand above, such
// as sizes of hash tables, must come before what they are for.
func (e *editor) joinHTTP() {
	if len(e.blocks.http) == 0 {
		return
	}
	for d := range e.chain.all() {
		if e.ours(d) == "http.conf" {
			return
		}
	}
	line := fmt.Sprintf("include %s;", filepath.Join(e.current.path, "http.conf"))
	http := e.blocks.http[0]
	f := e.files[http.File]
	f.first = true
	for _, d := range http.Block {
		for inner := range flat([]*Directive{d}) {
			if inner.is("server") {
				f.change(f.above(d, line))
				return
			}
		}
	}
	f.change(f.closing(http, line))
}

// lineStart is where the line of a place begins, and whether only blanks stand before it there.
func (f *fileChanges) lineStart(at int) (start int, alone bool) {
	start = bytes.LastIndexByte(f.file.source[:at], '\n') + 1
	return start, len(bytes.TrimLeft(f.file.source[start:at], " \t")) == 0
}

// indent is what stands before a place that is alone on its line.
func (f *fileChanges) indent(at int) string {
	start, _ := f.lineStart(at)
	line := f.file.source[start:at]
	return string(line[:len(line)-len(bytes.TrimLeft(line, " \t"))])
}

// lineEnd is where the rest of a line ends, with its newline, if nothing but blanks and a comment is left on it.
func (f *fileChanges) lineEnd(at int) (end int, alone bool) {
	length := bytes.IndexByte(f.file.source[at:], '\n')
	if length < 0 {
		return at, false
	}
	rest := bytes.TrimLeft(f.file.source[at:at+length], " \t\r")
	return at + length + 1, len(rest) == 0 || rest[0] == '#'
}

// newline is how the file ends the line before a place.
func (f *fileChanges) newline(end int) string {
	if end >= 2 && f.file.source[end-2] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// within is the indentation of what stands in a block.
func (f *fileChanges) within(block *Directive) string {
	for _, d := range block.Block {
		if _, alone := f.lineStart(d.whole.start); alone && d.whole.start > block.body.start {
			return f.indent(d.whole.start)
		}
	}
	return f.indent(block.whole.start) + "    "
}

// opening makes a line the first one of a block.
func (f *fileChanges) opening(block *Directive, line string) lineChange {
	at := block.body.start
	if end, alone := f.lineEnd(at); alone && end <= block.body.end {
		return lineChange{span{end, end}, f.within(block) + line + f.newline(end)}
	}
	return lineChange{span{at, at}, " " + line}
}

// closing makes a line the last one of a block.
func (f *fileChanges) closing(block *Directive, line string) lineChange {
	at := block.body.end
	if start, alone := f.lineStart(at); alone && start > block.body.start {
		return lineChange{span{start, start}, f.within(block) + line + f.newline(start)}
	}
	return lineChange{span{at, at}, " " + line + " "}
}

// above writes a line before a directive.
func (f *fileChanges) above(d *Directive, line string) lineChange {
	at := d.whole.start
	if start, alone := f.lineStart(at); alone {
		return lineChange{span{start, start}, f.indent(at) + line + f.newline(start)}
	}
	return lineChange{span{at, at}, line + " "}
}

// below adds lines after a directive.
func (f *fileChanges) below(d *Directive, lines []string) {
	at := d.whole.end
	_, first := f.lineStart(d.whole.start)
	if end, last := f.lineEnd(at); first && last {
		text := ""
		for _, line := range lines {
			text += f.indent(d.whole.start) + line + f.newline(end)
		}
		f.change(lineChange{span{end, end}, text})
		return
	}
	f.change(lineChange{span{at, at}, " " + strings.Join(lines, " ")})
}
