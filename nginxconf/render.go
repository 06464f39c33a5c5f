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
	Route string
	// Service is its name in the stacks.
	Service     string
	Blue, Green string
}

// JudgedRoute is a part of the application whose requests the log names: those whose path begins with Path, as the client wrote it.
type JudgedRoute struct{ Name, Path string }

// longestFirst is the order in which nginx has to try them: it takes the first that fits.
func longestFirst(routes []JudgedRoute) []JudgedRoute {
	return slices.SortedStableFunc(slices.Values(routes), func(a, b JudgedRoute) int { return len(b.Path) - len(a.Path) })
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
// the same bytes. lines are those that server.conf has besides, as ServerLines gives them.
func (p *Proxy) Render(s traffic.Split, gen traffic.Generation, lines []string) ([]RenderedFile, error) {
	pool := poolStable
	if p.fixed() && s.Rollout != 0 {
		pool = poolSplit
	}
	return p.render(s, gen, lines, pool)
}

// render is Render with the pool that the generation has by itself, where server.conf chooses none.
func (p *Proxy) render(s traffic.Split, gen traffic.Generation, lines []string, pool string) ([]RenderedFile, error) {
	view, err := p.view(s, gen)
	view.Lines, view.Pool = lines, pool
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
	funcs := template.FuncMap{"quote": nginxString, "quoted": quote, "json": nginxJSON, "lastAttempt": lastAttempt, "pathPrefix": pathPrefix}
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
	// Attempts are those of them that a request is looked up by whose first attempt was the last.
	Attempts   []serverView
	Sites      []blockView
	ServerConf string
	AccessLog  string
	// Judged are the routes that the log names, the longest first; GRPC has it name gRPC's own status.
	Judged []JudgedRoute
	GRPC   bool
	// Fixed tells that locations pass to the routes' fixed names. Pool is what the log and the probe name as the pool, unless
	// server.conf says otherwise.
	Fixed bool
	Pool  string
	// OpenFolder is there while a rollout is open, DoneFolder while one is being finished; empty where there is none to ask for.
	OpenFolder, DoneFolder string
	// Choice, OpenChoice and DoneChoice are what a request is given by itself, in OpenFolder's time and in DoneFolder's, OpenAssets the
	// same for assets: a kind of pool, or variables that make one.
	Choice, OpenChoice, DoneChoice, OpenAssets string
	// Rescue tells that stable stands behind the candidate.
	Rescue bool
	// Client tells that clients are drawn, by Key, and not requests. Cookie is how many seconds a client's lasts; 0 where none is given.
	// Drawn is the candidate's part; empty where nothing is drawn.
	Client bool
	Key    string
	Cookie int
	Drawn  string
	// Live tells that the links decide; the fields after it are what is asked for then.
	Live                    bool
	Buckets                 int
	BucketLines             []string
	StableGreen, BucketFile string
	Assets                  bool
	Override                *overrideView
	AskedFolder             string
	// Lines are what server.conf has besides, as ServerLines gives it.
	Lines []string
}

// routeView is one route: Default is the pool that its variable leads to where nothing is chosen.
type routeView struct{ Name, Default string }

// blockView is one server block of a site that cutover renders whole.
type blockView struct {
	Listen, Host string
	Locations    []locationView
}

type locationView struct {
	Path, Pass string
	// Asset tells that what one color does not have is asked of the other.
	Asset bool
}

func (p *Proxy) view(s traffic.Split, gen traffic.Generation) (siteView, error) {
	if err := p.options.Validate(); err != nil {
		return siteView{}, err
	}
	if err := validateSplit(s); err != nil {
		return siteView{}, err
	}
	if p.live() { // one tree serves every share
		s = traffic.Split{Stable: traffic.Blue}
	}
	described := description{App: p.options.App, Generation: gen, Split: s}
	switch {
	case p.fixed():
		described.Pass = PassName
	case p.live():
		described.Buckets = p.options.Config.Buckets
	}
	about, err := json.Marshal(described)
	if err != nil {
		return siteView{}, err
	}
	v := siteView{
		About: string(about), App: p.options.App, Name: RouteName(p.options.App), Env: p.options.Env,
		Probe: p.options.Config.probeListen(), ProbeHost: probeHost(p.options.App), Generation: gen,
		Stable: s.Stable, Weight: s.Weight, Releases: s.Releases,
		Sites: p.blocks(), ServerConf: filepath.Join(p.trees.folder(gen), "server.conf"), AccessLog: p.options.AccessLog,
		Judged: longestFirst(p.options.Judged), GRPC: p.options.GRPC, Fixed: p.fixed(),
	}
	if v.Releases == nil {
		v.Releases = map[traffic.Color]string{}
	}
	if s.Rollout != 0 {
		v.Rollout = s.Rollout.String()
	}
	if !v.Fixed {
		v.choices(p, s)
	}
	for _, u := range p.options.Web {
		for _, c := range []traffic.Color{traffic.Blue, traffic.Green} {
			v.Servers = append(v.Servers, serverOf(u, c, s))
		}
		if v.Fixed {
			v.addFixed(u, s)
		} else {
			v.addRoute(u, s)
		}
	}
	v.Attempts = attempts(v.Servers)
	return v, nil
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
		blocks[at].Locations = append(blocks[at].Locations, locationView{Path: r.Path, Pass: p.target(RouteName(r.Service))})
	}
	if !p.fixed() {
		for n := range blocks {
			blocks[n].addAssets(p.options.Config.Assets)
		}
	}
	return blocks
}

// addAssets gives the assets of each route a location of their own, unless somebody has written one.
func (b *blockView) addAssets(prefixes []string) {
	for _, prefix := range prefixes {
		var nearest locationView
		for _, l := range b.Locations {
			if strings.HasPrefix(prefix, l.Path) && len(l.Path) > len(nearest.Path) {
				nearest = l
			}
		}
		if nearest.Path != "" && nearest.Path != prefix {
			b.Locations = append(b.Locations, locationView{Path: prefix, Pass: nearest.Pass + kindAssets, Asset: true})
		}
	}
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

// shortest spells an address as nginx does; Options.Validate has made sure that it is one.
func shortest(address string) string {
	parsed, err := netip.ParseAddrPort(address)
	if err != nil {
		return address
	}
	return parsed.String()
}

// attempts are the servers with an address of their own. One that is too long for nginx's map_hash_bucket_size as it comes is left to
// the patterns.
func attempts(servers []serverView) []serverView {
	const longest = 46
	var all []serverView
	for _, s := range servers {
		same := func(other serverView) bool { return other.Address == s.Address }
		if len(s.Address) <= longest && !slices.ContainsFunc(all, same) {
			all = append(all, s)
		}
	}
	return all
}

// lastAttempt is a map's pattern for lists of attempts that end with the address.
func lastAttempt(address string) string {
	return quote("~(^| )" + regexp.QuoteMeta(address) + "$")
}

// pathPrefix is a map's pattern for request lines whose path begins so.
func pathPrefix(path string) string { return quote("~^" + regexp.QuoteMeta(path)) }

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
