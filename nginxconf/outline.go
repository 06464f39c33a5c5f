package nginxconf

import (
	"fmt"
	"path/filepath"
	"strings"
)

// blocks are the user's own http { } and server { } blocks.
type blocks struct {
	http    []*Directive
	servers []*Directive
}

// outline finds the blocks; servers of files that are ours are left out.
func outline(c *Chain, ours func(path string) bool) blocks {
	var b blocks
	for d := range flat(c.Main.Directives) {
		if !d.is("http") || d.Block == nil {
			continue
		}
		b.http = append(b.http, d)
		for inner := range flat(d.Block) {
			if inner.is("server") && !ours(inner.File) {
				b.servers = append(b.servers, inner)
			}
		}
	}
	return b
}

// advice says which line brings the file, and where to write it.
func (b blocks) advice(from, name string) string {
	line := fmt.Sprintf("include %s;", filepath.Join(from, name))
	if name == "server.conf" {
		if len(b.servers) == 0 {
			return fmt.Sprintf("Write `%s` as the first line of each server { } that serves the app; there is none yet.", line)
		}
		return fmt.Sprintf("Write `%s` as the first line of each server { } that serves the app (%s).", line, places(b.servers))
	}
	if len(b.http) == 0 {
		return fmt.Sprintf("Write `%s` in http { }; there is none yet.", line)
	}
	return fmt.Sprintf("Write `%s` in http { } (%s).", line, places(b.http))
}

// places lists where directives stand, the first few of them.
func places(list []*Directive) string {
	const most = 4
	var at []string
	for i, d := range list {
		if i == most {
			at = append(at, "…")
			break
		}
		at = append(at, fmt.Sprintf("%s:%d", d.File, d.Line))
	}
	return strings.Join(at, ", ")
}
