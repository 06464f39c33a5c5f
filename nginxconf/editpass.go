package nginxconf

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// passPlan is what becomes of one pass to the app.
type passPlan struct {
	to destination
	// why says what keeps it from being replaced, remedy what to write instead; both are empty where it is replaced.
	why, remedy string
	// changes are its own argument's and its neighbours'; lines are to be added below it.
	changes []lineChange
	lines   []string
	// notes are worth knowing though it is replaced.
	notes []string
}

// passed is what may follow proxy_pass, fastcgi_pass and their like: scheme, host, and the URI that takes the place of the location's.
var passed = regexp.MustCompile(`^(?:(\w+)://)?([^/?]+)(.*)$`)

// passedHost is the host of a pass's argument, a name or an address.
func passedHost(argument string) string {
	if parts := passed.FindStringSubmatch(argument); parts != nil {
		return parts[2]
	}
	return ""
}

// pass plans what becomes of a pass, if it leads to the app.
func (e *editor) pass(d *Directive, around []*Directive) {
	if e.leads(d.arg(0)) {
		return
	}
	plan := &passPlan{}
	if !e.destination(plan, d) {
		return
	}
	if plan.why == "" {
		e.plan(plan, d, around)
	}
	earlier := e.plans[d]
	switch {
	case earlier != nil && earlier.why != "":
		return
	case earlier != nil && plan.why == "" && !slices.Equal(earlier.lines, plan.lines):
		plan.why, plan.remedy = "it is included at places with different proxy settings", "Write `proxy_set_header Host` beside it, then try again."
	}
	e.plans[d] = plan
}

// destination says where a pass leads today, and why a hand is needed where it does not lead there alone. It tells whether that
// is the app at all.
func (e *editor) destination(p *passPlan, d *Directive) (ours bool) {
	for _, name := range named(d.arg(0)) {
		if set, found, is := e.alias(name); is {
			p.to, p.why = found, fmt.Sprintf("it goes by $%s, which is set at %s:%d", name, set.File, set.Line)
			p.remedy = "Write " + strings.TrimPrefix(found.service.Pass, "http://") + " in the place of the address there."
			return true
		}
	}
	host := passedHost(d.arg(0))
	if p.to, ours = e.lookUp(host); ours {
		return true
	}
	upstream := e.upstream(host)
	if upstream == nil {
		return false
	}
	if p.to, p.why, ours = e.through(upstream); !ours {
		e.namesake(d, upstream)
	}
	p.remedy = "If these may be left out, write `" + p.to.service.passedBy(d) + ";`."
	return ours
}

// alias finds a variable of the user's that holds an address of ours.
func (e *editor) alias(variable string) (set *Directive, to destination, is bool) {
	for d := range e.chain.all() {
		if !d.is("set") || defined(d) != variable || e.rendered(d.File) {
			continue
		}
		host := passedHost(d.arg(1))
		if to, is = e.lookUp(host); is {
			return d, to, true
		}
		if upstream := e.upstream(host); upstream != nil {
			if to, _, is = e.through(upstream); is {
				return d, to, true
			}
		}
	}
	return nil, destination{}, false
}

// namesake tells of an upstream that is called like a web service and leads elsewhere: a name alone proves nothing.
func (e *editor) namesake(d, upstream *Directive) {
	for _, service := range e.web {
		if RouteName(upstream.arg(0)) == service.Route {
			e.report(Warn, d, fmt.Sprintf("this passes to upstream %s (%s), which has the name of a web service and is at none of its addresses (%s, %s)",
				upstream.arg(0), strings.Join(members(upstream), ", "), service.Blue, service.Green),
				"If it is the app, set blue or green of "+service.Route+" to that address.")
		}
	}
}

// passedBy is the pass to the service that does what d does: by gRPC, or by HTTP.
func (t Target) passedBy(d *Directive) string {
	if d.is("grpc_pass") {
		return "grpc_pass grpc://" + strings.TrimPrefix(t.Pass, "http://")
	}
	return "proxy_pass " + t.Pass
}

// spoken tells whether a service of ours can be passed to so: by HTTP or gRPC, and without TLS.
func spoken(d *Directive, scheme string) bool {
	if d.is("grpc_pass") {
		return scheme == "" || scheme == "grpc"
	}
	return d.is("proxy_pass") && scheme == "http"
}

// plan makes the changes of one pass, or says why a hand is needed.
func (e *editor) plan(p *passPlan, d *Directive, around []*Directive) {
	parts := passed.FindStringSubmatch(d.arg(0))
	scheme, host, uri := strings.ToLower(parts[1]), parts[2], parts[3]
	block := around[len(around)-1]
	_, pass, _ := strings.Cut(p.to.service.passedBy(d), " ")
	byName := !strings.Contains(pass, "$") // which can be followed by a path
	switch {
	case !spoken(d, scheme):
		protocol := "HTTP"
		if d.is("grpc_pass") {
			protocol = "gRPC without TLS"
		}
		p.why = "cutover's pools are for proxy_pass with plain HTTP, and grpc_pass without TLS"
		p.remedy = "Let the service speak " + protocol + " on its loopback port, then write `" + p.to.service.passedBy(d) + ";`."
		return
	case uri != "" && !byName && !keeps(block, uri):
		p.why = fmt.Sprintf("the path %s at its end takes the place of the location's, and a variable cannot do that", uri)
		p.remedy = "Write `proxy_pass " + pass + ";`, and the path by a rewrite."
		if prefix, is := prefixOf(block); is {
			p.remedy = fmt.Sprintf("Write `rewrite ^%s(.*)$ %s$1 break;` and below it `proxy_pass %s;`.", regexp.QuoteMeta(prefix), uri, pass)
		}
		return
	case uri != "" && !byName:
		p.notes = append(p.notes, "requests now go on as they came: the path at the end of proxy_pass had nginx write // as / and decode %2F")
	}
	if p.to.color != e.stable && e.stable != "" {
		p.notes = append(p.notes, fmt.Sprintf("this passes to %s now, and %s is stable: the edit moves its requests", p.to.color, e.stable))
	}
	if byName {
		pass += uri
	}
	if caches, _ := inEffect(around, "proxy_cache"); d.is("proxy_pass") && len(caches) > 0 && caches[0].arg(0) != "off" {
		if keys, _ := inEffect(around, "proxy_cache_key"); len(keys) == 0 {
			p.notes = append(p.notes, "the cache's default key begins with the pool's name: what is cached now is fetched anew, and for each color apart")
		}
	}
	p.changes = []lineChange{{d.argument, pass}}
	x := proxied{block: block, around: around, grpc: d.is("grpc_pass"), url: parts[1] + "://" + host, uri: uri, name: strings.TrimSuffix(host, ":80")}
	if x.grpc {
		x.name = host // with its port, whichever that is
	}
	e.surroundingsOf(p, x)
}

// prefixOf is the path of a plain location, one without = or a regular expression.
func prefixOf(block *Directive) (string, bool) {
	switch {
	case !block.is("location"):
		return "", false
	case len(block.Args) == 1 && strings.HasPrefix(block.arg(0), "/"):
		return block.arg(0), true
	case len(block.Args) == 2 && block.arg(0) == "^~":
		return block.arg(1), true
	}
	return "", false
}

// keeps tells whether the path at the end of a pass changes nothing in the location: it is the location's own.
func keeps(block *Directive, uri string) bool {
	if prefix, is := prefixOf(block); is {
		return prefix == uri
	}
	return block.is("location") && len(block.Args) == 2 && block.arg(0) == "=" && block.arg(1) == uri
}

// proxied is what a pass by address gave its requests without being told.
type proxied struct {
	block  *Directive   // that the pass stands in
	around []*Directive // with it, outermost first
	grpc   bool
	// url and uri are the pass's argument; name is the Host header that nginx made of it.
	url, uri, name string
}

// surroundingsOf keeps what hangs on the address: the Host header that nginx sends where nobody sets one, and the default
// proxy_redirect. nginx would take the pool's name for both, which no application knows.
func (e *editor) surroundingsOf(p *passPlan, x proxied) {
	redirect, location := x.url+"/", "/"
	if prefix, is := prefixOf(x.block); is && x.uri != "" {
		redirect, location = x.url+x.uri, prefix
	}
	restated := fmt.Sprintf("%s %s", redirect, location)
	for d := range flat(x.block.Block) {
		if d.is("proxy_redirect") && d.arg(0) == "default" {
			p.changes = append(p.changes, lineChange{d.argument, restated}) // nginx allows no default beside a variable
		}
	}
	setHeader := "proxy_set_header"
	if x.grpc {
		setHeader = "grpc_set_header"
	}
	headers, at := inEffect(x.around, setHeader)
	if i := slices.IndexFunc(headers, func(d *Directive) bool { return strings.EqualFold(d.arg(0), "Host") }); i >= 0 {
		if slices.Contains(named(headers[i].arg(1)), "proxy_host") {
			p.why = fmt.Sprintf("%s:%d sends $proxy_host as Host, which would become the name of a pool", headers[i].File, headers[i].Line)
			p.remedy = "Write `proxy_set_header Host " + x.name + ";` there, or `$host`, then try again."
		}
		return
	}
	host := setHeader + " Host " + x.name + ";"
	inherited := len(headers) > 0 && at != x.block
	if inherited || !x.block.is("location") || e.nested(x.block) {
		p.why = "nobody sets the Host header, so that nginx sends " + x.name + ", and would send the name of a pool"
		p.remedy = "Write `" + host + "` (or `$host`) in the location, then try again; what it and the locations within it inherited must stand beside it."
		return
	}
	p.lines = append(p.lines, host)
	if redirects, _ := inEffect(x.around, "proxy_redirect"); len(redirects) == 0 && !x.grpc {
		p.lines = append(p.lines, "proxy_redirect "+restated+";")
	}
}

// unmix leaves to a hand what passes by gRPC to a service that is asked by HTTP too.
func (e *editor) unmix() {
	for d, p := range e.plans {
		if !d.is("grpc_pass") || p.why != "" {
			continue
		}
		if other := e.plannedByHTTP(p.to.service); other != nil {
			p.why, p.remedy = mixing(other)
		} else if other := e.byHTTP(p.to.service.Pass); other != nil {
			p.why, p.remedy = mixing(other)
		}
	}
}

// plannedByHTTP finds a proxy_pass that leads to the service today.
func (e *editor) plannedByHTTP(service Target) *Directive {
	for d := range e.chain.all() {
		if p := e.plans[d]; p != nil && d.is("proxy_pass") && p.to.service == service {
			return d
		}
	}
	return nil
}

// nested tells whether a block holds another one that passes requests on: it would inherit what is added.
func (e *editor) nested(block *Directive) bool {
	for d := range flat(block.Block) {
		if e.within(d, isPass) {
			return true
		}
	}
	return false
}

// inEffect lists the directives of a name that count in the innermost block, and the block that has them: nginx inherits them only
// where a block has none of its own.
func inEffect(around []*Directive, name string) (list []*Directive, at *Directive) {
	for _, block := range slices.Backward(around) {
		for d := range flat(block.Block) {
			if d.is(name) {
				list, at = append(list, d), block
			}
		}
		if at != nil {
			return list, at
		}
	}
	return nil, nil
}

// carryOut turns the plans into changes, or into findings.
func (e *editor) carryOut() {
	for d := range e.chain.all() {
		p := e.plans[d]
		switch {
		case p == nil:
			continue
		case p.why != "":
			e.report(Refuse, d, fmt.Sprintf("`%s %s` is left as it is: %s", d.Name, d.arg(0), p.why), p.remedy)
			continue
		}
		for _, note := range p.notes {
			e.report(Warn, d, note, "")
		}
		f := e.files[d.File]
		for _, c := range p.changes {
			f.change(c)
		}
		if len(p.lines) > 0 {
			f.below(d, p.lines)
		}
	}
}
