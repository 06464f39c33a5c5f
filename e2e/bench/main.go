// Bench measures what people on call would ask first, on a real engine, Compose, nginx and load: how soon users are off a bad release,
// beside the usual `nginx -t && nginx -s reload` and HAProxy, and what cutover costs meanwhile. It leaves .bench/results.json, and
// nothing that runs. It judges no number: machines differ, and whoever compares two runs can.
//
//	bench [NAME...]   all figures, or only those of the parts that are named
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"cutover/e2e/images"
	"cutover/e2e/stage"
)

const (
	image     = "cutover-bench"
	folder    = ".bench"
	firstPort = 19180
	// bound is for the whole bench without its cleaning up.
	bound = 720 * time.Second
	// patience is for anything that is waited for: to come up, to get its share, to fall silent.
	patience = 45 * time.Second
)

var (
	stable    = images.Release{Tag: "v1.0.0"}
	candidate = images.Release{Tag: "v1.1.0"}
	releases  = []images.Release{stable, candidate}
)

// settings has plans that stay at their first step for as long as the bench looks at it.
const settings = `rollout:
  steps: [{ weight: 20, soak: 1h }, { weight: 100 }]
verdict:
  warm_up: 0s
environments:
  careful: { rollout: { steps: [{ weight: 5, soak: 1h }, { weight: 100 }] } }
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// bench is the site that is measured.
type bench struct {
	*stage.Stage
	// processes are the stacks where there is no engine.
	processes []*stage.Process
	yard      yard
}

func run(ctx context.Context) (failed error) {
	limited, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("not through within %v", bound))
	defer cancel()
	b, err := set()
	if err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, b.strike(context.WithoutCancel(ctx))) }()
	var all []row
	var stopped error
	for _, p := range b.places() {
		if stopped == nil {
			stopped = p.measured(limited, os.Args[1:], &all)
		}
	}
	// what was measured before a failure is not thrown away
	return errors.Join(stopped, write(filepath.Join(b.Dir, "results.json"), all), show(os.Stdout, all))
}

// place is where figures are measured. It is opened only when one of them is wanted.
type place struct {
	title string
	open  func(context.Context) error
	parts []part
}

// part measures a few figures, the first of which gives it its name.
type part struct {
	name, title string
	measure     func(context.Context) ([]row, error)
}

func (b *bench) places() []place {
	return []place{
		{"nothing", func(context.Context) error { return nil }, []part{{"false_reverts", "simulating rollouts", b.characteristics}}},
		{"the site", b.open, []part{
			{"log_lines", "parsing log lines", b.logLines},
			{"guardian_cutback", "killing the promoter at 20 %", b.guardianCutback},
			{"promote_rss", "weighing a promotion at 5 %", b.promotionSize},
			{"cutback_reload_mode", "cutting back, and reloading beside it", b.cutbackReloadMode},
			{"back_startup", "starting up", b.backStartup},
		}},
		{"the yard", b.openYard, []part{
			{"cutback_process", "cutting back live, beside HAProxy and a script", b.cutbackProcess},
			{"cutback_effect", "the same under load", b.cutbackEffect},
			{"shift_reload", "giving everything by a reload, proven", b.shiftReload},
			{"proxy_cpu_reload", "weighing nginx's workers", b.proxyCost},
			{"render_1000", "rendering 1,000 routes", b.render1000},
			{"lost_in_100_shifts", "counting what plain sockets lose", b.lostInShifts},
		}},
	}
}

// measured adds the figures of the parts that are named; of all where none is.
func (p place) measured(ctx context.Context, names []string, all *[]row) error {
	opened := false
	for _, part := range p.parts {
		if len(names) > 0 && !slices.Contains(names, part.name) {
			continue
		}
		if !opened {
			say("opening %s", p.title)
			if err := p.open(ctx); err != nil {
				return err
			}
			opened = true
		}
		say("%s", part.title)
		rows, err := part.measure(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", part.title, err)
		}
		*all = append(*all, rows...)
	}
	return nil
}

// set writes the site's folder. Nothing runs yet.
func set() (*bench, error) {
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
	built, err := stage.Build(stage.Options{
		Dir: dir, Name: "bench", Binary: binary, Image: image, Ports: stage.PortsFrom(firstPort),
		External: os.Getenv("CUTOVER_ENGINE") == "local", Config: settings,
		Web: "    healthcheck: { disable: true }", Stacks: "  ready: { timeout: 30s, consecutive: 1 }",
		Head: "    include " + rivalFile + ";",
	})
	if err != nil {
		return nil, err
	}
	b := &bench{Stage: built}
	return b, b.writeRival(both)
}

// open brings both stacks and nginx up. All traffic is on blue.
func (b *bench) open(ctx context.Context) error {
	if b.External {
		say("no Docker Engine can be had here: the stacks are local processes (driver: external)")
		if err := b.openProcesses(ctx); err != nil {
			return err
		}
	} else {
		if err := images.Build(ctx, ".", image, releases); err != nil {
			return err
		}
		if err := b.Compose(ctx, "blue", stable.Tag, "up", "-d", "--wait"); err != nil {
			return err
		}
	}
	if err := b.typed(ctx, "init", "--stable", "blue", "--tag", stable.Tag); err != nil {
		return err
	}
	if err := b.StartNginx(ctx); err != nil {
		return err
	}
	return b.typed(ctx, "up", "--to", "green", "--tag", candidate.Tag)
}

func (b *bench) openProcesses(ctx context.Context) error {
	for n, color := range []string{"blue", "green"} {
		program := filepath.Join(b.Dir, "app-"+color)
		if err := images.Compile(ctx, ".", program, releases[n]); err != nil {
			return err
		}
		p, err := b.Run(ctx, color, program)
		b.processes = append(b.processes, p)
		if err != nil {
			return err
		}
	}
	return nil
}

// typed has a command typed at the site.
func (b *bench) typed(ctx context.Context, args ...string) error { return typed(ctx, b.Stage, args...) }

// patiently lets a command whose context is over end by itself, with the children that it has.
func patiently(c *exec.Cmd) {
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 30 * time.Second
}

// strike takes everything down that was started, also after Ctrl-C.
func (b *bench) strike(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	say("cleaning up")
	failed := []error{b.Strike(ctx), b.yard.close(ctx)}
	for _, p := range b.processes {
		failed = append(failed, p.Stop())
	}
	if !b.External {
		failed = append(failed, images.Remove(ctx, image, releases))
	}
	return errors.Join(failed...)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// until waits for what is to happen.
func until(ctx context.Context, what string, happened func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("waited %v until %s", patience, what))
	defer cancel()
	for !happened() {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func say(format string, args ...any) { fmt.Printf("── "+format+"\n", args...) }
