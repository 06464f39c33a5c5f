package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
)

const shiftHelp = `
Gives the color the share that you name, proves that nginx serves it, and
leaves it there. 'cutover back' takes it back at once, 'cutover accept' keeps
it once it has 100.

With a guard the share is judged for as long as it is left: a process stays
that takes it back when the release is worse, or when no evidence comes for
verdict.inconclusive.after. In prod that is so unless you say --no-guard.

The weight is always the share of the color named: '--to blue --weight 80'
and '--to green --weight 20' mean the same. A stack that is not ready gets no
traffic (exit 5).

EXAMPLES
   cutover up --to green --tag v1.4.0
   cutover shift --to green --weight 20
   cutover shift --to green --weight 0.5 --no-guard
   cutover shift --to green --weight 100 && cutover accept`

func (i *invocation) shiftCommand() *cli.Command {
	return i.command(commandSpec{
		name: "shift", usage: "give a color a share of the traffic by hand", help: shiftHelp,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "to", Usage: "the `COLOR` that gets the share: blue or green"},
			&cli.StringFlag{Name: "weight", Usage: "its share in `PERCENT`, 0 to 100"},
			&cli.BoolFlag{Name: "guard", Usage: "leave a process that judges it; the rule in prod", DisableDefaultText: true},
			&cli.BoolFlag{Name: "no-guard", Usage: "leave it to nobody", DisableDefaultText: true},
			waitFlag(),
		},
		run: func(c *cli.Context) error {
			color, weight, err := shareFlags(c)
			if err != nil {
				return err
			}
			if c.Bool("guard") && c.Bool("no-guard") {
				return usagef("shift: --guard and --no-guard exclude each other")
			}
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.ready(c.Context, c.Duration("wait")); err != nil {
				return err
			}
			by := handMade{to: color, weight: weight}
			by.guarded = c.Bool("guard") || s.config.Environment == guardedEnvironment && !c.Bool("no-guard")
			return s.shift(c.Context, by)
		},
	})
}

// guardedEnvironment is where a share by hand is judged unless somebody says otherwise.
const guardedEnvironment = "prod"

// handMade is what a person asks of a shift.
type handMade struct {
	to      traffic.Color
	weight  traffic.Weight
	guarded bool
}

// shareFlags reads --to and --weight.
func shareFlags(c *cli.Context) (traffic.Color, traffic.Weight, error) {
	color, err := colorFlag(c, "to")
	if err != nil {
		return "", 0, err
	}
	if !c.IsSet("weight") {
		return "", 0, usagef("%s: --weight PERCENT is missing", c.Command.Name)
	}
	weight, err := traffic.ParseWeight(c.String("weight"))
	if err != nil {
		return "", 0, usagef("%s: %w", c.Command.Name, err)
	}
	return color, weight, nil
}

func colorFlag(c *cli.Context, name string) (traffic.Color, error) {
	if !c.IsSet(name) {
		return "", usagef("%s: --%s COLOR is missing: blue or green", c.Command.Name, name)
	}
	color, err := traffic.ParseColor(c.String(name))
	if err != nil {
		return "", usagef("%s: %w", c.Command.Name, err)
	}
	return color, nil
}

// shift makes the named color's share the candidate's, and the candidate's the one that nginx serves.
func (s *session) shift(ctx context.Context, by handMade) error {
	if r := s.state.Open; r != nil && r.Phase == traffic.Accepted {
		if err := s.vacate(ctx); err != nil {
			return err
		}
	}
	share := by.weight
	if by.to == s.state.Stable {
		share = by.weight.Rest()
	}
	if nearest, exact := s.proxy.Exact(share); !exact {
		if nearest > share {
			return usagef("shift: %s is less than one of nginx.buckets: %d can give; the least is %s", share, s.config.Nginx.Buckets, nearest)
		}
		s.out.stamped(s.now(), "rounded", "%s to %s: nginx.buckets is %d", share, nearest, s.config.Nginx.Buckets)
		share = nearest
	}
	candidate := s.state.Stable.Other()
	if s.state.Open == nil && share == 0 {
		s.out.stamped(s.now(), "shift", "nothing to do: %s", traffic.Headline(s.state))
		return s.finish(ctx, "unchanged", exitDone)
	}
	inbox, stop := s.listen(ctx, neverAsk)
	defer stop()
	if err := s.begin(ctx, candidate, share, by); err != nil {
		return err
	}
	if share > 0 {
		if err := s.guardFirst(ctx); err != nil {
			return errors.Join(err, s.unguarded(ctx))
		}
	}
	s.carry(ctx, inbox)
	if share == 0 {
		return s.finishedByHand(ctx)
	}
	return s.conclude(ctx)
}

// unguarded takes a share back for which no guard could be had.
func (s *session) unguarded(ctx context.Context) error {
	err := s.record(ctx, traffic.Event{Kind: traffic.AbortAsked, Rollout: s.state.Open.ID, Why: "no guard could be started"})
	s.carry(ctx, nil)
	return err
}

// begin records the person's wish: as a new hand-made rollout, or as another share of the one that is open.
func (s *session) begin(ctx context.Context, candidate traffic.Color, share traffic.Weight, by handMade) error {
	var unfit error
	var nginx sync.WaitGroup
	nginx.Go(func() { unfit = s.proxy.Preflight(ctx) })
	release, unready := s.readyFor(ctx, candidate, share) // has nothing to do with nginx, and need not wait for it
	nginx.Wait()
	if unfit != nil && share > 0 {
		return unfit
	}
	if unready != nil {
		return unready
	}
	if r := s.state.Open; r != nil {
		return s.record(ctx, traffic.Event{Kind: traffic.Retargeted, Rollout: r.ID, Weight: share, Guarded: by.guarded})
	}
	return s.openRollout(ctx, traffic.Opening{
		Mode: traffic.HandMade, Stable: s.state.Stable, Tag: release.Tag, Previous: s.state.Tag(s.state.Stable),
		Target: share, Guarded: by.guarded,
		Plan: traffic.Plan{KeepWarm: s.config.Stacks.KeepWarm, Inconclusive: s.config.plan().Inconclusive, Hooks: s.config.plan().Hooks},
	}, &release, "")
}

// readyFor makes sure that the candidate can take the share, and tells which release it is: that of the open rollout, where there is one.
func (s *session) readyFor(ctx context.Context, candidate traffic.Color, share traffic.Weight) (traffic.Release, error) {
	if r := s.state.Open; r != nil {
		if share <= r.Actual {
			return r.Release, nil
		}
		return r.Release, s.stacks.Check(ctx, candidate, r.Release.Tag)
	}
	release, err := s.stacks.Serving(ctx, candidate)
	if err != nil {
		return release, &traffic.Fault{
			Kind: traffic.NotReady, Err: fmt.Errorf("%s is not ready: %w", candidate, err),
			Hint: fmt.Sprintf("`cutover up --to %s --tag TAG` brings it up. Traffic was not touched.", candidate),
		}
	}
	release.Tag = orElse(release.Tag, s.state.Tag(candidate)) // of external stacks only `up` knew it
	return release, s.stacks.Check(ctx, candidate, release.Tag)
}

// finishedByHand ends a shift to nothing: that a person's own wish cut the rollout back is no failure.
func (s *session) finishedByHand(ctx context.Context) error {
	if r := s.state.Last; r != nil && r.Unproven != "" {
		return s.finish(ctx, "shifted", exitUnproven)
	}
	return s.finish(ctx, "shifted", exitDone)
}

const acceptHelp = `
Makes a color stable that has 100 % by hand. Its workers and singletons
start, the other color's stop, and the old stack is kept warm for
stacks.keep_warm: until then 'cutover back' still returns to it with one
rename.

EXAMPLES
   cutover shift --to green --weight 100 && cutover accept`

func (i *invocation) acceptCommand() *cli.Command {
	return i.command(commandSpec{
		name: "accept", usage: "after a hand-made 100: this color is stable now", help: acceptHelp,
		flags: []cli.Flag{waitFlag()},
		run: func(c *cli.Context) error {
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			if err := s.ready(c.Context, c.Duration("wait")); err != nil {
				return err
			}
			r := s.state.Open
			if r == nil || r.Mode != traffic.HandMade || r.Actual != traffic.Full {
				return &traffic.Fault{
					Kind: traffic.Policy, Err: fmt.Errorf("no color has 100 %% by hand: %s", traffic.Headline(s.state)),
					Hint: "`cutover shift --to COLOR --weight 100` first.",
				}
			}
			if err := s.record(c.Context, traffic.Event{Kind: traffic.AcceptedByHand, Rollout: r.ID}); err != nil {
				return err
			}
			s.out.stamped(s.now(), "accepted", "%s on %s is stable (by hand)", r.Release.Tag, r.Candidate())
			s.carry(c.Context, nil)
			return s.conclude(c.Context)
		},
	})
}
