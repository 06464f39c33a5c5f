package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
	"cutover/traffic/journal"
)

const steerHelp = `
Writes the wish into the journal; the running rollout obeys within a second,
from whatever terminal, host or job it runs.

`

const pauseHelp = steerHelp + `The judge goes on: a breach still reverts.

EXAMPLES
   cutover pause --why 'looking at a slow query'`

func (i *invocation) pauseCommand() *cli.Command {
	return i.steer(traffic.Paused, commandSpec{name: "pause", usage: "let the running rollout stay at its share", help: pauseHelp})
}

const resumeHelp = steerHelp + `It goes on where its soak and its verdict allow.

EXAMPLES
   cutover resume`

func (i *invocation) resumeCommand() *cli.Command {
	return i.steer(traffic.Resumed, commandSpec{name: "resume", usage: "let a paused rollout go on", help: resumeHelp})
}

const approveHelp = steerHelp + `The step is taken only while the evidence has not turned.

EXAMPLES
   cutover approve --why 'as agreed with support'`

func (i *invocation) approveCommand() *cli.Command {
	return i.steer(traffic.Approved, commandSpec{name: "approve", usage: "let a rollout take the step that waits for a person", help: approveHelp})
}

const abortHelp = steerHelp + `When idle there is nothing to do. In an emergency 'cutover back' is faster
and needs nobody.

EXAMPLES
   cutover abort --why 'wrong tag'`

func (i *invocation) abortCommand() *cli.Command {
	return i.steer(traffic.AbortAsked, commandSpec{name: "abort", usage: "end the running rollout, all traffic on stable", help: abortHelp})
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
	switch {
	case r == nil || r.Phase == traffic.Accepted:
		if kind == traffic.AbortAsked {
			return s.said(ctx, "idle", "no rollout is running")
		}
		return &traffic.Fault{Kind: traffic.Usage, Err: errors.New("no rollout is running"), Hint: "`cutover status` shows what is there."}
	case !held:
		return &traffic.Fault{
			Kind: traffic.Usage, Err: fmt.Errorf("nobody carries a rollout: %s", traffic.Doing(s.state, s.now())),
			Hint: traffic.Coming(s.state, s.now()),
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
