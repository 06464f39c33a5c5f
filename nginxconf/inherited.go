package nginxconf

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// ServerLines gives the lines of server.conf that hang on this nginx and on the user's own configuration.
func (p *Proxy) ServerLines(ctx context.Context) []string {
	i, err := p.configured(ctx)
	if err != nil {
		return nil // nginx cannot read its configuration either; Preflight says so
	}
	return p.serverLines(i)
}

func (p *Proxy) serverLines(i instance) []string {
	if i.chain == nil {
		return nil
	}
	l := newLint(i.chain, p.site())
	lines := l.restated("access_log")
	if l.cookie() != "" {
		lines = append(lines, l.restated("add_header")...)
	}
	if i.build.keepsIdle(p.options.Config) && len(l.idleTimes()) == 0 {
		lines = append(lines, idleTime+" 5s; # so a reload closes no connection that a user is about to use")
	}
	return lines
}

// idleTime is how long nginx lets an idle connection live, even through a reload.
const idleTime = "keepalive_min_timeout"

// idleTimes are the user's own, in http { } or in a server that includes us: those stay in effect.
func (l *lint) idleTimes() []*Directive {
	var own []*Directive
	for _, block := range append(slices.Clip(l.blocks.http), l.blocks.servers...) {
		if block.is("server") && len(l.joined(block)) == 0 {
			continue
		}
		for d := range flat(block.Block) {
			if d.is(idleTime) && !l.rendered(d.File) {
				own = append(own, d)
			}
		}
	}
	return own
}

// doubled finds a user's own beside that of server.conf, which was rendered before it was written.
func (l *lint) doubled(server *Directive) {
	var own []*Directive
	ours := false
	for d := range flat(server.Block) {
		switch {
		case !d.is(idleTime):
		case l.rendered(d.File):
			ours = true
		default:
			own = append(own, d)
		}
	}
	if !ours {
		return
	}
	for _, d := range own {
		l.report(Refuse, d, idleTime+" stands beside server.conf, which has one too: nginx refuses the second one",
			"Move it to http { }: from the next generation on it holds, and server.conf has none.")
	}
}

// restated gives the lines of that name in the user's http { }, ready to be written again. nginx inherits them only where a server has
// none of its own, so that the one in server.conf would silence them: what stands in http { } is restated beside it.
//
// A server that includes us and has such lines of its own never inherited them. Where there is one, nothing is restated, since
// server.conf is the same for all servers; Findings warns of the others.
func (l *lint) restated(name string) []string {
	if own, _ := l.inheriting(name); len(own) > 0 {
		return nil
	}
	var lines []string
	for _, d := range l.ofHTTP(name) {
		args := make([]string, 0, len(d.Args))
		for _, a := range d.Args {
			args = append(args, quote(a))
		}
		lines = append(lines, name+" "+strings.Join(args, " ")+";")
	}
	return lines
}

// ofHTTP lists the user's lines of that name directly in http { }; access_log off, alone, is none.
func (l *lint) ofHTTP(name string) []*Directive {
	var lines []*Directive
	for _, block := range l.blocks.http {
		for d := range flat(block.Block) {
			if d.is(name) && !(name == "access_log" && d.arg(0) == "off") && !l.rendered(d.File) {
				lines = append(lines, d)
			}
		}
	}
	return lines
}

// inheriting parts the servers that include us into those with lines of that name of their own and those that inherit http's.
func (l *lint) inheriting(name string) (own, inherit []*Directive) {
	for _, server := range l.blocks.servers {
		if len(l.joined(server)) == 0 {
			continue
		}
		has := false
		for d := range flat(server.Block) {
			has = has || d.is(name) && !l.rendered(d.File)
		}
		if has {
			own = append(own, server)
		} else {
			inherit = append(inherit, server)
		}
	}
	return own, inherit
}

// silenced warns of servers whose inherited lines cannot be restated, because another server of the app has its own.
func (l *lint) silenced() {
	l.lacking("access_log", "this server's requests no longer reach the access_log of http { }")
	if l.cookie() != "" {
		l.lacking("add_header", "this server's answers no longer have the add_header of http { }")
	}
}

func (l *lint) lacking(name, what string) {
	own, inherit := l.inheriting(name)
	lines := l.ofHTTP(name)
	if len(own) == 0 || len(lines) == 0 {
		return
	}
	for _, server := range inherit {
		l.report(Warn, server, fmt.Sprintf("%s (%s): another server of the app has its own", what, places(lines)), "Write that "+name+" into this server too.")
	}
}
