package main

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
	"cutover/traffic/journal"
	"cutover/traffic/verdict"
)

// A guard stays for a share that a person leaves by hand. It judges the share as a promoter judges a step, and takes it back by the
// same rules; it gives nothing more, and does not hold the app: people shift, accept and cut back beside it. A guardian of its own
// watches over it.

// guardDir holds the lock of the app's guard.
func (s *session) guardDir() string { return filepath.Join(s.dir, "guard") }

// guardOf tells who guards the rollout; false where nobody does.
func (s *session) guardOf(id traffic.RolloutID) (journal.Holder, bool) {
	holder, held, err := journal.Holding(s.guardDir())
	return holder, held && err == nil && holder.Rollout == id.String()
}

// abandoned tells that a share which was to be guarded has lost its guard.
func (s *session) abandoned() bool {
	r := s.state.Open
	if r == nil || !r.Guarded || r.Phase != traffic.Soaking {
		return false
	}
	_, guarded := s.guardOf(r.ID)
	return !guarded
}

// guardPatience bounds the wait for a guard that starts, which may have to wait for that of the rollout before to end.
const guardPatience = 10 * time.Second

// guardFirst makes sure that the open rollout has its guard before nginx is asked for anything.
func (s *session) guardFirst(ctx context.Context) error {
	r := s.state.Open
	if r == nil || !r.Guarded {
		return nil
	}
	if _, guarded := s.guardOf(r.ID); guarded {
		return nil
	}
	err := s.detach("guard", nil, "--root", s.proxy.Fence().Root, "--rollout", r.ID.String())
	deadline := s.now().Add(guardPatience)
	for err == nil {
		if _, guarded := s.guardOf(r.ID); guarded {
			return nil
		}
		if !s.now().Before(deadline) {
			err = fmt.Errorf("it has not begun within %v", guardPatience)
		} else {
			err = pause(ctx, 20*time.Millisecond)
		}
	}
	return &traffic.Fault{
		Kind: traffic.Preflight, Err: fmt.Errorf("no guard for the share: %w", err),
		Hint: fmt.Sprintf("%s says more. `--no-guard` leaves a share that nobody judges.", filepath.Join(s.dir, "guard.log")),
	}
}

func (i *invocation) guardCommand() *cli.Command {
	c := i.command(commandSpec{
		name: "guard", usage: "judge a share by hand; shift starts it",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "root", Required: true, Usage: "for who reads the process table"},
			&cli.StringFlag{Name: "rollout", Required: true},
		},
		run: func(c *cli.Context) error {
			signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM)
			defer stop()
			id, err := traffic.ParseRolloutID(c.String("rollout"))
			if err != nil {
				return usagef("guard: %w", err)
			}
			s, err := i.open(i.configOf(c), i.environmentOf(c))
			if err != nil {
				return err
			}
			defer s.leave(c.Context)
			return s.keep(ctx, id)
		},
	})
	c.Hidden = true
	return c
}

// keep guards the rollout until it is over, was accepted, or is no longer to be guarded.
func (s *session) keep(ctx context.Context, id traffic.RolloutID) error {
	lock, err := s.takeGuard(ctx, id)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Unlock() }() // the process ends: the kernel lets go of it in any case
	if s.guard, err = s.post(); err != nil {
		return err
	}
	_ = s.guard.tell(parting{Rollout: id}) // one that is gone cannot be told; the next command stands in for it
	s.deliverBeside(ctx)
	if err := errors.Join(s.replay(), s.watch(ctx, id)); err != nil {
		return err // unsettled: the guardian takes it back
	}
	_ = s.guard.tell(parting{Rollout: id, Settled: true, Until: s.leftUntil(s.state)})
	return nil
}

// takeGuard waits for the guard of the rollout before to end.
func (s *session) takeGuard(ctx context.Context, id traffic.RolloutID) (*journal.Lock, error) {
	deadline := s.now().Add(guardPatience)
	for {
		lock, err := journal.TryLock(s.guardDir(), s.holder(id.String()))
		if _, busy := errors.AsType[*journal.BusyError](err); !busy || s.now().After(deadline) {
			return lock, err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// watch judges the share until nothing is left to be guarded.
func (s *session) watch(ctx context.Context, id traffic.RolloutID) error {
	hearing := &traffic.Hearing{Judge: s.judge()}
	batches, stirs, stop := s.follow(ctx)
	defer stop()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var told time.Time // the share that the judge knows is live since then
	for s.guards(id) {
		if r := s.state.Open; !r.Since.Equal(told) {
			told = r.Since
			hearing.Judge.Shift(r.Since, r.Actual.Fraction())
		}
		select {
		case b := <-batches:
			if !hearing.Fold(b) {
				continue
			}
		case <-stirs:
			if err := s.replay(); err != nil {
				return err
			}
			continue
		case <-ticker.C:
			if err := s.settle(ctx); err != nil { // of a shift that was killed on its way, of a cutback whose line was lost
				s.out.failed(err)
			}
			if s.cutUnseen(ctx) { // who cut back may have the app, and wait for this guard to end: it has, if the journal says so
				_ = s.replay() // of one that cannot be read nothing is known, and the next tick looks again
				continue
			}
		case <-ctx.Done():
			return s.takeBack(id, traffic.Event{Kind: traffic.AbortAsked, Why: "its guard was told to end"})
		}
		if err := s.opine(ctx, id, hearing); err != nil {
			return err
		}
	}
	return nil
}

// guards tells that the rollout may carry users by hand, or soon will, or is not through with its end.
func (s *session) guards(id traffic.RolloutID) bool {
	r := s.state.Open
	return r != nil && r.ID == id && (r.Guarded || !s.state.Settled()) && (r.Phase != traffic.Accepted || !r.HandedOver)
}

// follow brings evidence, and news of the journal, until stop is called.
func (s *session) follow(ctx context.Context) (batches <-chan verdict.Batch, stirs <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	evidence, news := make(chan verdict.Batch), make(chan struct{}, 1)
	source := s.evidence(s.state.Open)
	var running sync.WaitGroup
	running.Go(func() {
		_ = source.Follow(ctx, func(b verdict.Batch) { // what it cannot read is in the batches
			select {
			case evidence <- b:
			case <-ctx.Done():
			}
		})
	})
	running.Go(func() {
		_ = s.journal.Watch(ctx, s.seen, func(journal.Entry) { // without it the next tick settles
			select {
			case news <- struct{}{}:
			default:
			}
		})
	})
	return evidence, news, func() { cancel(); running.Wait() }
}

// opine takes what the judge thinks now. A change of mind goes to the journal, and a failure to nginx before that.
func (s *session) opine(ctx context.Context, id traffic.RolloutID, hearing *traffic.Hearing) error {
	if !s.guards(id) {
		return nil
	}
	now := s.now()
	e := traffic.Event{Kind: traffic.Judged, At: now, Rollout: id, Verdict: hearing.Opinion(now)}
	before, next := s.state, traffic.Next(s.state, e)
	if before.Phase() != traffic.CuttingBack && next.Phase() == traffic.CuttingBack {
		return s.takeBack(id, e)
	}
	if !traffic.SameButNumbers(before, next) {
		if err := s.Append(ctx, e); err != nil {
			return s.takeBack(id, traffic.Event{Kind: traffic.JournalFailed, Why: fmt.Sprintf("no share is left without a journal: %v", err)})
		}
	}
	s.state = next
	s.tell(before, next, e)
	return nil
}

// takeBack ends the share: the folder first, then the journal, then what a promoter would do at its end. Whoever holds the app
// meanwhile does the last for it.
func (s *session) takeBack(id traffic.RolloutID, e traffic.Event) error {
	ctx := context.Background()
	_, unproven := s.proxy.Cut(ctx, id, e.Why) // asked for once more below
	e.At, e.Rollout = s.now(), id
	if err := s.Append(ctx, e); err != nil {
		e = traffic.Event{Kind: traffic.CutSeen, Why: orElse(e.Why, "its guard cut back")}
		err = s.writeDown(ctx, s.proxy.Fence().Root, s.dir, nil, []traffic.RolloutID{id}, e)
		return errors.Join(unproven, err)
	}
	if err := s.hold(ctx, deathPatience); err != nil {
		return errors.Join(unproven, err)
	}
	defer s.close()
	if s.state.Phase() == traffic.CuttingBack {
		s.carry(ctx, nil)
	}
	return nil
}
