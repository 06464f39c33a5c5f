// Demo tells the story of cutover on this machine in two minutes, on a real engine, Compose, nginx and load: a good release goes
// all the way, a bad one is taken back by itself, a person's mistake is undone at once. It leaves .demo/summary.json and
// .demo/status.json, and nothing that runs.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cutover/e2e/images"
	"cutover/e2e/load"
	"cutover/e2e/stage"
)

const (
	image   = "cutover-demo"
	folder  = ".demo"
	rate    = 300 // requests a second
	workers = 32
	sockets = 20 // requests a second of the plain socket clients beside
	// crowdRate is added while somebody cuts back: the candidate's last answer is dated no finer than its requests are apart.
	crowdRate = 1000
)

// The releases of the story.
var (
	first = images.Release{Tag: "v1.0.0"}
	good  = images.Release{Tag: "v1.1.0"}
	bad   = images.Release{Tag: "v1.2.0", FailShare: 0.2}
	next  = images.Release{Tag: "v1.3.0"}
)

const settings = `rollout:
  steps: [{ weight: 5, soak: 12s }, { weight: 20, soak: 12s }, { weight: 100 }]
  bake: 12s
verdict:
  warm_up: 0s
  inconclusive: { after: 12s, then: proceed }
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

// summary is .demo/summary.json.
type summary struct {
	Good      goodPart `json:"good"`
	Bad       badPart  `json:"bad"`
	CutbackMS float64  `json:"cutback_ms"`
	Engine    string   `json:"engine"`
	Nginx     string   `json:"nginx"`
	Compose   string   `json:"compose"`
}

type goodPart struct {
	Result   string    `json:"result"`
	Steps    []float64 `json:"steps"`
	Requests int       `json:"requests"`
	Lost     int       `json:"lost"`
	Resets   int       `json:"resets"`
}

type badPart struct {
	Result          string  `json:"result"`
	AtWeight        float64 `json:"at_weight"`
	SecondsToRevert float64 `json:"seconds_to_revert"`
	UsersHurt       int     `json:"users_hurt"`
}

// demo is the story under way.
type demo struct {
	*stage.Stage
	load    *load.Run
	sockets *load.SocketRun
	// processes are the colors of a story without an engine.
	processes map[string]*stage.Process
	summary   summary
}

func run(ctx context.Context) (failed error) {
	began := time.Now()
	d, err := set(ctx)
	if err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, d.strike(context.WithoutCancel(ctx))) }()
	if err := d.open(ctx); err != nil {
		return err
	}
	say("built and started in %v; the story begins", time.Since(began).Round(time.Second))
	began = time.Now()
	for _, chapter := range []func(context.Context) error{d.goodRelease, d.badRelease, d.byHand} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	if err := writeJSON("summary.json", d.summary); err != nil {
		return err
	}
	say("the story took %v; %s/summary.json and %[2]s/status.json have the numbers", time.Since(began).Round(time.Second), folder)
	return nil
}

// set builds everything that the story needs. Nothing runs yet.
func set(ctx context.Context) (*demo, error) {
	dir, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	binary, err := filepath.Abs("bin/cutover")
	if err != nil {
		return nil, err
	}
	external := os.Getenv("CUTOVER_ENGINE") == "local"
	built, err := stage.Build(stage.Options{
		Dir: dir, Name: "demo", Binary: binary, Image: image, Ports: stage.PortsFrom(19080), External: external, Config: settings,
		Nginx: "  switch: " + cmp.Or(os.Getenv("DEMO_SWITCH"), "reload"),
	})
	if err != nil {
		return nil, err
	}
	d := &demo{Stage: built, processes: map[string]*stage.Process{}}
	releases := []images.Release{first, good, bad, next}
	d.summary.Nginx = version(ctx, "nginx", "-v")
	if external {
		say("no Docker Engine can be had here: the stacks are local processes (driver: external)")
		d.summary.Engine = "local"
		for _, r := range releases {
			if err := images.Compile(ctx, ".", d.program(r), r); err != nil {
				return nil, err
			}
		}
		return d, nil
	}
	d.summary.Engine, d.summary.Compose = "docker", version(ctx, "docker", "compose", "version", "--short")
	say("building the images %s:%s … %s, FROM scratch", image, first.Tag, next.Tag)
	return d, images.Build(ctx, ".", image, releases)
}

func (d *demo) program(r images.Release) string { return filepath.Join(d.Dir, "app-"+r.Tag) }

// open brings up what stood before cutover came: blue, nginx, users.
func (d *demo) open(ctx context.Context) error {
	say("stack blue with %s comes up, as it ran before cutover came", first.Tag)
	if err := d.bring(ctx, "blue", first); err != nil {
		return err
	}
	if !d.External {
		if err := d.Compose(ctx, "blue", first.Tag, "up", "-d", "--wait"); err != nil {
			return err
		}
	}
	if err := d.typed(ctx, 0, "init", "--stable", "blue", "--tag", first.Tag); err != nil {
		return err
	}
	if err := d.StartNginx(ctx); err != nil {
		return err
	}
	var err error
	plan := load.Plan{URL: d.URL(), Rate: rate, Workers: workers}
	if d.load, err = load.Start(ctx, plan); err != nil {
		return err
	}
	plan.Rate, plan.Workers = sockets, 4
	if d.sockets, err = load.StartSockets(ctx, plan); err != nil {
		return err
	}
	say("nginx %s answers on %s; %d requests a second come in", d.summary.Nginx, d.URL(), rate)
	return pause(ctx, 3*time.Second) // so that the forecast has traffic to go by
}

// bring starts a color's process where there is no engine; with one, cutover does it.
func (d *demo) bring(ctx context.Context, color string, r images.Release) error {
	if !d.External {
		return nil
	}
	if err := d.processes[color].Stop(); err != nil {
		return err
	}
	p, err := d.Run(ctx, color, d.program(r))
	d.processes[color] = p
	return err
}

func (d *demo) goodRelease(ctx context.Context) error {
	say("1. A good release: %s", good.Tag)
	began := time.Now()
	if err := d.bring(ctx, "green", good); err != nil {
		return err
	}
	if err := d.typed(ctx, 0, "promote", "--tag", good.Tag); err != nil {
		return err
	}
	settle(ctx)
	seen := d.load.Report().Between(began, time.Now()).Summary()
	last, err := d.lastRollout(ctx)
	if err != nil {
		return err
	}
	d.summary.Good = goodPart{
		Result: last.Result, Steps: last.weights(), Requests: seen.Requests, Lost: seen.Lost,
		Resets: d.sockets.Report().Between(began, time.Now()).Count(load.Reset),
	}
	say("clients: %d requests, %d lost, %d failed; plain sockets: %d resets", seen.Requests, seen.Lost, seen.Failed, d.summary.Good.Resets)
	if seen.Lost > 0 || last.Result != "promoted" {
		return fmt.Errorf("the good release: %s, %d requests lost", last.Result, seen.Lost)
	}
	return nil
}

func (d *demo) badRelease(ctx context.Context) error {
	say("2. A bad release: %s answers 500 to a fifth of the requests", bad.Tag)
	if d.External {
		if err := d.typed(ctx, 0, "down"); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := d.bring(ctx, "blue", bad); err != nil {
		return err
	}
	const reverted = 8
	if err := d.typed(ctx, reverted, "promote", "--tag", bad.Tag); err != nil {
		return err
	}
	settle(ctx)
	last, err := d.lastRollout(ctx)
	if err != nil {
		return err
	}
	seen := d.load.Report().Between(began, time.Now()).Summary()
	hurt := seen.Releases[bad.Tag]
	d.summary.Bad = badPart{
		Result: last.Result, AtWeight: last.weights()[len(last.weights())-1], UsersHurt: hurt.Failed,
		SecondsToRevert: hurt.Last.Sub(hurt.FirstFailed).Seconds(),
	}
	say("clients: %d of %d requests failed; %.1f s from the first failed answer to the last answer of %s",
		hurt.Failed, seen.Requests, d.summary.Bad.SecondsToRevert, bad.Tag)
	return nil
}

func (d *demo) byHand(ctx context.Context) error {
	say("3. By hand: %s gets 20 %%, and somebody on call takes it back", next.Tag)
	if err := d.bring(ctx, "blue", next); err != nil {
		return err
	}
	for _, args := range [][]string{{"up", "--to", "blue", "--tag", next.Tag}, {"shift", "--to", "blue", "--weight", "20"}} {
		if err := d.typed(ctx, 0, args...); err != nil {
			return err
		}
	}
	crowd, err := load.Start(ctx, load.Plan{URL: d.URL(), Rate: crowdRate, Workers: workers})
	if err != nil {
		return err
	}
	defer crowd.Stop()
	if err := pause(ctx, 3*time.Second); err != nil {
		return err
	}
	began := time.Now()
	if err := d.typed(ctx, 0, "back"); err != nil {
		return err
	}
	status, err := d.Cutover(ctx, "status", "--json")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(d.Dir, "status.json"), []byte(status.Stdout), 0o644); err != nil {
		return err
	}
	settle(ctx)
	tally := crowd.Stop().Summary().Releases[next.Tag]
	if tally.Answers == 0 {
		return fmt.Errorf("by hand: %s got no request at 20 %%", next.Tag)
	}
	d.summary.CutbackMS = float64(max(0, tally.Last.Sub(began)).Microseconds()) / 1000
	say("clients: the last answer of %s came %.1f ms after `cutover back` was started", next.Tag, d.summary.CutbackMS)
	return d.typed(ctx, 0, "history")
}

// typed shows a command as somebody types it, with everything that it prints, and wants the exit code.
func (d *demo) typed(ctx context.Context, want int, args ...string) error {
	fmt.Printf("\n$ cutover %s\n", strings.Join(args, " "))
	c := d.Command(ctx, args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 30 * time.Second
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if got := c.ProcessState.ExitCode(); got != want {
		return fmt.Errorf("cutover %s: exit %d, expected %d", args[0], got, want)
	}
	if want != 0 {
		fmt.Printf("(exit %d)\n", want)
	}
	return nil
}

// rollout is what the demo reads of `history --json`.
type rollout struct {
	Result string `json:"result"`
	Steps  []struct {
		Weight float64 `json:"weight"`
	} `json:"steps"`
}

func (r rollout) weights() []float64 {
	var all []float64
	for _, s := range r.Steps {
		all = append(all, s.Weight)
	}
	return all
}

func (d *demo) lastRollout(ctx context.Context) (rollout, error) {
	said, err := d.Cutover(ctx, "history", "--json", "--last", "1")
	if err != nil {
		return rollout{}, err
	}
	var lines []rollout
	if err := json.Unmarshal([]byte(said.Stdout), &lines); err != nil || len(lines) == 0 || len(lines[0].Steps) == 0 {
		return rollout{}, fmt.Errorf("history says %q: %w", said.Stdout, err)
	}
	return lines[0], nil
}

// strike takes everything down that was started, also after Ctrl-C.
func (d *demo) strike(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	say("cleaning up")
	if d.load != nil {
		d.load.Stop()
	}
	if d.sockets != nil {
		d.sockets.Stop()
	}
	failed := []error{d.Strike(ctx)}
	for _, p := range d.processes {
		failed = append(failed, p.Stop())
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

// settle waits until the answers that are under way have come in.
func settle(ctx context.Context) {
	_ = pause(ctx, time.Second) // whoever comes next sees that ctx is over
}

func version(ctx context.Context, argv ...string) string {
	out, _ := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	text := strings.TrimSpace(string(out))
	return text[strings.LastIndex(text, "/")+1:]
}

func writeJSON(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, name), append(text, '\n'), 0o644)
}

func say(format string, args ...any) { fmt.Printf("\n── "+format+"\n", args...) }
