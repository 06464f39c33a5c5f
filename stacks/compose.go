package stacks

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cutover/traffic"
)

// Compose drives stacks that cutover brings up itself, by the user's own Compose. It implements traffic.Stacks.
type Compose struct {
	Options
	http prober

	mu sync.Mutex
	// merged holds the configuration of each stack as Preflight last saw it, so that a file broken by somebody during a rollout does
	// not make a running release look broken.
	merged map[stack]model
}

// NewCompose makes the driver. It touches nothing.
func NewCompose(o Options) *Compose {
	return &Compose{Options: o, http: newProber(), merged: map[stack]model{}}
}

// Prepare makes the color run the tag and waits until it is ready. Where it runs already this changes nothing.
// It must not be called for the color that serves.
func (c *Compose) Prepare(ctx context.Context, color traffic.Color, tag string) (traffic.Release, error) {
	s := c.stack(color, tag)
	m, err := c.preflight(ctx, s)
	if err != nil {
		return traffic.Release{}, err
	}
	if err := prepareHooks(ctx, c, s); err != nil {
		return traffic.Release{}, err
	}
	if err := c.up(ctx, s, c.Config.webNames()); err != nil {
		return traffic.Release{}, err
	}
	w := c.watch(s, m)
	if err := c.await(ctx, w, c.Config.webNames(), w.web); err != nil {
		return traffic.Release{}, err
	}
	if err := c.smoke(ctx, s); err != nil {
		return traffic.Release{}, err
	}
	// Once more: a release that dies some seconds after its start answers well until then.
	w.tries = patientTries
	if err := w.web(ctx); err != nil {
		return traffic.Release{}, c.fault(ctx, s, err)
	}
	return c.release(ctx, s)
}

// Answers asks each web service once.
func (c *Compose) Answers(ctx context.Context, color traffic.Color) error {
	return c.http.answers(ctx, c.Config, color)
}

// Check asks each web service once more: running, healthy, ours, of the tag's image, and answering.
func (c *Compose) Check(ctx context.Context, color traffic.Color, tag string) error {
	s := c.stack(color, tag)
	m, err := c.model(ctx, s)
	if err != nil {
		return err
	}
	w := c.watch(s, m)
	w.tries = patientTries
	if err := w.web(ctx); err != nil {
		return c.fault(ctx, s, err)
	}
	return nil
}

// up starts the services and nothing that they depend on, and never builds: what runs is what preflight has seen. There is no --wait:
// it exits 0 over a crash loop, and readiness is asked of the app.
func (c *Compose) up(ctx context.Context, s stack, services []string) error {
	c.sayf("%s: starting %s of %s", s.color, strings.Join(services, ", "), s.tag)
	return c.bring(ctx, s, services, "-d")
}

// create makes the services' containers as up does, and starts none.
func (c *Compose) create(ctx context.Context, s stack, services []string) error {
	return c.bring(ctx, s, services, "--no-start")
}

func (c *Compose) bring(ctx context.Context, s stack, services []string, how string) error {
	told := map[string]bool{}
	line := func(text string) {
		r, _ := parseReport(text)
		if news := r.news(); news != "" && !told[news] {
			told[news] = true
			c.sayf("%s: %s", s.color, news)
		}
	}
	args := append([]string{"up", how, "--no-deps", "--no-build"}, services...)
	out, err := c.compose(ctx, s, progressJSON, line, args...)
	if err != nil {
		return err
	}
	if out.Exit != 0 {
		return c.fault(ctx, s, &trouble{
			services: services,
			err:      fmt.Errorf("compose up %s exited %d: %s", strings.Join(services, " "), out.Exit, cause(out.Stderr)),
		})
	}
	return c.sameEngine(ctx, s, services)
}

// sameEngine makes sure that what Compose has started is seen here too: the docker command may follow a context of its own, and then
// everything asked here would be asked of another engine.
func (c *Compose) sameEngine(ctx context.Context, s stack, services []string) error {
	out, err := c.compose(ctx, s, progressQuiet, nil, append([]string{"ps", "-a", "--format", "json"}, services...)...)
	if err != nil {
		return err
	}
	if out.Exit != 0 {
		return fmt.Errorf("%s: compose ps exited %d: %s", s.color, out.Exit, cause(out.Stderr))
	}
	containers, err := parseListing(out.Stdout)
	if err != nil {
		return fmt.Errorf("%s: %w", s.color, err)
	}
	seen, err := c.Engine.boxes(ctx, s.project, services...)
	if err != nil {
		return err
	}
	for _, l := range containers {
		if !slices.ContainsFunc(seen, func(b box) bool { return strings.HasPrefix(b.ID, l.ID) }) {
			return &traffic.Fault{
				Kind: traffic.Preflight,
				Err:  fmt.Errorf("%s: compose has container %s, the engine at %s does not know it", s.of(l.Service), l.Name, c.Engine.docker.DaemonHost()),
				Hint: "The docker command uses another engine (docker context ls). Set DOCKER_HOST to that context's address.",
			}
		}
	}
	return nil
}

// model is what we need of the merged configuration.
type model struct {
	Services map[string]service `json:"services"`
}

type service struct {
	Image      string `json:"image"`
	PullPolicy string `json:"pull_policy"`
	Ports      []port `json:"ports"`
	// Networks are those that it joins; nil where it has no wishes for one.
	Networks map[string]*struct {
		IPv4 string `json:"ipv4_address"`
		IPv6 string `json:"ipv6_address"`
	} `json:"networks"`
}

// port is one published port; without Published the engine takes any free one, without HostIP it is open to everybody.
type port struct {
	HostIP    string `json:"host_ip"`
	Published string `json:"published"`
	Target    int    `json:"target"`
	Protocol  string `json:"protocol"`
}

// parseModel reads `config --format json`.
func parseModel(stdout []byte) (model, error) {
	var m model
	if err := json.Unmarshal(stdout, &m); err != nil {
		return model{}, fmt.Errorf("compose config: %w", err)
	}
	return m, nil
}

// image is the reference that the service's containers are made from; Compose names the image of a service that is only built.
func (m model) image(s stack, name string) string {
	if image := m.Services[name].Image; image != "" {
		return image
	}
	return s.project + "-" + name
}

// model gives the merged configuration that Preflight saw, or asks for it.
func (c *Compose) model(ctx context.Context, s stack) (model, error) {
	c.mu.Lock()
	m, known := c.merged[s]
	c.mu.Unlock()
	if known {
		return m, nil
	}
	return c.merge(ctx, s)
}

// merge lets Compose merge and fill in the files. All profiles are on: a listed service may be in one.
func (c *Compose) merge(ctx context.Context, s stack) (model, error) {
	out, err := c.compose(ctx, s, progressQuiet, nil, "--profile", "*", "config", "--format", "json")
	if err != nil {
		return model{}, err
	}
	if out.Exit != 0 {
		return model{}, &traffic.Fault{Kind: traffic.Usage, Err: fmt.Errorf("stacks.files: compose config for %s: %s", s.color, cause(out.Stderr))}
	}
	for _, w := range warnings(out.Stderr) {
		c.sayf("%s: %s", s.color, w)
	}
	m, err := parseModel(out.Stdout)
	if err != nil {
		return model{}, &traffic.Fault{Kind: traffic.Usage, Err: fmt.Errorf("stacks.files: %w", err)}
	}
	c.mu.Lock()
	c.merged[s] = m
	c.mu.Unlock()
	return m, nil
}
