package load

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server whose handler is told which request it has, counted from 1.
func serve(t *testing.T, handle func(w http.ResponseWriter, n int64)) (url string, served *atomic.Int64) {
	served = new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { handle(w, served.Add(1)) }))
	t.Cleanup(s.Close)
	return s.URL, served
}

// hangUp ends the connection without an answer.
func hangUp(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		conn.Close()
	}
}

func start(t *testing.T, p Plan) *Run {
	t.Helper()
	r, err := Start(t.Context(), p)
	require.NoError(t, err)
	t.Cleanup(func() { r.Stop() })
	return r
}

// until polls for something that must come, however slow the machine is.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	require.Eventually(t, reached, 30*time.Second, 5*time.Millisecond, what)
}

func TestEachRequestIsCounted(t *testing.T) {
	url, served := serve(t, func(w http.ResponseWriter, n int64) {
		release := "v1.1.0"
		if n > 100 {
			release = "v1.2.0"
		}
		w.Header().Set(ReleaseHeader, release)
		if release == "v1.2.0" && n%5 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprintln(w, release)
	})
	run := start(t, Plan{URL: url, Rate: 500, Workers: 4})
	until(t, "200 requests", func() bool { return run.Snapshot().Requests >= 200 })
	report := run.Stop()

	s := report.Summary()
	total := int(served.Load())
	require.Equal(t, total, s.Requests)
	require.Zero(t, s.Lost)
	require.Equal(t, 100, s.Releases["v1.1.0"].Answers)
	require.Zero(t, s.Releases["v1.1.0"].Failed)
	require.Equal(t, total-100, s.Releases["v1.2.0"].Answers)
	require.Equal(t, total/5-20, s.Failed)
	bad := s.Releases["v1.2.0"]
	require.Equal(t, s.Failed, bad.Failed)
	require.False(t, bad.FirstFailed.Before(bad.First))
	require.True(t, bad.FirstFailed.Before(bad.LastFailed))
	require.False(t, bad.Last.Before(bad.LastFailed))
	require.Equal(t, s, run.Snapshot(), "counted along the way and counted at the end are the same")
	require.Equal(t, report, run.Stop(), "a second Stop changes nothing")
}

func TestConnectionsAreKept(t *testing.T) {
	var opened atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	const workers = 4
	run := start(t, Plan{URL: s.URL, Rate: 1000, Workers: workers})
	until(t, "300 requests", func() bool { return run.Snapshot().Requests >= 300 })
	run.Stop()
	// Go's transport dials while it waits for a connection to come back, so there may be more than workers, but not one for each.
	require.LessOrEqual(t, opened.Load(), int64(10*workers))
}

// The same server, seen by both kinds of clients: it takes each tenth request on a used connection and ends it.
func TestOnlySocketsSeeAClosedKeptConnection(t *testing.T) {
	type key struct{}
	var requests atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		used := q.Context().Value(key{}).(*atomic.Int64).Add(1)
		requests.Add(1)
		if used == 10 {
			hangUp(w)
			return
		}
		fmt.Fprintln(w, "ok")
	}))
	s.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, key{}, new(atomic.Int64))
	}
	s.Start()
	defer s.Close()

	run := start(t, Plan{URL: s.URL, Rate: 500, Workers: 2})
	until(t, "100 requests", func() bool { return run.Snapshot().Requests >= 100 })
	require.Zero(t, run.Stop().Summary().Lost)

	requests.Store(0)
	sockets, err := StartSockets(t.Context(), Plan{URL: s.URL, Rate: 500, Workers: 2})
	require.NoError(t, err)
	until(t, "100 requests", func() bool { return len(sockets.Report().Outcomes) >= 100 })
	report := sockets.Stop()
	require.Len(t, report.Outcomes, int(requests.Load()))
	resets := report.Count(Reset)
	require.InDelta(t, len(report.Outcomes)/10, resets, 2, "one in ten, less what each of two connections had not reached")
	require.Equal(t, len(report.Outcomes)-resets, report.Count(Answered))
}

func TestLostIsWhatNoRetryCanMend(t *testing.T) {
	url, _ := serve(t, func(w http.ResponseWriter, _ int64) { hangUp(w) })
	run := start(t, Plan{URL: url, Rate: 500, Workers: 4})
	until(t, "50 requests", func() bool { return run.Snapshot().Requests >= 50 })
	s := run.Stop().Summary()
	require.Equal(t, s.Requests, s.Lost)
	require.Empty(t, s.Releases)
}

func TestTornBodyIsLost(t *testing.T) {
	url, _ := serve(t, func(w http.ResponseWriter, _ int64) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "half")
	})
	run := start(t, Plan{URL: url, Rate: 200, Workers: 2})
	sockets, err := StartSockets(t.Context(), Plan{URL: url, Rate: 200, Workers: 2})
	require.NoError(t, err)
	until(t, "20 requests of each", func() bool {
		return run.Snapshot().Requests >= 20 && len(sockets.Report().Outcomes) >= 20
	})
	s, plain := run.Stop().Summary(), sockets.Stop()
	require.Equal(t, s.Requests, s.Lost)
	require.Equal(t, len(plain.Outcomes), plain.Count(Torn))
}

func TestNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	run := start(t, Plan{URL: url, Rate: 200, Workers: 2})
	sockets, err := StartSockets(t.Context(), Plan{URL: url, Rate: 200, Workers: 2})
	require.NoError(t, err)
	until(t, "20 requests of each", func() bool {
		return run.Snapshot().Requests >= 20 && len(sockets.Report().Outcomes) >= 20
	})
	s, plain := run.Stop().Summary(), sockets.Stop()
	require.Equal(t, s.Requests, s.Lost)
	require.Equal(t, len(plain.Outcomes), plain.Count(Unsent), "nothing was written, so nothing was reset")
}

// A server that hangs does not slow the pace: what is due is skipped and counted. Its requests end by their timeout.
func TestHangingServer(t *testing.T) {
	release := make(chan struct{})
	url, _ := serve(t, func(http.ResponseWriter, int64) { <-release })
	defer close(release)
	run := start(t, Plan{URL: url, Rate: 500, Workers: 3, Timeout: 300 * time.Millisecond})
	sockets, err := StartSockets(t.Context(), Plan{URL: url, Rate: 100, Workers: 2, Timeout: 300 * time.Millisecond})
	require.NoError(t, err)
	until(t, "requests skipped and lost", func() bool {
		s := run.Snapshot()
		return s.Skipped > 20 && s.Lost >= 3 && len(sockets.Report().Outcomes) >= 2
	})
	s, plain := run.Stop().Summary(), sockets.Stop()
	require.Equal(t, s.Requests, s.Lost)
	require.Equal(t, len(plain.Outcomes), plain.Count(Silent), "silence is no reset")
}

// The context ends the run as Stop does, and a request that is on its way then is answered, not lost.
func TestEndsWithItsContext(t *testing.T) {
	arrived, answer := make(chan struct{}, 100), make(chan struct{})
	url, _ := serve(t, func(w http.ResponseWriter, _ int64) {
		arrived <- struct{}{}
		<-answer
	})
	ctx, cancel := context.WithCancel(t.Context())
	run, err := Start(ctx, Plan{URL: url, Rate: 100, Workers: 1, Timeout: time.Minute})
	require.NoError(t, err)
	<-arrived
	cancel()
	close(answer)
	s := run.Stop().Summary()
	require.NotZero(t, s.Requests)
	require.Zero(t, s.Lost)
}

func TestPaceIsExact(t *testing.T) {
	for _, rate := range []int{1, 3, 20, 300, 1000} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute-time.Nanosecond)
			defer cancel()
			n := 0
			pace(ctx, rate, func() { n++ })
			require.Equal(t, 60*rate, n)
		})
	}
}

// A pacer that was held up for two seconds sends what was due meanwhile and is on time again.
func TestPaceCatchesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute-time.Nanosecond)
		defer cancel()
		n := 0
		pace(ctx, 10, func() {
			if n++; n == 50 {
				time.Sleep(2 * time.Second)
			}
		})
		require.Equal(t, 600, n)
	})
}

func TestPlanIsChecked(t *testing.T) {
	for _, p := range []Plan{
		{URL: "http://127.0.0.1:1", Rate: 0, Workers: 1},
		{URL: "http://127.0.0.1:1", Rate: 1, Workers: 0},
		{URL: "https://127.0.0.1:1", Rate: 1, Workers: 1},
		{URL: "127.0.0.1:1", Rate: 1, Workers: 1},
		{URL: "http://127.0.0.1:port", Rate: 1, Workers: 1},
	} {
		_, err := Start(t.Context(), p)
		require.ErrorContains(t, err, "load", "%+v", p)
		_, err = StartSockets(t.Context(), p)
		require.ErrorContains(t, err, "load", "%+v", p)
	}
}

func TestBetween(t *testing.T) {
	begin := time.Now()
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	var r Report
	var plain SocketReport
	for s := range 10 {
		r.Outcomes = append(r.Outcomes, Outcome{Start: at(s), End: at(s + 1), Status: 200})
		r.Skipped = append(r.Skipped, at(s))
		plain.Outcomes = append(plain.Outcomes, SocketOutcome{Start: at(s), Ending: Reset})
	}
	for _, c := range []struct{ from, to, want int }{{0, 10, 10}, {-5, 20, 10}, {3, 7, 4}, {3, 3, 0}, {7, 3, 0}, {10, 20, 0}, {-5, 0, 0}} {
		part := r.Between(at(c.from), at(c.to))
		require.Equal(t, c.want, part.Summary().Requests, "%+v", c)
		require.Equal(t, c.want, part.Summary().Skipped, "%+v", c)
		require.Equal(t, c.want, plain.Between(at(c.from), at(c.to)).Count(Reset), "%+v", c)
	}
	require.Equal(t, at(3), r.Between(at(3), at(7)).Outcomes[0].Start)
}
