package nginxconf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"cutover/traffic"
)

// Host is the machine that nginx runs on.
type Host interface {
	// Run runs a program to its end and gives what it wrote, both streams in one. Where the program ran and failed, the
	// error has ExitCode() int.
	Run(ctx context.Context, argv ...string) (output []byte, err error)
	// Hangup sends SIGHUP, which makes nginx's master read its configuration again.
	Hangup(pid int) error
}

// Options is what a Proxy is made from.
type Options struct {
	Config Config
	App    string
	// Env is the environment that each line of the access log names.
	Env string
	// Web are the services that switch together, in the order of cutover.yaml.
	Web []Upstream
	// Routes is the site that cutover renders whole; empty where the user owns the server blocks.
	Routes []Route
	// AccessLog is the absolute path of the log that server.conf writes.
	AccessLog string
	// Judged are the routes whose names the log's lines have. GRPC tells that they have gRPC's own status too.
	Judged []JudgedRoute
	GRPC   bool
	// StickyFor is how long a client that was drawn keeps its color at least.
	StickyFor time.Duration
	// State is the folder of the app's journal, for back.json: a cutback finds it there without cutover.yaml.
	State string
	// Projects are the Compose projects of the colors, for back.json; empty where somebody else runs the stacks.
	Projects map[traffic.Color]string
	Host     Host
	// Container tells about the container that nginx runs in, where Config.Container names one; Host then works in that.
	Container func(context.Context) (Container, error)
	Now       func() time.Time
	// Say tells people what else was done than they asked for; nil tells nobody.
	Say func(line string)
}

var (
	appName       = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]*$`)
	routeName     = regexp.MustCompile(`^[a-z0-9][a-z0-9_]*$`)
	judgedName    = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)
	judgedPath    = regexp.MustCompile(`^/[!-"$->@-~]*$`)
	listenAddress = regexp.MustCompile(`^([0-9A-Za-z.*-]+:|\[[0-9a-fA-F:.]+\]:)?[0-9]+$`)
	serverName    = regexp.MustCompile(`^[A-Za-z0-9_.*-]+$`)
)

// reserved are the names that cutover's own variables have beside the routes. Later ones have a second underscore, which no route has.
var reserved = []string{"pool", "color", "release", "mark"}

// Validate reports the first value that cannot be rendered.
func (o Options) Validate() error {
	if err := o.Config.Validate(); err != nil {
		return err
	}
	if !appName.MatchString(o.App) {
		return fmt.Errorf("app: %q: use small letters, digits, dashes and underscores, a letter or digit first", o.App)
	}
	if !filepath.IsAbs(o.AccessLog) {
		return fmt.Errorf("signals.access_log.path: %q must be absolute", o.AccessLog)
	}
	if len(o.Web) == 0 {
		return errors.New("stacks.web: name at least one service that takes traffic")
	}
	names := map[string]bool{}
	for _, u := range o.Web {
		switch {
		case !routeName.MatchString(u.Route), slices.Contains(reserved, u.Route):
			return fmt.Errorf("stacks.web: a service cannot have the name %q in nginx", u.Route)
		case names[u.Route], names[u.Route+kindAssets], names[strings.TrimSuffix(u.Route, kindAssets)]:
			return fmt.Errorf("stacks.web: two services would have the name %s in nginx", u.Route)
		}
		names[u.Route] = true
		for _, c := range []traffic.Color{traffic.Blue, traffic.Green} {
			if _, err := netip.ParseAddrPort(u.address(c)); err != nil {
				return fmt.Errorf("stacks.web: %s of %s: %q is not an IP address with a port number", c, u.Route, u.address(c))
			}
			if err := o.reachable(u, c); err != nil {
				return err
			}
		}
	}
	if err := o.validateJudged(); err != nil {
		return err
	}
	return o.validateRoutes(names)
}

func (o Options) validateJudged() error {
	for i, r := range o.Judged {
		switch {
		case !judgedName.MatchString(r.Name):
			return fmt.Errorf("verdict.routes[%d].name: %q: use 1 to 32 of a-z, 0-9, - and _", i, r.Name)
		case !judgedPath.MatchString(r.Path):
			return fmt.Errorf("verdict.routes[%d].path: %q must begin with / and be as clients write it: no spaces, no ? or #, %%XX for what is not ASCII", i, r.Path)
		}
	}
	return nil
}

func (o Options) validateRoutes(services map[string]bool) error {
	seen := map[Route]bool{}
	for i, r := range o.Routes {
		place := Route{Listen: r.Listen, Host: r.Host, Path: r.Path}
		switch {
		case !services[RouteName(r.Service)]:
			return fmt.Errorf("routes[%d].service: %q is not under stacks.web", i, r.Service)
		case !strings.HasPrefix(r.Path, "/"):
			return fmt.Errorf("routes[%d].path: %q must begin with /", i, r.Path)
		case !listenAddress.MatchString(r.Listen):
			return fmt.Errorf("routes[%d].listen: %q is not a port or an address with a port", i, r.Listen)
		case !serverName.MatchString(r.Host):
			return fmt.Errorf("routes[%d].host: %q is not a name; write _ for any", i, r.Host)
		case seen[place]:
			return fmt.Errorf("routes[%d]: %s%s on %s stands there twice", i, r.Host, r.Path, r.Listen)
		}
		seen[place] = true
	}
	return nil
}

// Proxy moves the traffic of one app. It implements traffic.Router.
type Proxy struct {
	options Options
	root    string
	trees   generations
	fence   Fence
	probe   probe
	procs   processes
	asked   asked
	// patience is how long a reload may take to be proven: 2.4 s were measured with 500 TLS hosts. cutPatience is the
	// same for a cutback, which nginx needs no time for.
	patience, cutPatience time.Duration
}

const (
	reloadPatience = 10 * time.Second
	cutPatience    = 2 * time.Second
)

// New makes the Proxy of one app; it touches nothing. What is wrong with the options is said by the first call.
func New(o Options) *Proxy {
	root := filepath.Join(o.Config.Dir, o.App)
	p := &Proxy{
		options: o, root: root, trees: generations{root}, fence: Fence{root},
		probe: newProbe(root, o.Config.Probe, o.App, o.Now), procs: processes{"/proc"},
		patience: reloadPatience, cutPatience: cutPatience,
	}
	p.probe.published = o.Config.Container != ""
	return p
}

// lock takes the lock of this nginx: two apps in one nginx must not test and reload at the same time.
func (p *Proxy) lock(ctx context.Context) (unlock func(), err error) {
	path := filepath.Join(p.options.Config.Dir, ".lock")
	lock := flock.New(path, flock.SetPermissions(0o644))
	waiting, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	switch _, err := lock.TryLockContext(waiting, 20*time.Millisecond); {
	case err == nil:
		return func() { lock.Close() }, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("wait for %s: %w", path, ctx.Err())
	case errors.Is(err, context.DeadlineExceeded):
		return nil, &traffic.Fault{Kind: traffic.Busy,
			Err:  fmt.Errorf("somebody else is changing this nginx and holds %s for more than %s", path, p.patience),
			Hint: "See who with `fuser -v " + path + "`. `cutover back` needs no lock."}
	default:
		return nil, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("lock %s: %w", path, err), Hint: "`cutover init` makes this folder."}
	}
}

// instance is the nginx of this host: what was built, what it is configured with, and its master when it runs.
type instance struct {
	view  view
	build Build
	chain *Chain
	// master is the process id of the running master. Invariant: zero only right after a failed look-up.
	master int
}

// configured reads nginx's own idea of itself and its configuration.
func (p *Proxy) configured(ctx context.Context) (instance, error) {
	v, err := p.look(ctx)
	if err != nil {
		return instance{}, err
	}
	build, err := p.build(ctx)
	if err != nil {
		return instance{}, err
	}
	return p.configuredAs(v, build)
}

// configuredAs reads the configuration of an nginx that was built so.
func (p *Proxy) configuredAs(v view, build Build) (instance, error) {
	conf, prefix := p.options.Config.Conf, p.options.Config.Prefix
	if conf == "" {
		conf = build.Conf
	}
	if prefix == "" {
		prefix = build.Prefix
	}
	chain, err := readChain(v, conf, prefix, nil)
	return instance{view: v, build: build, chain: chain}, err
}

// running is configured, with the master that can be told to reload.
func (p *Proxy) running(ctx context.Context) (instance, error) {
	i, err := p.configured(ctx)
	if err != nil {
		return instance{}, err
	}
	i.master, err = p.procs.master(i.view, i.chain.PidFile(i.build))
	return i, err
}

// wanted are the files that the user's configuration must include.
func (p *Proxy) wanted() []string {
	if len(p.options.Routes) > 0 {
		return []string{"http.conf"}
	}
	return []string{"http.conf", "server.conf"}
}

// test has nginx judge its configuration with the generation in the place of the current one.
func (p *Proxy) test(ctx context.Context, i instance, gen traffic.Generation) error {
	copied, err := i.chain.Substitute(filepath.Join(p.root, "current"), p.trees.folder(gen), p.trees.scratch(gen), p.wanted()...)
	if err != nil {
		return err
	}
	said, err := p.judge(ctx, copied.Main)
	if err != nil {
		err = refusal(err, fmt.Sprintf("nginx refuses generation %d", gen), copied.Translate(said))
	}
	return errors.Join(err, copied.Remove())
}

// testCurrent has nginx judge its configuration as it stands.
func (p *Proxy) testCurrent(ctx context.Context, i instance) error {
	said, err := p.judge(ctx, i.chain.Main.Path)
	if err != nil {
		return refusal(err, refusedAsItStands, said)
	}
	return nil
}

const refusedAsItStands = "nginx refuses its own configuration as it stands"

func (p *Proxy) judge(ctx context.Context, conf string) (said string, err error) {
	argv := []string{p.options.Config.Binary, "-t", "-c", conf}
	if prefix := p.options.Config.Prefix; prefix != "" {
		argv = append(argv, "-p", prefix)
	}
	output, err := p.options.Host.Run(ctx, argv...)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	return string(output), err
}

// refusal makes a fault of what `nginx -t` said.
func refusal(err error, what, said string) error {
	var ran interface{ ExitCode() int }
	if !errors.As(err, &ran) {
		return fmt.Errorf("run nginx -t: %w", err)
	}
	const most = 12
	lines := strings.Split(strings.TrimSpace(said), "\n")
	return &traffic.Fault{Kind: traffic.Refused, Err: errors.New(what), Detail: lines[max(0, len(lines)-most):],
		Hint: "Nothing was changed: nginx serves on as before. Mend the file that it names, then try again."}
}

// Fence is what a cutback of this app renames.
func (p *Proxy) Fence() Fence { return p.fence }

// Passes are the targets that the user's locations proxy to, in the order of cutover.yaml.
func (p *Proxy) Passes() []string {
	targets := make([]string, 0, len(p.options.Web))
	for _, w := range p.options.Web {
		targets = append(targets, p.target(w.Route))
	}
	return targets
}

// target is what a location proxies to for the route.
func (p *Proxy) target(route string) string {
	name := "cutover_" + RouteName(p.options.App) + "_" + route
	if p.fixed() {
		return "http://" + name
	}
	return "http://$" + name
}

// Variables are the names, without the dollar sign, that the user's locations proxy to, in the order of cutover.yaml.
func (p *Proxy) Variables() []string {
	names := make([]string, 0, len(p.options.Web))
	for _, w := range p.options.Web {
		names = append(names, "cutover_"+RouteName(p.options.App)+"_"+w.Route)
	}
	return names
}
