package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Set at link time: -ldflags "-X main.release=v1.2.0 -X main.failShare=0.2 -X main.latency=20ms -X main.health=sick".
var (
	release   = "v0.0.0"
	failShare = "0"
	latency   = "0s"
	health    = "well"
)

// app is what this process is, and what is wrong with it.
type app struct {
	tag       string
	stack     string
	failShare float64 // 0 to 1, of the requests for pages
	latency   time.Duration
	sick      bool // /healthz answers 500

	pages atomic.Int64 // requests for pages so far
}

// baked reads what was set at link time, and the environment that overrides it.
func baked(getenv func(string) string) (*app, error) {
	either := func(name, otherwise string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return otherwise
	}
	a := &app{tag: either("RELEASE", release), stack: either("STACK", getenv("COLOR"))}
	a.sick = either("HEALTH", health) == "sick" || strings.Contains(a.tag, "sick")
	var err error
	if a.failShare, err = strconv.ParseFloat(either("FAIL_SHARE", failShare), 64); err != nil {
		return nil, fmt.Errorf("FAIL_SHARE: %w", err)
	}
	if !(a.failShare >= 0 && a.failShare <= 1) {
		return nil, fmt.Errorf("FAIL_SHARE: %v is not a share from 0 to 1", a.failShare)
	}
	if a.latency, err = time.ParseDuration(either("LATENCY", latency)); err != nil {
		return nil, fmt.Errorf("LATENCY: %w", err)
	}
	return a, nil
}

// handler answers each route, with the release's tag as a header of every answer.
func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", a.healthz)
	mux.HandleFunc("/api/version", a.version)
	mux.HandleFunc("/slow", a.slow)
	mux.HandleFunc("/echo", a.echo)
	mux.HandleFunc("/stream", a.stream)
	mux.HandleFunc("/upload", a.upload)
	mux.HandleFunc("/demo.Echo/Say", a.grpcSay)
	mux.HandleFunc("/demo.Echo/Count", a.grpcCount)
	mux.HandleFunc("/static/", a.asset)
	mux.HandleFunc("/", a.page)
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("X-Release", a.tag)
		mux.ServeHTTP(w, q)
	})
}

func (a *app) healthz(w http.ResponseWriter, _ *http.Request) {
	if a.sick {
		http.Error(w, "sick", http.StatusInternalServerError)
		return
	}
	fmt.Fprintln(w, "ok")
}

func (a *app) version(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	answer := map[string]string{"release": a.tag, "stack": a.stack}
	_ = json.NewEncoder(w).Encode(answer) // fails only when the client is gone
}

func (a *app) slow(w http.ResponseWriter, q *http.Request) {
	length, ok := milliseconds(w, q)
	if !ok {
		return
	}
	a.wait(q, length)
	fmt.Fprintf(w, "%s after %d ms\n", a.tag, length.Milliseconds())
}

// milliseconds is how long the request wants its answer to take. Where it does not say, it is answered so.
func milliseconds(w http.ResponseWriter, q *http.Request) (length time.Duration, ok bool) {
	ms, err := strconv.Atoi(q.URL.Query().Get("ms"))
	if err != nil || ms < 0 {
		http.Error(w, "ms: how many milliseconds?", http.StatusBadRequest)
		return 0, false
	}
	return time.Duration(ms) * time.Millisecond, true
}

// echo upgrades the connection, as a WebSocket does, and sends each line back after its own tag until the client goes.
func (a *app) echo(w http.ResponseWriter, _ *http.Request) {
	conn, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "no connection of its own", http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	_, err = fmt.Fprintf(both, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Release: %s\r\n\r\n", a.tag)
	for err == nil && both.Flush() == nil {
		var line string
		if line, err = both.ReadString('\n'); err == nil {
			_, err = fmt.Fprintf(both, "%s %s", a.tag, line)
		}
	}
}

func (a *app) page(w http.ResponseWriter, q *http.Request) {
	fails := a.failsAt(a.pages.Add(1))
	a.wait(q, a.latency)
	if fails {
		http.Error(w, a.tag+" is broken", http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, "<!doctype html><title>%[1]s</title><link rel=stylesheet href=%[3]s><p>release %[1]s, stack %[2]s\n", a.tag, a.stack, a.sheet())
}

// sheet is the path of the page's style sheet. As build tools do it, each release has it under a name of its own.
func (a *app) sheet() string {
	sum := sha256.Sum256([]byte(a.tag))
	return fmt.Sprintf("/static/app.%x.css", sum[:4])
}

// asset answers the release's own style sheet: another release's is not in its image.
func (a *app) asset(w http.ResponseWriter, q *http.Request) {
	if q.URL.Path != a.sheet() {
		http.NotFound(w, q)
		return
	}
	w.Header().Set("Content-Type", "text/css")
	fmt.Fprintf(w, "/* %s */\n", a.tag)
}

// failsAt says whether the n-th page, counted from 1, is a failed one. A share of 0.2 fails each fifth: evenly and the same in
// every run, so that a test knows how many it must see.
func (a *app) failsAt(n int64) bool {
	const rounding = 1e-9 // 5 × 0.2 must not fall short of 1
	due := func(n int64) int64 { return int64(float64(n)*a.failShare + rounding) }
	return due(n) > due(n-1)
}

// wait is ended early by a client that goes away.
func (a *app) wait(q *http.Request, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-q.Context().Done():
	}
}
