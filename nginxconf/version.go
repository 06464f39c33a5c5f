package nginxconf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"cutover/traffic"
)

// Build is what `nginx -V` tells about a binary: the version and where it looks for things when nobody tells it.
// Relative paths hang on Prefix; ReadChain and PidFile know that.
type Build struct {
	// Version is that of nginx itself, "1.22.1"; of a fork such as OpenResty the nginx it is made from.
	Version           string
	Conf, Prefix, Pid string
	// User is whom workers run as when the configuration names nobody.
	User string
}

// What nginx's own configure script uses where it is told nothing.
const (
	builtPrefix = "/usr/local/nginx"
	builtConf   = "conf/nginx.conf"
	builtPid    = "logs/nginx.pid"
	builtUser   = "nobody"
)

var versionLine = regexp.MustCompile(`(?m)^nginx version: *[^/\s]+/(\d+)\.(\d+)\.(\d+)`)

// ReadBuild asks the binary what it is. A missing one, and one older than 1.18, is a fault.
func ReadBuild(ctx context.Context, h Host, binary string) (Build, error) {
	output, err := h.Run(ctx, binary, "-V")
	return buildOf(ctx, binary, output, err)
}

// buildOf reads what the binary said of itself, err being that of its run.
func buildOf(ctx context.Context, binary string, output []byte, err error) (Build, error) {
	match := versionLine.FindSubmatch(output)
	switch {
	case err != nil && len(output) == 0 && ctx.Err() == nil:
		return Build{}, notRunnable(binary, err)
	case err != nil:
		return Build{}, fmt.Errorf("ask %s for its version: %w", binary, err)
	case match == nil:
		return Build{}, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("nginx: %s -V names no nginx version", binary),
			Hint: "Set nginx.binary to nginx's own program.", Detail: strings.Split(strings.TrimSpace(string(output)), "\n")}
	}
	b := Build{
		Version: fmt.Sprintf("%s.%s.%s", match[1], match[2], match[3]),
		Conf:    builtWith(output, "conf-path", builtConf),
		Prefix:  builtWith(output, "prefix", builtPrefix),
		Pid:     builtWith(output, "pid-path", builtPid),
		User:    builtWith(output, "user", builtUser),
	}
	if !b.AtLeast(1, 18, 0) {
		return Build{}, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("nginx: %s is version %s, cutover needs 1.18 or newer", binary, b.Version),
			Hint: "Nothing that cutover renders was tried with an older one. Debian 11 and Ubuntu 20.04 carry 1.18."}
	}
	return b, nil
}

// asked is what a Proxy's binary said of itself last.
type asked struct {
	sync.Mutex
	build Build
	at    time.Time
}

// askedFor is how long that answer holds: for the calls of one shift, which come right after each other. A binary that is replaced
// between two steps is asked again, and the tree rendered for it; one that is replaced right now is judged by `nginx -t` in any case.
const askedFor = time.Second

// remembered is what the binary said a moment ago. Without a clock nothing is remembered.
func (p *Proxy) remembered() (Build, bool) {
	if p.options.Now == nil {
		return Build{}, false
	}
	p.asked.Lock()
	defer p.asked.Unlock()
	age := p.options.Now().Sub(p.asked.at)
	return p.asked.build, p.asked.build.Version != "" && age >= 0 && age < askedFor
}

func (p *Proxy) remember(b Build) {
	if p.options.Now == nil {
		return
	}
	p.asked.Lock()
	defer p.asked.Unlock()
	p.asked.build, p.asked.at = b, p.options.Now()
}

// build asks the binary what it is, unless it was asked a moment ago.
func (p *Proxy) build(ctx context.Context) (Build, error) {
	if b, known := p.remembered(); known {
		return b, nil
	}
	b, err := ReadBuild(ctx, p.options.Host, p.options.Config.Binary)
	if err == nil {
		p.remember(b)
	}
	return b, err
}

// buildJudging is build, with what `nginx -t` has against the configuration as it stands: one run of the binary tells both.
func (p *Proxy) buildJudging(ctx context.Context) (b Build, refused, err error) {
	c := p.options.Config
	argv := []string{c.Binary, "-V", "-t"}
	if c.Conf != "" {
		argv = append(argv, "-c", c.Conf)
	}
	if c.Prefix != "" {
		argv = append(argv, "-p", c.Prefix)
	}
	output, ran := p.options.Host.Run(ctx, argv...)
	about := aboutItself.Find(output)
	if about == nil || ctx.Err() != nil {
		b, err = buildOf(ctx, c.Binary, output, ran)
		return b, nil, err
	}
	if b, err = buildOf(ctx, c.Binary, about, nil); err != nil {
		return b, nil, err
	}
	p.remember(b)
	if ran != nil {
		refused = refusal(ran, refusedAsItStands, string(output[len(about):]))
	}
	return b, refused, nil
}

// aboutItself is what `nginx -V` says; what `nginx -t` says comes behind it.
var aboutItself = regexp.MustCompile(`(?s)^.*?\nconfigure arguments:[^\n]*\n`)

// keepsIdle tells that idle connections of users can outlive a reload for a while. Not where locations pass to a fixed name: a
// worker of before answers what comes on such a connection, and there no cutback reaches it.
func (b Build) keepsIdle(c Config) bool { return b.AtLeast(1, 27, 4) && c.Pass != PassName }

// ReloadCosts says what it costs users that traffic is moved by reloads, and what to do about it. Both are empty where it costs
// them nothing.
func (b Build) ReloadCosts(c Config) (costs, remedy string) {
	if c.Switch == SwitchLive || b.keepsIdle(c) {
		return "", ""
	}
	remedy = "Upgrade nginx to 1.27.4 or newer, or set nginx.switch to live, which moves traffic without a reload."
	if c.Pass == PassName {
		remedy = "Set nginx.pass to variable: then nginx 1.27.4 or newer keeps them open, and with nginx.switch: live nothing is reloaded."
	}
	return "each reload of nginx " + b.Version + " closes idle client connections: a client without retries loses a request on each", remedy
}

func notRunnable(binary string, err error) error {
	what := fmt.Errorf("nginx: not found as %q: %w", binary, err)
	if errors.Is(err, fs.ErrPermission) {
		what = fmt.Errorf("nginx: %q may not be run: %w", binary, err)
	}
	return &traffic.Fault{Kind: traffic.Preflight, Err: what,
		Hint: "Install nginx, or set nginx.binary to where it is (often /usr/sbin/nginx, which a user's PATH may lack)."}
}

// builtWith finds --option=value among the configure arguments; a value in single quotes may hold blanks.
func builtWith(output []byte, option, silent string) string {
	match := regexp.MustCompile(`\s--` + option + `=(?:'([^']*)'|(\S*))`).FindSubmatch(output)
	if match == nil {
		return silent
	}
	return string(match[1]) + string(match[2])
}

// AtLeast tells whether the version is this one or newer.
func (b Build) AtLeast(major, minor, patch int) bool {
	want := [3]int{major, minor, patch}
	for i, part := range strings.SplitN(b.Version, ".", 3) {
		if have, _ := strconv.Atoi(part); have != want[i] {
			return have > want[i]
		}
	}
	return true
}
