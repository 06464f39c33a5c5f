package load

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"time"
)

// defaultTimeout is above any pause that a switch of traffic may cause, and below a person's patience.
const defaultTimeout = 5 * time.Second

// Plan says what is asked, how often, and by how many.
type Plan struct {
	// URL is asked with GET; plain http only.
	URL string
	// Host is the header Host; empty means that of the URL.
	Host string
	// Rate is the number of requests a second.
	Rate int
	// Workers bounds the requests that are on their way at a time, and the connections that are kept.
	Workers int
	// Timeout is the longest that one request may take; 0 means 5 s. Stop takes no longer than that.
	Timeout time.Duration
}

// checked fills in the defaults and refuses a plan that cannot be carried out.
func (p Plan) checked() (Plan, *url.URL, error) {
	target, err := url.Parse(p.URL)
	switch {
	case err != nil:
		return p, nil, fmt.Errorf("load: %w", err)
	case target.Scheme != "http" || target.Host == "":
		return p, nil, fmt.Errorf("load %q: not an http address", p.URL)
	case p.Rate < 1 || p.Workers < 1:
		return p, nil, fmt.Errorf("load %q: rate %d by %d workers is no load", p.URL, p.Rate, p.Workers)
	}
	if p.Host == "" {
		p.Host = target.Host
	}
	if p.Timeout <= 0 {
		p.Timeout = defaultTimeout
	}
	return p, target, nil
}

// crew is the goroutines of one run.
type crew struct {
	stop context.CancelFunc
	work sync.WaitGroup
}

// muster starts one pacer and the plan's workers, each of which does a job when it takes one from the channel. A job that finds
// all workers busy, and as many jobs waiting already, is skipped: the pace never depends on the server.
func muster(ctx context.Context, p Plan, worker func(jobs <-chan struct{}), skip func(time.Time)) *crew {
	ctx, stop := context.WithCancel(ctx)
	c := &crew{stop: stop}
	jobs := make(chan struct{}, p.Workers)
	for range p.Workers {
		c.work.Go(func() { worker(jobs) })
	}
	c.work.Go(func() {
		defer close(jobs)
		defer drain(jobs) // what nobody began is not begun after the end
		pace(ctx, p.Rate, func() {
			select {
			case jobs <- struct{}{}:
			default:
				skip(time.Now())
			}
		})
	})
	return c
}

func drain(jobs <-chan struct{}) {
	for len(jobs) > 0 {
		select {
		case <-jobs:
		default:
		}
	}
}

// disband ends the run and waits for all of its goroutines.
func (c *crew) disband() {
	c.stop()
	c.work.Wait()
}

// pace calls emit rate times a second until ctx ends, at times that are all counted from the first one, so that a late call does
// not delay the next. emit must not block.
func pace(ctx context.Context, rate int, emit func()) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	begin := time.Now()
	for n := time.Duration(0); ; n++ {
		due := begin.Add(n * time.Second / time.Duration(rate))
		if wait := time.Until(due); wait > 0 || n == 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		} else if ctx.Err() != nil {
			return
		}
		emit()
	}
}
