package nginxconf

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"cutover/traffic"
)

// Edit is what the user's own files need once, so that the app's requests go through cutover.
type Edit struct {
	// Files are in the order in which they are to be replaced: nginx accepts what lies on the disk after each of them.
	Files []FileEdit
	// Left is what the edit leaves alone. Of severity Refuse: to be written by hand, and not split until then. Of severity Warn:
	// worth knowing before it is applied.
	Left []Finding
}

// FileEdit is one file before and after. All bytes but the lines that are meant stay as they are.
type FileEdit struct {
	// Path is the file itself: symbolic links are followed. Opened is how nginx names it.
	Path, Opened  string
	Before, After []byte
}

// Target is a web service with what a proxy_pass to it shall be: http:// and the route's variable or fixed name.
type Target struct {
	Upstream
	Pass string
}

// Edit finds the servers that pass requests to one of the web services, and gives what makes them pass to cutover instead. It
// changes nothing; a chain that has all of it gives an edit without files. Where stable is empty nobody has said which color that is.
func (c *Chain) Edit(s Site, web []Target, stable traffic.Color) Edit {
	e := editor{lint: newLint(c, s), web: web, stable: stable, plans: map[*Directive]*passPlan{}, files: map[string]*fileChanges{}}
	for _, f := range c.Files {
		e.add(f)
	}
	for d, around := range c.all() {
		if isPass(d) && !e.rendered(d.File) {
			e.pass(d, around)
		}
	}
	e.unmix()
	e.carryOut()
	mine := s.OwnsServers
	for _, server := range e.blocks.servers {
		if e.within(server, e.split) {
			mine = true
			e.join(server)
		}
	}
	if mine {
		e.joinHTTP()
	} else {
		e.stranger()
	}
	e.unused()
	return Edit{Files: e.edits(), Left: e.found}
}

// editor is one reading of a chain for an edit.
type editor struct {
	*lint
	web    []Target
	stable traffic.Color
	// plans are what becomes of each pass to the app. One that stands in a file of several includers has one for all of them.
	plans map[*Directive]*passPlan
	files map[string]*fileChanges // by the paths by which nginx opens them; several may lead to one
	order []*fileChanges
}

// add makes a file one that can be changed.
func (e *editor) add(f *File) {
	real, err := filepath.EvalSymlinks(f.Path)
	if err != nil {
		real = f.Path // removed since it was read; applying the edit will say so
	}
	i := slices.IndexFunc(e.order, func(known *fileChanges) bool { return known.path == real })
	if i < 0 {
		i, e.order = len(e.order), append(e.order, &fileChanges{file: f, path: real})
	}
	e.files[f.Path] = e.order[i]
}

// destination is where a pass leads today.
type destination struct {
	service Target
	color   traffic.Color
	// upstream is the user's block that it goes through; nil where the address stands in the pass itself.
	upstream *Directive
}

// split tells whether a directive passes to us, or will.
func (e *editor) split(d *Directive) bool {
	return isPass(d) && !e.rendered(d.File) && (e.leads(d.arg(0)) || e.plans[d] != nil && e.plans[d].why == "")
}

// within tells whether anything in the block, at whatever depth, is so.
func (e *editor) within(block *Directive, is func(*Directive) bool) bool {
	for d := range flat(block.Block) {
		if is(d) || e.within(d, is) {
			return true
		}
	}
	return false
}

// lookUp finds the web service that answers at an address as nginx's configuration spells it.
func (e *editor) lookUp(spelled string) (destination, bool) {
	address, err := netip.ParseAddrPort(canonical(spelled))
	if err != nil {
		return destination{}, false
	}
	for _, service := range e.web {
		for _, color := range []traffic.Color{traffic.Blue, traffic.Green} {
			if have, err := netip.ParseAddrPort(service.address(color)); err == nil && have == address {
				return destination{service: service, color: color}, true
			}
		}
	}
	return destination{}, false
}

// canonical gives a host its port and localhost its number.
func canonical(host string) string {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = strings.Trim(host, "[]"), "80"
	}
	if strings.EqualFold(name, "localhost") {
		name = "127.0.0.1"
	}
	return net.JoinHostPort(name, port)
}

// upstream finds the user's block of a name.
func (e *editor) upstream(name string) *Directive {
	for _, block := range e.blocks.http {
		for d := range flat(block.Block) {
			if d.is("upstream") && strings.EqualFold(d.arg(0), name) && !e.rendered(d.File) {
				return d
			}
		}
	}
	return nil
}

// members are the addresses in an upstream that get requests.
func members(upstream *Directive) []string {
	var addresses []string
	for d := range flat(upstream.Block) {
		if d.is("server") && !slices.Contains(d.Args, "down") {
			addresses = append(addresses, d.arg(0))
		}
	}
	return addresses
}

// through says where an upstream's requests go: to a service of ours, and not (why) where only some of its members are that.
func (e *editor) through(upstream *Directive) (to destination, why string, ours bool) {
	var others []string
	for _, address := range members(upstream) {
		found, is := e.lookUp(address)
		switch {
		case !is, ours && found.service != to.service:
			others = append(others, address)
		case !ours || found.color != e.stable:
			to, ours = found, true
		}
	}
	to.upstream = upstream
	if ours && len(others) > 0 {
		why = fmt.Sprintf("upstream %s (%s:%d) has servers that are not the app's: %s", upstream.arg(0), upstream.File, upstream.Line, strings.Join(others, ", "))
	}
	return to, why, ours
}

// stranger says that no server of the configuration is the app's.
func (e *editor) stranger() {
	var addresses []string
	for _, service := range e.web {
		addresses = append(addresses, service.Blue, service.Green)
	}
	what := "no server passes requests to " + strings.Join(addresses, ", ")
	if len(e.found) > 0 {
		what = "no server's requests can be led to cutover without a hand"
	}
	e.report(Refuse, e.http(), what, "Set blue or green of the web service to the address that nginx passes to now, or write the lines where they belong.")
}

// unused tells which upstreams of the user's nobody passes to any more. They stay: others may want their names.
func (e *editor) unused() {
	replaced, kept := map[*Directive]bool{}, map[*Directive]bool{}
	for d := range e.chain.all() {
		plan := e.plans[d]
		switch {
		case plan != nil && plan.why == "":
			replaced[plan.to.upstream] = true
		case plan != nil:
			kept[plan.to.upstream] = true
		case isPass(d):
			kept[e.upstream(passedHost(d.arg(0)))] = true
		}
	}
	for d := range e.chain.all() {
		if replaced[d] && !kept[d] {
			e.report(Warn, d, fmt.Sprintf("upstream %s stays, and nothing passes to it any more: its own settings are without effect", d.arg(0)), "Remove it when you like.")
		}
	}
}

// edits gives the files that change.
func (e *editor) edits() []FileEdit {
	var all []FileEdit
	for _, f := range e.order {
		after := f.after()
		if bytes.Equal(after, f.file.source) {
			continue
		}
		one := FileEdit{Path: f.path, Opened: f.file.Path, Before: f.file.source, After: after}
		if f.first {
			all = slices.Insert(all, 0, one)
		} else {
			all = append(all, one)
		}
	}
	return all
}

// With is the chain as it will be with the edit.
func (c *Chain) With(e Edit) (*Chain, error) {
	edited := map[string][]byte{}
	for _, f := range e.Files {
		edited[f.Path] = f.After
	}
	return readChain(c.view, c.Main.Path, c.prefix, edited)
}
