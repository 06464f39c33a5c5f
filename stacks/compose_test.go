package stacks

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

func TestGoodRelease(t *testing.T) {
	b := newBench(t, 0)
	b.write("compose.yml", composeFile+strings.NewReplacer("backend", "frontend", "API_PORT", "WEB_PORT").Replace(composeFile[len("\nservices:"):strings.Index(composeFile, "  worker")]))
	b.Config.Web = append(b.Config.Web, Web{Service: "frontend", PortVariable: "WEB_PORT", Blue: "127.0.0.1:24080", Green: "127.0.0.1:24081", Ready: Test{Path: "/healthz"}})
	b.Config.Smoke = []Test{{Path: "/api/version", Status: 200, Contains: `"version":"{{.Tag}}"`}, {Service: "frontend", Path: "/healthz"}}
	b.Config.Hooks.BeforeSwitch = []Hook{{Service: "backend", Run: []string{"migrate"}}}
	// Shell variables beat --env-file: none of these may be seen.
	b.Environ = append(b.Environ, "TAG=crash", "API_PORT=24098", "COMPOSE_FILE=/nowhere", "COMPOSE_PROJECT_NAME=cutover-st-stray")
	c := NewCompose(b.Options)

	_, err := c.Serving(b.ctx(), traffic.Green)
	fault(t, err, traffic.NotReady)

	release, err := c.Prepare(b.ctx(), traffic.Green, "v1")
	require.NoError(t, err)
	require.Equal(t, "v1", release.Tag)
	require.Regexp(t, "^sha256:[0-9a-f]{64}$", release.Images["backend"])
	require.Equal(t, map[string]string{"backend": "running", "frontend": "running"}, b.states(traffic.Green), "web services only, no one-shot left")
	require.Empty(t, b.states(traffic.Blue))
	require.NoError(t, c.Check(b.ctx(), traffic.Green, "v1"))

	serving, err := c.Serving(b.ctx(), traffic.Green)
	require.NoError(t, err)
	require.Equal(t, release, serving)
	standing, err := c.Describe(b.ctx(), traffic.Green)
	require.NoError(t, err)
	require.Equal(t, []Standing{
		{Service: "backend", State: "running", Image: testImage + ":v1", Tag: "v1", Address: b.Config.Web[0].Green, Ours: true},
		{Service: "frontend", State: "running", Image: testImage + ":v1", Tag: "v1", Address: b.Config.Web[1].Green, Ours: true},
	}, standing)

	before := b.inspect(traffic.Green, "backend").ID
	_, err = c.Prepare(b.ctx(), traffic.Green, "v1")
	require.NoError(t, err)
	require.Equal(t, before, b.inspect(traffic.Green, "backend").ID, "the same again changes nothing")

	f := fault(t, c.Check(b.ctx(), traffic.Green, "v2"), traffic.NotReady)
	require.ErrorContains(t, f, "green/backend: container "+b.Config.Green.Project+"-backend-1 runs "+testImage+":v1")
	other, err := c.Prepare(b.ctx(), traffic.Green, "v2")
	require.NoError(t, err)
	require.NotEqual(t, release.Images, other.Images)

	// Half a color is none.
	_, err = docker("stop", b.Config.Green.Project+"-frontend-1")
	require.NoError(t, err)
	f = fault(t, c.Check(b.ctx(), traffic.Green, "v2"), traffic.NotReady)
	require.ErrorContains(t, f, "green/frontend: ")
	require.NoError(t, c.Retire(b.ctx(), traffic.Green))
	f = fault(t, c.Check(b.ctx(), traffic.Green, "v2"), traffic.NotReady)
	require.ErrorContains(t, f, "has ended")
}

func TestSickRelease(t *testing.T) {
	b := newBench(t, 1)
	b.Config.Ready.Timeout = 2 * time.Second
	c := NewCompose(b.Options)
	_, err := c.Prepare(b.ctx(), traffic.Green, "sick")
	f := fault(t, err, traffic.NotReady)
	require.EqualError(t, f, "green/backend: GET http://"+b.Config.Web[0].Green+"/healthz answered 500 (wanted 200 to 399); not ready within 2s")
	require.Contains(t, f.Detail, `answer: "no such table\n"`)
	require.Contains(t, f.Detail, b.Config.Green.Project+"-backend-1 | GET /healthz: no such table")
	require.Equal(t, map[string]string{"backend": "running"}, b.states(traffic.Green), "left for a look")
	require.Contains(t, strings.Join(b.said, "\n"), "green: not yet: backend: GET http://")
}

func TestUnhealthyRelease(t *testing.T) {
	b := newBench(t, 2)
	b.Config.Ready.Timeout = 4 * time.Second
	b.write("compose.yml", strings.Replace(composeFile, "    restart: unless-stopped\n",
		"    healthcheck: { test: [CMD, /app, probe, /nowhere], interval: 1s, retries: 1 }\n", 1))
	_, err := NewCompose(b.Options).Prepare(b.ctx(), traffic.Green, "v1")
	f := fault(t, err, traffic.NotReady)
	require.ErrorContains(t, f, "health check says unhealthy")
	require.Contains(t, f.Detail, b.Config.Green.Project+"-backend-1: health check: exit code 1: probe is not satisfied")
}

func TestCrashLoop(t *testing.T) {
	b := newBench(t, 3)
	_, err := NewCompose(b.Options).Prepare(b.ctx(), traffic.Green, "crash")
	f := fault(t, err, traffic.NotReady)
	require.ErrorContains(t, f, "keeps crashing")
	require.ErrorContains(t, f, "exit code 3")
	require.Contains(t, f.Detail, b.Config.Green.Project+"-backend-1 | cannot reach the database")
}

func TestEndedRelease(t *testing.T) {
	b := newBench(t, 4)
	b.write("compose.yml", strings.Replace(composeFile, "    restart: unless-stopped\n", "", 1))
	_, err := NewCompose(b.Options).Prepare(b.ctx(), traffic.Green, "crash")
	f := fault(t, err, traffic.NotReady)
	require.ErrorContains(t, f, "has ended with exit code 3")
	require.NotContains(t, f.Error(), "not ready within", "there is nothing to wait for")
}

func TestSmokeFails(t *testing.T) {
	b := newBench(t, 5)
	b.Config.Smoke = []Test{{Path: "/api/version", Contains: "v9"}}
	_, err := NewCompose(b.Options).Prepare(b.ctx(), traffic.Green, "v1")
	f := fault(t, err, traffic.NotReady)
	require.EqualError(t, f, "green/backend: GET http://"+b.Config.Web[0].Green+`/api/version answered 200 without "v9"`)
}

func TestPrepareGivesUpWithItsCaller(t *testing.T) {
	b := newBench(t, 6)
	c := NewCompose(b.Options)
	ctx, cancel := context.WithCancel(b.ctx())
	c.Say = func(line string) {
		if strings.Contains(line, "not yet") {
			cancel()
		}
	}
	_, err := c.Prepare(ctx, traffic.Green, "sick")
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, traffic.KindOf(err), "it is no fault of the stack")
}

// A program that has the port answers every readiness request well; it must be told from the release.
func TestForeignProgramAnswers(t *testing.T) {
	b := newBench(t, 7)
	foreign := listen(t, b.Config.Web[0].Green)
	c := NewCompose(b.Options)
	_, err := c.Prepare(b.ctx(), traffic.Green, "v1")
	f := fault(t, err, traffic.Preflight)
	require.EqualError(t, f, "green/backend: "+b.Config.Web[0].Green+" is taken by another program")
	require.Contains(t, f.Hint, "ss -ltnp")
	require.Empty(t, b.states(traffic.Green))

	// Started by hand on another port, the container runs and the program answers: still not ours.
	b.Config.Green.Env = map[string]string{}
	b.write("compose.yml", strings.Replace(composeFile, "${API_PORT}", "24097", 1))
	b.byHand(traffic.Green, "v1", "up", "-d", "backend")
	f = fault(t, c.Check(b.ctx(), traffic.Green, "v1"), traffic.NotReady)
	require.ErrorContains(t, f, `publishes ["127.0.0.1:24097"], not `+b.Config.Web[0].Green)
	foreign.Close()
}

func listen(t *testing.T, address string) *httptest.Server {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return server
}

// The docker command may follow a context to another engine than DOCKER_HOST names.
func TestComposeUsesAnotherEngine(t *testing.T) {
	b := newBench(t, 8)
	listing, err := os.ReadFile("testdata/compose/ps.jsonl")
	require.NoError(t, err)
	b.Run = func(context.Context, Command) (Output, error) { return Output{Stdout: listing}, nil }
	c := NewCompose(b.Options)
	f := fault(t, c.up(b.ctx(), c.stack(traffic.Green, "v1"), []string{"web"}), traffic.Preflight)
	require.ErrorContains(t, f, "compose has container app-blue-beat-1, the engine at unix://")
	require.Contains(t, f.Hint, "docker context")
}
