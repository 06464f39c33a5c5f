package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"cutover/nginxconf"
	"cutover/stacks"
	"cutover/traffic"
	"cutover/traffic/notify"
	"cutover/traffic/signal"
	"cutover/traffic/verdict"
)

// configName is looked for in the working directory and upwards, like git looks for its repository.
const configName = "cutover.yaml"

// Config is cutover.yaml, whole. Each section's struct, defaults and validation live in the package that acts on it.
type Config struct {
	App          string              `yaml:"app"`
	Environment  string              `yaml:"environment"`
	Environments map[string]ast.Node `yaml:"environments,omitempty"`
	// State holds the journal, in a folder per app.
	State string `yaml:"state"`
	// Tags is the pattern that a tag must match, by environment; an environment without one accepts every tag.
	Tags    map[string]string  `yaml:"tags"`
	Stacks  stacks.Config      `yaml:"stacks"`
	Nginx   nginxconf.Config   `yaml:"nginx"`
	Routes  []nginxconf.Route  `yaml:"routes"`
	Rollout traffic.PlanConfig `yaml:"rollout"`
	Verdict verdict.Config     `yaml:"verdict"`
	Signals signal.Config      `yaml:"signals"`
	// Notify are the receivers that are told how rollouts go.
	Notify []notify.Config `yaml:"notify"`
	// OnEnd is a command, as its words, that is run after each rollout's end with CUTOVER_* set.
	OnEnd []string `yaml:"on_end"`
}

func defaultConfig() Config {
	return Config{
		Environment: "prod",
		State:       "/var/lib/cutover",
		Tags: map[string]string{
			"staging": `^main-[0-9a-f]{7,40}$`,
			"prod":    `^v\d+\.\d+\.\d+(-[0-9a-f]{7,40})?$`,
		},
		Stacks:  stacks.DefaultConfig(),
		Nginx:   nginxconf.DefaultConfig(),
		Rollout: traffic.DefaultPlanConfig(),
		Verdict: verdict.DefaultConfig(),
		Signals: signal.DefaultConfig(),
	}
}

// findConfig gives the absolute path of the configuration: the one that is named, or the nearest cutover.yaml upwards.
func findConfig(named, dir string) (string, error) {
	if named != "" {
		return absolute(named, dir), nil
	}
	for at := dir; ; at = filepath.Dir(at) {
		path := filepath.Join(at, configName)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
		if at == filepath.Dir(at) {
			return "", &traffic.Fault{
				Kind: traffic.Usage,
				Err:  fmt.Errorf("no %s in %s or above", configName, dir),
				Hint: "Go to the app's folder, name the file with --config or CUTOVER_CONFIG, or write one with `cutover init`.",
			}
		}
	}
}

// absolute is the path as seen from the working directory.
func absolute(path, dir string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}

// loadConfig reads the file, lays the environment's overrides over it and validates the whole. Every error is a usage fault.
func loadConfig(path, environment string) (Config, error) {
	t, c, err := readConfig(path, environment)
	if err != nil {
		return c, &traffic.Fault{Kind: traffic.Usage, Err: err}
	}
	var failed []error
	for _, err := range c.mistakes() {
		failed = append(failed, t.locate(c.Environment, err))
	}
	if len(failed) > 0 {
		return c, &traffic.Fault{Kind: traffic.Usage, Err: errors.Join(failed...)}
	}
	return c, nil
}

func readConfig(path, environment string) (*tree, Config, error) {
	c := defaultConfig()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, c, fmt.Errorf("%s: no such file", path)
	}
	if err != nil {
		return nil, c, fmt.Errorf("configuration: %w", err)
	}
	t, err := parseTree(path, text)
	if err != nil {
		return nil, c, err
	}
	err = t.fill(reflect.ValueOf(&c).Elem(), t.body, spot{})
	return t, c, errors.Join(err, c.lay(t, orElse(environment, c.Environment)))
}

// lay puts the overrides of the environment over the configuration. Those of the others are read too, so that a mistake in them
// does not wait for the day when they are needed.
func (c *Config) lay(t *tree, environment string) error {
	chosen := *c
	chosen.Environment = environment
	var failed []error
	for _, name := range slices.Sorted(maps.Keys(c.Environments)) {
		layered := *c
		failed = append(failed, t.override(&layered, name))
		if layered.Environment = name; name == environment {
			chosen = layered
		}
	}
	if known := c.environments(); !slices.Contains(known, environment) {
		where := spot{}
		if environment == c.Environment { // and not a flag's
			where.at = t.places["environment"]
		}
		failed = append(failed, t.errorf(where, "there is no environment %q; known here: %s", environment, strings.Join(known, ", ")))
	}
	*c = chosen
	return errors.Join(failed...)
}

// environments are the names that an environment can have: another one is a misspelling, and would accept every tag.
func (c *Config) environments() []string {
	known := append(slices.Collect(maps.Keys(c.Environments)), "dev", "staging", "prod")
	known = slices.AppendSeq(known, maps.Keys(c.Tags))
	slices.Sort(known)
	return slices.Compact(known)
}

func (t *tree) override(c *Config, name string) error {
	s := spot{"environments." + name, t.places["environments."+name]}
	node := c.Environments[name]
	if _, empty := node.(*ast.NullNode); empty {
		return nil
	}
	pairs, err := t.pairs(node, s)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if p.key == "environment" || p.key == "environments" {
			return t.errorf(s.key(p.key, p.at), "cannot be overridden")
		}
	}
	return t.fill(reflect.ValueOf(c).Elem(), node, s)
}

// locate puts file, line and column before a mistake that begins with the path of its key.
func (t *tree) locate(environment string, mistake error) error {
	path, _, _ := strings.Cut(mistake.Error(), ": ")
	for ; path != ""; path = path[:max(strings.LastIndexAny(path, ".["), 0)] {
		for _, layer := range []string{"environments." + environment + ".", ""} {
			if at, ok := t.places[layer+path]; ok {
				return t.errorf(spot{at: at}, "%w", mistake)
			}
		}
	}
	return t.errorf(spot{}, "%w", mistake)
}

var appName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,30}$`)

// mistakes are the values that cannot be meant, each beginning with its path.
func (c Config) mistakes() []error {
	var found []error
	if !appName.MatchString(c.App) {
		found = append(found, fmt.Errorf("app: %q must be a short name of a-z, 0-9, - and _, such as shop", c.App))
	}
	if !filepath.IsAbs(c.State) {
		found = append(found, fmt.Errorf("state: %q must be an absolute path", c.State))
	}
	for _, environment := range slices.Sorted(maps.Keys(c.Tags)) {
		if _, err := regexp.Compile(c.Tags[environment]); err != nil {
			found = append(found, fmt.Errorf("tags.%s: %w", environment, err))
		}
	}
	sections := []interface{ Validate() error }{c.Stacks, c.Nginx, c.Rollout, c.judged(), c.Signals}
	for _, section := range sections {
		if err := section.Validate(); err != nil {
			found = append(found, err)
		}
	}
	if err := notify.Validate(c.Notify); err != nil {
		found = append(found, err)
	}
	found = append(found, c.unwatched()...)
	if len(found) == 0 { // what is rendered is made of all of them
		for _, err := range []error{c.validateScraped(), c.rendered().Validate()} {
			if err != nil {
				found = append(found, err)
			}
		}
		found = append(found, c.inexact()...)
	}
	return found
}

// rendered is the part of nginx's adapter that comes from the configuration.
func (c Config) rendered() nginxconf.Options {
	web := make([]nginxconf.Upstream, 0, len(c.Stacks.Web))
	for _, w := range c.Stacks.Web {
		web = append(web, nginxconf.Upstream{Route: nginxconf.RouteName(w.Service), Service: w.Service, Blue: w.Blue, Green: w.Green})
	}
	o := nginxconf.Options{Config: c.Nginx, App: c.App, Env: c.Environment, Web: web, Routes: c.Routes, AccessLog: c.accessLog()}
	for _, r := range c.Verdict.Routes {
		o.Judged = append(o.Judged, nginxconf.JudgedRoute{Name: r.Name, Path: r.Path})
	}
	o.GRPC = slices.ContainsFunc(c.Stacks.Web, func(w stacks.Web) bool { return w.GRPC })
	if c.Stacks.Driver == stacks.DriverCompose {
		o.Projects = map[traffic.Color]string{traffic.Blue: c.Stacks.Blue.Project, traffic.Green: c.Stacks.Green.Project}
	}
	o.StickyFor = c.longest()
	return o
}

// inexact finds the steps that nginx could not give as they are.
func (c Config) inexact() (found []error) {
	proxy := nginxconf.New(c.rendered())
	for n, step := range c.Rollout.Steps {
		if nearest, exact := proxy.Exact(step.Weight); !exact {
			found = append(found, fmt.Errorf("rollout.steps[%d].weight: %s is finer than nginx.buckets: %d can give; the nearest is %s",
				n, step.Weight, c.Nginx.Buckets, nearest))
		}
	}
	return found
}

// longest is how long a rollout by the plan may take, waits for people left out, with the time for which it can be taken back.
func (c Config) longest() time.Duration {
	all := max(c.Rollout.Bake, c.Verdict.Inconclusive.After) + c.Stacks.KeepWarm
	for _, step := range c.Rollout.Steps {
		all += max(step.Soak, c.Verdict.Inconclusive.After)
	}
	return all
}

// plan is what a promotion of this configuration goes by.
func (c Config) plan() traffic.Plan {
	return traffic.Plan{
		Steps: c.Rollout.Steps, Bake: c.Rollout.Bake, Approve: c.Rollout.Approve,
		Inconclusive: c.Verdict.Inconclusive, KeepWarm: c.Stacks.KeepWarm, DrawsRequests: c.Nginx.Split == nginxconf.SplitRequest,
		Hooks: c.Stacks.Hooks.Points(),
	}
}

// accepts tells whether the environment takes the tag.
func (c Config) accepts(tag string) error {
	pattern, ok := c.Tags[c.Environment]
	if !ok || regexp.MustCompile(pattern).MatchString(tag) {
		return nil
	}
	return &traffic.Fault{
		Kind: traffic.Policy, Err: fmt.Errorf("%s does not accept the tag %q", c.Environment, tag),
		Hint: fmt.Sprintf("Its tags match %s (tags.%s in cutover.yaml).", pattern, c.Environment),
	}
}

// accessLog is the file that server.conf has nginx write. Beside a log in a format of the user's own it lies in the same folder.
func (c Config) accessLog() string {
	own := "cutover-" + c.App + ".log"
	switch l := c.Signals.AccessLog; {
	case l.Path == "":
		return filepath.Join("/var/log/nginx", own)
	case l.Format != "":
		return filepath.Join(filepath.Dir(l.Path), own)
	default:
		return l.Path
	}
}

// judgedLog is the file that the judge reads.
func (c Config) judgedLog() string { return orElse(c.Signals.AccessLog.Path, c.accessLog()) }

// judged is what the judge goes by: the section verdict, with each web service as a route of its own where there are several.
func (c Config) judged() verdict.Config {
	v := c.Verdict
	if len(c.Stacks.Web) > 1 {
		v.Routes = slices.Clone(v.Routes)
		for _, w := range c.Stacks.Web {
			v.Routes = append(v.Routes, verdict.Route{Name: w.Service})
		}
	}
	return v
}

// reading tells how the log is read while that color is stable.
func (c Config) reading(stable traffic.Color) signal.Reading {
	judged := c.judged()
	r := signal.Reading{App: c.App, Arms: signal.Addresses{}, Routes: judged.Routes, SlowerThan: c.Verdict.Latency.SlowerThan}
	r.Format, _ = c.Signals.AccessLog.Layout() // Validate has read it
	for _, w := range c.Stacks.Web {
		service := verdict.Route{Name: w.Service}
		o := signal.Origin{Arm: verdict.Baseline, Route: uint8(slices.Index(judged.Routes, service) + 1), GRPC: w.GRPC}
		r.Arms[w.Address(stable)] = o
		o.Arm = verdict.Candidate
		r.Arms[w.Address(stable.Other())] = o
	}
	return r
}
