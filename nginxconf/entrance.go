package nginxconf

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
)

// Entrance is one server through which users reach the app, with what a request needs to come in there from this host.
type Entrance struct {
	// Place is where the server stands, as file:line, or "routes" where cutover renders it.
	Place string
	// Network and Address are what to dial: "tcp", or "unix" with a path.
	Network, Address string
	// Host is the name to ask for.
	Host string
	// TLS tells that the server speaks it, Announced that each connection begins with a line of the PROXY protocol.
	TLS, Announced bool
	// Paths are "/" and each location whose requests are passed to the app and whose name is a path.
	Paths []string
	// Closed says why no request can be made up for it; empty where one can.
	Closed string
}

// Entrances lists the servers of the app: the user's own that include server.conf, or those that cutover renders.
func (p *Proxy) Entrances(ctx context.Context) ([]Entrance, error) {
	if len(p.options.Routes) > 0 {
		return p.renderedEntrances(), nil
	}
	i, err := p.configured(ctx)
	if err != nil {
		return nil, err
	}
	l := newLint(i.chain, p.site())
	var all []Entrance
	for _, server := range l.blocks.servers {
		if len(l.joined(server)) > 0 {
			all = append(all, l.entrance(server))
		}
	}
	return all, nil
}

func (p *Proxy) renderedEntrances() []Entrance {
	var all []Entrance
	for _, b := range p.blocks() {
		e := Entrance{Place: "routes", Host: askable([]string{b.Host})}
		e.Network, e.Address = dialable(b.Listen)
		for _, l := range b.Locations {
			e.Paths = append(e.Paths, l.Path)
		}
		all = append(all, e)
	}
	return all
}

// entrance reads one server of the user's.
func (l *lint) entrance(server *Directive) Entrance {
	e := Entrance{Place: places([]*Directive{server}), Paths: l.paths(server, []string{"/"})}
	listens := [][]string{}
	var names []string
	for d := range flat(server.Block) {
		switch {
		case l.rendered(d.File):
		case d.is("listen") && !slices.Contains(d.Args, "quic"):
			listens = append(listens, d.Args)
		case d.is("server_name"):
			names = append(names, d.Args...)
		case d.is("ssl") && d.arg(0) == "on":
			e.TLS = true
		}
	}
	if len(listens) == 0 {
		listens = [][]string{{"80"}}
	}
	// A host may have no IPv6 address although nginx listens there.
	slices.SortStableFunc(listens, func(a, b []string) int { return strings.Count(a[0], "[") - strings.Count(b[0], "[") })
	chosen := listens[0]
	e.Network, e.Address = dialable(chosen[0])
	e.TLS = e.TLS || slices.Contains(chosen, "ssl")
	e.Announced = slices.Contains(chosen, "proxy_protocol")
	if e.Host = askable(names); e.Host == "" {
		e.Closed = fmt.Sprintf("its names are patterns: %s", strings.Join(names, " "))
	}
	return e
}

// dialable turns the address of a listen directive into one that this host can reach.
func dialable(listen string) (network, address string) {
	if path, local := strings.CutPrefix(listen, "unix:"); local {
		return "unix", path
	}
	host, port, err := net.SplitHostPort(listen)
	switch {
	case err != nil && strings.Trim(listen, "0123456789") == "":
		host, port = "", listen
	case err != nil:
		host, port = strings.Trim(listen, "[]"), "80"
	}
	switch host {
	case "", "*", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return "tcp", net.JoinHostPort(host, port)
}

// askable is a name that leads to a server with these names, "" where only a regular expression would tell one. A server without
// names is asked for as "_", which no other server should have.
func askable(names []string) string {
	if len(names) == 0 {
		return "_"
	}
	for _, name := range names {
		switch {
		case name == "" || strings.HasPrefix(name, "~") || strings.HasSuffix(name, ".*"):
		case strings.HasPrefix(name, "*."):
			return "cutover-doctor" + name[1:]
		default:
			return strings.TrimPrefix(name, ".")
		}
	}
	return ""
}

// paths adds the locations in a block whose requests are passed to the app.
func (l *lint) paths(block *Directive, into []string) []string {
	for d := range flat(block.Block) {
		if !d.is("location") {
			continue
		}
		if path := locationPath(d); path != "" && l.passesWithin(d) && !internal(d) && !slices.Contains(into, path) {
			into = append(into, path)
		}
		into = l.paths(d, into)
	}
	return into
}

// locationPath is the path that a location begins with, "" for a regular expression and for one that only nginx itself can reach.
func locationPath(location *Directive) string {
	path, modifier := location.arg(0), ""
	if len(location.Args) > 1 {
		path, modifier = location.arg(1), location.arg(0)
	}
	path = strings.TrimPrefix(strings.TrimPrefix(path, "^~"), "=")
	if strings.HasPrefix(modifier, "~") || !strings.HasPrefix(path, "/") {
		return ""
	}
	return path
}

func internal(location *Directive) bool {
	for d := range flat(location.Block) {
		if d.is("internal") {
			return true
		}
	}
	return false
}
