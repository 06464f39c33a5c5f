// Package stage sets a whole small site up on loopback, for the demo and the end-to-end tests: a folder with compose files and a
// cutover.yaml, an nginx of its own beside the system's, and the built binary to be typed at. Everything on it is real; with
// driver external the stacks are local processes instead of containers.
package stage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// Ports are the stage's addresses, all on 127.0.0.1. The service web is published on Blue and Green, the further ones on the
// ports above Further, two each.
type Ports struct{ Front, Blue, Green, Probe, Further int }

// PortsFrom gives neighbouring ports.
func PortsFrom(first int) Ports { return Ports{first, first + 1, first + 2, first + 3, first + 4} }

// Options say what stands on the stage.
type Options struct {
	// Dir is made, and holds everything; Name begins the names of projects and the app.
	Dir, Name string
	// Binary is the built cutover.
	Binary string
	// Image is the name of the demo application's images, without a tag.
	Image string
	Ports Ports
	// External stacks are processes that Run starts; otherwise Compose brings the stacks up.
	External bool
	// Config is the part of cutover.yaml that differs: top-level sections rollout, verdict, …, as YAML.
	Config string
	// Stacks is added to the section stacks, indented by two.
	Stacks string
	// Nginx is added to the section nginx, indented by two.
	Nginx string
	// Web is added to the compose file's service web, indented by four; Services to its services.
	Web, Services string
	// Also names further web services: the same application, on addresses of its own.
	Also []string
	// Server replaces the usual server block's content after the include; Head goes into http { } and Main before it.
	Server, Head, Main string
	// Shutdown is how long old workers of nginx may keep their connections; empty means 10s, 0 for ever.
	Shutdown string
	// Beside is the stage whose nginx serves this one too, as a further app; it must include conf.d/*.conf. Nil: an nginx of its own.
	Beside *Stage
	// Routes leaves the server block out: cutover.yaml has routes.
	Routes bool
	// Container is the one that the scene's nginx runs in, by its name; the colors are published on Gateway then, where it reaches them.
	Container, Gateway string
	// Plain leaves cutover's lines out of nginx's files: the server passes to blue's address, as before cutover came.
	Plain bool
}

// Stage is a site that stands.
type Stage struct {
	Options
	nginx *exec.Cmd
}

// Build writes the folder. Nothing runs yet.
func Build(o Options) (*Stage, error) {
	if o.Shutdown == "" {
		o.Shutdown = "10s"
	}
	s := &Stage{Options: o}
	for _, dir := range []string{s.path("nginx", "logs"), s.path("site"), s.path("state")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	files := map[string]string{
		s.path("site", "docker-compose.yml"): composeFile,
		s.ConfigFile():                       configFile,
		s.NginxConf():                        nginxFile,
	}
	if o.Beside != nil {
		delete(files, s.NginxConf())
		files[filepath.Join(s.NginxPrefix(), "conf.d", s.Name+".conf")] = neighbourFile
	}
	for path, text := range files {
		var out bytes.Buffer
		if err := template.Must(template.New(path).Parse(text)).Execute(&out, s); err != nil {
			return nil, err
		}
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Stage) path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

// ConfigFile is the path of cutover.yaml.
func (s *Stage) ConfigFile() string { return s.path("site", "cutover.yaml") }

// NginxPrefix is the folder of the nginx that serves the stage.
func (s *Stage) NginxPrefix() string {
	if s.Beside != nil {
		return s.Beside.NginxPrefix()
	}
	return s.path("nginx")
}

// NginxConf is the path of nginx's main configuration file.
func (s *Stage) NginxConf() string { return filepath.Join(s.NginxPrefix(), "nginx.conf") }

// NginxDir is nginx.dir, Root the app's folder in it.
func (s *Stage) NginxDir() string { return filepath.Join(s.NginxPrefix(), "cutover") }

// Root is the app's folder that nginx reads.
func (s *Stage) Root() string { return filepath.Join(s.NginxDir(), s.Name) }

// AccessLog is the log that the verdict reads.
func (s *Stage) AccessLog() string { return s.path("nginx", "logs", "cutover.log") }

// StateDir is the app's folder with the journal.
func (s *Stage) StateDir() string { return s.path("state", s.Name) }

// ProbePort is where nginx tells what it serves: one port for all apps of one nginx.
func (s *Stage) ProbePort() int {
	if s.Beside != nil {
		return s.Beside.ProbePort()
	}
	return s.Ports.Probe
}

// URL is where users come in.
func (s *Stage) URL() string { return "http://127.0.0.1:" + strconv.Itoa(s.Ports.Front) + "/" }

// Address is where a color publishes the service web.
func (s *Stage) Address(color string) string { return s.AddressOf("web", color) }

// AddressOf is where a color publishes the web service.
func (s *Stage) AddressOf(service, color string) string {
	return s.Host() + ":" + s.portOf(service, color)
}

// Host is where the colors are published.
func (s *Stage) Host() string {
	if s.Container != "" {
		return s.Gateway
	}
	return "127.0.0.1"
}

func (s *Stage) portOf(service, color string) string {
	blue, green := s.Ports.Blue, s.Ports.Green
	if n := slices.Index(s.Also, service); n >= 0 {
		blue, green = s.Ports.Further+2*n, s.Ports.Further+2*n+1
	}
	if color == "green" {
		return strconv.Itoa(green)
	}
	return strconv.Itoa(blue)
}

// PortVariable is the variable by which the compose file takes the service's port.
func (*Stage) PortVariable(service string) string { return strings.ToUpper(service) + "_PORT" }

// Upstream is what a location proxies to for the service.
func (s *Stage) Upstream(service string) string {
	if s.Plain {
		return "http://" + s.AddressOf(service, "blue")
	}
	return "http://$cutover_" + strings.ReplaceAll(s.Name+"_"+service, "-", "_")
}

// StartNginx starts the stage's nginx and waits until it listens and can be told to reload.
func (s *Stage) StartNginx(ctx context.Context) error {
	s.nginx = exec.Command("nginx", "-p", s.path("nginx"), "-c", s.NginxConf(), "-g", "daemon off;")
	var said bytes.Buffer
	s.nginx.Stderr = &said
	s.nginx.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.nginx.Start(); err != nil {
		return fmt.Errorf("start nginx: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.nginx.Wait() }()
	for ctx.Err() == nil {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(s.Ports.Front), time.Second)
		if err == nil {
			err = conn.Close()
			if s.hasPID() {
				return err
			}
		}
		select {
		case err := <-ended:
			return fmt.Errorf("nginx ended: %w: %s", err, said.Bytes())
		case <-time.After(20 * time.Millisecond):
		}
	}
	return context.Cause(ctx)
}

// hasPID tells whether nginx has written its pid file, which it does after it listens: until then nobody can tell it to reload.
func (s *Stage) hasPID() bool {
	text, _ := os.ReadFile(s.path("nginx", "nginx.pid")) // there is none at first
	return strings.TrimSpace(string(text)) == strconv.Itoa(s.NginxPID())
}

// NginxPID is the master's process id.
func (s *Stage) NginxPID() int { return s.nginx.Process.Pid }

// StopNginx ends the stage's nginx at once.
func (s *Stage) StopNginx() error {
	if s.nginx == nil || s.nginx.Process == nil {
		return nil
	}
	if err := s.nginx.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for range 250 {
		if syscall.Kill(s.nginx.Process.Pid, 0) != nil {
			return nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	return errors.Join(fmt.Errorf("nginx %d did not end", s.nginx.Process.Pid), s.nginx.Process.Kill())
}

// Result is one command's end.
type Result struct {
	Exit           int
	Stdout, Stderr string
}

// Command is cutover with the arguments, to be started by the caller in the site's folder.
func (s *Stage) Command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, s.Binary, args...)
	c.Dir = s.path("site")
	c.Env = append(os.Environ(), "CUTOVER_ACTOR=demo@localhost", "CUTOVER_CONFIG=", "CUTOVER_ENV=")
	return c
}

// Cutover types a command and waits for its end.
func (s *Stage) Cutover(ctx context.Context, args ...string) (Result, error) {
	c := s.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	r := Result{Exit: c.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = nil
	}
	return r, err
}

// Compose runs docker compose on one color's project by hand, as the stage's owner would.
func (s *Stage) Compose(ctx context.Context, color, tag string, args ...string) error {
	all := append([]string{"compose", "-p", s.Name + "-" + color, "-f", s.path("site", "docker-compose.yml")}, args...)
	c := exec.CommandContext(ctx, "docker", all...)
	c.Env = append(os.Environ(), "TAG="+tag)
	for _, service := range append([]string{"web"}, s.Also...) {
		c.Env = append(c.Env, s.PortVariable(service)+"="+s.portOf(service, color))
	}
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("docker compose %v: %w: %s", args, err, out)
	}
	return nil
}

// Strike takes everything down that may run: guardians, nginx and both projects.
func (s *Stage) Strike(ctx context.Context) error {
	s.dismiss()
	failed := []error{s.StopNginx()}
	if !s.External {
		for _, color := range []string{"blue", "green"} {
			failed = append(failed, s.Compose(ctx, color, "none", "down", "--timeout", "2", "--volumes"))
		}
	}
	return errors.Join(failed...)
}

const composeFile = `# The stage's application: one web service, its release by TAG, its port by WEB_PORT.
services:
  web:
    image: {{.Image}}:${TAG}
    pull_policy: never
    ports: ["{{.Host}}:${WEB_PORT}:8000"]
    environment: { STACK: "${COMPOSE_PROJECT_NAME}" }
    stop_grace_period: 2s
{{- if .Web}}
{{.Web}}
{{- end}}
{{- range .Also}}
  {{.}}:
    image: {{$.Image}}:${TAG}
    pull_policy: never
    ports: ["{{$.Host}}:${ {{- $.PortVariable . -}} }:8000"]
    environment: { STACK: "${COMPOSE_PROJECT_NAME}" }
    stop_grace_period: 2s
{{- end}}
{{.Services}}`

const configFile = `app: {{.Name}}
environment: prod
state: {{.Dir}}/state
stacks:
{{- if .External}}
  driver: external
{{- else}}
  files: [docker-compose.yml]
  blue:  { project: {{.Name}}-blue }
  green: { project: {{.Name}}-green }
{{- end}}
  web:
    - { service: web, port_variable: WEB_PORT, blue: {{.Address "blue"}}, green: {{.Address "green"}}, ready: { path: /healthz } }
{{- range .Also}}
    - { service: {{.}}, port_variable: {{$.PortVariable .}}, blue: {{$.AddressOf . "blue"}}, green: {{$.AddressOf . "green"}}, ready: { path: /healthz } }
{{- end}}
  smoke: [{ path: /api/version, status: 200, contains: "{{"{{.Tag}}"}}" }]
{{.Stacks}}
nginx:
  dir: {{.NginxDir}}
{{- if .Container}}
  container: {{.Container}}
{{- else}}
  conf: {{.NginxConf}}
  prefix: {{.NginxPrefix}}
{{- end}}
  probe: 127.0.0.1:{{.ProbePort}}
{{.Nginx}}
signals:
  access_log: { path: {{.AccessLog}} }
{{.Config}}`

const neighbourFile = `include {{.Root}}/current/http.conf;
server {
    listen 127.0.0.1:{{.Ports.Front}};
    include {{.Root}}/current/server.conf;
    location / {
        proxy_pass {{.Upstream "web"}};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_read_timeout 5s;
    }
}
`

const nginxFile = `# An nginx of the stage's own: nothing of the system's is read or written.
user root;
worker_processes 2;
worker_shutdown_timeout {{.Shutdown}};
pid {{.Dir}}/nginx/nginx.pid;
error_log {{.Dir}}/nginx/logs/error.log notice;
{{.Main}}
events { worker_connections 2048; }
http {
    access_log off;
    client_body_temp_path {{.Dir}}/nginx/tmp-body;
    proxy_temp_path {{.Dir}}/nginx/tmp-proxy;
    fastcgi_temp_path {{.Dir}}/nginx/tmp-fastcgi;
    uwsgi_temp_path {{.Dir}}/nginx/tmp-uwsgi;
    scgi_temp_path {{.Dir}}/nginx/tmp-scgi;
{{- if not .Plain}}
    include {{.Root}}/current/http.conf;
{{- end}}
{{.Head}}
{{- if not .Routes}}
    server {
        listen 127.0.0.1:{{.Ports.Front}};
{{- if not .Plain}}
        include {{.Root}}/current/server.conf;
{{- end}}
{{- if .Server}}
{{.Server}}
{{- else}}
        location / {
            proxy_pass {{.Upstream "web"}};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_read_timeout 5s;
        }
{{- end}}
    }
{{- end}}
}
`
