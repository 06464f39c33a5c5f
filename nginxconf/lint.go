package nginxconf

import (
	"fmt"
	"iter"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Site is what the user's configuration must hold for one app.
type Site struct {
	App string
	// Root is the app's folder, …/<app>; nginx is led to what lies in its current.
	Root string
	// Config is the section nginx of cutover.yaml.
	Config Config
	// Variables are the names that a proxy_pass may give, one for each route, without the dollar sign: those of variables, or, with
	// nginx.pass: name, of upstreams.
	Variables []string
	// Web are the services behind them.
	Web []Upstream
	// AccessLog is the file that the verdict reads.
	AccessLog string
	// OwnsServers tells that cutover renders the servers itself: then the user's only line is that of http.conf.
	OwnsServers bool
}

// fixed tells that locations name upstreams instead of variables.
func (s Site) fixed() bool { return s.Config.Pass == PassName }

// Severity tells what a finding means for a rollout.
type Severity string

// The severities.
const (
	Refuse Severity = "refuse" // no rollout: it could not be split, watched or taken back
	Warn   Severity = "warn"   // it works, but not in every case
	Note   Severity = "note"   // it works, and could do better
)

// Finding is one thing in the user's configuration that is not as cutover needs it.
type Finding struct {
	Severity Severity `json:"severity"`
	File     string   `json:"file"`
	Line     int      `json:"line"`
	What     string   `json:"what"`
	Remedy   string   `json:"remedy"`
}

// Findings reads the chain for what would keep a rollout from being split, watched or taken back. Each is reported once.
func (c *Chain) Findings(s Site) []Finding {
	l := newLint(c, s)
	l.placement()
	l.names()
	l.passes()
	l.copies()
	for _, server := range l.blocks.servers {
		l.listens(server)
		l.server(server)
	}
	l.renderedSites()
	l.silenced()
	l.surroundings()
	return l.found
}

// lint is one reading of a chain.
type lint struct {
	chain   *Chain
	site    Site
	current folder // what the user's includes lead to
	blocks  blocks
	// apps is the folder of all apps, realApps the same with symbolic links followed.
	apps, realApps string
	// variables are those that lead to a pool of ours: the routes', and the user's own that were set from one.
	variables map[string]bool
	// foreign are names that start like ours and belong to another app, such as shop_api's beside shop's.
	foreign map[string]bool
	found   []Finding
}

func newLint(c *Chain, s Site) *lint {
	root := filepath.Clean(s.Root)
	apps := filepath.Dir(root)
	real, _ := c.view.real(apps)
	l := &lint{chain: c, site: s, current: newFolder(c.view, root+"/current"), apps: apps, realApps: real,
		variables: map[string]bool{}, foreign: map[string]bool{}}
	l.blocks = outline(c, l.rendered)
	for _, name := range s.Variables {
		l.variables[name] = true
		if !s.fixed() && len(s.Config.Assets) > 0 {
			l.variables[name+kindAssets] = true
		}
	}
	for d := range c.all() {
		if app := l.made(d.File); app != "" && app != filepath.Base(root) {
			l.foreign[defined(d)] = true
		}
	}
	for d := range c.all() {
		if d.is("set") && !l.rendered(d.File) && l.leads(d.arg(1)) {
			l.variables[defined(d)] = true
		}
	}
	return l
}

// all lists the directives of the chain in nginx's order, each with the blocks around it, outermost first.
func (c *Chain) all() iter.Seq2[*Directive, []*Directive] {
	return func(yield func(*Directive, []*Directive) bool) { everything(c.Main.Directives, nil, yield) }
}

// below lists what stands in a block, at whatever depth.
func below(block *Directive) iter.Seq2[*Directive, []*Directive] {
	return func(yield func(*Directive, []*Directive) bool) { everything(block.Block, nil, yield) }
}

func everything(list, around []*Directive, yield func(*Directive, []*Directive) bool) bool {
	for d := range flat(list) {
		if !yield(d, around) || !everything(d.Block, append(slices.Clip(around), d), yield) {
			return false
		}
	}
	return true
}

// made tells for which app cutover rendered a file, "" where it did not: what lies in …/<app>/current or …/<app>/gen/N.
func (l *lint) made(path string) (app string) {
	path = filepath.Clean(path)
	for above := filepath.Dir(path); above != "/" && above != "."; above = filepath.Dir(above) {
		root := filepath.Dir(above)
		switch {
		case filepath.Base(above) == "current":
		case filepath.Base(root) == "gen":
			root = filepath.Dir(root)
		default:
			continue
		}
		if filepath.Dir(root) == l.apps {
			return filepath.Base(root)
		}
		if real, err := l.chain.view.real(root); err == nil && filepath.Dir(real) == l.realApps {
			return filepath.Base(real)
		}
	}
	return ""
}

// rendered tells whether cutover made the file, for whichever app.
func (l *lint) rendered(path string) bool { return l.made(path) != "" }

// ours tells which file of the app an include directive of the user's brings, "" where none.
func (l *lint) ours(d *Directive) string {
	if l.rendered(d.File) {
		return ""
	}
	for _, f := range d.Included {
		if name, ours := l.current.name(f.Path); ours {
			return name
		}
	}
	return ""
}

func (l *lint) report(severity Severity, d *Directive, what, remedy string) {
	f := Finding{severity, d.File, d.Line, what, remedy}
	if !slices.Contains(l.found, f) {
		l.found = append(l.found, f)
	}
}

// http is where a finding points that has no line of its own: the http block, or the main file.
func (l *lint) http() *Directive {
	if len(l.blocks.http) > 0 {
		return l.blocks.http[0]
	}
	return l.top()
}

func (l *lint) top() *Directive { return &Directive{File: l.chain.Main.Path, Line: 1} }

// placement checks where the two includes stand.
func (l *lint) placement() {
	count := map[string]int{}
	for d, around := range l.chain.all() {
		name := l.ours(d)
		if name == "" {
			continue
		}
		count[name]++
		line := fmt.Sprintf("include %s;", filepath.Join(l.current.path, name))
		if isPattern(d.arg(0)) {
			l.report(Refuse, d, "a wildcard includes "+name+" of "+l.current.path, "Name the file: `"+line+"`. A copied folder would be included too, and an empty wildcard is no error to nginx.")
		}
		var outer []string
		for _, block := range around {
			outer = append(outer, block.Name)
		}
		switch within := strings.Join(outer, " "); {
		case name == "http.conf" && within != "http":
			l.report(Refuse, d, "http.conf is not included directly in http { }", "Move `"+line+"` there.")
		case name == "http.conf" && count[name] > 1:
			l.report(Refuse, d, "http.conf is included more than once", "Remove this one: nginx refuses its names a second time.")
		case name == "server.conf" && within != "http server":
			l.report(Refuse, d, "server.conf is not included directly in server { }", "Move `"+line+"` to the first line of the server.")
		}
	}
	if count["http.conf"] == 0 {
		l.report(Refuse, l.http(), "http.conf is not included", l.blocks.advice(l.current.path, "http.conf"))
	}
	if count["server.conf"] == 0 && !l.site.OwnsServers {
		l.report(Refuse, l.http(), "server.conf is included in no server", l.blocks.advice(l.current.path, "server.conf"))
	}
}

// prefix starts every name that the app's rendered files define.
func (l *lint) prefix() string { return "cutover_" + RouteName(l.site.App) + "_" }

// names finds what the user defines under a name that is kept for us.
func (l *lint) names() {
	for d := range l.chain.all() {
		name := defined(d)
		if !l.rendered(d.File) && strings.HasPrefix(name+"_", l.prefix()) {
			l.report(Refuse, d, fmt.Sprintf("%s defines %s, a name that cutover keeps for itself", d.Name, name), "Give it another name.")
		}
	}
}

// defined is the name that a directive gives to something, without a dollar sign; "" where it gives none.
func defined(d *Directive) string {
	switch d.Name {
	case "upstream", "log_format":
		return d.arg(0)
	case "set", "auth_request_set", "perl_set", "js_set":
		return strings.TrimPrefix(d.arg(0), "$")
	case "map", "geo", "split_clients":
		return strings.TrimPrefix(d.arg(len(d.Args)-1), "$")
	}
	return ""
}

var variablePattern = regexp.MustCompile(`\$\{?(\w+)`)

// named lists the variables in a value.
func named(value string) []string {
	var names []string
	for _, match := range variablePattern.FindAllStringSubmatch(value, -1) {
		names = append(names, match[1])
	}
	return names
}

// leads tells whether a value names one of our pools.
func (l *lint) leads(value string) bool {
	return l.site.fixed() && slices.Contains(l.site.Variables, group(value)) ||
		slices.ContainsFunc(named(value), func(name string) bool { return l.variables[name] })
}

// group is the upstream group that the value of a pass names, if it names one: what stands between scheme and path.
func group(value string) string {
	if _, rest, found := strings.Cut(value, "://"); found {
		value = rest
	}
	name, _, _ := strings.Cut(value, "/")
	return name
}

// target is a route's name as a proxy_pass gives it.
func (l *lint) target(name string) string {
	if l.site.fixed() {
		return name
	}
	return "$" + name
}

// isPass tells whether a directive hands requests to a pool.
func isPass(d *Directive) bool {
	return d.is("proxy_pass", "grpc_pass", "uwsgi_pass", "fastcgi_pass", "scgi_pass")
}

// passes checks that what is passed to us goes to routes that are there, and that anything is.
func (l *lint) passes() {
	split := l.site.OwnsServers
	var targets []string
	for _, name := range l.site.Variables {
		targets = append(targets, l.target(name))
	}
	routes, example := strings.Join(targets, ", "), l.target(l.prefix()+"ROUTE")
	if len(targets) > 0 {
		example = targets[0]
	}
	for d := range l.chain.all() {
		if l.rendered(d.File) || !isPass(d) {
			continue
		}
		split = split || l.leads(d.arg(0))
		l.otherWay(d)
		for _, name := range append(named(d.arg(0)), group(d.arg(0))) {
			if strings.HasPrefix(name, l.prefix()) && !l.variables[name] && !l.foreign[name] {
				written := name
				if !strings.HasPrefix(group(d.arg(0)), name) {
					written = "$" + name
				}
				l.report(Refuse, d, fmt.Sprintf("%s names %s, which is no route of %s", d.Name, written, l.site.App), "The routes are "+routes+".")
			}
		}
	}
	if !split {
		l.report(Refuse, l.http(), "nothing is split: no proxy_pass names "+routes,
			"Write `proxy_pass http://"+example+";` where requests go to the app now.")
	}
}

// otherWay finds a pass that names a route as nginx.pass does not say.
func (l *lint) otherWay(d *Directive) {
	given := group(d.arg(0))
	name, variable := strings.Trim(strings.TrimPrefix(given, "$"), "{}"), strings.HasPrefix(given, "$")
	if variable != l.site.fixed() || !slices.Contains(l.site.Variables, name) {
		return
	}
	is, other := PassVariable, PassName
	if variable {
		is, other = other, is
	}
	l.report(Refuse, d, fmt.Sprintf("%s names %s, while nginx.pass is %s", d.Name, given, is), fmt.Sprintf("Write `%s %s;`, or set nginx.pass to %s and type `cutover init --stable COLOR`.",
		d.Name, strings.Replace(d.arg(0), given, l.target(name), 1), other))
}

// listens warns of a server of the user's on the probe's address.
func (l *lint) listens(server *Directive) {
	host, port, err := net.SplitHostPort(l.site.Config.Probe)
	if err != nil {
		return
	}
	same := []string{l.site.Config.Probe, port, "*:" + port, "0.0.0.0:" + port}
	if host == "127.0.0.1" {
		same = append(same, "localhost:"+port)
	}
	for d := range flat(server.Block) {
		if d.is("listen") && slices.Contains(same, d.arg(0)) {
			l.report(Warn, d, "this server listens on the probe's address "+l.site.Config.Probe, "Set nginx.probe to a port that nothing else uses, or move this server.")
		}
	}
}

// surroundings warns of settings around the servers that weaken what cutover does.
func (l *lint) surroundings() {
	endless := true
	for d, around := range l.chain.all() {
		if l.rendered(d.File) {
			continue
		}
		switch {
		case d.is("worker_shutdown_timeout") && len(around) == 0:
			endless = false
		case d.is("disable_symlinks") && d.arg(0) != "off" && l.concerns(around):
			l.symlinks(d)
		}
	}
	if endless {
		l.report(Warn, l.top(), "worker_shutdown_timeout is not set: a long connection keeps an old worker, and the old stack with it, for as long as it lasts",
			"Write `worker_shutdown_timeout 60s;` outside of all blocks.")
	}
}

// symlinks finds what may hide our folders: they are asked for before nginx knows the location, so one in a location hides none.
func (l *lint) symlinks(d *Directive) {
	const remedy = "Remove it, or set it in the locations that serve files."
	switch {
	case l.site.fixed():
	case l.site.Config.Switch == SwitchLive && d.arg(0) == "on":
		l.report(Refuse, d, "disable_symlinks hides the links by which nginx.switch: live gives the candidate its share", remedy)
	default:
		l.report(Warn, d, "disable_symlinks may hide a rollout's folder from nginx's workers", remedy)
	}
}

// concerns tells whether a directive that stands directly in these blocks is in effect in our server.conf.
func (l *lint) concerns(around []*Directive) bool {
	switch len(around) {
	case 1:
		return around[0].is("http")
	case 2:
		return around[1].is("server") && len(l.joined(around[1])) > 0
	}
	return false
}
