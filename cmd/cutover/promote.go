package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
)

const promoteHelp = `
Brings the tag up on the idle color, gives it traffic step by step, judges it against stable all the time, and accepts it after
the bake; or takes everything back to stable, by itself, when the release is worse, when nobody can tell (by the plan's rule), when
a person says so, or when this process is told to stop (SIGTERM, Ctrl-C). The steps, soaks and margins stand in cutover.yaml;
'cutover config' shows them.

A step is left upwards only by a passing verdict, or by the plan's own rule for too little evidence (verdict.inconclusive: proceed),
and is recorded as the one or the other. A lost terminal (a dropped SSH link) ends nothing: follow it with 'cutover status'.

EXAMPLES
   cutover promote --tag v1.4.0
   cutover promote --tag v1.4.0 --timeout 2h --json --yes      # in a CI job
   cutover promote --tag v1.4.0 --wait 10m                     # after the rollout that is running now

EXIT CODES
   0 accepted · 2 usage · 3 host · 4 policy · 5 stack not ready, traffic untouched · 6 nginx refused · 7 busy ·
   8 reverted by the verdict · 9 ended for lack of evidence · 10 cut back by a person or a signal · 11 not proven`

func (i *invocation) promoteCommand() *cli.Command {
	return i.command(commandSpec{
		name: "promote", usage: "bring a release out: up, 5 → 20 → 100, judge, bake, accept; or revert", help: promoteHelp,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "tag", Usage: "the release to bring out; `TAG` must match the environment's pattern"},
			&cli.DurationFlag{Name: "timeout", Usage: "cut back when it is not accepted within `DURATION`"},
			&cli.BoolFlag{Name: "yes", Usage: "answer every question of this command with its safe answer; never an approval"},
			waitFlag(),
		},
		run: func(c *cli.Context) error {
			tag := c.String("tag")
			if tag == "" {
				return usagef("promote: --tag TAG is missing")
			}
			if c.Duration("timeout") < 0 {
				return usagef("promote: --timeout %v is negative", c.Duration("timeout"))
			}
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.ready(c.Context, c.Duration("wait")); err != nil {
				return err
			}
			plan := s.config.plan()
			plan.Timeout = c.Duration("timeout")
			return s.promote(c.Context, tag, plan, c.Bool("yes"))
		},
	})
}

func (s *session) promote(ctx context.Context, tag string, plan traffic.Plan, yes bool) error {
	if err := s.mayRun(tag); err != nil {
		return err
	}
	if err := s.vacate(ctx); err != nil {
		return err
	}
	candidate := s.state.Stable.Other()
	if err := s.proxy.Preflight(ctx); err != nil {
		return err
	}
	if err := s.stacks.Preflight(ctx, candidate, tag); err != nil {
		return err
	}
	opening := traffic.Opening{
		Mode: traffic.Promotion, Plan: plan, Stable: s.state.Stable, Tag: tag, Previous: s.state.Tag(s.state.Stable),
	}
	inbox, stop := s.listen(ctx, yes)
	defer stop()
	if err := s.openRollout(ctx, opening, nil); err != nil {
		return err
	}
	if err := s.carry(ctx, inbox); err != nil {
		return err
	}
	return s.conclude(ctx)
}

// mayRun holds the tag against the environment's policy and against what runs already.
func (s *session) mayRun(tag string) error {
	if err := s.config.accepts(tag); err != nil {
		return err
	}
	if stable := s.state.Stable; s.state.Tag(stable) == tag && tag != "" {
		return &traffic.Fault{
			Kind: traffic.Usage, Err: fmt.Errorf("%s is stable already, on %s", tag, stable),
			Hint: "There is nothing to promote. `cutover status` shows both colors.",
		}
	}
	return nil
}
