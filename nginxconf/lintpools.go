package nginxconf

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cutover/traffic"
)

// color tells which color of which service answers at an address as nginx's configuration names it.
func (l *lint) color(spelled string) (service Upstream, c traffic.Color, is bool) {
	for _, u := range l.site.Web {
		for _, c := range []traffic.Color{traffic.Blue, traffic.Green} {
			if shortest(u.address(c)) == shortest(canonical(spelled)) {
				return u, c, true
			}
		}
	}
	return Upstream{}, "", false
}

// copies finds what goes past us: upstreams that the user wrote by hand of the stacks' addresses, and passes to them or to such an
// address.
func (l *lint) copies() {
	byHand := map[string]string{} // the first address of each
	for d, around := range l.chain.all() {
		if l.rendered(d.File) || !d.is("upstream") || len(around) != 1 {
			continue
		}
		for server := range flat(d.Block) {
			if _, _, is := l.color(server.arg(0)); is && server.is("server") && byHand[d.arg(0)] == "" {
				byHand[d.arg(0)] = server.arg(0)
			}
		}
	}
	used := map[string]bool{}
	for d, around := range l.chain.all() {
		if l.rendered(d.File) || !isPass(d) {
			continue
		}
		name := passedHost(d.arg(0))
		address := name
		if through, is := byHand[name]; is {
			address, used[name] = through, true
		}
		if service, c, is := l.color(address); is {
			l.past(d, around, service, c)
		}
	}
	for d := range l.chain.all() {
		if d.is("upstream") && !l.rendered(d.File) && used[d.arg(0)] {
			l.pool(d)
		}
	}
	l.mixed()
}

// mixed finds what passes by gRPC to a pool of ours that is asked by HTTP too.
func (l *lint) mixed() {
	for d := range l.chain.all() {
		if l.rendered(d.File) || !d.is("grpc_pass") || !l.leads(d.arg(0)) {
			continue
		}
		if other := l.byHTTP(d.arg(0)); other != nil {
			what, remedy := mixing(other)
			l.report(Warn, d, what, remedy)
		}
	}
}

// byHTTP finds a proxy_pass to the same pool of ours.
func (l *lint) byHTTP(value string) *Directive {
	bare := func(value string) string { return strings.Trim(strings.TrimPrefix(group(value), "$"), "{}") }
	for d := range l.chain.all() {
		if !l.rendered(d.File) && d.is("proxy_pass") && l.leads(d.arg(0)) && bare(d.arg(0)) == bare(value) {
			return d
		}
	}
	return nil
}

// mixing says what is wrong with gRPC and HTTP in one pool, where other is the pass by HTTP.
func mixing(other *Directive) (what, remedy string) {
	what = fmt.Sprintf("gRPC and HTTP (%s:%d) take each other's idle connections out of one pool, and nginx answers 502", other.File, other.Line)
	return what, "Give the port for gRPC an entry of its own under stacks.web, and pass gRPC there."
}

// past tells of a pass to a color's own address. In a server that is not ours it may be there to look at that color.
func (l *lint) past(d *Directive, around []*Directive, service Upstream, c traffic.Color) {
	what := fmt.Sprintf("%s goes to %s, past cutover: its requests are neither split nor watched, and end when %s is stopped", d.Name, c, c)
	remedy := "Write `" + Target{service, "http://" + l.target(l.prefix()+service.Route)}.passedBy(d) + ";`."
	severity := Note
	if len(around) > 1 && len(l.joined(around[1])) > 0 {
		severity = Warn
	}
	l.report(severity, d, what, remedy)
}

// idleAtMost is how long an upstream's idle connections may be kept: many applications close theirs after five seconds.
const idleAtMost = 5 * time.Second

// pool checks an upstream that the user wrote of the stacks' addresses, and passes to.
func (l *lint) pool(upstream *Directive) {
	var servers []*Directive
	var keeps, until *Directive
	for d := range flat(upstream.Block) {
		switch d.Name {
		case "server":
			servers = append(servers, d)
		case "keepalive":
			keeps = d
		case "keepalive_timeout":
			until = d
		}
	}
	for _, d := range servers {
		// An only server is never left out, whatever it answered.
		if len(servers) > 1 && !slices.Contains(d.Args, "max_fails=0") {
			l.report(Warn, d, fmt.Sprintf("upstream %s is written by hand without max_fails=0: one failed request sends everybody to the other server for ten seconds", upstream.arg(0)),
				"Write `max_fails=0` at each of its servers, or pass to cutover's pools.")
			break
		}
	}
	if keeps == nil {
		return
	}
	at, idle := keeps, 60*time.Second // nginx's default
	if until != nil {
		at, idle = until, nginxTime(until.arg(0))
	}
	if idle >= idleAtMost {
		l.report(Warn, at, fmt.Sprintf("upstream %s keeps idle connections for %s: an application that closes them earlier lets POSTs end in a 502", upstream.arg(0), idle),
			"Write `keepalive_timeout 1s;` in it, or less than the application's own.")
	}
}

// nginxTime is a time as nginx writes it in one part: seconds where no unit stands, and none for what it would not read either.
func nginxTime(written string) time.Duration {
	if _, err := strconv.Atoi(written); err == nil {
		written += "s"
	}
	d, _ := time.ParseDuration(written)
	return d
}
