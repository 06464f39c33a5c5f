package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"time"

	"cutover/e2e/stage"
	"cutover/traffic/journal"
)

// firstPort is where the addresses begin; the demo, the bench and the scenes have others.
const firstPort = 19480

// server is what the site's nginx does with a request: hashed files are asked of the other color too.
const server = `        location /static/ {
            proxy_pass http://$cutover_django_web_assets;
            proxy_next_upstream error timeout http_404;
            proxy_set_header Host $host;
        }
        location / {
            proxy_pass http://$cutover_django_web;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_read_timeout 30s;
        }`

// set writes the site's folder, after it has removed what a run that was killed left. Nothing runs yet.
func set(ctx context.Context, base string) (*story, error) {
	if err := sweep(ctx); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	binary, err := filepath.Abs("bin/cutover")
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	built, err := stage.Build(stage.Options{Dir: dir, Name: name, Binary: binary, Image: image, Ports: stage.PortsFrom(firstPort), Server: server})
	if err != nil {
		return nil, err
	}
	s := &story{Stage: built}
	return s, s.write(base)
}

// write puts the application's own files in the place of the stage's.
func (s *story) write(base string) error {
	site := filepath.Dir(s.ConfigFile())
	for _, file := range []string{"docker-compose.yml", "compose.prod.yml", "data/docker-compose.yml"} {
		text, err := os.ReadFile(filepath.Join(source, file))
		if err != nil {
			return err
		}
		to := filepath.Join(site, file)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, text, 0o644); err != nil {
			return err
		}
	}
	secrets := "DJANGO_SECRET_KEY=" + rand.Text() + "\nDB_PASSWORD=" + rand.Text() + "\nDATA_NETWORK=" + name + "-data\nDATA_IMAGE=" + base + "\n" +
		"DB_NAME=shop\nDB_USER=shop\nREDIS_URL=redis://redis:6379/0\nALLOWED_HOSTS=127.0.0.1,localhost\n"
	if err := os.WriteFile(filepath.Join(site, ".env.prod"), []byte(secrets), 0o600); err != nil {
		return err
	}
	config, err := os.Create(s.ConfigFile())
	if err != nil {
		return err
	}
	defer config.Close()
	return template.Must(template.ParseFiles(filepath.Join(source, "cutover.yaml.tmpl"))).Execute(config, s)
}

// compose runs docker compose on one color by hand, as the site's owner did before cutover came.
func (s *story) compose(ctx context.Context, color, tag string, args ...string) error {
	_, port, _ := strings.Cut(s.Address(color), ":")
	return s.inSite(ctx, []string{"TAG=" + tag, "COLOR=" + color, "WEB_PORT=" + port},
		append([]string{"-p", name + "-" + color, "-f", "docker-compose.yml", "-f", "compose.prod.yml"}, args...))
}

// data runs docker compose on the data project.
func (s *story) data(ctx context.Context, args ...string) error {
	return s.inSite(ctx, nil, append([]string{"-p", name + "-data", "-f", "data/docker-compose.yml"}, args...))
}

func (s *story) inSite(ctx context.Context, env, args []string) error {
	c := exec.CommandContext(ctx, "docker", append([]string{"compose", "--env-file", ".env.prod"}, args...)...)
	c.Dir = filepath.Dir(s.ConfigFile())
	c.Env = append(os.Environ(), env...)
	return quietly(c)
}

// onlyColor wants the worker and beat of one color to run, and of the other neither.
func (s *story) onlyColor(ctx context.Context, color string) error {
	said, err := output(exec.CommandContext(ctx, "docker", "ps", "--format", "{{.Names}}", "--filter", "name="+name+"-"))
	if err != nil {
		return err
	}
	var running []string
	for line := range strings.Lines(said) {
		if who := strings.TrimSpace(line); strings.Contains(who, "-worker-") || strings.Contains(who, "-beat-") {
			running = append(running, who)
		}
	}
	slices.Sort(running)
	wanted := []string{name + "-" + color + "-beat-1", name + "-" + color + "-worker-1"}
	if !slices.Equal(running, wanted) {
		return fmt.Errorf("of workers and beats %q run, expected %q", running, wanted)
	}
	return nil
}

// readyAfter is how many seconds the last rollout took from its opening until its candidate was ready, by the journal.
func (s *story) readyAfter() (float64, error) {
	j, err := journal.Open(s.StateDir(), time.Now)
	if err != nil {
		return 0, err
	}
	entries, err := j.Read()
	if err != nil {
		return 0, err
	}
	last := map[string]time.Time{}
	for _, e := range entries {
		var event struct {
			Kind string `json:"kind"`
		}
		if err := json.Unmarshal(e.Event, &event); err != nil {
			return 0, err
		}
		last[event.Kind] = e.Time
	}
	opened, prepared := last["opened"], last["prepared"]
	if opened.IsZero() || !prepared.After(opened) {
		return 0, fmt.Errorf("the journal tells of no candidate that became ready: %v", slices.Sorted(maps.Keys(last)))
	}
	return prepared.Sub(opened).Seconds(), nil
}

// sweep removes the containers, networks and volumes of our projects, whoever left them.
func sweep(ctx context.Context) error {
	for _, project := range []string{"blue", "green", "data"} {
		filter := "label=com.docker.compose.project=" + name + "-" + project
		for _, kind := range []struct{ list, remove []string }{
			{[]string{"ps", "--all", "--quiet"}, []string{"rm", "--force", "--volumes"}},
			{[]string{"network", "ls", "--quiet"}, []string{"network", "rm"}},
			{[]string{"volume", "ls", "--quiet"}, []string{"volume", "rm"}},
		} {
			found, err := output(exec.CommandContext(ctx, "docker", append(kind.list, "--filter", filter)...))
			if err != nil {
				return err
			}
			if ids := strings.Fields(found); len(ids) > 0 {
				if err := quietly(exec.CommandContext(ctx, "docker", append(kind.remove, ids...)...)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
