package signal

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"sync"
	"time"

	"cutover/traffic/verdict"
)

// slowestPage is how long a page may take at most. Never more than half the pause between two looks.
const slowestPage = 5 * time.Second

// pageFormats asks for the format that each library can write, and takes the other.
const pageFormats = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.5"

// Scrape counts by the counters that both colors show at their own /metrics, read at the same instants.
//
// A page tells of the process that answers. Where an application serves by several, each with counters of its own, the pages come
// from them by turns: by their process_start_time_seconds, or because counters fall, that is seen, and nothing is counted. A
// health check, and each look itself, counts as a request where the application counts it; labels of Requests can leave them out.
type Scrape struct {
	pages    [2]string // addresses, by verdict.Arm
	reader   pageReader
	every    time.Duration
	timeout  time.Duration
	now      func() time.Time
	client   *http.Client
	counting counting
}

// OpenScrape reads the pages of the web service at the two addresses, by verdict.Arm. The configuration must be valid.
func OpenScrape(cfg ScrapeConfig, addresses [2]string, c Comparison) (*Scrape, error) {
	want, err := parseSelector(cfg.Requests)
	if err != nil {
		return nil, fmt.Errorf("signals.scrape.requests: %w", err)
	}
	failing, err := parseMatchers(cfg.ErrorWhen)
	if err != nil {
		return nil, fmt.Errorf("signals.scrape.error_when: %w", err)
	}
	s := &Scrape{
		reader: pageReader{want, failing}, every: cfg.Every, timeout: min(slowestPage, cfg.Every/2), now: c.Now,
		// A proxy between us and a port of this host would answer for somebody else.
		client:   &http.Client{Transport: &http.Transport{Proxy: nil}, CheckRedirect: followNone},
		counting: counting{metric: c.First, of: theBad, arms: c.names()},
	}
	for arm, address := range addresses {
		s.pages[arm] = "http://" + address + cfg.Path
	}
	return s, nil
}

// Follow hands over a batch at each look, with counts or with what is missing, until the context ends; nil then.
func (s *Scrape) Follow(ctx context.Context, fold func(verdict.Batch)) error {
	defer s.client.CloseIdleConnections()
	s.counting.base = snapshot{} // the time since an earlier Follow is nobody's
	lookEvery(ctx, s.every, s.look, fold)
	return nil
}

// Missing says why there are no counts.
func (s *Scrape) Missing(at time.Time, why string) verdict.Batch {
	return verdict.Batch{Now: at, Intervals: []verdict.Interval{s.counting.missing(at, "/metrics: "+why)}}
}

// look reads both pages at the same time. The batch is empty at the first look that got both, where the counting begins.
func (s *Scrape) look(ctx context.Context) verdict.Batch {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	shown, errs := snapshot{at: s.now()}, [2]error{}
	var reading sync.WaitGroup
	for arm, page := range s.pages {
		reading.Go(func() {
			if shown.arms[arm], errs[arm] = s.fetch(ctx, page); errs[arm] != nil {
				errs[arm] = fmt.Errorf("%s: %w", s.counting.arms[arm], errs[arm])
			}
		})
	}
	reading.Wait()
	if err := errors.Join(errs[:]...); err != nil {
		return s.Missing(shown.at, plainly(err.Error()))
	}
	i, ok := s.counting.take(shown)
	if !ok {
		return verdict.Batch{Now: shown.at}
	}
	if i.Missing != "" {
		return s.Missing(shown.at, i.Missing)
	}
	return verdict.Batch{Now: shown.at, Intervals: []verdict.Interval{i}}
}

func (s *Scrape) fetch(ctx context.Context, page string) (stand, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return stand{}, err
	}
	request.Header.Set("Accept", pageFormats)
	answer, err := s.client.Do(request)
	if err != nil {
		return stand{}, plainCause(ctx, err, s.timeout)
	}
	defer answer.Body.Close()
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	switch {
	case answer.StatusCode != http.StatusOK:
		return stand{}, fmt.Errorf("answered %d", answer.StatusCode)
	case kind != "" && kind != "text/plain" && kind != "application/openmetrics-text":
		return stand{}, fmt.Errorf("answered with %q, not with metrics", plainly(kind))
	}
	shown, err := s.reader.read(answer.Body, kind)
	if err != nil && ctx.Err() != nil {
		return stand{}, plainCause(ctx, err, s.timeout)
	}
	return shown, err
}
