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
			l.unjoined(server)
		}
		return
	}
	for _, again := range includes[1:] {
		l.report(Refuse, again, "server.conf is included twice in one server", "Remove this one: nginx refuses its directives a second time.")
	}
	if !l.site.fixed() {
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
	l.locations([]*Directive{l.http(), server}, nil)
	l.browser(server)
}

// unjoined tells of a server that passes requests to us without server.conf.
func (l *lint) unjoined(server *Directive) {
	severity, then := Warn, "stable answers all of them, unseen"
	switch {
	case l.site.fixed():
		then = "they are split, and nobody sees how it goes"
	case l.site.Config.Switch == SwitchLive:
		severity, then = Refuse, "blue answers them, whichever color is stable"
	}
	l.report(severity, server, "this server passes requests to "+l.site.App+" and does not include server.conf: "+then,
		"Write `include "+filepath.Join(l.current.path, "server.conf")+";` as its first line.")
}

// first finds a return, a rewrite or an if before our include: it may end the server's rewriting before the pool is chosen, and then
// stable answers, or, in live mode, whichever color answers who asks nobody.
func (l *lint) first(server *Directive) {
	for d := range flat(server.Block) {
		switch {
		case l.ours(d) == "server.conf":
			return
		case d.is("set") && l.leads(d.arg(1)):
			l.report(Warn, d, "set "+d.arg(0)+" takes the pool before server.conf has chosen one", "Move it below the include.")
		case d.is("return", "rewrite", "if", "break"):
			severity, then := Warn, "stable"
			if l.site.Config.Switch == SwitchLive && rewrites(d) {
				severity, then = Refuse, "blue, whichever color is stable"
			}
			l.report(severity, l.joined(server)[0], "server.conf is not the first line of its server: requests that a rewrite before it ends go to "+then,
				"Move the include above "+places([]*Directive{d})+".")
			return
		}
	}
}

// rewrites tells whether a directive ends the server's rewriting and lets the request go on.
func rewrites(d *Directive) bool {
	return d.is("rewrite", "break") || slices.ContainsFunc(d.Block, rewrites)
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

// locations visits each block below the innermost of these, whose requests pass hands to a pool, and whose are passed to us. A pass
// holds for the if and limit_except within its location, never for a location within.
//
// A location's own open_file_cache is no finding: the rollout's folder is looked up before nginx knows the location.
func (l *lint) locations(around []*Directive, pass *Directive) {
	for d := range flat(around[len(around)-1].Block) {
		if !d.is("location", "if", "limit_except") {
			continue
		}
		inner := passing{lint: l, around: append(slices.Clip(around), d), pass: pass}
		if d.is("location") {
			inner.pass = nil
		}
		for child := range flat(d.Block) {
			if isPass(child) {
				inner.pass = child
			}
		}
		if inner.pass != nil && l.leads(inner.pass.arg(0)) {
			inner.check()
		}
		l.locations(inner.around, inner.pass)
	}
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
