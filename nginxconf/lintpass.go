package nginxconf

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// passing is one block whose requests are passed to us, with what is in effect there.
type passing struct {
	*lint
	// around are the blocks from http { } to the block itself, pass the directive that holds in it.
	around []*Directive
	pass   *Directive
}

func (p passing) check() {
	p.seen()
	p.tries()
	p.cached()
	p.asked()
	p.known()
	p.assets()
}

// renderedSites checks what http { } hands down to the servers that cutover renders.
func (l *lint) renderedSites() {
	if !l.site.OwnsServers {
		return
	}
	for _, name := range l.site.Variables {
		p := passing{lint: l, around: []*Directive{l.http()}, pass: &Directive{Name: "proxy_pass", Args: []string{"http://" + l.target(name)}}}
		p.tries()
		p.cached()
	}
	for d := range l.chain.all() {
		if d.is("server") && l.made(d.File) == filepath.Base(filepath.Clean(l.site.Root)) {
			l.browser(d)
		}
	}
}

// own is what follows the protocol in the names of a pass's settings: proxy_cache for a proxy_pass.
func (p passing) own(setting string) string {
	return strings.TrimSuffix(p.pass.Name, "pass") + setting
}

// within are the blocks below the server.
func (p passing) within() []*Directive { return p.around[min(2, len(p.around)):] }

// seen finds requests that our log would not see: nginx inherits logs only where a block has none of its own.
func (p passing) seen() {
	logs, _ := inEffect(p.within(), "access_log")
	if len(logs) == 0 {
		return
	}
	if hides := p.hiding(logs); hides != nil {
		p.report(Refuse, hides, "requests to "+p.site.App+" would not be seen: this access_log takes the place of "+p.site.AccessLog+" here",
			"Move it to server { }, beside the include, where nginx writes both.")
	}
}

// again tells whether a pool may have both colors, so that nginx has somewhere to try again.
func (l *lint) again() bool { return l.weighted() || l.site.Config.Rescue }

// weighted tells whether both colors stand in one pool with their weights: then nginx draws each request, subrequests too.
func (l *lint) weighted() bool {
	return l.site.fixed() || l.site.Config.Split != SplitClient && l.site.Config.Switch != SwitchLive
}

// hidden are the answers that nginx can be told to try again on the other color.
var hidden = []string{"http_500", "http_502", "http_503", "http_504", "http_403", "http_404", "http_429"}

// tries finds second tries that there should not be, and those that there should.
func (p passing) tries() {
	if !p.again() {
		return
	}
	const lost = ": a request that the candidate does not answer is lost instead of going to stable"
	if most, _ := inEffect(p.around, p.own("next_upstream_tries")); len(most) > 0 && most[0].arg(0) == "1" {
		p.report(Warn, most[0], most[0].Name+" 1"+lost, "Remove it, or allow 2.")
	}
	list, _ := inEffect(p.around, p.own("next_upstream"))
	if len(list) == 0 {
		return
	}
	d := list[0]
	if slices.Contains(d.Args, "off") {
		p.report(Warn, d, d.Name+" off"+lost, "Remove it.")
		return
	}
	if slices.Contains(d.Args, "non_idempotent") {
		p.report(Warn, d, d.Name+" non_idempotent: a POST that one color began and did not answer is done again by the other", "Remove `non_idempotent`.")
	}
	var repeated []string
	for _, answer := range d.Args {
		if slices.Contains(hidden, answer) && !(p.toAssets() && answer == "http_404") {
			repeated = append(repeated, answer)
		}
	}
	if len(repeated) > 0 {
		p.report(Warn, d, fmt.Sprintf("%s %s: the other color is asked again, and hides from users what a release answers; each such request costs two", d.Name, strings.Join(repeated, " ")),
			"Write `"+d.Name+" error timeout;`, nginx's default: the verdict counts the first answer in any case.")
	}
}

// cached finds a cache that gives one color's answers to requests for the other. Assets are meant to be given to both.
func (p passing) cached() {
	caches, _ := inEffect(p.around, p.own("cache"))
	if len(caches) == 0 || caches[0].arg(0) == "off" || p.toAssets() {
		return
	}
	at, names := caches[0], []string(nil)
	if p.pass.is("proxy_pass") {
		names = []string{"proxy_host"} // of the default key
	}
	if keys, _ := inEffect(p.around, p.own("cache_key")); len(keys) > 0 {
		at, names = keys[0], named(keys[0].arg(0))
	}
	told := slices.ContainsFunc(names, func(name string) bool {
		return name == "proxy_host" || p.variables[name] || name == p.prefix()+"_choice"
	})
	const stays = ": one color's answers are given to requests for the other, and a cutback does not take them back"
	switch {
	case p.site.fixed():
		p.report(Refuse, caches[0], "the cache cannot tell the colors apart behind a fixed name"+stays, "Write `"+p.own("cache")+" off;` here, or set nginx.pass to variable.")
	case !told:
		p.report(Refuse, at, "the cache's key does not hold the pool"+stays, "Put "+p.poolVariable()+" into "+p.own("cache_key")+".")
	case p.weighted():
		p.report(Warn, at, "while a rollout is open both colors answer from one pool, and what the cache has of either goes to everybody",
			"Set nginx.split to client, or nginx.switch to live: then each color has a pool, and the key tells them apart.")
	}
}

// poolVariable is the variable in the pass that holds the pool.
func (p passing) poolVariable() string {
	for _, name := range named(p.pass.arg(0)) {
		if p.variables[name] {
			return "$" + name
		}
	}
	return p.target(p.site.Variables[0])
}

// asked finds an auth_request that the app itself answers, where it may be drawn another color than the request it is for.
func (p passing) asked() {
	list, _ := inEffect(p.around, "auth_request")
	if len(list) == 0 || list[0].arg(0) == "off" || !p.weighted() {
		return
	}
	answering := answeredBy(p.around[1], list[0].arg(0))
	if answering == nil || !p.passesWithin(answering) {
		return
	}
	remedy := "Set nginx.split to client, or nginx.switch to live."
	if p.site.fixed() {
		remedy = "Set nginx.pass to variable and nginx.split to client."
	}
	p.report(Warn, list[0], "auth_request and the request that it is for are drawn apart: a login of one color is checked by the other", remedy)
}

// answeredBy is the location of a server that answers a path, as far as exact ones and prefixes tell; nil where none does.
func answeredBy(server *Directive, path string) *Directive {
	var nearest *Directive
	longest := 0
	for d := range flat(server.Block) {
		prefix, plain := prefixOf(d)
		switch {
		case d.is("location") && d.arg(0) == "=" && d.arg(1) == path:
			return d
		case plain && strings.HasPrefix(path, prefix) && len(prefix) > longest:
			nearest, longest = d, len(prefix)
		}
	}
	return nearest
}

// cookie is the line of server.conf that gives a client its cookie; empty where there is none.
func (l *lint) cookie() string {
	c := l.site.Config
	if c.Split != SplitClient || c.Sticky != StickyCookie || l.site.fixed() {
		return ""
	}
	return "add_header Set-Cookie $" + l.prefix() + "_set_cookie always;"
}

// known finds an add_header that keeps ours from being sent: nginx inherits them only where a block has none of its own.
func (p passing) known() {
	headers, _ := inEffect(p.within(), "add_header")
	if p.cookie() == "" || len(headers) == 0 {
		return
	}
	if merged, _ := inEffect(p.around, "add_header_inherit"); len(merged) > 0 && merged[0].arg(0) == "merge" {
		return
	}
	for _, d := range headers {
		if slices.Contains(named(d.arg(1)), p.prefix()+"_set_cookie") {
			return
		}
	}
	p.report(Warn, headers[0], "this add_header drops the cookie by which a client keeps its color: who comes in here is drawn anew by each request",
		"Write `"+p.cookie()+"` beside it.")
}

// toAssets tells whether the requests are asked of the color's pool for assets.
func (p passing) toAssets() bool {
	return slices.ContainsFunc(named(p.pass.arg(0)), func(name string) bool { return p.variables[name] && strings.HasSuffix(name, kindAssets) })
}

// assets tells of a location for assets that asks one color only: a page of the other may want what is not there.
func (p passing) assets() {
	i := slices.IndexFunc(p.around, func(d *Directive) bool { return d.is("location") })
	prefix, plain := prefixOf(p.around[i])
	if !plain || !slices.Contains(p.site.Config.Assets, prefix) || p.site.fixed() {
		return
	}
	const says = "a page of one release asks here for files that only the other may have"
	again := p.own("next_upstream") + " error timeout http_404;"
	list, _ := inEffect(p.around, p.own("next_upstream"))
	switch {
	case !p.toAssets():
		pool := p.poolVariable()
		p.report(Note, p.pass, says, fmt.Sprintf("Write `%s %s;` and `%s`: then the other color is asked for what one does not have.",
			p.pass.Name, strings.Replace(p.pass.arg(0), pool, pool+kindAssets, 1), again))
	case len(list) == 0 || !slices.Contains(list[0].Args, "http_404"):
		p.report(Note, p.pass, says, "Write `"+again+"` beside it: then the other color is asked for what one does not have.")
	}
}
