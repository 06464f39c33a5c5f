package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"cutover/traffic"
	"cutover/traffic/journal"
	"cutover/traffic/notify"
)

const (
	// heldLongEnough is how long a rollout may hold, or be blind, before somebody is told.
	heldLongEnough = 5 * time.Minute
	// lastWords bounds how long a command's end waits for a receiver. What was not taken stays queued for the next command.
	lastWords = 3 * time.Second
	// onEndPatience bounds the command of on_end.
	onEndPatience = time.Minute
	// inPassing bounds how long any other command's end waits for what an earlier one left in the queue.
	inPassing = time.Second
)

// crier tells people, beside the rollout: nothing here blocks or fails it.
type crier struct {
	spool  *notify.Spool
	sender notify.Sender
	// heldSince is when the present hold began; zero while nothing holds.
	heldSince time.Time
	heldTold  bool
	// ends are the outcomes that on_end has not been run for yet.
	ends []notify.Message
	// stop ends what delivers beside a rollout; nil while nothing does.
	stop func()
}

func (s *session) newCrier() *crier {
	out := s.out
	return &crier{
		spool:  notify.Open(filepath.Join(s.dir, "notify"), func(line string) { out.aside("%s", line) }),
		sender: notify.Sender{Env: s.env, Now: s.now},
	}
}

// deliverBeside begins to send what is queued while a rollout is carried. It goes on until leave.
func (s *session) deliverBeside(ctx context.Context) {
	if len(s.config.Notify) == 0 || s.crier.stop != nil {
		return
	}
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.crier.spool.Run(running, s.config.Notify, s.crier.sender)
	}()
	s.crier.stop = func() { cancel(); <-ended }
}

// leave is a command's last act, when it has said everything and let go of the lock: it gives the queue a short while, a shorter one
// where it only passes by what an earlier command left. Where somebody else is at work that is theirs.
func (s *session) leave(ctx context.Context) {
	if len(s.config.Notify) == 0 {
		return
	}
	if s.crier.stop != nil {
		s.deliver(ctx, lastWords)
		s.crier.stop() // after it: a message that is being sent when this ends is sent twice
		return
	}
	if _, held, err := journal.Holding(s.dir); !held && err == nil {
		s.deliver(ctx, inPassing)
	}
}

// deliver sends what is queued now, and leaves the rest to the guardian and the next command.
func (s *session) deliver(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	if err := s.crier.spool.Deliver(ctx, s.config.Notify, s.crier.sender); err != nil {
		s.out.aside("%v", err)
	}
}

// announce puts what an event means for people into the queue.
func (s *session) announce(ctx context.Context, before, after traffic.State, e traffic.Event) {
	if len(s.config.Notify) == 0 && len(s.config.OnEnd) == 0 {
		return
	}
	for _, kind := range s.news(before, after, e) {
		s.cry(ctx, s.message(kind, after, e.At))
	}
	if r, ended := justEnded(before, after); ended {
		s.crier.ends = append(s.crier.ends, s.message(kindOfEnd(*r), after, e.At))
	}
}

// news finds what is worth a message in one event.
func (s *session) news(before, after traffic.State, e traffic.Event) []notify.Kind {
	var kinds []notify.Kind
	if r, ended := justEnded(before, after); ended {
		kinds = append(kinds, kindOfEnd(*r))
	}
	if e.Kind == traffic.Retired {
		kinds = append(kinds, notify.Finished)
	}
	if before.Phase() != traffic.Waiting && after.Phase() == traffic.Waiting {
		kinds = append(kinds, notify.Approval)
	}
	if s.crier.heldForLong(after, e.At) {
		kinds = append(kinds, notify.Holding)
	}
	return kinds
}

// heldForLong tells once for each hold that it has lasted.
func (c *crier) heldForLong(s traffic.State, now time.Time) bool {
	r := s.Open
	if r == nil || r.Holding == "" && r.BlindSince.IsZero() {
		c.heldSince, c.heldTold = time.Time{}, false
		return false
	}
	if c.heldSince.IsZero() {
		c.heldSince = now
	}
	if c.heldTold || now.Sub(c.heldSince) < heldLongEnough {
		return false
	}
	c.heldTold = true
	return true
}

// justEnded gives the rollout whose outcome this event brought: accepted, or over without that.
func justEnded(before, after traffic.State) (*traffic.Rollout, bool) {
	switch {
	case before.Phase() != traffic.Accepted && after.Phase() == traffic.Accepted:
		return after.Open, true
	case before.Open != nil && after.Open == nil && after.Last != nil && after.Last.Ending != traffic.Promoted:
		return after.Last, true
	}
	return nil, false
}

func kindOfEnd(r traffic.Rollout) notify.Kind {
	if r.Unproven != "" {
		return notify.Unproven
	}
	if r.Ending == traffic.Declined {
		return notify.Refused
	}
	return notify.Kind(r.Ending)
}

// cry queues one message; where the disk takes it not, it is sent at once.
func (s *session) cry(ctx context.Context, m notify.Message) {
	err := s.crier.spool.Put(s.config.Notify, m)
	if err == nil {
		return
	}
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	for _, c := range s.config.Notify {
		if len(c.On) == 0 || slices.Contains(c.On, m.Kind) {
			err = errors.Join(err, s.crier.sender.Send(brief, c, m))
		}
	}
	s.out.stamped(m.At, "notify", "not queued: %v", err)
}

var notInID = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// message makes the one sentence with its numbers.
func (s *session) message(kind notify.Kind, state traffic.State, at time.Time) notify.Message {
	r := state.Open
	if r == nil {
		r = state.Last
	}
	if r == nil { // a journal that was lost knows of no rollout
		r = &traffic.Rollout{}
	}
	text := traffic.Doing(state, at)
	if r.Ending != "" && kind != notify.Finished {
		text = traffic.Ended(r)
	}
	host, _ := os.Hostname() // a host without a name is told without one
	id := fmt.Sprintf("%s-%s-%s-%s-%d", host, s.config.App, r.ID, kind, len(r.Steps))
	m := notify.Message{
		ID: notInID.ReplaceAllString(id, "-"), At: at, App: s.config.App, Environment: s.config.Environment, Host: host,
		Rollout: r.ID.String(), Release: r.Release.Tag, Kind: kind, Text: text, Next: traffic.Coming(state, at),
		Weight: r.Actual.Fraction() * 100,
	}
	if r.Ending != "" {
		m.Exit = exitOfEnding(*r)
	}
	return m
}

// runOnEnds runs the command of on_end for each outcome, once nothing of the rollout waits for this process any more.
func (s *session) runOnEnds(ctx context.Context) {
	for _, m := range s.crier.ends {
		s.runOnEnd(ctx, m)
	}
	s.crier.ends = nil
}

// runOnEnd runs the command of on_end. What becomes of it is said, and changes nothing.
func (s *session) runOnEnd(ctx context.Context, m notify.Message) {
	if len(s.config.OnEnd) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), onEndPatience)
	defer cancel()
	c := command(ctx, s.config.OnEnd)
	c.Dir, c.Env = filepath.Dir(s.path), append(slices.Clone(s.environ), m.Environ()...)
	if out, err := c.CombinedOutput(); err != nil {
		s.out.stamped(s.now(), "on_end", "%s: %v: %s", s.config.OnEnd[0], err, trimLine(out))
	}
}
