package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"cutover/e2e/images"
	"cutover/e2e/stage"
)

// yard is where ways to move traffic stand side by side: each has a proxy of its own in front of the same two processes, so that
// neither an engine nor the other's workers get into a figure.
type yard struct {
	live, reload *stage.Stage
	script       script
	haproxy      haproxy
	processes    []*stage.Process
}

// yardPort is the first of the yard's ports: two for the processes, then those of the proxies.
const yardPort = firstPort + 20

// brief is a plan for whole promotions, which nobody is to wait for. Nothing is proven in it.
const brief = `rollout:
  steps: [{ weight: 50, soak: 0s }, { weight: 100 }]
  bake: 1s
verdict:
  warm_up: 0s
  inconclusive: { after: 1s, then: proceed }
`

// openYard starts it. The yard's close must be called, also after an error.
func (b *bench) openYard(ctx context.Context) error {
	dir := func(name string) string { return filepath.Join(b.Dir, name) }
	ports := func(front int) stage.Ports {
		return stage.Ports{Front: front, Blue: yardPort, Green: yardPort + 1, Probe: front + 1}
	}
	build := func(name string, o stage.Options) (*stage.Stage, error) {
		o.Dir, o.Name, o.Binary, o.External = dir(name), name, b.Binary, true
		return stage.Build(o)
	}
	var err error
	y := &b.yard
	if y.live, err = build("live", stage.Options{
		Ports: ports(yardPort + 2), Nginx: "  switch: live", Stacks: "  keep_warm: 1s", Config: brief,
	}); err != nil {
		return err
	}
	if y.reload, err = build("reload", stage.Options{Ports: ports(yardPort + 4), Config: brief}); err != nil {
		return err
	}
	plain, err := build("plain", stage.Options{Ports: ports(yardPort + 6), Plain: true, Head: "    include " + scriptFile + ";"})
	if err != nil {
		return err
	}
	y.script = script{Stage: plain, port: yardPort + 8}
	y.haproxy = haproxy{dir: dir("haproxy"), port: yardPort + 9, blue: plain.Address("blue"), green: plain.Address("green")}
	if err := y.start(ctx, b.Dir, plain); err != nil {
		return err
	}
	for _, s := range []*stage.Stage{y.live, y.reload} {
		if err := typed(ctx, s, "init", "--stable", "blue", "--tag", stable.Tag); err != nil {
			return err
		}
		if err := s.StartNginx(ctx); err != nil {
			return err
		}
		if err := typed(ctx, s, "up", "--to", "green", "--tag", candidate.Tag); err != nil {
			return err
		}
	}
	return errors.Join(y.script.open(ctx), y.haproxy.open(ctx))
}

// start starts both releases, in front of which everybody stands.
func (y *yard) start(ctx context.Context, dir string, one *stage.Stage) error {
	for n, color := range []string{"blue", "green"} {
		program := filepath.Join(dir, "yard-"+color)
		if err := images.Compile(ctx, ".", program, releases[n]); err != nil {
			return err
		}
		p, err := one.Run(ctx, color, program)
		y.processes = append(y.processes, p)
		if err != nil {
			return err
		}
	}
	return nil
}

// close takes down whatever of it was started.
func (y *yard) close(ctx context.Context) error {
	failed := []error{y.haproxy.close()}
	for _, s := range []*stage.Stage{y.live, y.reload, y.script.Stage} {
		if s != nil {
			failed = append(failed, s.Strike(ctx))
		}
	}
	for _, p := range y.processes {
		failed = append(failed, p.Stop())
	}
	return errors.Join(failed...)
}

// typed has a command typed at the stage, and shows what it says only in its error.
func typed(ctx context.Context, s *stage.Stage, args ...string) error {
	c := s.Command(ctx, args...)
	var said bytes.Buffer
	c.Stdout, c.Stderr = &said, &said
	patiently(c)
	if err := c.Run(); err != nil {
		return fmt.Errorf("cutover %s: %w: %s", args[0], err, said.Bytes())
	}
	return nil
}

// way is one way to give the candidate a share and to take it back.
type way struct {
	name, url string
	// suffix is of the rows where cutover is set beside it.
	suffix   string
	up, down func(context.Context) error
	// proven waits until nobody gets the candidate any more. Nil where down's end says it.
	proven func(context.Context) error
	// settled waits, off the clock, for what down leaves to a process of its own, so that nobody else's figure has to bear it.
	// Nil where that is nothing.
	settled func(context.Context) error
}

// ways are cutover's first, then its rivals'.
func (y *yard) ways() []way {
	weight := strconv.Itoa(cutbackWeight)
	return []way{
		{
			name: "cutover back", url: y.live.URL(),
			up: func(ctx context.Context) error {
				return typed(ctx, y.live, "shift", "--to", "green", "--weight", weight, "--no-guard")
			},
			down:    func(ctx context.Context) error { return typed(ctx, y.live, "back") },
			settled: func(ctx context.Context) error { return typed(ctx, y.live, "status") },
		},
		{name: "HAProxy's runtime API through socat", url: y.haproxy.url(), up: y.haproxy.up, down: y.haproxy.down},
		{
			name: "sed, nginx -t && nginx -s reload", url: y.script.url(), suffix: "_beside_script",
			up:     func(ctx context.Context) error { return errors.Join(y.script.to(ctx, "both"), y.script.proven(ctx)) },
			down:   func(ctx context.Context) error { return y.script.to(ctx, "blue") },
			proven: y.script.proven,
		},
	}
}
