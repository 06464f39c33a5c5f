package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
	"cutover/traffic/journal"
)

const waitHelp = `
Waits until a rollout has its outcome and ends with its exit code: 0
accepted, 8 reverted, and so on as 'cutover promote' would. Without an ID it
is the newest rollout.

EXAMPLES
   cutover wait
   cutover wait --timeout 1h 000017`

func (i *invocation) waitCommand() *cli.Command {
	return i.command(commandSpec{
		name: "wait", argument: "[ID]", usage: "wait for a rollout's outcome, and end with its exit code", help: waitHelp,
		flags: []cli.Flag{
			&cli.DurationFlag{Name: "timeout", Usage: "give up after `DURATION`, with exit 1", DefaultText: "none"},
		},
		run: func(c *cli.Context) error {
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			id := s.state.LastID
			if c.NArg() > 0 {
				if id, err = traffic.ParseRolloutID(c.Args().First()); err != nil {
					return usagef("wait: %w", err)
				}
			}
			if id == 0 || id > s.state.LastID {
				return &traffic.Fault{
					Kind: traffic.Usage, Err: fmt.Errorf("there is no rollout %s", orElse(c.Args().First(), "yet")),
					Hint: "`cutover history` lists them.",
				}
			}
			return s.await(c.Context, id, c.Duration("timeout"))
		},
	})
}

// await follows the journal until the rollout has an outcome.
func (s *session) await(ctx context.Context, id traffic.RolloutID, timeout time.Duration) error {
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("rollout %s has no outcome after %v", id, timeout))
		defer cancel()
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	state, outcome := traffic.State{}, traffic.Rollout{}
	err := s.journal.Watch(watching, 0, func(entry journal.Entry) {
		e, ok := eventOf(entry)
		if !ok || outcome.ID != 0 {
			return
		}
		state = traffic.Next(state, e)
		for _, r := range []*traffic.Rollout{state.Open, state.Last} {
			if r != nil && r.ID == id && (r.Ending == traffic.Promoted || !r.Ended.IsZero()) {
				outcome = *r
				stop()
			}
		}
	})
	if outcome.ID == 0 {
		if err == nil {
			err = context.Cause(ctx)
		}
		return err
	}
	if err := s.replay(); err != nil {
		return err
	}
	s.out.stamped(s.now(), string(outcome.Ending), "%s", traffic.Ended(&outcome))
	return s.finish(ctx, string(outcome.Ending), exitOfEnding(outcome))
}
