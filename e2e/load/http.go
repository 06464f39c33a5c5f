package load

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Run is a load of HTTP clients. Its methods may be called from any goroutine.
type Run struct {
	plan   Plan
	client *http.Client
	asked  *http.Request
	crew   *crew

	mu       sync.Mutex
	summary  Summary
	outcomes []Outcome // in the order of their ends
	skipped  []time.Time
}

// Start sends requests until ctx ends or Stop is called. Stop must be called in either case.
func Start(ctx context.Context, plan Plan) (*Run, error) {
	plan, _, err := plan.checked()
	if err != nil {
		return nil, err
	}
	asked, err := http.NewRequest(http.MethodGet, plan.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	asked.Host = plan.Host
	r := &Run{plan: plan, asked: asked, client: &http.Client{
		Timeout:       plan.Timeout,
		Transport:     &http.Transport{MaxIdleConnsPerHost: plan.Workers, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	r.crew = muster(ctx, plan, r.work, r.skip)
	return r, nil
}

// Stop sends no more requests, waits for those that are on their way, and reports the run. It may be called again.
func (r *Run) Stop() Report {
	r.crew.disband()
	r.client.CloseIdleConnections()
	return r.Report()
}

// Snapshot is the run in numbers until now; it is cheap.
func (r *Run) Snapshot() Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.summary.clone()
}

// Report is the run until now. Requests that are on their way are not in it yet.
func (r *Run) Report() Report {
	r.mu.Lock()
	report := Report{Outcomes: slices.Clone(r.outcomes), Skipped: slices.Clone(r.skipped)}
	r.mu.Unlock()
	slices.SortStableFunc(report.Outcomes, func(a, b Outcome) int { return a.Start.Compare(b.Start) })
	return report
}

func (r *Run) work(jobs <-chan struct{}) {
	for range jobs {
		o := r.ask()
		r.mu.Lock()
		r.outcomes = append(r.outcomes, o)
		r.summary.add(o)
		r.mu.Unlock()
	}
}

// ask does one request. It does not hang on the run's context: a request that was on its way when the run ended is not lost.
func (r *Run) ask() Outcome {
	o := Outcome{Start: time.Now()}
	answer, err := r.client.Do(r.asked.Clone(context.Background()))
	if err == nil {
		o.Status, o.Release = answer.StatusCode, answer.Header.Get(ReleaseHeader)
		_, err = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
	o.End, o.Err = time.Now(), err
	return o
}

func (r *Run) skip(at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.summary.Skipped++
	r.skipped = append(r.skipped, at)
}
