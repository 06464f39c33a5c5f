package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
	"cutover/traffic/journal"
)

const steerHelp = `
Writes the wish into the journal; the running rollout obeys within a second, from whatever terminal, host or job it runs.
`

func (i *invocation) pauseCommand() *cli.Command {
	return i.steer(traffic.Paused, commandSpec{
		name: "pause", usage: "let the running rollout stay at its share",
		help: steerHelp + "\nThe judge goes on: a breach still reverts.\n\nEXAMPLES\n   cutover pause --why 'looking at a slow query'",
	})
}

func (i *invocation) resumeCommand() *cli.Command {
	return i.steer(traffic.Resumed, commandSpec{
		name: "resume", usage: "let a paused rollout go on", help: steerHelp + "\nEXAMPLES\n   cutover resume",
	})
}

func (i *invocation) approveCommand() *cli.Command {
	return i.steer(traffic.Approved, commandSpec{
		name: "approve", usage: "let a rollout start, or take the step, that waits for a person",
		help: steerHelp + "\nThe step is taken only while the evidence has not turned.\n\nEXAMPLES\n   cutover approve",
	})
}

func (i *invocation) abortCommand() *cli.Command {
	return i.steer(traffic.AbortAsked, commandSpec{
		name: "abort", usage: "end the running rollout with all traffic on stable; nothing to do when idle",
		help: steerHelp + "\nIn an emergency 'cutover back' is faster and needs nobody.\n\nEXAMPLES\n   cutover abort --why 'wrong tag'",
	})
}

func (i *invocation) steer(kind traffic.EventKind, spec commandSpec) *cli.Command {
	spec.flags = []cli.Flag{&cli.StringFlag{Name: "why", Usage: "a `SENTENCE` for the history"}}
	spec.run = func(c *cli.Context) error {
		s, err := i.start(c)
		if err != nil {
			return err
		}
		defer s.close()
		return s.steer(c.Context, kind, c.String("why"))
	}
	return i.command(spec)
}

func (s *session) steer(ctx context.Context, kind traffic.EventKind, why string) error {
	r := s.state.Open
	_, held, err := journal.Holding(s.dir)
	if err != nil {
		return err
	}
	if r == nil || !held {
		if kind == traffic.AbortAsked {
			return s.said(ctx, "idle", "no rollout is running")
		}
		return &traffic.Fault{
			Kind: traffic.Usage, Err: fmt.Errorf("no rollout is running: %s", traffic.Doing(s.state, s.now())),
			Hint: "`cutover status` shows what is there.",
		}
	}
	if kind == traffic.Approved && r.Phase != traffic.Waiting {
		return &traffic.Fault{Kind: traffic.Usage, Err: fmt.Errorf("nothing waits for approval: %s", traffic.Doing(s.state, s.now()))}
	}
	if kind == traffic.AbortAsked {
		why = orElse(why, "aborted by "+s.actor)
	}
	if err := s.record(ctx, traffic.Event{Kind: kind, Rollout: r.ID, Why: why}); err != nil {
		return err
	}
	return s.said(ctx, string(kind), r.Name())
}
