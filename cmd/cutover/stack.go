package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
)

const upHelp = `
Brings a release up on the idle color: runs the before_switch hooks, starts
the web services with the tag, and waits until they are ready. They get no
traffic: look at them on their own ports, then 'cutover shift'. The color
that serves is refused.

EXAMPLES
   cutover up --to green --tag v1.4.0
   cutover up --to green --tag v1.4.0 && cutover shift --to green --weight 20`

func (i *invocation) upCommand() *cli.Command {
	return i.command(commandSpec{
		name: "up", usage: "bring the idle color up with a release, without traffic", help: upHelp,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "the idle `COLOR`: blue or green"},
			&cli.StringFlag{Name: "tag", Usage: "the `TAG` of the release to start"},
			waitFlag(),
		},
		run: func(c *cli.Context) error {
			color, err := colorFlag(c, "to")
			if err != nil {
				return err
			}
			if c.String("tag") == "" {
				return usagef("up: --tag TAG is missing")
			}
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.config.accepts(c.String("tag")); err != nil {
				return err
			}
			if err := s.ready(c.Context, c.Duration("wait")); err != nil {
				return err
			}
			return s.up(c.Context, color, c.String("tag"))
		},
	})
}

func (s *session) up(ctx context.Context, color traffic.Color, tag string) error {
	if color == s.state.Stable {
		return serves(color)
	}
	if err := s.stacks.Preflight(ctx, color, tag); err != nil {
		return err
	}
	if err := s.vacate(ctx); err != nil {
		return err
	}
	release, err := s.stacks.Prepare(ctx, color, tag)
	if err != nil {
		return err
	}
	if err := s.record(ctx, traffic.Event{Kind: traffic.StackUp, Color: color, Release: &release}); err != nil {
		return err
	}
	return s.said(ctx, "up", fmt.Sprintf("%s %s is ready and has no traffic", color, tag))
}

func serves(color traffic.Color) error {
	return &traffic.Fault{
		Kind: traffic.Usage, Err: fmt.Errorf("%s is stable: its services are never touched while users are on it", color),
		Hint: fmt.Sprintf("The idle color is %s.", color.Other()),
	}
}

const downHelp = `
Stops the services of the idle color that cutover.yaml lists, container by
container: other services of the same project (a database) keep running, and
nothing is removed. The color that serves is refused.

EXAMPLES
   cutover down                  # the idle color
   cutover down --color green`

func (i *invocation) downCommand() *cli.Command {
	return i.command(commandSpec{
		name: "down", usage: "stop the idle color's listed services", help: downHelp,
		flags: []cli.Flag{&cli.StringFlag{Name: "color", Usage: "the idle `COLOR`; left out: whichever is idle"}, waitFlag()},
		run: func(c *cli.Context) error {
			var named traffic.Color
			if c.IsSet("color") {
				var err error
				if named, err = colorFlag(c, "color"); err != nil {
					return err
				}
			}
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.ready(c.Context, c.Duration("wait")); err != nil {
				return err
			}
			return s.down(c.Context, orElse(named, s.state.Stable.Other()))
		},
	})
}

func (s *session) down(ctx context.Context, color traffic.Color) error {
	if color == s.state.Stable {
		return serves(color)
	}
	if err := s.vacate(ctx); err != nil {
		return err
	}
	if live, err := s.proxy.Live(ctx); err == nil && live.Share(color) > 0 {
		return &traffic.Fault{
			Kind: traffic.Busy, Err: fmt.Errorf("nginx still gives %s to %s", live.Share(color), color),
			Hint: "`cutover back` first.",
		}
	}
	if err := s.stacks.Retire(ctx, color); err != nil {
		return err
	}
	if err := s.record(ctx, traffic.Event{Kind: traffic.StackDown, Color: color}); err != nil {
		return err
	}
	return s.said(ctx, "down", fmt.Sprintf("the listed services of %s are stopped", color))
}

// said ends a command that moved no traffic.
func (s *session) said(ctx context.Context, result, text string) error {
	doc := s.status(ctx)
	doc.Result = result
	s.out.stamped(s.now(), result, "%s", text)
	s.out.result(doc)
	return nil
}
