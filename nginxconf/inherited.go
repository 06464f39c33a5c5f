package nginxconf

import (
	"context"
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
	lines := l.restatedLogs()
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

// restatedLogs gives the access_log lines of the user's http { }, ready to be written again. nginx inherits them only where a
// server has none of its own, so the one in server.conf would silence them: what stands in http { } is restated beside it.
//
// A server that includes us and has logs of its own never inherited them. Where there is one, nothing is restated, since
// server.conf is the same for all servers; Findings warns of the others.
func (l *lint) restatedLogs() []string {
	own, _ := l.inheriting()
	if len(own) > 0 {
		return nil
	}
	var lines []string
	for _, d := range l.httpLogs() {
		args := make([]string, 0, len(d.Args))
		for _, a := range d.Args {
			args = append(args, quote(a))
		}
		lines = append(lines, "access_log "+strings.Join(args, " ")+";")
	}
	return lines
}

// httpLogs lists the user's access_log lines directly in http { }; access_log off, alone, is none.
func (l *lint) httpLogs() []*Directive {
	var logs []*Directive
	for _, block := range l.blocks.http {
		for d := range flat(block.Block) {
			if d.is("access_log") && d.arg(0) != "off" && !l.rendered(d.File) {
				logs = append(logs, d)
			}
		}
	}
	return logs
}

// inheriting parts the servers that include us into those with logs of their own and those that inherit http's.
func (l *lint) inheriting() (own, inherit []*Directive) {
	for _, server := range l.blocks.servers {
		if len(l.joined(server)) == 0 {
			continue
		}
		has := false
		for _, d := range l.logs(server) {
			has = has || !l.rendered(d.File)
		}
		if has {
			own = append(own, server)
		} else {
			inherit = append(inherit, server)
		}
	}
	return own, inherit
}

// silenced warns of servers whose inherited logs cannot be restated, because another server of the app has its own.
func (l *lint) silenced() {
	own, inherit := l.inheriting()
	logs := l.httpLogs()
	if len(own) == 0 || len(logs) == 0 {
		return
	}
	for _, server := range inherit {
		l.report(Warn, server, "this server's requests no longer reach the access_log of http { } ("+places(logs)+"): another server of the app has its own",
			"Write that access_log into this server too.")
	}
}
