package nginxconf

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
)

// Config is the section nginx of cutover.yaml.
type Config struct {
	// Dir holds one folder per app with everything that nginx reads of ours. It must lie where the workers can reach it.
	Dir string `yaml:"dir"`
	// Binary is nginx's program, a name to be found in PATH or a path.
	Binary string `yaml:"binary"`
	// Conf is nginx's main configuration file; empty means the one that `nginx -V` names.
	Conf string `yaml:"conf"`
	// Prefix is nginx's -p; empty means the one that it was built with.
	Prefix string `yaml:"prefix"`
	// Probe is the loopback address where nginx tells which generation answers and what it allows.
	Probe string `yaml:"probe"`
	// Switch is how a share changes: reload.
	Switch string `yaml:"switch"`
	// Split is what is divided: request.
	Split string `yaml:"split"`
}

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
		Dir:    "/etc/nginx/cutover",
		Binary: "nginx",
		Probe:  "127.0.0.1:18999",
		Switch: "reload",
		Split:  "request",
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
	if c.Switch != "reload" {
		return fmt.Errorf("nginx.switch: %q: this version knows only reload", c.Switch)
	}
	if c.Split != "request" {
		return fmt.Errorf("nginx.split: %q: this version knows only request", c.Split)
	}
	return nil
}
