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
Without a cutover.yaml: reads the folder's compose files and writes a cutover.yaml to be looked through; services that publish a port
become the web services. With one: makes cutover's folders and the first nginx tree, in which everything goes to the stable color, and
shows the two lines that nginx's configuration needs. Running nginx is not touched.

EXAMPLES
   cutover init                          # writes cutover.yaml
   cutover init --stable blue            # the first tree; blue runs and is stable
   cutover init --stable blue --tag v1.3.2`

func (i *invocation) initCommand() *cli.Command {
	return i.command(commandSpec{
		name: "init", usage: "write cutover.yaml; then, with --stable, the first nginx tree", help: initHelp,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "stable", Usage: "the `COLOR` that carries the accepted release"},
			&cli.StringFlag{Name: "tag", Usage: "its release, where the running containers do not tell"},
			&cli.StringFlag{Name: "app", Usage: "the app's `NAME` in a new cutover.yaml; left out: the folder's"},
		},
		run: func(c *cli.Context) error {
			path, err := findConfig(flagOf(c, "config"), i.dir)
			if err == nil {
				_, err = os.Stat(path)
			}
			if err != nil {
				if c.IsSet("stable") {
					return usagef("init --stable: there is no %s yet; `cutover init` writes one", configName)
				}
				return i.writeConfig(c.Context, c.String("app"))
			}
			s, err := i.open(flagOf(c, "config"), flagOf(c, "env"))
			if err != nil {
				return err
			}
			defer s.close()
			return s.init(c)
		},
	})
}

func (s *session) init(c *cli.Context) error {
	ctx := c.Context
	if err := s.hold(ctx, 0); err != nil {
		return err
	}
	if c.IsSet("stable") {
		color, err := colorFlag(c, "stable")
		if err != nil {
			return err
		}
		if s.state.Open != nil {
			return &traffic.Fault{
				Kind: traffic.Busy, Err: fmt.Errorf("%s is open", s.state.Open.Name()), Hint: "`cutover back` or `cutover accept` first.",
			}
		}
		release, err := s.stacks.Serving(ctx, color)
		if err != nil && !c.IsSet("tag") {
			return fmt.Errorf("which release runs on %s is not known (say it with --tag): %w", color, err)
		}
		if c.IsSet("tag") {
			release.Tag = c.String("tag")
		}
		if err := s.setStable(ctx, color, release); err != nil {
			return err
		}
		s.out.line("stable is %s %s", color, release.Tag)
	}
	s.explainEdit()
	return nil
}

// explainEdit shows the lines that the user's nginx configuration needs. They never change afterwards.
func (s *session) explainEdit() {
	root := filepath.Join(s.config.Nginx.Dir, s.config.App)
	s.out.line("nginx needs, once in http { }:\n\n    include %s/current/http.conf;\n", root)
	if len(s.config.Routes) > 0 {
		s.out.line("and nothing else: the servers come from routes in %s.", s.path)
		return
	}
	s.out.line("and as the first line of each server { } that proxies to the app:\n\n    include %s/current/server.conf;\n", root)
	s.out.line("with, in its locations, instead of the old proxy_pass:\n")
	for _, variable := range s.proxy.Variables() {
		s.out.line("    proxy_pass http://$%s;", variable)
	}
	s.out.line("\nThen test and reload nginx, and ask `cutover doctor`.")
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
	i.out.line("wrote %s: look it through, let the compose files publish each web port as in its comments, then\n", path)
	i.out.line("    cutover init --stable blue\n    cutover doctor")
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
