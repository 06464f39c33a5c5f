package stacks

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"cutover/traffic"
)

var update = flag.Bool("update", false, "write the golden files")

const testImage = "cutover-stacks-test"

// TestMain takes the test images away again and looks for goroutines that outlived their test.
func TestMain(m *testing.M) {
	code := m.Run()
	if images.done {
		docker("rmi", "-f", testImage+":v1", testImage+":v2", testImage+":sick", testImage+":crash")
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func docker(args ...string) (string, error) {
	command := exec.Command("docker", args...)
	command.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	out, err := command.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// runReal is the runner as the command has it.
func runReal(ctx context.Context, c Command) (Output, error) {
	command := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	command.Env, command.Dir = c.Env, c.Dir
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGTERM) }
	command.WaitDelay = 3 * time.Second
	var stdout, stderr bytes.Buffer
	command.Stdout = &stdout
	command.Stderr = io.MultiWriter(&stderr, &lineWriter{to: c.Line})
	err := command.Run()
	out := Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Exit: command.ProcessState.ExitCode()}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && ctx.Err() == nil && exit.ExitCode() >= 0 {
		return out, nil
	}
	return out, err
}

type lineWriter struct {
	to   func(string)
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte{'\n'})
		if !found {
			return len(p), nil
		}
		if w.to != nil {
			w.to(string(line))
		}
		w.rest = rest
	}
}

// images are built once for all tests, one for each way that a release can turn out.
var images struct {
	sync.Once
	done bool
	err  error
}

func buildImages(dir string) error {
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "app"), "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the test app: %w: %s", err, out)
	}
	images.done = true
	for tag, mode := range map[string]string{"v1": "good", "v2": "good", "sick": "sick", "crash": "crash"} {
		file := fmt.Sprintf("FROM scratch\nCOPY app /app\nENTRYPOINT [\"/app\"]\nENV MODE=%s RELEASE=%s\n", mode, tag)
		if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(file), 0o644); err != nil {
			return err
		}
		if _, err := docker("build", "-q", "-t", testImage+":"+tag, dir); err != nil {
			return err
		}
	}
	return nil
}

// composeArgv finds Compose: what the environment names, the docker plugin, or the one that the checkout keeps.
func composeArgv() []string {
	if path := os.Getenv("CUTOVER_COMPOSE"); path != "" {
		return []string{path}
	}
	if _, err := docker("compose", "version"); err == nil {
		return []string{"docker", "compose"}
	}
	if path, err := filepath.Abs("../.tools/docker-compose"); err == nil {
		if _, err := os.Stat(path); err == nil {
			return []string{path}
		}
	}
	return nil
}

// bench is a folder with compose files and the driver's options over it, on the real engine.
type bench struct {
	Options
	t *testing.T
	// said collects what people are told.
	said []string
}

const composeFile = `
services:
  backend:
    image: cutover-stacks-test:${TAG}
    pull_policy: never
    restart: unless-stopped
    stop_grace_period: 3s
    ports: ["127.0.0.1:${API_PORT}:8000"]
  worker: &idle
    image: cutover-stacks-test:${TAG}
    pull_policy: never
    stop_grace_period: 3s
    command: [idle]
  beat: { <<: *idle, profiles: [jobs] }
  db: { <<: *idle, image: "cutover-stacks-test:v1" }
`

// newBench makes one, or skips loudly; n keeps the ports of tests apart, because they run in parallel.
func newBench(t *testing.T, n int) *bench {
	t.Helper()
	t.Parallel()
	compose := composeArgv()
	_, err := docker("version")
	if err != nil || compose == nil {
		if os.Getenv("CUTOVER_REQUIRE_REAL") != "" {
			t.Fatalf("needs a docker engine (%v) and compose (%v)", err, compose)
		}
		t.Skipf("SKIPPED: needs a docker engine (%v) and compose (%v)", err, compose)
	}
	images.Do(func() { images.err = buildImages(t.TempDir()) })
	require.NoError(t, images.err)
	engine, err := NewEngine()
	require.NoError(t, err)

	b := &bench{t: t}
	name := "cutover-st-" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(strings.TrimPrefix(t.Name(), "Test")))
	config := DefaultConfig()
	config.Files = []string{"compose.yml"}
	config.Blue.Project, config.Green.Project = name+"-blue", name+"-green"
	config.Ready = Ready{Timeout: 20 * time.Second, Consecutive: 2}
	config.Web = []Web{{
		Service: "backend", PortVariable: "API_PORT", Ready: Test{Path: "/healthz"},
		Blue: fmt.Sprintf("127.0.0.1:%d", 24000+2*n), Green: fmt.Sprintf("127.0.0.1:%d", 24001+2*n),
	}}
	b.Options = Options{
		Config: config, Dir: t.TempDir(), App: "shop", Env: "prod", Compose: compose, Environ: os.Environ(),
		Run: runReal, Say: func(line string) { b.said = append(b.said, line) }, Now: time.Now, Engine: engine,
	}
	b.write("compose.yml", composeFile)
	require.NoError(t, config.Validate())
	b.sweep() // what a killed run has left
	t.Cleanup(func() { b.sweep(); engine.Close() })
	return b
}

func (b *bench) write(name, text string) {
	b.t.Helper()
	require.NoError(b.t, os.WriteFile(filepath.Join(b.Dir, name), []byte(text), 0o644))
}

// sweep removes the containers and networks of both projects.
func (b *bench) sweep() {
	for _, project := range []string{b.Config.Blue.Project, b.Config.Green.Project} {
		label := "label=com.docker.compose.project=" + project
		for _, kind := range [][2]string{{"container", "-f"}, {"network", ""}} {
			list := []string{kind[0], "ls", "-q", "--filter", label}
			if kind[0] == "container" {
				list = append(list, "-a")
			}
			ids, _ := docker(list...)
			if ids == "" {
				continue
			}
			remove := []string{kind[0], "rm"}
			if kind[1] != "" {
				remove = append(remove, kind[1])
			}
			docker(append(remove, strings.Fields(ids)...)...)
		}
	}
}

func (b *bench) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	b.t.Cleanup(cancel)
	return ctx
}

// byHand runs compose as a person would, with the stack's own environment.
func (b *bench) byHand(color traffic.Color, tag string, args ...string) {
	b.t.Helper()
	c := NewCompose(b.Options)
	out, err := c.compose(b.ctx(), c.stack(color, tag), progressQuiet, nil, args...)
	require.NoError(b.t, err)
	require.Zero(b.t, out.Exit, "%s", out.Stderr)
}

// states gives each container of the color, by service.
func (b *bench) states(color traffic.Color) map[string]string {
	b.t.Helper()
	boxes, err := b.Engine.boxes(b.ctx(), b.Config.Slot(color).Project)
	require.NoError(b.t, err)
	states := map[string]string{}
	for _, one := range boxes {
		states[one.Service] = one.State
	}
	return states
}

// inspect gives the engine's own answer about a service's only container.
func (b *bench) inspect(color traffic.Color, service string) container.InspectResponse {
	b.t.Helper()
	boxes, err := b.Engine.boxes(b.ctx(), b.Config.Slot(color).Project, service)
	require.NoError(b.t, err)
	require.Len(b.t, boxes, 1)
	answer, err := b.Engine.docker.ContainerInspect(b.ctx(), boxes[0].ID)
	require.NoError(b.t, err)
	return answer
}

// fault wants a fault of the kind.
func fault(t *testing.T, err error, kind traffic.Kind) *traffic.Fault {
	t.Helper()
	f, ok := errors.AsType[*traffic.Fault](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, kind, f.Kind, "%v %q", err, f.Detail)
	return f
}
