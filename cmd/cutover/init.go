package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"

	"cutover/templates"
	"cutover/traffic"
)

const initHelp = `
Without a cutover.yaml: reads the folder's compose files and writes a
cutover.yaml to be looked through; services that publish a port become the
web services. A cutover.yaml that is there is never written over.

With one: makes, by --stable, cutover's folders and the first nginx tree, in
which everything goes to the stable color, and shows the lines that nginx's
configuration needs. They never change afterwards. An nginx that runs and has
the lines already is reloaded; any other is left alone.

EXAMPLES
   cutover init                          # writes cutover.yaml
   cutover init --stable blue            # the first tree; blue is stable
   cutover init --stable blue --tag v1.3.2
   cutover init                          # shows nginx's lines again`

func (i *invocation) initCommand() *cli.Command {
	return i.command(commandSpec{
		name: "init", usage: "write cutover.yaml; with --stable the first nginx tree", help: initHelp,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "stable", Usage: "the `COLOR` that carries the accepted release"},
			&cli.StringFlag{Name: "tag", Usage: "its release `TAG`, if its containers do not tell"},
			&cli.StringFlag{Name: "app", Usage: "the app's `NAME` in a new cutover.yaml"},
		},
		run: func(c *cli.Context) error {
			var color traffic.Color
			if c.IsSet("stable") {
				var err error
				if color, err = colorFlag(c, "stable"); err != nil {
					return err
				}
			}
			path, err := findConfig(i.configOf(c), i.dir)
			if err == nil {
				_, err = os.Lstat(path)
			}
			switch {
			case err != nil && color != "":
				return usagef("init --stable: there is no %s yet; `cutover init` writes one", configName)
			case err != nil:
				return i.writeConfig(c.Context, c.String("app"))
			case c.IsSet("app"):
				return usagef("init --app names the app of a new %s, and %s is there already", configName, path)
			}
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			return s.init(c.Context, color, c.String("tag"))
		},
	})
}

// initDocument is what `init --json` prints.
type initDocument struct {
	// Result is written, with Path the new cutover.yaml, or ready, with what nginx's configuration needs.
	Result  string        `json:"result"`
	Path    string        `json:"path"`
	Stable  traffic.Color `json:"stable,omitempty"`
	Release string        `json:"release,omitempty"`
	// HTTP goes into http { } once, Server first into each server { }, and Pass in the place of the old proxy_pass lines. Server and
	// Pass are empty where cutover renders the servers itself.
	HTTP   string   `json:"http,omitempty"`
	Server string   `json:"server,omitempty"`
	Pass   []string `json:"pass,omitempty"`
}

func (s *session) init(ctx context.Context, stable traffic.Color, tag string) error {
	if err := s.hold(ctx, 0); err != nil {
		return err
	}
	if stable != "" {
		if err := s.initStable(ctx, stable, tag); err != nil {
			return err
		}
	}
	doc := initDocument{Result: "ready", Path: s.path, Stable: s.state.Stable, Release: s.state.Tag(s.state.Stable)}
	root := filepath.Join(s.config.Nginx.Dir, s.config.App)
	doc.HTTP = fmt.Sprintf("include %s/current/http.conf;", root)
	if len(s.config.Routes) == 0 {
		doc.Server = fmt.Sprintf("include %s/current/server.conf;", root)
		for _, variable := range s.proxy.Variables() {
			doc.Pass = append(doc.Pass, fmt.Sprintf("proxy_pass http://$%s;", variable))
		}
	}
	s.explainEdit(doc)
	s.out.result(doc)
	return nil
}

// initStable says once which color is stable, and makes the tree that sends everything to it.
func (s *session) initStable(ctx context.Context, color traffic.Color, tag string) error {
	if s.state.Open != nil {
		return &traffic.Fault{
			Kind: traffic.Busy, Err: fmt.Errorf("%s is open", s.state.Open.Name()), Hint: "`cutover back` or `cutover accept` first.",
		}
	}
	release, err := s.stacks.Serving(ctx, color)
	if err != nil && tag == "" {
		return &traffic.Fault{
			Kind: traffic.NotReady, Err: fmt.Errorf("which release runs on %s cannot be asked: %w", color, err),
			Hint: "Start it, or say the release with --tag.",
		}
	}
	release.Tag = orElse(tag, release.Tag)
	return s.setStable(ctx, color, release)
}

// explainEdit shows the lines that the user's nginx configuration needs. They never change afterwards.
func (s *session) explainEdit(doc initDocument) {
	o := s.out
	o.line("%s", doc.Path)
	if doc.Stable != "" {
		o.line("stable is %s", spaced(string(doc.Stable), doc.Release))
	}
	o.line("\nnginx needs, once in http { }:\n\n    %s\n", doc.HTTP)
	if doc.Server == "" {
		o.line("and nothing else: the servers come from routes in %s.", configName)
	} else {
		o.line("and as the first line of each server { } that proxies to the app:\n\n    %s\n", doc.Server)
		o.line("with, in its locations, instead of the old proxy_pass:\n")
		for _, pass := range doc.Pass {
			o.line("    %s", pass)
		}
		o.line("")
	}
	o.line("Then test and reload nginx, and ask `cutover doctor`.")
}

// composeFiles are the layers that init looks for, in their order.
var composeFiles = []string{"docker-compose.yml", "docker-compose.yaml", "compose.yml", "compose.yaml", "compose.prod.yml"}

// starter is what the template of a new cutover.yaml takes.
type starter struct {
	App     string
	Files   []string
	EnvFile string
	Web     []starterWeb
}

type starterWeb struct {
	Service, Variable string
	Blue, Green       int
}

func (i *invocation) writeConfig(ctx context.Context, app string) error {
	if app == "" {
		app = strings.Trim(regexp.MustCompile(`[^a-z0-9_-]+`).ReplaceAllString(strings.ToLower(filepath.Base(i.dir)), "-"), "-")
	}
	if !appName.MatchString(app) {
		return usagef("init: %q cannot be the app's name; give one with --app", app)
	}
	start := starter{App: app}
	for _, name := range composeFiles {
		if _, err := os.Stat(filepath.Join(i.dir, name)); err == nil {
			start.Files = append(start.Files, name)
		}
	}
	if len(start.Files) == 0 {
		return &traffic.Fault{
			Kind: traffic.Usage, Err: fmt.Errorf("no compose file in %s (looked for %s)", i.dir, strings.Join(composeFiles, ", ")),
			Hint: "Go to the folder of the app's compose files.",
		}
	}
	if _, err := os.Stat(filepath.Join(i.dir, ".env.prod")); err == nil {
		start.EnvFile = ".env.prod"
	}
	var err error
	if start.Web, err = i.publishedServices(ctx, start); err != nil {
		return err
	}
	var text strings.Builder
	if err := template.Must(template.ParseFS(templates.Files, "compose/cutover.yaml.tmpl")).Execute(&text, start); err != nil {
		return err
	}
	path := filepath.Join(i.dir, configName)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return usagef("init: %s is there already", path)
	}
	if err := renameio.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	i.out.line("wrote %s\n\nLook it through, let the compose files publish each web port as its comments show, then\n", path)
	i.out.line("    cutover init --stable blue\n    cutover doctor")
	i.out.result(initDocument{Result: "written", Path: path})
	return nil
}

// publishedServices asks Compose which services publish a port: those take traffic.
func (i *invocation) publishedServices(ctx context.Context, start starter) ([]starterWeb, error) {
	argv := i.compose()
	for _, f := range start.Files {
		argv = append(argv, "-f", f)
	}
	if start.EnvFile != "" {
		argv = append(argv, "--env-file", start.EnvFile)
	}
	cmd := command(ctx, append(argv, "config", "--format", "json", "--no-interpolate"))
	cmd.Dir = i.dir
	out, err := cmd.Output()
	if err != nil {
		return nil, usagef("init: `%s config` does not read the compose files: %w", strings.Join(argv, " "), err)
	}
	var model struct {
		Services map[string]struct {
			Ports []any `json:"ports"`
		} `json:"services"`
	}
	if err := json.Unmarshal(out, &model); err != nil {
		return nil, fmt.Errorf("read `docker compose config`: %w", err)
	}
	var web []starterWeb
	for name, service := range model.Services {
		if len(service.Ports) > 0 {
			web = append(web, starterWeb{Service: name, Variable: strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name)) + "_PORT"})
		}
	}
	slices.SortFunc(web, func(a, b starterWeb) int { return strings.Compare(a.Service, b.Service) })
	for n := range web {
		web[n].Blue, web[n].Green = 18000+80*n, 28000+80*n
	}
	return web, nil
}

func trimLine(b []byte) string { return strings.TrimSpace(string(b)) }
