package signal

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic/verdict"
)

// exporter is an application with counters, which shows them like a library does.
type exporter struct {
	good, bad, started atomic.Int64
	// shows, where set, writes the page in its stead.
	shows atomic.Pointer[http.HandlerFunc]
}

func (e *exporter) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if shows := e.shows.Load(); shows != nil {
		(*shows)(w, q)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	good, bad := e.good.Load(), e.bad.Load()
	fmt.Fprintf(w, "# TYPE x counter\nx{code=\"200\"} %d\n", good)
	if bad > 0 {
		fmt.Fprintf(w, "x{code=\"500\"} %d\n", bad)
	}
	fmt.Fprintf(w, "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds %d\n", e.started.Load())
}

// scrapes gives a source over two exporters, each asked when look is called.
func scrapes(t testing.TB, baseline, candidate *exporter) *Scrape {
	c := DefaultConfig().Scrape
	c.Path, c.Requests, c.ErrorWhen = "/metrics", "x", `code=~"5.."`
	require.NoError(t, c.Validate())
	var addresses [2]string
	for arm, e := range [2]*exporter{baseline, candidate} {
		server := httptest.NewServer(e)
		t.Cleanup(server.Close)
		addresses[arm] = strings.TrimPrefix(server.URL, "http://")
	}
	s, err := OpenScrape(c, addresses, compares())
	require.NoError(t, err)
	t.Cleanup(s.client.CloseIdleConnections)
	return s
}

func TestScrapeCounts(t *testing.T) {
	stable, candidate := &exporter{}, &exporter{}
	stable.good.Store(5000)
	stable.bad.Store(70)
	s := scrapes(t, stable, candidate)
	require.False(t, s.look(t.Context()).Aside())
	stable.good.Add(95)
	stable.bad.Add(5)
	candidate.good.Add(7)
	candidate.bad.Add(3)
	b := s.look(t.Context())
	require.Len(t, b.Intervals, 1)
	i := b.Intervals[0]
	require.Equal(t, verdict.Interval{
		Metric: 2, At: b.Now, Length: i.Length,
		Baseline: verdict.Tally{Requests: 100, Errors: 5}, Candidate: verdict.Tally{Requests: 10, Errors: 3},
	}, i)
	require.Positive(t, i.Length)

	candidate.started.Store(17) // a restarted container, which has passed its old counts already
	candidate.good.Store(900)
	require.Contains(t, s.look(t.Context()).Intervals[0].Missing, "/metrics: green: its process began to count anew")
	candidate.good.Add(1)
	require.Equal(t, verdict.Tally{Requests: 1}, s.look(t.Context()).Intervals[0].Candidate)
}

func TestScrapeSaysWhyAPageGivesNothing(t *testing.T) {
	page := func(kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, body)
		}
	}
	candidate := &exporter{}
	s := scrapes(t, &exporter{}, candidate)
	s.timeout = time.Minute // there is much to read, also under -race
	s.look(t.Context())
	for says, shows := range map[string]http.HandlerFunc{
		"green: answered 404": http.NotFound,
		"answered 307": func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, "/elsewhere", http.StatusTemporaryRedirect)
		},
		`answered with "text/html", not with metrics`: page("text/html", "x 5"),
		"the page has no metric x":                    page("text/plain", "\x00\x01\xff\n\xfe{}"),
		"the page is longer than 16 MB":               page("text/plain", strings.Repeat("y{a=\"something long enough\"} 1\n", 1_700_000)), // 50 MB
		"does not end in # EOF":                       page("application/openmetrics-text", "# TYPE x counter\nx 1\n"),
		"EOF":                                         func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"broke off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "999")
			_, _ = io.WriteString(w, "x 1\n")
		},
	} {
		candidate.shows.Store(&shows)
		i := s.look(t.Context()).Intervals[0]
		require.Contains(t, i.Missing, says)
		require.Zero(t, i.Length)
		require.Zero(t, i.Baseline.Requests)
	}
	slow := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		for q.Context().Err() == nil {
			_, _ = io.WriteString(w, "# a byte now and then\n")
			w.(http.Flusher).Flush()
			select {
			case <-q.Context().Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
	never := http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() })
	s.timeout = 300 * time.Millisecond
	for _, shows := range []*http.HandlerFunc{&slow, &never} {
		candidate.shows.Store(shows)
		require.Contains(t, s.look(t.Context()).Intervals[0].Missing, "no answer within 300ms")
	}
	s.timeout = time.Minute
	candidate.shows.Store(nil)
	candidate.good.Add(4)
	require.Equal(t, verdict.Tally{Requests: 4}, s.look(t.Context()).Intervals[0].Candidate, "in the stretch that stayed open")
}

func TestScrapeFollowsUntilTheEnd(t *testing.T) {
	stable, candidate := &exporter{}, &exporter{}
	s := scrapes(t, stable, candidate)
	s.every = 5 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var told verdict.Tally
	require.NoError(t, s.Follow(ctx, func(b verdict.Batch) {
		require.True(t, b.Aside())
		told.Requests += b.Intervals[0].Candidate.Requests
		if candidate.good.Add(10); candidate.good.Load() >= 100 {
			cancel()
		}
	}))
	require.Equal(t, int64(90), told.Requests)
}
