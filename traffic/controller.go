package traffic

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"cutover/traffic/verdict"
)

// Judge folds evidence and says at any time what it thinks of the candidate. verdict.NewJudge makes the real one.
type Judge interface {
	// Shift tells that the candidate's share, 0 to 1, is live from then on.
	Shift(at time.Time, share float64)
	Fold(b verdict.Batch)
	Advance(now time.Time)
	Result() verdict.Result
}

// Controller carries one rollout through its phases: an event comes in, Next decides, the journal has it, the effect follows.
// It owns the clock and every goroutine of the rollout.
type Controller struct {
	Router Router
	Stacks Stacks
	// Signal and Judge are needed by promotions only.
	Signal Signal
	Judge  Judge
	// Hooks is needed where the plan has any.
	Hooks Hooks
	Log   Log
	// Inbox brings what people, signals and other processes ask; may be nil, and may be closed.
	Inbox <-chan Message
	Now   func() time.Time
	// FinishPatience bounds the wait for connections that still hang on the old release; zero means 30 s. What could not be
	// finished then is tried again later.
	FinishPatience time.Duration
	// Tell is called after each event, from the goroutine of Run; may be nil.
	Tell func(before, after State, e Event)
}

// Message is an event from outside of the rollout's own process or loop.
type Message struct {
	Event Event
	// Recorded tells that whoever sent it has written it to the journal already.
	Recorded bool
}

const (
	tick = time.Second
	// cutPatience bounds the proof of a cutback. The cutback itself is one rename and waits for nothing.
	cutPatience = 15 * time.Second
	// finishPatience is Controller.FinishPatience where that is zero.
	finishPatience = 30 * time.Second
)

// Run performs what the state asks for until nobody has to stay (State.Settled) and returns the state that was reached.
// When ctx ends while traffic may still move, the rollout is cut back first, so Run may return well after that.
// An error means that the journal lacks something; the traffic is where the state says all the same.
func (c *Controller) Run(ctx context.Context, s State) (State, error) {
	l := loop{Controller: c, events: make(chan report), batches: make(chan verdict.Batch), hearing: Hearing{Judge: c.Judge}}
	l.base, l.stop = context.WithCancel(context.WithoutCancel(ctx))
	defer l.close()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	quit, inbox := ctx.Done(), c.Inbox
	for !s.Settled() {
		l.follow(s)
		l.perform(s)
		select {
		case r := <-l.events:
			if l.ended(r) {
				s = l.take(s, Message{Event: r.event})
			}
		case b := <-l.batches:
			s = l.fold(s, b)
		case <-ticker.C:
			l.look(s)
			s = l.judge(s, c.Now())
		case m, more := <-inbox:
			if !more {
				inbox = nil
				continue
			}
			s = l.take(s, m)
		case <-quit:
			quit = nil
			why := fmt.Sprintf("stopped: %v", context.Cause(ctx))
			s = l.take(s, Message{Event: Event{Kind: AbortAsked, At: c.Now(), By: "the program", Why: why}})
		}
	}
	return s, l.unsavedErr
}

// loop is what one Run holds besides the state.
type loop struct {
	*Controller
	base    context.Context
	stop    context.CancelFunc
	running *job
	leaving int // jobs that were cancelled and have not ended
	open    int // goroutines that will still send a report
	events  chan report

	following bool
	batches   chan verdict.Batch
	hearing   Hearing
	looking   bool

	// unsaved waits for a journal that can be written again.
	unsaved    []Event
	unsavedErr error
}

// job is the effect under way. A cutback cancels it and does not wait: what it does to nginx is fenced off by the file
// system. Nothing fences what it does to a stack, so every other effect waits until it has ended.
type job struct {
	kind   ActionKind
	weight Weight
	hook   HookPoint
	cancel context.CancelFunc
}

// report is what a goroutine of the loop says last. An event without a kind says only that it has ended.
type report struct {
	job    *job
	looked bool
	event  Event
}

// take lets Next decide on one event, writes it down, and only then lets the effect follow. On the way down the effect comes
// first: a cutback is idempotent and must not wait for a disk.
func (l *loop) take(s State, m Message) State {
	e := m.Event
	if e.Rollout == 0 && s.Open != nil {
		e.Rollout = s.Open.ID
	}
	next := Next(s, e)
	if SameButNumbers(s, next) {
		l.tell(s, next, e)
		return next
	}
	if next.Phase() == CuttingBack {
		l.perform(next)
	}
	if !m.Recorded {
		e, next = l.record(s, next, e)
	}
	if e.Kind == Raised && l.Judge != nil {
		l.Judge.Shift(e.At, next.Open.Actual.Fraction())
	}
	l.tell(s, next, e)
	return next
}

// record saves the event that leads from s to next. Where it cannot and next would go on with traffic, the answer is a
// cutback instead: nothing goes up that the journal does not know.
func (l *loop) record(s, next State, e Event) (Event, State) {
	err := l.save(e)
	if err == nil || s.Phase() == CuttingBack || next.Phase() == CuttingBack {
		return e, next
	}
	failed := Event{Kind: JournalFailed, At: e.At, Rollout: e.Rollout, Why: fmt.Sprintf("nothing goes up without a journal: %v", err)}
	back := Next(s, failed)
	if back.Phase() != CuttingBack {
		return e, next
	}
	l.unsaved[len(l.unsaved)-1] = failed
	return failed, back
}

// save appends what could not be appended before, then the event. What fails stays unsaved.
func (l *loop) save(e Event) error {
	l.unsaved = append(l.unsaved, e)
	for len(l.unsaved) > 0 {
		if err := l.Log.Append(l.base, l.unsaved[0]); err != nil {
			l.unsavedErr = err
			return err
		}
		l.unsaved = l.unsaved[1:]
	}
	l.unsavedErr = nil
	return nil
}

func (l *loop) tell(before, after State, e Event) {
	if l.Tell != nil && e.Kind != "" {
		l.Tell(before, after, e)
	}
}

// look asks nginx whether the rollout's folder still stands, so that a cutback is noticed whose line in the journal is lost.
func (l *loop) look(s State) {
	if l.looking || s.Open == nil || !s.Open.mayCarryNow() || s.Open.Phase == Shifting {
		return
	}
	l.looking = true
	l.open++
	id := s.Open.ID
	go func() {
		ctx, cancel := context.WithTimeout(l.base, 2*time.Second)
		defer cancel()
		live, err := l.Router.Live(ctx)
		e := Event{}
		if err == nil && live.Split.Rollout == id && !live.Open && !live.Finished {
			e = Event{Kind: CutSeen, At: l.Now(), Rollout: id, Why: "somebody cut back"}
		}
		l.events <- report{looked: true, event: e}
	}()
}

// perform starts the effect that the state asks for, unless it is under way, and cancels one that it no longer asks for.
func (l *loop) perform(s State) {
	a, wanted := Pending(s)
	if l.running != nil {
		if wanted && l.running.kind == a.Kind && l.running.weight == a.Split.Weight && l.running.hook == a.Hook.Point {
			return
		}
		l.running.cancel()
		l.running = nil
		l.leaving++
	}
	if !wanted || l.leaving > 0 && a.Kind != Cut {
		return
	}
	var ctx context.Context
	var cancel context.CancelFunc
	if a.Kind == Cut {
		ctx, cancel = context.WithTimeout(context.WithoutCancel(l.base), cutPatience)
	} else {
		ctx, cancel = context.WithCancel(l.base)
	}
	j := &job{kind: a.Kind, weight: a.Split.Weight, hook: a.Hook.Point, cancel: cancel}
	l.running = j
	l.open++
	go func() {
		defer cancel()
		e := l.act(ctx, a)
		e.At, e.Rollout = l.Now(), a.Rollout
		l.events <- report{job: j, event: e}
	}()
}

// ended tells whether the report still counts: what a cancelled effect says last may be taken for its successor's word.
func (l *loop) ended(r report) bool {
	l.open--
	switch {
	case r.looked:
		l.looking = false
	case r.job != nil && r.job == l.running:
		l.running = nil
	case r.job != nil:
		l.leaving--
		return false
	}
	return true
}

// close ends every goroutine and waits for it.
func (l *loop) close() {
	l.stop()
	if l.running != nil && l.running.kind != Cut {
		l.running.cancel()
	}
	for l.open > 0 {
		l.ended(<-l.events)
	}
}

// act performs one effect and says what came of it.
func (l *loop) act(ctx context.Context, a Action) Event {
	switch a.Kind {
	case Prepare:
		release, err := l.Stacks.Prepare(ctx, a.Color, a.Tag)
		return outcome(Event{Kind: Prepared, Release: &release}, PrepareFailed, err)
	case Check:
		return outcome(Event{Kind: Checked}, PrepareFailed, l.Stacks.Check(ctx, a.Color, a.Tag))
	case Raise:
		live, err := l.Router.Raise(ctx, a.Split)
		return outcome(Event{Kind: Raised, Weight: a.Split.Weight, Live: &live}, RaiseFailed, err)
	case Cut:
		live, err := l.Router.Cut(ctx, a.Rollout, a.Why)
		if err != nil {
			return Event{Kind: CutUnproven, Why: err.Error(), Fault: KindOf(err)}
		}
		return Event{Kind: CutProven, Live: &live}
	case HandOver:
		return outcome(Event{Kind: HandedOver}, HandedOver, l.Stacks.HandOver(ctx, a.Color, a.Tag))
	case Finish:
		ctx, cancel := context.WithTimeout(ctx, cmp.Or(l.FinishPatience, finishPatience))
		defer cancel()
		live, err := l.Router.Finish(ctx, a.Split)
		return outcome(Event{Kind: Finished, Live: &live}, FinishFailed, err)
	case Retire:
		return outcome(Event{Kind: Retired}, Retired, l.Stacks.Retire(ctx, a.Color))
	case RunHooks:
		e := outcome(Event{Kind: Hooked}, Hooked, l.Hooks.Hook(ctx, a.Hook))
		e.Hook = a.Hook.Point
		return e
	}
	panic("an action without an effect: " + string(a.Kind))
}

// outcome is the good event, or the bad one with the error's words.
func outcome(good Event, bad EventKind, err error) Event {
	if err == nil {
		return good
	}
	if errors.Is(err, ErrCut) {
		return Event{Kind: CutSeen, Why: err.Error()}
	}
	e := Event{Kind: bad, Why: err.Error()}
	if f, ok := errors.AsType[*Fault](err); ok {
		e.Fault, e.Hint, e.Detail = f.Kind, f.Hint, f.Detail
	}
	return e
}

// SameButNumbers tells that an event that led from a to b changed nothing worth a line in the journal: the judge's counts alone do not.
func SameButNumbers(a, b State) bool {
	if a.Open == nil || b.Open == nil {
		return reflect.DeepEqual(a, b)
	}
	x, y := *a.Open, *b.Open
	x.Verdict = verdict.Result{Decision: x.Verdict.Decision, Rule: x.Verdict.Rule}
	y.Verdict = verdict.Result{Decision: y.Verdict.Decision, Rule: y.Verdict.Rule}
	x.Holding, y.Holding = held(x), held(y)
	a.Open, b.Open = &x, &y
	return reflect.DeepEqual(a, b)
}

// held leaves of a hold only that there is one: its sentence counts requests.
func held(r Rollout) string {
	if r.Holding == "" {
		return ""
	}
	return "holding"
}
