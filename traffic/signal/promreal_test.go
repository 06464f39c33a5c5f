package signal

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic/verdict"
)

// prometheusPort is what the Prometheus of this test listens on.
const prometheusPort = 21010

// shop is an application whose counters a real Prometheus scrapes. Each request is a good or a bad one, and a fast or a slow one.
type shop struct {
	sync.Mutex     // a page is of one moment
	all, bad, slow int64
	address        string
	server         *httptest.Server
}

func (s *shop) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	s.Lock()
	defer s.Unlock()
	fmt.Fprintf(w, "# TYPE x counter\nx{code=\"200\"} %d\n", s.all-s.bad)
	if s.bad > 0 { // as libraries do: a series begins with what it counts first
		fmt.Fprintf(w, "x{code=\"500\"} %d\n", s.bad)
	}
	fmt.Fprintf(w, "# TYPE h histogram\nh_bucket{le=\"0.8\"} %d\nh_bucket{le=\"+Inf\"} %d\nh_sum 1\nh_count %d\n", s.all-s.slow, s.all, s.all)
}

// opens listens, on the address of before where there was one.
func (s *shop) opens(t *testing.T) {
	listener, err := net.Listen("tcp", cmp.Or(s.address, "127.0.0.1:0"))
	require.NoError(t, err)
	s.address = listener.Addr().String()
	s.server = httptest.NewUnstartedServer(s)
	require.NoError(t, s.server.Listener.Close())
	s.server.Listener = listener
	s.server.Start()
}

// takes counts some requests of which the first are bad, and the first slow.
func (s *shop) takes(all, bad, slow int64) {
	s.Lock()
	defer s.Unlock()
	s.all, s.bad, s.slow = s.all+all, s.bad+bad, s.slow+slow
}

// restarts begins to count anew, and has counted this much already when it is asked next.
func (s *shop) restarts(all, bad, slow int64) {
	s.Lock()
	defer s.Unlock()
	s.all, s.bad, s.slow = all, bad, slow
}

// startPrometheus runs the real thing on the folder, and gives its process.
func startPrometheus(t *testing.T, dir string) *exec.Cmd {
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		binary, err = filepath.Abs(filepath.Join("..", "..", ".tools", "prometheus", "prometheus"))
		require.NoError(t, err)
	}
	if _, err := os.Stat(binary); errors.Is(err, fs.ErrNotExist) {
		if os.Getenv("CUTOVER_REQUIRE_REAL") == "" {
			t.Skip("NOT TESTED: counting by a real Prometheus; there is none on this machine (sh e2e/setup.sh prometheus)")
		}
		require.NoError(t, err)
	}
	p := exec.Command(binary, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", prometheusPort), "--log.level=error")
	p.Stderr = t.Output()
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, p.Start())
	return p
}

// told adds up what a source tells of its two metrics, errors and slow answers.
type told struct {
	source *Prometheus
	sum    [2][2]verdict.Tally // by metric and arm
	longer time.Duration       // all stretches
	last   verdict.Batch
}

// looks asks again until the condition holds, and adds up what comes.
func (y *told) looks(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		y.last = y.source.look(t.Context())
		for _, i := range y.last.Intervals {
			for arm, tally := range [2]verdict.Tally{i.Baseline, i.Candidate} {
				y.sum[i.Metric][arm].Requests += tally.Requests
				y.sum[i.Metric][arm].Errors += tally.Errors
			}
			if i.Metric == 0 {
				y.longer += i.Length
			}
		}
		if holds() {
			return
		}
		require.True(t, time.Now().Before(deadline), "%s: it is %+v, and last %+v", what, y.sum, y.last.Intervals)
	}
}

// until looks until all that happened was told, and makes sure that no more comes.
func (y *told) until(t *testing.T, what string, errors, slow [2]verdict.Tally) {
	t.Helper()
	y.looks(t, what, func() bool { return y.sum == [2][2]verdict.Tally{errors, slow} })
	for n := 0; n < 15; n++ { // longer than a scrape takes to come
		y.looks(t, what, func() bool { return true })
		require.Equal(t, [2][2]verdict.Tally{errors, slow}, y.sum, what)
	}
}

// missing looks until both metrics say that there is no value, and why.
func (y *told) missing(t *testing.T, why string) {
	t.Helper()
	y.looks(t, why, func() bool {
		n := 0
		for _, i := range y.last.Intervals {
			if strings.Contains(i.Missing, why) {
				n++
			}
		}
		return n == 2
	})
}

func TestPrometheusRealCountsExactly(t *testing.T) {
	stable, candidate := &shop{}, &shop{}
	for _, s := range []*shop{stable, candidate} {
		s.opens(t)
		defer func() { s.server.Close() }()
	}
	stable.takes(1000, 10, 100)
	candidate.takes(50, 0, 0)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), fmt.Appendf(nil, `
global: { scrape_interval: 1s, scrape_timeout: 900ms }
scrape_configs:
  - job_name: shop
    static_configs:
      - { targets: ["%s"], labels: { project: shop-blue } }
      - { targets: ["%s"], labels: { project: shop-green } }
`, stable.address, candidate.address), 0o600))
	prometheus := startPrometheus(t, dir)
	defer func() {
		_ = prometheus.Process.Kill()
		_ = prometheus.Wait()
	}()

	config, with := asking(fmt.Sprintf("http://127.0.0.1:%d", prometheusPort)), compares()
	config.Requests, config.Errors = `x{ {{.Match}} } # a remark`, `x{ {{.Match}}, code=~"5.."}`
	config.Timed, config.Fast = `h_count{ {{.Match}} }`, `h_bucket{ {{.Match}}, le=~"{{.SlowerThan}}"}`
	config.Timeout = 2 * time.Second
	with.First, with.SlowerThan = 0, 800*time.Millisecond
	y := &told{source: opens(t, config, with)}
	y.looks(t, "both are scraped", func() bool { return !y.last.Aside() })
	began := y.last.Now

	// While they count, each look sees some of it; in the end it is all there, the first failures of the candidate too.
	for n := range 40 {
		stable.takes(int64(100+n), 1, int64(n%3))
		candidate.takes(10, int64(n%2), 1)
		y.looks(t, "while they count", func() bool { return true })
	}
	errors := [2]verdict.Tally{{Requests: 4780, Errors: 40}, {Requests: 400, Errors: 20}}
	slow := [2]verdict.Tally{{Requests: 4780, Errors: 39}, {Requests: 400, Errors: 40}}
	y.until(t, "all that was counted", errors, slow)
	require.Equal(t, y.last.Now.Sub(began), y.longer, "without a hole between the stretches")

	// A restart of the candidate: what it counted around it is lost, and never guessed.
	candidate.restarts(70, 4, 2)
	y.missing(t, "began to count anew")
	y.until(t, "the restart itself", errors, slow)
	stable.takes(20, 0, 0)
	candidate.takes(5, 5, 5)
	errors[0].Requests, slow[0].Requests = errors[0].Requests+20, slow[0].Requests+20
	errors[1].Requests, slow[1].Requests = errors[1].Requests+5, slow[1].Requests+5
	errors[1].Errors, slow[1].Errors = errors[1].Errors+5, slow[1].Errors+5
	y.until(t, "after the restart", errors, slow)

	// Stopped, it has no value; the stretch stays open for both.
	candidate.server.Close()
	y.missing(t, "no value for green")
	stable.takes(40, 4, 0)
	candidate.takes(8, 2, 0)
	candidate.opens(t)
	errors[0], slow[0] = verdict.Tally{Requests: errors[0].Requests + 40, Errors: errors[0].Errors + 4}, verdict.Tally{Requests: slow[0].Requests + 40, Errors: slow[0].Errors}
	errors[1], slow[1] = verdict.Tally{Requests: errors[1].Requests + 8, Errors: errors[1].Errors + 2}, verdict.Tally{Requests: slow[1].Requests + 8, Errors: slow[1].Errors}
	y.until(t, "after it was away", errors, slow)

	// A Prometheus that is frozen, and one that was killed: missing, and nothing is lost.
	require.NoError(t, prometheus.Process.Signal(syscall.SIGSTOP))
	y.missing(t, "no answer within 2s")
	require.NoError(t, prometheus.Process.Signal(syscall.SIGCONT))
	candidate.takes(3, 1, 1)
	errors[1], slow[1] = verdict.Tally{Requests: errors[1].Requests + 3, Errors: errors[1].Errors + 1}, verdict.Tally{Requests: slow[1].Requests + 3, Errors: slow[1].Errors + 1}
	y.until(t, "after it was frozen", errors, slow)
	require.NoError(t, prometheus.Process.Kill())
	_ = prometheus.Wait()
	y.missing(t, "connection refused")
	candidate.takes(2, 0, 0)
	errors[1].Requests, slow[1].Requests = errors[1].Requests+2, slow[1].Requests+2
	prometheus = startPrometheus(t, dir)
	y.until(t, "after it was killed", errors, slow)

	// What Prometheus itself says about an expression reaches the reader.
	_, err := y.source.Value(t.Context(), "x[1m]")
	require.ErrorContains(t, err, "matrix")
	_, err = y.source.Value(t.Context(), "sum(")
	require.ErrorContains(t, err, "refuses the query: bad_data")
	_, err = y.source.Value(t.Context(), "no_such_metric")
	require.ErrorIs(t, err, ErrNoValue)
	value, err := y.source.Value(t.Context(), `count(x{code="200"})`)
	require.NoError(t, err)
	require.InDelta(t, 2, value, 0)
}
