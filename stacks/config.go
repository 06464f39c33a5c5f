package stacks

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"cutover/traffic"
)

// The two drivers: Compose stacks that cutover brings up, and stacks that somebody else runs.
const (
	DriverCompose  = "compose"
	DriverExternal = "external"
)

// Config is the section stacks of cutover.yaml. Relative paths hang on the folder of cutover.yaml.
type Config struct {
	Driver string `yaml:"driver"`
	// Files are layered in order, as by repeated -f.
	Files []string `yaml:"files"`
	// EnvFile is given as --env-file. It must not be tracked by git and is never printed.
	EnvFile string `yaml:"env_file"`
	// TagVariable is the variable by which the files take the release's tag.
	TagVariable string `yaml:"tag_variable"`
	Blue        Slot   `yaml:"blue"`
	Green       Slot   `yaml:"green"`
	// Web services take traffic; all of them switch together.
	Web   []Web  `yaml:"web"`
	Ready Ready  `yaml:"ready"`
	Smoke []Test `yaml:"smoke"`
	// Workers and Singletons take no traffic: they start with the accepted release. Of a singleton (beat, cron) never two run:
	// the old one is stopped first.
	Workers    []string `yaml:"workers"`
	Singletons []string `yaml:"singletons"`
	// KeepWarm is how long the old stack stays up after a promotion, KeepFailed a reverted one.
	KeepWarm   time.Duration `yaml:"keep_warm"`
	KeepFailed time.Duration `yaml:"keep_failed"`
	Hooks      Hooks         `yaml:"hooks"`
}

// Slot is what is of one color only.
type Slot struct {
	Project string            `yaml:"project"`
	Env     map[string]string `yaml:"env"`
}

// Web is one service that takes traffic, with the loopback address that each color publishes it on.
type Web struct {
	Service string `yaml:"service"`
	// PortVariable is the variable by which the files take the published port.
	PortVariable string `yaml:"port_variable"`
	Blue         string `yaml:"blue"`
	Green        string `yaml:"green"`
	// GRPC tells that nginx reaches it by grpc_pass: its answers' own status is judged then, and it is asked by gRPC's health protocol
	// whether it is ready, unless Ready names a path.
	GRPC  bool `yaml:"grpc"`
	Ready Test `yaml:"ready"`
}

// Test is one request and what its answer must be. An empty path means "/".
type Test struct {
	// Service is the web service that is asked; empty means the first. Not used under ready.
	Service string `yaml:"service,omitempty"`
	Path    string `yaml:"path"`
	// Host is the name that the request carries; empty means the address. An app that checks it (Django's ALLOWED_HOSTS) answers 400 else.
	Host string `yaml:"host,omitempty"`
	// Status is the only right one; 0 means any of 200 to 399.
	Status int `yaml:"status,omitempty"`
	// Contains must stand in the first 64 KiB of the body; {{.Tag}}, {{.Color}} and {{.Project}} are filled in.
	Contains string `yaml:"contains,omitempty"`
}

// Ready says when a service counts as ready.
type Ready struct {
	Timeout     time.Duration `yaml:"timeout"`
	Consecutive int           `yaml:"consecutive"`
}

// DefaultConfig is what cutover does when the section is silent.
func DefaultConfig() Config {
	return Config{
		Driver:      DriverCompose,
		TagVariable: "TAG",
		Ready:       Ready{Timeout: 90 * time.Second, Consecutive: 3},
		KeepWarm:    30 * time.Minute,
		KeepFailed:  30 * time.Minute,
	}
}

// Slot is the part of one color.
func (c Config) Slot(color traffic.Color) Slot {
	if color == traffic.Green {
		return c.Green
	}
	return c.Blue
}

// webNames are the services that take traffic.
func (c Config) webNames() []string {
	names := make([]string, len(c.Web))
	for i, w := range c.Web {
		names[i] = w.Service
	}
	return names
}

// listed are all services that cutover may ever start or stop, web first.
func (c Config) listed() []string { return slices.Concat(c.webNames(), c.Workers, c.Singletons) }

// Address is where the color publishes the service, as host:port.
func (w Web) Address(color traffic.Color) string {
	if color == traffic.Green {
		return w.Green
	}
	return w.Blue
}

var (
	serviceName  = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]*$`)
	projectName  = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Validate reports the first value that cannot be meant, by its path under stacks.
func (c Config) Validate() error {
	if len(c.Web) == 0 {
		return fmt.Errorf("stacks.web: name at least one service that takes traffic")
	}
	if err := c.validateWeb(); err != nil {
		return err
	}
	switch {
	case c.Ready.Timeout <= 0:
		return fmt.Errorf("stacks.ready.timeout: must be above 0s")
	case c.Ready.Consecutive < 1:
		return fmt.Errorf("stacks.ready.consecutive: must be 1 or more")
	case c.KeepWarm < 0 || c.KeepFailed < 0:
		return fmt.Errorf("stacks.keep_warm, stacks.keep_failed: must not be negative")
	}
	switch c.Driver {
	case DriverExternal:
		if len(c.Workers)+len(c.Singletons) > 0 {
			return fmt.Errorf("stacks.driver: external stacks have no workers or singletons of ours; remove them")
		}
		return c.Hooks.validate(DriverExternal)
	case DriverCompose:
		if err := c.Hooks.validate(DriverCompose); err != nil {
			return err
		}
		return c.validateCompose()
	}
	return fmt.Errorf("stacks.driver: %q is neither compose nor external", c.Driver)
}

func (c Config) validateWeb() error {
	seen := map[string]string{}
	for i, w := range c.Web {
		at := fmt.Sprintf("stacks.web[%d]", i)
		if !serviceName.MatchString(w.Service) {
			return fmt.Errorf("%s.service: %q is not the name of a service", at, w.Service)
		}
		if w.Ready.Path != "" && !strings.HasPrefix(w.Ready.Path, "/") {
			return fmt.Errorf("%s.ready.path: %q must begin with /", at, w.Ready.Path)
		}
		for _, color := range []traffic.Color{traffic.Blue, traffic.Green} {
			where := fmt.Sprintf("%s.%s", at, color)
			if err := validateAddress(w.Address(color)); err != nil {
				return fmt.Errorf("%s: %w", where, err)
			}
			if other, taken := seen[w.Address(color)]; taken {
				return fmt.Errorf("%s: %s is the address of %s too", where, w.Address(color), other)
			}
			seen[w.Address(color)] = where
		}
	}
	for i, t := range c.Smoke {
		if !strings.HasPrefix(t.Path, "/") {
			return fmt.Errorf("stacks.smoke[%d].path: %q must begin with /", i, t.Path)
		}
		if t.Service != "" && !slices.Contains(c.webNames(), t.Service) {
			return fmt.Errorf("stacks.smoke[%d].service: %q is not among stacks.web", i, t.Service)
		}
	}
	return nil
}

// validateAddress wants IP:port: nginx resolves a name only once, when it starts, and refuses to start without it.
func validateAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not an address such as 127.0.0.1:18000", address)
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return fmt.Errorf("%q: %q is not an IP address; nginx would not start while a name is gone", address, host)
	}
	if ip.IsUnspecified() {
		return fmt.Errorf("%q would publish the service to everybody; use 127.0.0.1", address)
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 {
		return fmt.Errorf("%q: %q is not a port", address, port)
	}
	return nil
}

func (c Config) validateCompose() error {
	if len(c.Files) == 0 {
		return fmt.Errorf("stacks.files: name at least one compose file")
	}
	if !variableName.MatchString(c.TagVariable) {
		return fmt.Errorf("stacks.tag_variable: %q is not the name of a variable", c.TagVariable)
	}
	for _, color := range []traffic.Color{traffic.Blue, traffic.Green} {
		if p := c.Slot(color).Project; !projectName.MatchString(p) {
			return fmt.Errorf("stacks.%s.project: %q is not the name of a Compose project", color, p)
		}
	}
	if c.Blue.Project == c.Green.Project {
		return fmt.Errorf("stacks.green.project: %q is blue's project too; two colors in one project remove each other", c.Green.Project)
	}
	for i, w := range c.Web {
		if !variableName.MatchString(w.PortVariable) {
			return fmt.Errorf("stacks.web[%d].port_variable: %q is not the name of a variable", i, w.PortVariable)
		}
	}
	return nil
}
