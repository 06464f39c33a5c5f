package nginxconf

import (
	"path/filepath"
	"slices"
	"strings"
)

// joined lists the includes of server.conf that stand directly in a server.
func (l *lint) joined(server *Directive) []*Directive {
	var found []*Directive
	for d := range flat(server.Block) {
		if l.ours(d) == "server.conf" {
			found = append(found, d)
		}
	}
	return found
}

// server checks one server of the user's.
func (l *lint) server(server *Directive) {
	includes := l.joined(server)
	if len(includes) == 0 {
		if l.passesWithin(server) {
			then := "stable answers all of them, unseen"
			if l.site.Fixed {
				then = "they are split, and nobody sees how it goes"
			}
			l.report(Warn, server, "this server passes requests to "+l.site.App+" and does not include server.conf: "+then,
				"Write `include "+filepath.Join(l.current.path, "server.conf")+";` as its first line.")
		}
		return
	}
	for _, again := range includes[1:] {
		l.report(Refuse, again, "server.conf is included twice in one server", "Remove this one: nginx refuses its directives a second time.")
	}
	if !l.site.Fixed {
		l.first(server)
	}
	l.doubled(server)
	for d := range flat(server.Block) {
		if l.rendered(d.File) {
			continue
		}
		switch {
		case d.is("open_file_cache"):
			l.report(Refuse, d, "open_file_cache stands beside server.conf, which switches it off: nginx refuses the second one",
				"Remove it, or move it to http { } or to the locations that serve files.")
		case d.is("access_log") && d.arg(0) == "off":
			l.report(Refuse, d, "access_log off silences the server's other logs too: requests would not be seen",
				"Remove it, or set it in the locations that are not passed to "+l.site.App+".")
		}
	}
	l.locations(server, location{})
}

// first warns where something stands before our include: a return, a rewrite or an if there ends the server's rewriting
// before the pool is chosen, and then stable answers.
func (l *lint) first(server *Directive) {
	for d := range flat(server.Block) {
		if l.ours(d) == "server.conf" {
			return
		}
		if !d.is("include") {
			l.report(Warn, l.joined(server)[0], "server.conf is not the first line of its server: requests that a rewrite before it ends go to stable",
				"Move the include above "+places([]*Directive{d})+".")
			return
		}
	}
}

// passesWithin tells whether the user passes anything in the block to us.
func (l *lint) passesWithin(block *Directive) bool {
	for d := range flat(block.Block) {
		if !l.rendered(d.File) && (isPass(d) && l.leads(d.arg(0)) || l.passesWithin(d)) {
			return true
		}
	}
	return false
}

// location is what a block hands down to the blocks in it.
type location struct {
	// hides is the access_log in effect that keeps ours from being written; nil while ours is.
	hides *Directive
	// passes tells that requests are passed to us. It holds for if and limit_except, never for a location within.
	passes bool
}

// locations finds, in a block and the blocks in it, requests to us that our log would not see: nginx inherits logs only
// where a block has none of its own.
//
// A location's own open_file_cache is no finding: the rollout's folder is looked up before nginx knows the location.
func (l *lint) locations(block *Directive, outer location) {
	for d := range flat(block.Block) {
		if !d.is("location", "if", "limit_except") {
			continue
		}
		inner := location{hides: outer.hides, passes: outer.passes && !d.is("location")}
		if logs := l.logs(d); len(logs) > 0 {
			inner.hides = l.hiding(logs)
		}
		for child := range flat(d.Block) {
			inner.passes = inner.passes || isPass(child) && l.leads(child.arg(0))
		}
		if inner.passes && inner.hides != nil {
			l.report(Refuse, inner.hides, "requests to "+l.site.App+" would not be seen: this access_log takes the place of "+l.site.AccessLog+" here",
				"Move it to server { }, beside the include, where nginx writes both.")
		}
		l.locations(d, inner)
	}
}

func (l *lint) logs(block *Directive) []*Directive {
	var logs []*Directive
	for d := range flat(block.Block) {
		if d.is("access_log") {
			logs = append(logs, d)
		}
	}
	return logs
}

// hiding is the line that keeps ours from being written where a block has these logs: off silences them all.
func (l *lint) hiding(logs []*Directive) *Directive {
	if i := slices.IndexFunc(logs, func(d *Directive) bool { return d.arg(0) == "off" }); i >= 0 {
		return logs[i]
	}
	own := func(d *Directive) bool {
		return filepath.Clean(d.arg(0)) == filepath.Clean(l.site.AccessLog) && d.arg(1) == strings.TrimSuffix(l.prefix(), "_")
	}
	if slices.ContainsFunc(logs, own) {
		return nil
	}
	return logs[0]
}
