package main

import (
	"context"
	"fmt"
	"time"

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

With --observe the judge takes nothing back: what it would have reverted
stays where it is, gets no further share, and waits for 'cutover back'.
People, signals, --timeout and the guardian still cut back.

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
		&cli.BoolFlag{Name: "plan", Usage: "only print what the plan is likely to take", DisableDefaultText: true},
		&cli.BoolFlag{Name: "observe", Usage: "never revert by the verdict, only say when", DisableDefaultText: true},
		&cli.BoolFlag{Name: "again", Usage: "although this release was taken back before; needs --why", DisableDefaultText: true},
		&cli.StringFlag{Name: "why", Usage: "a `SENTENCE` for the history"},
		waitFlag(),
	}
	spec.run = func(c *cli.Context) error {
		tag := c.String("tag")
		if tag == "" {
			return usagef("%s: --tag TAG is missing", spec.name)
		}
		if c.Bool("again") && c.String("why") == "" {
			return usagef("%s: --again needs --why SENTENCE: what is different now?", spec.name)
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
		if c.Bool("plan") {
			return s.showPlan(c.Context)
		}
		if err := s.ready(c.Context, c.Duration("wait")); err != nil {
			return err
		}
		w := wish{tag: tag, plan: s.config.plan(), why: c.String("why"), question: mayAsk}
		w.plan.Timeout, w.plan.Observe = c.Duration("timeout"), c.Bool("observe")
		if c.Bool("yes") {
			w.question = neverAsk
		}
		if c.Bool("again") {
			w.again = w.why
		}
		return s.promote(c.Context, w)
	}
	return i.command(spec)
}

// wish is what the person or the job asks of a promotion.
type wish struct {
	tag  string
	plan traffic.Plan
	why  string
	// again is the reason to try a release that was taken back before; empty where that is not asked for.
	again    string
	question question
}

func (s *session) promote(ctx context.Context, w wish) error {
	if stable := s.state.Stable; s.state.Tag(stable) == w.tag {
		return &traffic.Fault{
			Kind: traffic.Usage, Err: fmt.Errorf("%s is stable already, on %s", w.tag, stable),
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
	if err := s.stacks.Preflight(ctx, candidate, w.tag); err != nil {
		return err
	}
	if err := s.untried(ctx, candidate, w); err != nil {
		return err
	}
	if doc, err := s.forecast(ctx, w.plan); err != nil {
		s.out.stamped(s.now(), "forecast", "none: %v", err) // a convenience must not keep a release back
	} else {
		s.printForecast(doc, w.plan)
	}
	if err := s.vacate(ctx); err != nil { // last: until here the old stack is warm, and bad input must not cost that
		return err
	}
	opening := traffic.Opening{
		Mode: traffic.Promotion, Plan: w.plan, Stable: s.state.Stable, Tag: w.tag, Previous: s.state.Tag(s.state.Stable),
	}
	inbox, stop := s.listen(ctx, w.question)
	defer stop()
	guard, err := s.post()
	if err != nil {
		return &traffic.Fault{Kind: traffic.Preflight, Err: err, Hint: "Without a guardian nobody would cut back if this process died."}
	}
	s.guard = guard
	if err := s.openRollout(ctx, opening, nil, w.why); err != nil {
		return err
	}
	s.carry(ctx, inbox)
	return s.conclude(ctx)
}

// untried refuses a release that users were taken away from before: a job that is run again must not hurt them twice.
func (s *session) untried(ctx context.Context, candidate traffic.Color, w wish) error {
	images, err := s.stacks.Images(ctx, candidate, w.tag)
	if err != nil {
		return err
	}
	r, tried := s.state.Rejection(traffic.Release{Tag: w.tag, Images: images})
	if !tried || w.again != "" {
		return nil
	}
	return &traffic.Fault{
		Kind: traffic.Policy, Err: fmt.Errorf("%s was taken back before, in rollout %s on %s: %s", w.tag, r.Rollout, r.At.Local().Format(time.DateTime), r.Why),
		Hint: "Bring a mended release, or say what is different now: --again --why SENTENCE.",
	}
}
