package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
)

const promoteHelp = `
Brings the tag up on the idle color, gives it traffic step by step, judges it
against stable all the time, and accepts it after the bake. Or it takes
everything back to stable by itself: when the release is worse, when nobody
can tell (by the plan's rule), when a person says so, or when this process is
told to stop (SIGTERM, Ctrl-C). Steps, soaks and margins stand in
cutover.yaml; 'cutover config' shows them.

A step is left upwards only by a passing verdict, or by the plan's own rule
for too little evidence (verdict.inconclusive: proceed), and is recorded as
the one or the other. A lost terminal (a dropped SSH link) ends nothing:
follow it with 'cutover status'.

EXAMPLES
   cutover promote --tag v1.4.0
   cutover promote --tag v1.4.0 --timeout 2h --json --yes    # in a CI job
   cutover promote --tag v1.4.0 --wait 10m     # after the one that runs now

EXIT CODES
   0 accepted · 2 usage · 3 preflight · 4 policy ·
   5 stack not ready, traffic untouched · 6 nginx refused · 7 busy ·
   8 reverted by the verdict · 9 ended for lack of evidence ·
   10 cut back by a person or a signal · 11 not proven`

func (i *invocation) promoteCommand() *cli.Command {
	return i.promotes(commandSpec{name: "promote", usage: "bring a release out: 5, 20, 100, judged; or revert", help: promoteHelp})
}

const rollbackHelp = `
Brings an older release back, where its stack is no longer warm: as the
candidate of a rollout with the plan, the judge and the exit codes of
'cutover promote'. While the old stack is warm 'cutover back' does it at
once.

EXAMPLES
   cutover history                      # which one it was
   cutover rollback --tag v1.3.2`

func (i *invocation) rollbackCommand() *cli.Command {
	return i.promotes(commandSpec{name: "rollback", usage: "bring an older release back, as a promotion", help: rollbackHelp})
}

// promotes makes a command that brings a release out.
func (i *invocation) promotes(spec commandSpec) *cli.Command {
	spec.flags = []cli.Flag{
		&cli.StringFlag{Name: "tag", Usage: "the `TAG` of the release to bring out"},
		&cli.DurationFlag{Name: "timeout", Usage: "cut back if not accepted within `DURATION`", DefaultText: "none"},
		&cli.BoolFlag{Name: "yes", Usage: "ask nothing: Ctrl-C means back; never an approval", DisableDefaultText: true},
		waitFlag(),
	}
	spec.run = func(c *cli.Context) error {
		tag := c.String("tag")
		if tag == "" {
			return usagef("%s: --tag TAG is missing", spec.name)
		}
		if c.Duration("timeout") < 0 {
			return usagef("%s: --timeout %v is negative", spec.name, c.Duration("timeout"))
		}
		s, err := i.start(c)
		if err != nil {
			return err
		}
		defer s.close()
		if err := s.config.accepts(tag); err != nil {
			return err
		}
		if err := s.ready(c.Context, c.Duration("wait")); err != nil {
			return err
		}
		plan := s.config.plan()
		plan.Timeout = c.Duration("timeout")
		return s.promote(c.Context, tag, plan, c.Bool("yes"))
	}
	return i.command(spec)
}

func (s *session) promote(ctx context.Context, tag string, plan traffic.Plan, yes bool) error {
	if stable := s.state.Stable; s.state.Tag(stable) == tag {
		return &traffic.Fault{
			Kind: traffic.Usage, Err: fmt.Errorf("%s is stable already, on %s", tag, stable),
			Hint: "There is nothing to promote. `cutover status` shows both colors.",
		}
	}
	if err := s.unclaimed(); err != nil {
		return err
	}
	candidate := s.state.Stable.Other()
	if err := s.proxy.Preflight(ctx); err != nil {
		return err
	}
	if err := s.stacks.Preflight(ctx, candidate, tag); err != nil {
		return err
	}
	if err := s.vacate(ctx); err != nil { // last: until here the old stack is warm, and bad input must not cost that
		return err
	}
	opening := traffic.Opening{
		Mode: traffic.Promotion, Plan: plan, Stable: s.state.Stable, Tag: tag, Previous: s.state.Tag(s.state.Stable),
	}
	inbox, stop := s.listen(ctx, yes)
	defer stop()
	guard, err := s.post()
	if err != nil {
		return &traffic.Fault{Kind: traffic.Preflight, Err: err, Hint: "Without a guardian nobody would cut back if this process died."}
	}
	s.guard = guard
	if err := s.openRollout(ctx, opening, nil); err != nil {
		return err
	}
	s.carry(ctx, inbox)
	return s.conclude(ctx)
}
