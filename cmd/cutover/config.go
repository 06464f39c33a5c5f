package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"cutover/nginxconf"
	"cutover/stacks"
	"cutover/traffic"
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
	}
}

// findConfig gives the absolute path of the configuration: the one that is named, or the nearest cutover.yaml upwards.
func findConfig(named, dir string) (string, error) {
	if named != "" {
		return filepath.Abs(named)
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

// loadConfig reads the file, lays the environment's overrides over it and validates the whole. Every error is a usage fault.
func loadConfig(path, environment string) (Config, error) {
	c, err := readConfig(path, environment)
	if err != nil {
		return c, &traffic.Fault{Kind: traffic.Usage, Err: err}
	}
	if err := c.validate(); err != nil {
		return c, &traffic.Fault{
			Kind: traffic.Usage, Err: fmt.Errorf("%s: %w", path, err),
			Hint: "`cutover config` prints the merged configuration with every default.",
		}
	}
	return c, nil
}

func readConfig(path, environment string) (Config, error) {
	c := defaultConfig()
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("%s: no such file", path)
	}
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return c, fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, true))
	}
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return c, fmt.Errorf("%s: is empty", path)
	}
	if err := decode(path, tree.Docs[0].Body, &c); err != nil {
		return c, err
	}
	if environment == "" {
		return c, nil
	}
	overrides, known := c.Environments[environment]
	if !known && environment != c.Environment {
		return c, fmt.Errorf("%s: environments: there is no %q", path, environment)
	}
	if known {
		if err := decode(path, overrides, &c); err != nil {
			return c, err
		}
	}
	c.Environment = environment
	return c, nil
}

func decode(path string, node ast.Node, c *Config) error {
	err := yaml.NewDecoder(&bytes.Buffer{}, yaml.Strict()).DecodeFromNode(node, c)
	if err == nil {
		return nil
	}
	unknown, ok := errors.AsType[*yaml.UnknownFieldError](err)
	if !ok {
		if located, ok := errors.AsType[yaml.Error](err); ok && located.GetToken() != nil {
			at := located.GetToken().Position
			return fmt.Errorf("%s:%d:%d: %s", path, at.Line, at.Column, located.GetMessage())
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	key := unknown.Token.Value
	at := unknown.Token.Position
	text := fmt.Sprintf("%s:%d:%d: unknown key %q", path, at.Line, at.Column, key)
	if near := nearest(key, configKeys(reflect.TypeFor[Config]())); near != "" {
		text += fmt.Sprintf("; did you mean %q?", near)
	}
	return errors.New(text)
}

var appName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,30}$`)

func (c Config) validate() error {
	if !appName.MatchString(c.App) {
		return fmt.Errorf("app: %q must be a short name of a-z, 0-9, - and _, such as shop", c.App)
	}
	if !filepath.IsAbs(c.State) {
		return fmt.Errorf("state: %q must be an absolute path", c.State)
	}
	for environment, pattern := range c.Tags {
		if _, err := regexp.Compile(pattern); err != nil {
			return fmt.Errorf("tags.%s: %w", environment, err)
		}
	}
	if err := c.validateRoutes(); err != nil {
		return err
	}
	return errors.Join(c.Stacks.Validate(), c.Nginx.Validate(), c.Rollout.Validate(), c.Verdict.Validate(), c.Signals.Validate())
}

func (c Config) validateRoutes() error {
	for i, r := range c.Routes {
		if !strings.HasPrefix(r.Path, "/") || r.Listen == "" {
			return fmt.Errorf("routes[%d]: needs listen and a path that begins with /", i)
		}
		known := false
		for _, w := range c.Stacks.Web {
			known = known || w.Service == r.Service
		}
		if !known {
			return fmt.Errorf("routes[%d].service: stacks.web has no service %q", i, r.Service)
		}
	}
	return nil
}

// plan is what a promotion of this configuration goes by.
func (c Config) plan() traffic.Plan {
	return traffic.Plan{
		Steps: c.Rollout.Steps, Bake: c.Rollout.Bake, Approve: c.Rollout.Approve,
		Inconclusive: c.Verdict.Inconclusive, KeepWarm: c.Stacks.KeepWarm,
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

func (c Config) accessLog() string {
	if p := c.Signals.AccessLog.Path; p != "" {
		return p
	}
	return "/var/log/nginx/cutover-" + c.App + ".log"
}

// configKeys lists every key of cutover.yaml, of whatever depth.
func configKeys(t reflect.Type) []string {
	for t.Kind() == reflect.Slice || t.Kind() == reflect.Map || t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for field := range t.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); name != "" {
			keys = append(append(keys, name), configKeys(field.Type)...)
		}
	}
	return keys
}

// nearest finds the word that is closest to the one that was typed, if any is close.
func nearest(typed string, words []string) string {
	best, distance := "", len(typed)/3+2
	for _, w := range words {
		if d := edits(typed, w); d < distance {
			best, distance = w, d
		}
	}
	return best
}

// edits counts the insertions, deletions and replacements between two words (Levenshtein 1966).
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
