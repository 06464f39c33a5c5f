package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cutover/traffic"
	"cutover/traffic/journal"
)

// settle ends what a crash left open, before the command does anything of its own: a promotion without its promoter is cut back,
// an accepted release whose old stack was kept warm long enough is finished. Where somebody is at work nothing is touched.
func (s *session) settle(ctx context.Context) error {
	if !s.leftOpen(ctx) {
		return nil
	}
	if holder, held, err := journal.Holding(s.dir); (held || err != nil) && !(isConcluding(holder) && s.outwait(ctx)) {
		return nil // the holder carries it; a reader without rights only looks
	}
	lock, err := journal.TryLock(s.dir, s.holder(""))
	if err != nil {
		return nil
	}
	s.lock, s.patience = lock, time.Second // who asked for something else does not wait for other people's connections
	defer func() { s.close(); s.lock, s.patience = nil, 0 }()
	if out := s.out; out.format == forPeople { // what was asked for stays alone on standard output
		beside := *out
		beside.stdout = out.stderr
		s.out = &beside
		defer func() { s.out = out }()
	}
	if err := s.replay(); err != nil || !s.leftOpen(ctx) {
		return err // whoever held the app until now may have settled it
	}
	if err := s.recover(ctx); err != nil {
		return err
	}
	return s.stopFailed(ctx)
}

// leftOpen tells that something is to be settled. Of a damaged journal nobody knows what it leaves out: `status` says so, `back`
// needs none.
func (s *session) leftOpen(ctx context.Context) bool {
	warm := s.state.WarmUntil()
	due := !warm.IsZero() && s.state.Open.HandedOver && !s.now().Before(warm)
	due = due || s.state.Phase() == traffic.Finishing || s.failedDue() || s.abandoned()
	return s.damage == nil && (!s.state.Settled() || due || s.cutUnseen(ctx))
}

func (s *session) failedDue() bool {
	until := s.failedUntil(s.state)
	return !until.IsZero() && !s.now().Before(until)
}

// stopFailed stops the services of a candidate that did not make it and was kept for a look long enough.
func (s *session) stopFailed(ctx context.Context) error {
	if !s.failedDue() {
		return nil
	}
	color := s.state.Last.Candidate()
	s.out.stamped(s.now(), "stopping", "%s on %s, which was kept for a look", s.state.Last.Release.Tag, color)
	if err := s.stacks.Retire(ctx, color); err != nil {
		return err
	}
	return s.record(ctx, traffic.Event{Kind: traffic.StackDown, Color: color})
}

// cutUnseen tells that an open rollout's folder was taken away by a cutback whose line is not in the journal.
func (s *session) cutUnseen(ctx context.Context) bool {
	r := s.state.Open
	if r == nil || r.Actual == 0 {
		return false
	}
	live, err := s.proxy.Live(ctx)
	return err == nil && live.Share(r.Candidate()) == 0
}

// recover carries an unsettled rollout to where nobody has to stay for it. The caller holds the lock.
func (s *session) recover(ctx context.Context) error {
	s.adoptWhys(ctx)
	r := s.state.Open
	if r == nil {
		return nil
	}
	e := traffic.Event{Kind: traffic.Recovered, Rollout: r.ID, Why: "its promoter ended without an outcome"}
	if s.abandoned() {
		e.Why = "its guard is gone, and nobody judged the share any more"
	}
	if live, err := s.proxy.Live(ctx); err == nil {
		e.Live = &live
	}
	finish := r.Phase == traffic.Finishing || r.Phase == traffic.Accepted && r.HandedOver
	if !finish || s.cutUnseen(ctx) {
		s.out.stamped(s.now(), "recovering", "%s was left in %s", r.Name(), r.Phase)
		if err := s.record(ctx, e); err != nil {
			s.out.failed(err) // down goes on without a journal
			e.At = s.now()
			s.state = traffic.Next(s.state, e)
		}
	} else if err := s.record(ctx, traffic.Event{Kind: traffic.FinishNow, Rollout: r.ID, Why: "nothing is kept warm any longer"}); err != nil {
		return err
	}
	s.carry(ctx, nil)
	return nil
}

// adoptWhys writes the cutbacks into the journal that could not be written when they happened.
func (s *session) adoptWhys(ctx context.Context) {
	fence := s.proxy.Fence()
	whys, err := fence.Whys()
	if err != nil {
		return
	}
	for _, why := range whys {
		e, ok := cutSeenOf(why.Data)
		if !ok || s.record(ctx, e) != nil {
			continue
		}
		_ = fence.Adopt(why) // read twice it changes nothing
	}
}

// carry runs the controller until the rollout is settled. The journal's new lines steer it.
func (s *session) carry(ctx context.Context, inbox <-chan traffic.Message) {
	c := &traffic.Controller{
		Router: s.proxy, Stacks: s.stacks, Hooks: s.stacks, Log: s, Inbox: inbox, Now: s.now, Tell: s.tell,
		FinishPatience: s.patience,
	}
	if r := s.state.Open; r != nil && r.Mode == traffic.Promotion {
		c.Judge, c.Signal = s.judge(), s.evidence(r)
	}
	s.deliverBeside(ctx)
	state, err := c.Run(ctx, s.state)
	s.state = state
	s.runOnEnds(ctx)
	if err != nil {
		s.out.stamped(s.now(), "journal", "NOT WRITTEN: %v", err)
	}
}

// openRollout takes the next id, records the rollout and says that it begins. From here on it ends in the journal.
func (s *session) openRollout(ctx context.Context, o traffic.Opening, release *traffic.Release, why string) error {
	split := traffic.Split{Stable: o.Stable, Releases: map[traffic.Color]string{o.Stable: o.Previous, o.Stable.Other(): o.Tag}}
	if err := s.takeStrays(ctx); err != nil {
		return err
	}
	id, err := s.proxy.Open(ctx, s.state.LastID, split)
	if err != nil {
		return err
	}
	before, e := s.state, traffic.Event{Kind: traffic.Opened, At: s.now(), By: s.actor, Rollout: id, Opening: &o, Release: release, Why: why}
	if err := s.record(ctx, e); err != nil {
		_, cut := s.proxy.Cut(ctx, id, "it could not be written down")
		return errors.Join(err, cut)
	}
	if s.lock != nil {
		_ = s.lock.Update(s.holder(id.String())) // only a text for others
	}
	s.tell(before, s.state, e)
	return nil
}

// takeStrays takes away the folders of rollouts that the journal has never heard of, as a rehearsal leaves one that was killed. The
// caller holds the app's lock: nobody is between opening a rollout and writing it down.
func (s *session) takeStrays(ctx context.Context) error {
	standing, err := s.proxy.Fence().Standing()
	if err != nil {
		return err
	}
	for _, id := range standing {
		if r := s.state.Open; r != nil && r.ID == id {
			continue
		}
		if _, err := s.proxy.Cut(ctx, id, "no journal knows of it"); err != nil {
			return err
		}
	}
	return nil
}

// conclude turns the state that was reached into the command's end: its document, its last line, its exit code.
func (s *session) conclude(ctx context.Context) error {
	r := s.state.Open
	if r == nil {
		r = s.state.Last
	}
	if r.Ending == "" {
		return s.finish(ctx, "shifted", exitDone)
	}
	return s.finish(ctx, string(r.Ending), exitOfEnding(*r))
}

// finish gives the command's document, its last line, which is the truth, and its exit code.
func (s *session) finish(ctx context.Context, result string, exit int) error {
	gather := s.status
	if s.out.format == forPeople {
		gather = s.standing // they get its last line only
	}
	doc := gather(ctx)
	doc.Result, doc.Exit = result, exit
	s.out.result(doc)
	s.out.line("%s", doc.Truth)
	if exit != exitDone {
		return &toldError{exit}
	}
	return nil
}

// ready makes a session fit to move traffic: the lock, a whole journal, nothing left open, a known stable color, a healthy nginx.
func (s *session) ready(ctx context.Context, patience time.Duration) error {
	if err := s.hold(ctx, patience); err != nil {
		return err
	}
	if s.damage != nil {
		return &traffic.Fault{
			Kind: traffic.Preflight, Err: s.damage,
			Hint: "Nothing is raised on a journal that cannot be trusted; `back` and `status` still work. " +
				"Keep a copy of the file, then move it away; `cutover init --stable COLOR` begins a new one.",
		}
	}
	if !s.state.Settled() || s.abandoned() {
		if err := s.recover(ctx); err != nil {
			return err
		}
	}
	if err := s.findStable(ctx); err != nil {
		return err
	}
	return s.agreed(ctx)
}

// agreed makes sure that the journal is about what nginx serves: one that is another app's, or a folder that was made by hand, would have
// the stack brought up anew that serves.
func (s *session) agreed(ctx context.Context) error {
	live, err := s.proxy.Live(ctx)
	if err != nil {
		return nil // who moves traffic asks again; who does not may find nginx stopped
	}
	contradiction := s.contradiction(live)
	if contradiction == "" {
		return nil
	}
	return &traffic.Fault{
		Kind: traffic.Preflight, Err: errors.New(contradiction),
		Hint: fmt.Sprintf("Nothing is moved on a journal that nginx contradicts. `cutover back` takes away what was opened by hand. "+
			"Else look whether %s is this app's own.", s.dir),
	}
}

// findStable lets the first rollout learn which color is stable, where exactly one color answers.
func (s *session) findStable(ctx context.Context) error {
	if s.state.Stable != "" {
		return nil
	}
	found := map[traffic.Color]traffic.Release{}
	for _, color := range []traffic.Color{traffic.Blue, traffic.Green} {
		if release, err := s.stacks.Serving(ctx, color); err == nil {
			found[color] = release
		}
	}
	if len(found) != 1 {
		return &traffic.Fault{
			Kind: traffic.Usage, Err: fmt.Errorf("%d colors answer, and nobody has said which one is stable", len(found)),
			Hint: "Say it once with `cutover init --stable blue` (or green).",
		}
	}
	for color, release := range found {
		s.out.stamped(s.now(), "stable", "%s %s: the only color that answers", color, release.Tag)
		return s.setStable(ctx, color, release)
	}
	return nil
}

func (s *session) setStable(ctx context.Context, color traffic.Color, release traffic.Release) error {
	if err := s.proxy.Base(ctx, color, map[traffic.Color]string{color: release.Tag}); err != nil {
		return err
	}
	return s.record(ctx, traffic.Event{Kind: traffic.StableSet, Color: color, Release: &release})
}

// unclaimed refuses while somebody's hand-made share is open.
func (s *session) unclaimed() error {
	r := s.state.Open
	if r == nil || r.Mode != traffic.HandMade || r.Phase != traffic.Soaking {
		return nil
	}
	return &traffic.Fault{
		Kind: traffic.Busy, Err: fmt.Errorf("%s has %s by hand since %s", r.Name(), r.Actual, r.Since.Local().Format(time.DateTime)),
		Hint: "`cutover back` takes it back, `cutover accept` keeps it once it has 100 %.",
	}
}

// vacate makes the idle color free for another release: a finished promotion's old stack is no longer kept warm.
func (s *session) vacate(ctx context.Context) error {
	if err := s.unclaimed(); err != nil {
		return err
	}
	r := s.state.Open
	if r == nil {
		return nil
	}
	s.out.stamped(s.now(), "finishing", "%s, so that %s is free again", r.Name(), r.Stable)
	if err := s.record(ctx, traffic.Event{Kind: traffic.FinishNow, Rollout: r.ID, Why: "another rollout needs the color"}); err != nil {
		return err
	}
	s.carry(ctx, nil)
	if s.state.Open != nil {
		return &traffic.Fault{
			Kind: traffic.Busy, Err: fmt.Errorf("%s cannot be finished yet: %s", r.Name(), s.state.Open.Trouble),
			Hint: "`cutover status` shows what still drains. Try again, or set nginx.drain to what the old release is to be kept for.",
		}
	}
	return nil
}
