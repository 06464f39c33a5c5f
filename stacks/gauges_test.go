package stacks

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// limited is a web service that the engine starts again, of little memory, with a health check that is asked often.
const limited = `
services:
  backend:
    image: cutover-stacks-test:${TAG}
    pull_policy: never
    restart: unless-stopped
    stop_grace_period: 3s
    mem_limit: 96m
    ports: ["127.0.0.1:${API_PORT}:8000"]
    healthcheck: { test: [CMD, /app, probe, /healthz], interval: 500ms, timeout: 5s, retries: 2, start_period: 20s }
`

// gauged is a bench on which both colors run.
type gauged struct {
	*bench
	gauges map[Measure]*Gauge
}

func newGauged(t *testing.T, n int, measures ...Measure) *gauged {
	t.Helper()
	b := newBench(t, n)
	b.write("compose.yml", limited)
	if slices.Contains(measures, CPU) { // the checks would use more than what is measured
		b.write("compose.yml", regexp.MustCompile("healthcheck: .*").ReplaceAllString(limited, ""))
	}
	b.byHand(traffic.Blue, "v1", "up", "-d", "--wait")
	b.byHand(traffic.Green, "v2", "up", "-d", "--wait")
	g := &gauged{b, map[Measure]*Gauge{}}
	for _, m := range measures {
		g.gauges[m] = NewGauge(b.Engine, b.Config, traffic.Green, m, time.Now)
	}
	return g
}

// reads wants a value of the gauge now.
func (g *gauged) reads(m Measure) (float64, string) {
	g.t.Helper()
	value, text, err := g.gauges[m].Read(g.ctx())
	require.NoError(g.t, err)
	return value, text
}

// comesTo waits until the gauge gives the value.
func (g *gauged) comesTo(m Measure, want float64, text string) {
	g.t.Helper()
	var value float64
	var said string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if value, said = g.reads(m); value == want {
			break
		}
		require.True(g.t, time.Now().Before(deadline), "%v: %s", value, said)
	}
	require.Regexp(g.t, text, said)
}

// fresh never asks a second time, as it would over a connection that was kept: one fault is wanted.
var fresh = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// asks has the color's service do something. It may end by that.
func (g *gauged) asks(color traffic.Color, path string) {
	g.t.Helper()
	require.Eventually(g.t, func() bool { return NewCompose(g.Options).answers(g.ctx(), color) }, 20*time.Second, 50*time.Millisecond)
	answer, err := fresh.Get("http://" + g.Config.Web[0].Address(color) + path)
	if err == nil {
		require.NoError(g.t, answer.Body.Close())
	}
}

// answers tells whether the color's first web service is there.
func (c *Compose) answers(ctx context.Context, color traffic.Color) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Config.Web[0].Address(color)+"/api/version", nil)
	if err != nil {
		return false
	}
	answer, err := fresh.Do(request)
	if err != nil {
		return false
	}
	return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
}

// A container that ends and is started again by its policy is counted each time; one that a person starts again is not.
func TestGaugeOfRestarts(t *testing.T) {
	g := newGauged(t, 50, Restarts)
	g.comesTo(Restarts, 0, "^0 restarts in green$")
	g.asks(traffic.Green, "/crash")
	g.comesTo(Restarts, 1, `^1 restart in green \(.*-green-backend-1 1\)$`)
	g.asks(traffic.Green, "/crash")
	g.comesTo(Restarts, 2, `^2 restarts in green \(.*-green-backend-1 2\)$`)
	g.asks(traffic.Blue, "/crash")
	g.byHand(traffic.Green, "v2", "restart", "-t", "1")
	g.comesTo(Restarts, 2, "^2 restarts")
	g.asks(traffic.Green, "/crash")
	g.comesTo(Restarts, 3, "^3 restarts")
	g.byHand(traffic.Green, "v2", "stop")
	g.comesTo(Restarts, 4, "^4 restarts")
}

// What happened before the first look is not the rollout's, and a container that somebody made anew has no history.
func TestGaugeOfARecreatedContainer(t *testing.T) {
	g := newGauged(t, 51)
	g.asks(traffic.Green, "/crash")
	require.Eventually(t, func() bool { return g.inspect(traffic.Green, "backend").RestartCount == 1 }, 20*time.Second, 50*time.Millisecond)
	for _, m := range []Measure{Restarts, OOMKills, TurnsUnhealthy} {
		g.gauges[m] = NewGauge(g.Engine, g.Config, traffic.Green, m, time.Now)
		if m == TurnsUnhealthy { // it starts again, and its check with it
			g.byHand(traffic.Green, "v2", "up", "-d", "--wait")
		}
		value, _ := g.reads(m)
		require.Zero(t, value, "%s", m)
	}
	g.byHand(traffic.Green, "v2", "up", "-d", "--force-recreate")
	for m, gauge := range g.gauges {
		for range 2 {
			_, _, err := gauge.Read(g.ctx())
			require.ErrorContains(t, err, "green/backend (", "%s", m)
			require.ErrorContains(t, err, "was removed or recreated by somebody else", "%s", m)
		}
	}
}

// The engine kills a container that wants more than it may have.
func TestGaugeOfOOMKills(t *testing.T) {
	g := newGauged(t, 52, OOMKills, Restarts)
	g.comesTo(OOMKills, 0, "^0 OOM kills in green$")
	g.comesTo(Restarts, 0, "")
	g.asks(traffic.Green, "/eat?mib=200")
	g.comesTo(OOMKills, 1, `^1 OOM kill in green \(.*-green-backend-1 1\)$`)
	g.comesTo(Restarts, 1, "")
	g.asks(traffic.Green, "/api/version") // it is back, and no longer says what it died of
	g.comesTo(OOMKills, 1, "")
	g.asks(traffic.Green, "/eat?mib=200")
	g.comesTo(OOMKills, 2, "")
}

// Each turn from healthy to unhealthy counts, also one that is over at the next look.
func TestGaugeOfTurnsToUnhealthy(t *testing.T) {
	g := newGauged(t, 53, TurnsUnhealthy)
	g.comesTo(TurnsUnhealthy, 0, "^0 turns to unhealthy in green$")
	health := func(want string) func() bool {
		return func() bool { return g.inspect(traffic.Green, "backend").State.Health.Status == want }
	}
	g.asks(traffic.Green, "/sicken")
	require.Eventually(t, health(container.Unhealthy), 20*time.Second, 50*time.Millisecond)
	g.asks(traffic.Green, "/mend")
	require.Eventually(t, health(container.Healthy), 20*time.Second, 50*time.Millisecond)
	g.comesTo(TurnsUnhealthy, 1, `^1 turn to unhealthy in green \(`)
	g.asks(traffic.Green, "/sicken")
	g.comesTo(TurnsUnhealthy, 2, `^2 turns to unhealthy in green \(`)
}

func TestGaugeOfMemory(t *testing.T) {
	g := newGauged(t, 54, Memory)
	g.asks(traffic.Blue, "/eat?mib=20")
	value, text := g.reads(Memory)
	require.Less(t, value, 1.0, text)
	require.Regexp(t, `^green uses \d+ MiB, \d+% of the most that blue used \(\d\d MiB\)$`, text)
	g.asks(traffic.Green, "/eat?mib=60")
	value, text = g.reads(Memory)
	require.Greater(t, value, 1.5, text)

	g.byHand(traffic.Blue, "v1", "stop")
	_, _, err := g.gauges[Memory].Read(g.ctx())
	require.ErrorContains(t, err, "blue/backend does not run")
}

func TestGaugeOfCPU(t *testing.T) {
	g := newGauged(t, 55, CPU)
	_, _, err := g.gauges[CPU].Read(g.ctx())
	require.ErrorContains(t, err, "this is the first")
	g.asks(traffic.Green, "/spin")
	value, text := g.reads(CPU)
	require.Greater(t, value, 1.5, text)
	require.Regexp(t, `^green uses \d\.\d\d CPUs, \d+% of the most that blue used \(\d\.\d\d CPUs\)$`, text)
	g.asks(traffic.Blue, "/spin")
	g.reads(CPU)
	value, text = g.reads(CPU)
	require.Less(t, value, 1.0, "blue is idle now, and was not: %s", text)
}

// Without an engine, or with one that is gone, there is no value: neither a good nor a bad one.
func TestGaugeWithoutAnEngine(t *testing.T) {
	t.Setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
	engine, err := NewEngine()
	require.NoError(t, err)
	defer engine.Close()
	config := DefaultConfig()
	config.Web = []Web{{Service: "backend"}}
	for _, m := range []Measure{Restarts, OOMKills, TurnsUnhealthy, Memory, CPU} {
		_, _, err := NewGauge(engine, config, traffic.Green, m, time.Now).Read(t.Context())
		require.ErrorContains(t, err, "docker engine at tcp://127.0.0.1:1", "%s", m)
		_, _, err = NewGauge(nil, config, traffic.Green, m, time.Now).Read(t.Context())
		require.ErrorContains(t, err, "nobody asks an engine", "%s", m)
	}
	_, _, err = NewGauge(engine, config, traffic.Green, "disk", time.Now).Read(t.Context())
	require.ErrorContains(t, err, `"disk" is no measure`)
}

func TestGaugeOfMemoryLeavesOutTheCacheOfFiles(t *testing.T) {
	for name, c := range map[string]struct {
		of   container.MemoryStats
		want float64
	}{
		"version 1":   {container.MemoryStats{Usage: 100, Stats: map[string]uint64{"total_inactive_file": 30, "inactive_file": 10}}, 70},
		"version 2":   {container.MemoryStats{Usage: 100, Stats: map[string]uint64{"inactive_file": 10}}, 90},
		"neither":     {container.MemoryStats{Usage: 100}, 100},
		"more cached": {container.MemoryStats{Usage: 100, Stats: map[string]uint64{"inactive_file": 200}}, 100},
	} {
		got, err := memoryOf(c.of)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
	_, err := memoryOf(container.MemoryStats{})
	require.Error(t, err)
}

func TestGaugeHistory(t *testing.T) {
	running, ended := box{State: "running"}, box{State: "exited", Exit: 3}
	for name, c := range map[string]struct {
		of   history
		m    Measure
		want int
	}{
		"restarted":            {history{first: running, last: running, restarts: 2}, Restarts, 2},
		"ended for good":       {history{first: running, last: ended, restarts: 2}, Restarts, 3},
		"had ended before":     {history{first: ended, last: ended}, Restarts, 0},
		"a kill that was told": {history{first: running, last: box{OOM: true}, events: 1}, OOMKills, 1},
		"a kill that shows":    {history{first: running, last: box{OOM: true}}, OOMKills, 1},
		"a kill of before":     {history{first: box{OOM: true}, last: box{OOM: true}}, OOMKills, 0},
		"sick, forgotten":      {history{first: running, last: box{Health: "unhealthy"}}, TurnsUnhealthy, 1},
		"starting":             {history{first: running, last: box{Health: "starting"}}, TurnsUnhealthy, 0},
	} {
		require.Equal(t, c.want, c.of.times(c.m), fmt.Sprint(name))
	}
}

// The engine tells of one kill several times, and tells again what it told at the look before.
func TestGaugeCountsAnIncidentOnce(t *testing.T) {
	at := func(id string, milliseconds ...int64) (told []events.Message) {
		for _, ms := range milliseconds {
			told = append(told, events.Message{Actor: events.Actor{ID: id}, TimeNano: ms * int64(time.Millisecond)})
		}
		return told
	}
	w := &incidents{known: map[string]*history{"a": {}, "b": {}}, heard: unheard}
	seen := func(told ...events.Message) [2]int {
		w.count(told)
		return [2]int{w.known["a"].events, w.known["b"].events}
	}
	require.Equal(t, [2]int{0, 0}, seen(at("a", 1000, 1001)...), "before the first look")
	require.Equal(t, [2]int{0, 0}, seen(at("a", 1000, 1001, 1002)...), "the rest of that")
	require.Equal(t, [2]int{1, 0}, seen(at("a", 1000, 1001, 1002, 5000, 5001, 5030)...))
	require.Equal(t, [2]int{1, 0}, seen(at("a", 1002, 5000, 5001, 5030)...))
	require.Equal(t, [2]int{2, 1}, seen(append(at("a", 5030, 7000), at("b", 7001)...)...))
	require.Equal(t, [2]int{2, 1}, seen(at("stranger", 9000)...))
}
