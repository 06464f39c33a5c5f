package traffic_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"cutover/traffic"
	"cutover/traffic/verdict"
)

// diary notes what happens, with the bubble's clock.
type diary struct {
	mu    sync.Mutex
	began time.Time
	notes []note
}

type note struct {
	after time.Duration
	what  string
}

func (d *diary) note(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes = append(d.notes, note{time.Since(d.began), fmt.Sprintf(format, args...)})
}

// lines are the notes without their times.
func (d *diary) lines() (lines []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.notes {
		lines = append(lines, n.what)
	}
	return lines
}

// when is the time of the first such note, and -1 where there is none.
func (d *diary) when(what string) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i := slices.IndexFunc(d.notes, func(n note) bool { return n.what == what }); i >= 0 {
		return d.notes[i].after
	}
	return -1
}

// takes waits as a slow effect does: until it is done, or until its context ends.
func takes(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fakeRouter is an nginx of one rollout: its folder, and the share that is loaded. Each hook replaces the wait of an effect.
type fakeRouter struct {
	*diary
	onRaise, onCut, onFinish func(context.Context) error

	mu     sync.Mutex
	folder folder
	split  traffic.Split
}

// reads answers the probe; whoever calls it holds mu.
func (r *fakeRouter) reads() traffic.Live {
	return traffic.Live{Split: r.split, Open: r.folder == standing, Finished: r.folder == done, At: time.Now()}
}

func (r *fakeRouter) Raise(ctx context.Context, s traffic.Split) (traffic.Live, error) {
	r.note("raise %s", s.Weight)
	if err := r.onRaise(ctx); err != nil {
		return traffic.Live{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.folder != standing {
		return traffic.Live{}, fmt.Errorf("raise to %s: %w", s.Weight, traffic.ErrCut)
	}
	r.split = s
	return r.reads(), nil
}

func (r *fakeRouter) Cut(ctx context.Context, _ traffic.RolloutID, _ string) (traffic.Live, error) {
	r.remove()
	r.note("cut")
	if err := r.onCut(ctx); err != nil {
		return traffic.Live{}, fmt.Errorf("prove the cutback: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads(), nil
}

// remove takes the folder away, as `back` does from anywhere.
func (r *fakeRouter) remove() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.folder = cut
}

func (r *fakeRouter) Finish(ctx context.Context, _ traffic.Split) (traffic.Live, error) {
	r.note("finish")
	if err := r.onFinish(ctx); err != nil {
		return traffic.Live{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.folder == cut {
		return traffic.Live{}, traffic.ErrCut
	}
	r.folder = done
	return r.reads(), nil
}

func (r *fakeRouter) Live(context.Context) (traffic.Live, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reads(), nil
}

// serves is what users get of the candidate.
func (r *fakeRouter) serves() traffic.Weight {
	live, _ := r.Live(context.Background())
	return live.Share(traffic.Green)
}

type fakeStacks struct {
	*diary
	onPrepare, onHandOver func(context.Context) error
}

func (f *fakeStacks) Prepare(ctx context.Context, c traffic.Color, tag string) (traffic.Release, error) {
	f.note("prepare %s %s", c, tag)
	return traffic.Release{Tag: tag, Images: map[string]string{"backend": "sha256:7"}}, f.onPrepare(ctx)
}

func (f *fakeStacks) Check(ctx context.Context, c traffic.Color, _ string) error {
	f.note("check %s", c)
	return takes(ctx, time.Second)
}

func (f *fakeStacks) HandOver(ctx context.Context, to traffic.Color, tag string) error {
	f.note("hand-over %s %s", to, tag)
	defer f.note("hand-over %s ended", to)
	return f.onHandOver(ctx)
}

func (f *fakeStacks) Retire(ctx context.Context, c traffic.Color) error {
	f.note("retire %s", c)
	return takes(ctx, 10*time.Second)
}

// fakeSignal sends the batches that the test gives it, and empty ones between them; it hangs, and is lost, when the test says so.
type fakeSignal struct {
	*diary
	batches chan verdict.Batch
	lost    chan error
	hangs   atomic.Bool
}

func (f *fakeSignal) Follow(ctx context.Context, fold func(verdict.Batch)) error {
	f.note("follow")
	often := time.NewTicker(300 * time.Millisecond)
	defer often.Stop()
	fault := ""
	for {
		select {
		case b := <-f.batches:
			fault = b.Fault
			fold(b)
		case now := <-often.C:
			if !f.hangs.Load() {
				fold(verdict.Batch{Now: now, Fault: fault})
			}
		case err := <-f.lost:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// fakeJudge passes a share some time after it went live, fails at the first bad sample, and is blind once told of a fault.
type fakeJudge struct {
	*diary
	passAfter time.Duration
	live, now time.Time
	bad       bool
	fault     string
}

func (j *fakeJudge) Shift(at time.Time, share float64) {
	j.note("judge from %.2f", share)
	j.live, j.now = at, at
}

func (j *fakeJudge) Fold(b verdict.Batch) {
	j.fault = b.Fault
	j.bad = j.bad || slices.ContainsFunc(b.Samples, func(s verdict.Sample) bool { return s.Arm == verdict.Candidate && s.Bad })
}

func (j *fakeJudge) Advance(now time.Time) { j.now = now }

func (j *fakeJudge) Result() verdict.Result {
	switch {
	case j.bad:
		return verdict.Result{Decision: verdict.Failed, Rule: verdict.RuleErrors, Reason: "1 of 1 failed"}
	case j.fault != "":
		return verdict.Result{Decision: verdict.Blind, Rule: verdict.RuleFault, Reason: j.fault}
	case j.live.IsZero() || j.now.Sub(j.live) < j.passAfter:
		return verdict.Result{Decision: verdict.Undecided, Rule: verdict.RuleEvidence, Reason: "too few"}
	}
	requests := int64(j.now.Sub(j.live).Seconds())
	return verdict.Result{Decision: verdict.Passed, Rule: verdict.RuleEvidence, Candidate: verdict.Tally{Requests: requests}}
}

var errDiskFull = errors.New("no space left on device")

// fakeLog keeps what was appended. fails answers for the n-th append, from 0, whether the disk is full; slow is how long it takes.
type fakeLog struct {
	*diary
	fails  func(n int) bool
	slow   time.Duration
	calls  int
	events []traffic.Event
}

func (l *fakeLog) Append(_ context.Context, e traffic.Event) error {
	n := l.calls
	l.calls++
	time.Sleep(l.slow)
	if l.fails(n) {
		l.note("lost %s", e.Kind)
		return errDiskFull
	}
	l.events = append(l.events, e)
	l.note("journal %s", e.Kind)
	return nil
}
