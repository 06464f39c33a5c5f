package nginxconf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"text/template"

	"cutover/templates"
	"cutover/traffic"
)

// RenderedFile is one file of a generation. Name is relative to the generation's folder.
type RenderedFile struct {
	Name string
	Data []byte
}

// Upstream is one web service with the address, IP:port, that each color answers it on.
type Upstream struct {
	// Route names the service in nginx's variables and upstreams: RouteName of it.
	Route       string
	Blue, Green string
}

// address is where the color answers.
func (u Upstream) address(c traffic.Color) string {
	if c == traffic.Green {
		return u.Green
	}
	return u.Blue
}

// RouteName is a service's name made safe for nginx's variables: small letters, digits and underscores.
func RouteName(service string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '_'
	}, service)
}

// Render gives the files of the generation that serves the split, sorted by name. It touches nothing; the same input gives
// the same bytes. logs are whole lines that server.conf restates, as InheritedLogs gives them.
func (p *Proxy) Render(s traffic.Split, gen traffic.Generation, logs []string) ([]RenderedFile, error) {
	view, err := p.view(s, gen)
	view.Restated = logs
	if err != nil {
		return nil, fmt.Errorf("render generation %d: %w", gen, err)
	}
	var files []RenderedFile
	for _, name := range []string{"http.conf", "server.conf"} {
		var out bytes.Buffer
		if err := nginxTemplates().ExecuteTemplate(&out, name+".tmpl", view); err != nil {
			return nil, fmt.Errorf("render %s of generation %d: %w", name, gen, err)
		}
		files = append(files, RenderedFile{Name: name, Data: out.Bytes()})
	}
	return files, nil
}

// nginxTemplates are parsed when first needed: `cutover back` needs them never.
var nginxTemplates = sync.OnceValue(func() *template.Template {
	funcs := template.FuncMap{"quote": nginxString, "json": nginxJSON, "lastAttempt": lastAttempt}
	return template.Must(template.New("").Funcs(funcs).ParseFS(templates.Files, "nginx/*.tmpl"))
})

// siteView is what the templates get.
type siteView struct {
	// About is the generation's own description, one line of JSON.
	About string
	// Name is the app's name made safe for variables.
	App, Name, Env string
	Probe          string
	ProbeHost      string
	Generation     traffic.Generation
	Rollout        string
	Stable         traffic.Color
	Weight         traffic.Weight
	Releases       map[traffic.Color]string
	Routes         []routeView
	Pools          []poolView
	Servers        []serverView
	Sites          []blockView
	ServerConf     string
	AccessLog      string
	OpenFolder     string // the candidate's folder in the rollout's; empty without a rollout
	DoneFolder     string
	// Restated are the user's own logs of http { }, as whole lines.
	Restated []string
}

// routeView names the upstreams that a route's variable can take.
type routeView struct{ Name, Stable, Split, Candidate string }

type poolView struct {
	Name    string
	Servers []serverView
}

type serverView struct {
	Address string
	// Weight is zero where the pool has one server only. Invariant: never written as zero, which nginx refuses.
	Weight  int
	Color   traffic.Color
	Release string
}

// blockView is one server block of a site that cutover renders whole.
type blockView struct {
	Listen, Host string
	Locations    []locationView
}

type locationView struct{ Path, Route string }

func (p *Proxy) view(s traffic.Split, gen traffic.Generation) (siteView, error) {
	if err := p.options.Validate(); err != nil {
		return siteView{}, err
	}
	if err := validateSplit(s); err != nil {
		return siteView{}, err
	}
	about, err := json.Marshal(description{App: p.options.App, Generation: gen, Split: s})
	if err != nil {
		return siteView{}, err
	}
	v := siteView{
		About: string(about), App: p.options.App, Name: RouteName(p.options.App), Env: p.options.Env,
		Probe: p.options.Config.Probe, ProbeHost: probeHost(p.options.App), Generation: gen,
		Stable: s.Stable, Weight: s.Weight, Releases: s.Releases,
		Sites: p.blocks(), ServerConf: filepath.Join(p.trees.folder(gen), "server.conf"), AccessLog: p.options.AccessLog,
	}
	if v.Releases == nil {
		v.Releases = map[traffic.Color]string{}
	}
	if s.Rollout != 0 {
		v.Rollout = s.Rollout.String()
		// The slash at the end: only a folder counts.
		v.OpenFolder = p.fence.candidateFolder(s.Rollout, s.Candidate()) + "/"
		v.DoneFolder = p.fence.doneFolder(s.Rollout) + "/"
	}
	for _, u := range p.options.Web {
		v.addRoute(u, s)
	}
	return v, nil
}

// addRoute adds the route's pools: each color's own, and where both have a share the one that splits.
func (v *siteView) addRoute(u Upstream, s traffic.Split) {
	pool := func(kind string) string { return "cutover_" + v.Name + "_" + u.Route + "_" + kind }
	server := func(c traffic.Color) serverView {
		// nginx logs an address in its shortest form, which is what the color is looked up by.
		return serverView{Address: shortest(u.address(c)), Color: c, Release: s.Releases[c]}
	}
	route := routeView{Name: u.Route, Stable: pool(string(s.Stable)), Candidate: pool(string(s.Candidate()))}
	for _, c := range []traffic.Color{traffic.Blue, traffic.Green} {
		v.Pools = append(v.Pools, poolView{Name: pool(string(c)), Servers: []serverView{server(c)}})
		v.Servers = append(v.Servers, server(c))
	}
	switch s.Weight {
	case 0:
		route.Split = route.Stable
	case traffic.Full:
		// Stable is out of the way altogether: it may be broken, and the candidate's share must not hang on it.
		route.Split = route.Candidate
	default:
		route.Split = pool("split")
		stable, candidate := server(s.Stable), server(s.Candidate())
		divisor := gcd(int(s.Weight), int(s.Weight.Rest()))
		stable.Weight, candidate.Weight = int(s.Weight.Rest())/divisor, int(s.Weight)/divisor
		v.Pools = append(v.Pools, poolView{Name: route.Split, Servers: []serverView{stable, candidate}})
	}
	v.Routes = append(v.Routes, route)
}

// blocks groups the routes by server, both in the order in which they were written.
func (p *Proxy) blocks() []blockView {
	var blocks []blockView
	for _, r := range p.options.Routes {
		at := slices.IndexFunc(blocks, func(b blockView) bool { return b.Listen == r.Listen && b.Host == r.Host })
		if at < 0 {
			at = len(blocks)
			blocks = append(blocks, blockView{Listen: r.Listen, Host: r.Host})
		}
		blocks[at].Locations = append(blocks[at].Locations, locationView{Path: r.Path, Route: RouteName(r.Service)})
	}
	return blocks
}

func validateSplit(s traffic.Split) error {
	switch {
	case s.Stable != traffic.Blue && s.Stable != traffic.Green:
		return fmt.Errorf("split: %q is no color that can be stable", s.Stable)
	case s.Weight < 0 || s.Weight > traffic.Full:
		return fmt.Errorf("split: weight %s is outside 0 to 100 percent", s.Weight)
	case s.Rollout == 0 && s.Weight != 0:
		return fmt.Errorf("split: a weight of %s needs a rollout", s.Weight)
	}
	return nil
}

// sameSplit tells whether both would render the same.
func sameSplit(a, b traffic.Split) bool {
	return a.Rollout == b.Rollout && a.Stable == b.Stable && a.Weight == b.Weight && maps.Equal(a.Releases, b.Releases)
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// shortest spells an address as nginx does; Options.Validate has made sure that it is one.
func shortest(address string) string {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return address
	}
	return parsed.String()
}

// lastAttempt is a map's pattern for lists of attempts that end with the address.
func lastAttempt(address string) string {
	return quote("~(^| )" + regexp.QuoteMeta(address) + "$")
}

// nginxString writes a value from outside as one word of nginx's configuration. What nginx would expand as a variable
// is refused, since there is no way to write a plain dollar sign.
func nginxString(value string) (string, error) {
	if err := plain(value); err != nil {
		return "", err
	}
	return quote(value), nil
}

// nginxJSON writes a value as JSON that stands inside a word in single quotes.
func nginxJSON(value any) (string, error) {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", err
	}
	encoded := strings.TrimSuffix(text.String(), "\n")
	if err := plain(encoded); err != nil {
		return "", err
	}
	return strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(encoded), nil
}

func plain(value string) error {
	if strings.ContainsFunc(value, func(r rune) bool { return r == '$' || r < ' ' || r == 0x7f }) {
		return fmt.Errorf("%q holds a dollar sign or a control character, which nginx's configuration cannot carry", value)
	}
	return nil
}
