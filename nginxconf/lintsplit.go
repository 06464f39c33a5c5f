package nginxconf

import (
	"fmt"
	"slices"
	"strings"
)

// A browser's application is a page and what that page asks for. Where requests are drawn one by one its page is of one release, and
// what it asks for is answered by the other; where only what it asks for is split, a new page asks the old release.

// pageNames are what web services are called that serve pages.
var pageNames = []string{"frontend", "front_end", "front", "webapp", "web_app", "spa", "ui", "webui", "web_ui", "client", "www"}

// ServesPages tells whether a web service serves a browser's application, by its name.
func ServesPages(service string) bool { return slices.Contains(pageNames, RouteName(service)) }

// apiPaths begin the paths that pages ask for data.
var apiPaths = []string{"/api", "/graphql", "/rest", "/rpc", "/v1", "/v2"}

// page is what shows that a server has a browser's application.
type page struct {
	// at is the line that shows it, says what it shows.
	at   *Directive
	says string
	// outside tells that the page is of no release: only what it asks for is split.
	outside bool
}

// pageOf finds a browser's application in a server. service names the service of ours to which a pass leads, "" for any other.
func pageOf(server *Directive, service func(pass *Directive) string) (page, bool) {
	root, data := atRoot(server), dataOf(server, service)
	for d := range below(server) {
		if isPass(d) && ServesPages(service(d)) {
			return page{at: d, says: "service " + service(d) + " serves a browser's pages"}, true
		}
	}
	files := filesOf(server, root)
	switch {
	case files != nil && files.is("try_files") && strings.HasSuffix(files.arg(len(files.Args)-1), ".html"):
		return page{at: files, says: "a browser's application is served from here", outside: true}, true
	case data == nil:
		return page{}, false
	case files != nil:
		return page{at: files, says: fmt.Sprintf("pages are served from here, and what they ask for under %s is not", data.place), outside: true}, true
	}
	if root == nil {
		return page{}, false
	}
	pass := passIn(root)
	switch {
	case pass == nil || service(pass) == data.service:
		return page{}, false
	case service(pass) == "":
		return page{at: pass, says: fmt.Sprintf("only %s is passed to the app, and pages come from elsewhere", data.place), outside: true}, true
	}
	return page{at: pass, says: fmt.Sprintf("/ is service %s's and %s is %s's", service(pass), data.place, data.service)}, true
}

// atRoot is the location of a server that answers /, nil where it has none.
func atRoot(server *Directive) *Directive {
	for d := range flat(server.Block) {
		if prefix, plain := prefixOf(d); plain && prefix == "/" {
			return d
		}
	}
	return nil
}

// passIn is the pass that stands directly in a location, nil where there is none.
func passIn(location *Directive) *Directive {
	for d := range flat(location.Block) {
		if isPass(d) {
			return d
		}
	}
	return nil
}

// data is a location for what pages ask for.
type data struct{ place, service string }

// dataOf finds the first location for data that leads to us.
func dataOf(server *Directive, service func(*Directive) string) *data {
	for d := range flat(server.Block) {
		prefix, plain := prefixOf(d)
		if !plain || !slices.ContainsFunc(apiPaths, func(api string) bool { return prefix == api || strings.HasPrefix(prefix, api+"/") }) {
			continue
		}
		if pass := passIn(d); pass != nil && service(pass) != "" {
			return &data{prefix, service(pass)}
		}
	}
	return nil
}

// filesOf is the line by which a server answers / with files, nil where it does not.
func filesOf(server, root *Directive) *Directive {
	within := server
	if root != nil {
		if passIn(root) != nil {
			return nil
		}
		within = root
	}
	var found *Directive
	for d := range flat(within.Block) {
		switch {
		case d.is("return"):
			return nil
		case d.is("try_files"):
			return d
		case d.is("root", "alias", "index"):
			found = d
		}
	}
	return found
}

// browser warns of a browser's application whose page and data may be of two releases.
func (l *lint) browser(server *Directive) {
	found, is := pageOf(server, l.service)
	if !is || !leadsTo(server, l.service) {
		return
	}
	remedy := "Set nginx.split to client: then a browser keeps its color."
	if l.site.fixed() {
		remedy = "Set nginx.pass to variable and nginx.split to client: then a browser keeps its color."
	}
	const beside = " Let a web service of the release serve the pages too, or deploy pages that both releases can answer."
	switch {
	case l.site.Config.Split != SplitClient && found.outside:
		l.report(Warn, found.at, found.says+": the page from here calls both releases in turn, nginx.split is request", remedy+beside)
	case l.site.Config.Split != SplitClient:
		l.report(Warn, found.at, found.says+": a browser gets its page from one release and the rest from the other, nginx.split is request", remedy)
	case found.outside:
		l.report(Note, found.at, found.says+": the page is of no release, and a new one asks the old release", strings.TrimSpace(beside))
	}
}

// service is the web service of ours to which a pass leads, "" for any other.
func (l *lint) service(pass *Directive) string {
	for _, name := range append(named(pass.arg(0)), group(pass.arg(0))) {
		if l.variables[name] {
			return strings.TrimSuffix(strings.TrimPrefix(name, l.prefix()), kindAssets)
		}
	}
	return ""
}

// Browsers says what in a configuration shows that browsers use the app, which nginx passes to by addresses of its web services; empty
// where nothing does. It is for a configuration that cutover has not come to yet.
func (c *Chain) Browsers(web []Upstream) string {
	l := newLint(c, Site{Config: DefaultConfig(), Web: web})
	pools := map[string]string{}
	for d := range c.all() {
		if !d.is("upstream") {
			continue
		}
		for server := range flat(d.Block) {
			if u, _, is := l.color(server.arg(0)); is && server.is("server") {
				pools[d.arg(0)] = u.Route
			}
		}
	}
	service := func(pass *Directive) string {
		name := passedHost(pass.arg(0))
		if route, pooled := pools[name]; pooled {
			return route
		}
		u, _, _ := l.color(name) // of one that is not ours the route is empty
		return u.Route
	}
	for _, server := range l.blocks.servers {
		if asks := asksFirst(server, service); asks != nil {
			return fmt.Sprintf("%s:%d: auth_request asks the app about each request first", asks.File, asks.Line)
		}
		if found, is := pageOf(server, service); is && leadsTo(server, service) {
			return fmt.Sprintf("%s:%d: %s", found.at.File, found.at.Line, found.says)
		}
	}
	return ""
}

// asksFirst is the auth_request of a server that passes to us, nil where there is none.
func asksFirst(server *Directive, service func(*Directive) string) *Directive {
	if !leadsTo(server, service) {
		return nil
	}
	for d := range below(server) {
		if d.is("auth_request") && d.arg(0) != "off" {
			return d
		}
	}
	return nil
}

// leadsTo tells whether anything in a server is passed to us.
func leadsTo(server *Directive, service func(*Directive) string) bool {
	for d := range below(server) {
		if isPass(d) && service(d) != "" {
			return true
		}
	}
	return false
}
