package nginxconf

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"
)

// Config is the section nginx of cutover.yaml.
type Config struct {
	// Dir holds one folder per app with everything that nginx reads of ours. It must lie where the workers can reach it.
	Dir string `yaml:"dir"`
	// Binary is nginx's program, a name to be found in PATH or a path.
	Binary string `yaml:"binary"`
	// Container is the running container that nginx is in, by its name; empty means that nginx runs on this host itself. Binary, Conf and
	// Prefix are then what they are in there, and Dir is mounted at the same path.
	Container string `yaml:"container"`
	// Conf is nginx's main configuration file; empty means the one that `nginx -V` names.
	Conf string `yaml:"conf"`
	// Prefix is nginx's -p; empty means the one that it was built with.
	Prefix string `yaml:"prefix"`
	// Probe is the loopback address where nginx tells which generation answers and what it allows.
	Probe string `yaml:"probe"`
	// Switch is how a share changes: by another tree that nginx loads, or live, by a rename that nginx sees at the next request.
	Switch string `yaml:"switch"`
	// Buckets is how finely a live share can be set: 100 or 1000 parts.
	Buckets int `yaml:"buckets"`
	// Split is what is divided: requests, or clients, each of which keeps its color while the share only grows.
	Split string `yaml:"split"`
	// Sticky is what a client is known by: cookie, which cutover gives, address, or header:NAME.
	Sticky string `yaml:"sticky"`
	// Rescue lets stable answer what the candidate could not be asked, where each color has a pool of its own: it is hidden from the user,
	// and counts against the candidate all the same.
	Rescue bool `yaml:"rescue"`
	// Assets are the paths under which a release may lack what a page of the other one asks for.
	Assets []string `yaml:"assets"`
	// Override is how testers choose a color.
	Override Override `yaml:"override"`
	// Pass is what the user's locations pass to: the route's variable, or its fixed name.
	Pass string `yaml:"pass"`
	// Drain is how long requests that the old release still answers (WebSockets, downloads) keep its stack up after keep_warm. Then it
	// is stopped, and they end.
	Drain time.Duration `yaml:"drain"`
}

// The values of nginx.switch.
const (
	SwitchReload = "reload"
	SwitchLive   = "live"
)

// The values of nginx.pass. With a fixed name nginx cannot choose the pool for each request: a share holds until another tree is
// loaded, and a cutback needs a reload (see descent.go).
const (
	PassVariable = "variable"
	PassName     = "name"
)

// Route is one location of a site that cutover renders whole, for who does not want to own the server block.
type Route struct {
	// Listen and Host select the server: an address as nginx's listen takes it ("80", "127.0.0.1:8080"), and a
	// server_name ("_" for any).
	Listen string `yaml:"listen"`
	Host   string `yaml:"host"`
	// Path is the location's prefix, Service the web service that answers it.
	Path    string `yaml:"path"`
	Service string `yaml:"service"`
}

// DefaultConfig is what cutover does when the section is silent.
func DefaultConfig() Config {
	return Config{
		Dir:      "/etc/nginx/cutover",
		Binary:   "nginx",
		Probe:    "127.0.0.1:18999",
		Switch:   SwitchReload,
		Buckets:  100,
		Split:    SplitRequest,
		Sticky:   StickyCookie,
		Rescue:   true,
		Assets:   []string{"/static/", "/assets/"},
		Override: Override{Header: "X-Release", Cookie: "release"},
		Pass:     PassVariable,
		Drain:    time.Hour,
	}
}

// Validate reports the first value that cannot be meant, by its path under nginx.
func (c Config) Validate() error {
	for _, p := range []struct{ key, path string }{{"dir", c.Dir}, {"conf", c.Conf}, {"prefix", c.Prefix}} {
		if p.path != "" && !filepath.IsAbs(p.path) {
			return fmt.Errorf("nginx.%s: %q must be an absolute path", p.key, p.path)
		}
		if strings.ContainsAny(p.path, " \t\n\"'{};$\\") {
			return fmt.Errorf("nginx.%s: %q holds a character that nginx would read as syntax", p.key, p.path)
		}
	}
	if c.Dir == "" || c.Binary == "" {
		return fmt.Errorf("nginx.dir and nginx.binary: must not be empty")
	}
	host, _, err := net.SplitHostPort(c.Probe)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return fmt.Errorf("nginx.probe: %q must be a loopback address with a port, such as 127.0.0.1:18999", c.Probe)
	}
	if err := c.validateContainer(); err != nil {
		return err
	}
	if c.Switch != SwitchReload && c.Switch != SwitchLive {
		return fmt.Errorf("nginx.switch: %q is neither reload nor live", c.Switch)
	}
	if c.Buckets != 100 && c.Buckets != 1000 {
		return fmt.Errorf("nginx.buckets: %d: 100 or 1000 can be told apart", c.Buckets)
	}
	if err := c.validateClients(); err != nil {
		return err
	}
	if c.Pass != PassVariable && c.Pass != PassName {
		return fmt.Errorf("nginx.pass: %q is neither variable nor name", c.Pass)
	}
	if c.Drain <= 0 {
		return fmt.Errorf("nginx.drain: must be above 0s; for as long as it takes, write 8760h")
	}
	if c.Pass == PassName && c.Switch == SwitchLive {
		return fmt.Errorf("nginx.switch: live chooses for each request, which a fixed name cannot (nginx.pass: name)")
	}
	return nil
}
