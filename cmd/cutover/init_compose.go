package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/google/renameio/v2"

	"cutover/stacks"
	"cutover/templates"
	"cutover/traffic"
)

// composeBases are the files that Compose itself looks for, in its order: the first that is there counts. composeLayers lie over
// it in production; an override file is for development, and left out.
var (
	composeBases  = []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}
	composeLayers = []string{
		"compose.prod.yaml", "compose.prod.yml", "docker-compose.prod.yml", "docker-compose.prod.yaml",
		"compose.production.yml", "docker-compose.production.yml",
	}
)

// starter is what the template of a new cutover.yaml takes.
type starter struct {
	App     string
	Files   []string
	EnvFile string
	// Blue is blue's project; Running tells that it runs already.
	Blue    string
	Running bool
	// Container is nginx's, empty where it runs on this host itself; Host is where the web services are published for it.
	Container, Host string
	Web             []starterWeb
	// Browsers says what shows that browsers use the app, which want their page and what it asks for of one release; empty where
	// nothing does.
	Browsers string
}

type starterWeb struct {
	Service, Variable string
	// Port is where the service listens in its container.
	Port        int
	Blue, Green string
	// Open tells that the running container is published to everybody, Elsewhere that nginx's container does not reach where it is.
	Open, Elsewhere bool
	// published is the port that the compose files publish it on; empty where they leave that to a variable.
	published string
}

func (i *invocation) writeConfig(ctx context.Context, app, container string) error {
	if app == "" {
		app = strings.Trim(regexp.MustCompile(`[^a-z0-9_-]+`).ReplaceAllString(strings.ToLower(filepath.Base(i.dir)), "-"), "-")
	}
	if !appName.MatchString(app) {
		return usagef("init: %q cannot be the app's name; give one with --app", app)
	}
	start := starter{App: app, Blue: app + "-blue", Files: i.composeFiles(), Container: container, Host: "127.0.0.1"}
	if len(start.Files) == 0 {
		return &traffic.Fault{
			Kind: traffic.Usage, Err: fmt.Errorf("no compose file in %s (looked for %s)", i.dir, strings.Join(composeBases, ", ")),
			Hint: "Go to the folder of the app's compose files.",
		}
	}
	if i.has(".env.prod") {
		start.EnvFile = ".env.prod"
	}
	if container != "" {
		var err error
		if start.Host, err = gatewayOf(ctx, container); err != nil {
			return err
		}
	}
	if err := i.publishedServices(ctx, &start); err != nil {
		return err
	}
	if start.Browsers == "" {
		start.Browsers = i.browsersOf(ctx, start)
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
	i.out.line("wrote %s", path)
	if start.Running {
		i.out.line("project %s runs already: it is blue, where it is", start.Blue)
	}
	if start.Browsers != "" {
		i.out.line("split: client, since %s", start.Browsers)
	}
	i.out.line("\nLook it through, let the compose files publish each web port as its comments show, then\n")
	i.out.line("    cutover init --stable blue\n    cutover init --apply\n    cutover doctor")
	i.out.result(initDocument{Result: "written", Path: path})
	return nil
}

// gatewayOf is this host's address in a network of the container.
func gatewayOf(ctx context.Context, container string) (string, error) {
	engine, err := stacks.NewEngine()
	if err != nil {
		return "", err
	}
	defer engine.Close()
	inside, err := engine.Inside(ctx, container)
	if err != nil {
		return "", err
	}
	if len(inside.Gateways) == 0 {
		return "", &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("container %s is on no network with a gateway", container),
			Hint: "Put it on one of its own in its compose file (networks:), not on the host's."}
	}
	return inside.Gateways[0], nil
}

func (i *invocation) has(name string) bool {
	_, err := os.Stat(filepath.Join(i.dir, name))
	return err == nil
}

// composeFiles are the folder's layers for production.
func (i *invocation) composeFiles() []string {
	base := slices.IndexFunc(composeBases, i.has)
	if base < 0 {
		return nil
	}
	files := []string{composeBases[base]}
	for _, name := range composeLayers {
		if i.has(name) {
			files = append(files, name)
		}
	}
	return files
}

// asks runs Compose in the folder and gives what it wrote.
func (i *invocation) asks(ctx context.Context, argv ...string) ([]byte, error) {
	cmd := command(ctx, append(i.compose(), argv...))
	cmd.Dir = i.dir
	return cmd.Output()
}

// publishedServices asks Compose which services publish a port: those take traffic. What runs already stays where it is.
func (i *invocation) publishedServices(ctx context.Context, start *starter) error {
	var argv []string
	for _, f := range start.Files {
		argv = append(argv, "-f", f)
	}
	if start.EnvFile != "" {
		argv = append(argv, "--env-file", start.EnvFile)
	}
	argv = append(argv, "config", "--format", "json", "--no-interpolate")
	out, err := i.asks(ctx, argv...)
	if err != nil {
		return usagef("init: `%s` does not read the compose files: %w", strings.Join(append(i.compose(), argv...), " "), err)
	}
	var model struct {
		Name     string
		Services map[string]composed `json:"services"`
	}
	if err := json.Unmarshal(out, &model); err != nil {
		return fmt.Errorf("read `docker compose config`: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(model.Services)) {
		service := model.Services[name]
		if len(service.Ports) > 0 {
			if start.Browsers == "" {
				start.Browsers = service.pages(name)
			}
			variable := strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name)) + "_PORT"
			start.Web = append(start.Web, starterWeb{Service: name, Variable: variable, Port: targetPort(service.Ports[0]), published: publishedPort(service.Ports[0])})
		}
	}
	for n := range start.Web {
		start.Web[n].Blue, start.Web[n].Green = fmt.Sprintf("%s:%d", start.Host, 18000+80*n), fmt.Sprintf("%s:%d", start.Host, 28000+80*n)
	}
	i.adopt(ctx, start, model.Name)
	return nil
}

// targetPort is the container's port of a ports entry, in either of Compose's spellings. A port that a variable gives is 8000: it
// stands in a comment only.
func targetPort(entry any) int {
	text := fmt.Sprint(entry)
	if long, ok := entry.(map[string]any); ok {
		text = fmt.Sprint(long["target"])
	}
	text, _, _ = strings.Cut(text[strings.LastIndexByte(text, ':')+1:], "/")
	if port, err := strconv.Atoi(text); err == nil {
		return port
	}
	return 8000
}

// standing is a container as `docker compose ps` describes it.
type standing struct {
	Service    string
	Publishers []struct {
		URL           string
		TargetPort    int
		PublishedPort int
		Protocol      string
	}
}

// enginePatience is how long the engine may take to say what runs. A configuration is written without its answer, too.
const enginePatience = 10 * time.Second

// adopt makes a project that runs already the blue one, so that its containers need no restart.
func (i *invocation) adopt(ctx context.Context, start *starter, project string) {
	if project == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, enginePatience)
	defer cancel()
	out, err := i.asks(ctx, "-p", project, "ps", "--format", "json")
	if err != nil {
		return
	}
	for _, box := range readStanding(out) {
		at := slices.IndexFunc(start.Web, func(w starterWeb) bool { return w.Service == box.Service })
		if at < 0 {
			continue
		}
		start.Blue, start.Running = project, true
		for _, p := range box.Publishers {
			ip := net.ParseIP(p.URL)
			switch {
			case p.PublishedPort == 0 || p.Protocol == "udp" || ip == nil:
			case ip.IsUnspecified():
				start.Web[at].Open = true
			case start.Container != "" && ip.IsLoopback():
				start.Web[at].Elsewhere = true
			default:
				start.Web[at].Blue = net.JoinHostPort(p.URL, strconv.Itoa(p.PublishedPort))
			}
		}
	}
}

// readStanding reads what `docker compose ps` wrote: one list in older versions, an object a line in newer ones.
func readStanding(out []byte) []standing {
	var all []standing
	if json.Unmarshal(out, &all) == nil {
		return all
	}
	for line := range bytes.Lines(out) {
		var one standing
		if json.Unmarshal(line, &one) == nil {
			all = append(all, one)
		}
	}
	return all
}
