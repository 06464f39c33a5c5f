package signal

import (
	"context"
	"errors"
	"sync"
	"time"

	"cutover/traffic/verdict"
)

// resumeAfter is how long a source beside the request log that ended by itself is left alone.
const resumeAfter = 5 * time.Second

// Source streams evidence. AccessLog is one.
type Source interface {
	// Follow hands batches to fold, in order and from one goroutine, until the context ends; nil then.
	Follow(ctx context.Context, fold func(verdict.Batch)) error
}

// Beside is a source beside the request log: each of its batches is Aside.
type Beside interface {
	Source
	// Missing is what there is to fold while the source tells nothing: each of its metrics and guards, with the reason.
	Missing(at time.Time, why string) verdict.Batch
}

// Joined is a request log and the sources beside it, as one.
type Joined struct {
	log    Source
	beside []Beside
	now    func() time.Time
}

// Join puts sources beside the request log. The clock stamps what is missing.
func Join(now func() time.Time, log Source, beside ...Beside) *Joined {
	return &Joined{log: log, beside: beside, now: now}
}

// Follow hands the batches of all sources to fold, each source's in its own order, from the goroutine that calls it.
//
// The request log's batches pass unchanged, and what it returns ends all. A source beside it that ends by itself is missing,
// and is asked to follow again every few seconds.
func (j *Joined) Follow(ctx context.Context, fold func(verdict.Batch)) error {
	if len(j.beside) == 0 {
		return j.log.Follow(ctx, fold)
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()

	batches, ended := make(chan verdict.Batch), make(chan error, 1)
	hand := func(b verdict.Batch) {
		select {
		case batches <- b:
		case <-ctx.Done():
		}
	}
	running.Go(func() { ended <- j.log.Follow(ctx, hand) })
	for _, source := range j.beside {
		running.Go(func() { j.keep(ctx, source, hand) })
	}
	for {
		select {
		case b := <-batches:
			fold(b)
		case err := <-ended:
			return err
		}
	}
}

// keep follows a source beside the log, again and again, until the context ends.
func (j *Joined) keep(ctx context.Context, source Beside, hand func(verdict.Batch)) {
	for ctx.Err() == nil {
		err := source.Follow(ctx, hand)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("the source ended")
		}
		hand(source.Missing(j.now(), err.Error()))
		select {
		case <-time.After(resumeAfter):
		case <-ctx.Done():
		}
	}
}

// unopened is a source beside the log that is opened when it is followed. What hinders that, such as a header file that everybody
// may read, makes it missing, until it is mended.
type unopened struct {
	first, metrics int // places in verdict.Beside.Counted
	open           func() (Source, error)
}

// Follow opens the source and follows it.
func (u unopened) Follow(ctx context.Context, fold func(verdict.Batch)) error {
	source, err := u.open()
	if err != nil {
		return err
	}
	return source.Follow(ctx, fold)
}

// Missing says of each metric why there are no counts.
func (u unopened) Missing(at time.Time, why string) verdict.Batch {
	b := verdict.Batch{Now: at}
	for n := range u.metrics {
		b.Intervals = append(b.Intervals, verdict.Interval{Metric: u.first + n, At: at, Missing: why})
	}
	return b
}

// lookEvery hands over what each look gives, at once and then at every tick, until the context ends.
func lookEvery(ctx context.Context, every time.Duration, look func(context.Context) verdict.Batch, fold func(verdict.Batch)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for ctx.Err() == nil {
		b := look(ctx)
		if ctx.Err() != nil {
			break
		}
		if b.Aside() {
			fold(b)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}
