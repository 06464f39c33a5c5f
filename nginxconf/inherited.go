package nginxconf

import (
	"context"
	"strings"
)

// InheritedLogs gives the access_log lines of the user's http { }, ready to be written again. nginx inherits them only where a
// server has none of its own, so the one in server.conf would silence them: what stands in http { } is restated beside it.
//
// A server that includes us and has logs of its own never inherited them. Where there is one, nothing is restated, since
// server.conf is the same for all servers; Findings warns of the others.
func (p *Proxy) InheritedLogs(ctx context.Context) []string {
	i, err := p.configured(ctx)
	if err != nil {
		return nil // nginx cannot read its configuration either; Preflight says so
	}
	return p.inheritedLogs(i)
}

func (p *Proxy) inheritedLogs(i instance) []string {
	if i.chain == nil {
		return nil
	}
	l := newLint(i.chain, p.site())
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
