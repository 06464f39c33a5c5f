package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		env    map[string]string
		path   string
		status int
		body   string
	}{
		{"page", map[string]string{"RELEASE": "v1.1.0", "STACK": "shop-green"}, "/any/where", 200, "release v1.1.0, stack shop-green"},
		{"color names the stack", map[string]string{"COLOR": "blue"}, "/", 200, "release v0.0.0, stack blue"},
		{"broken page", map[string]string{"RELEASE": "v1.2.0", "FAIL_SHARE": "1"}, "/", 500, "v1.2.0 is broken"},
		{"broken pages are healthy", map[string]string{"FAIL_SHARE": "1"}, "/healthz", 200, "ok"},
		{"broken pages have a version", map[string]string{"RELEASE": "v1.2.0", "STACK": "s", "FAIL_SHARE": "1"}, "/api/version", 200, `{"release":"v1.2.0","stack":"s"}`},
		{"sick by its tag", map[string]string{"RELEASE": "v1.3.0-sick"}, "/healthz", 500, "sick"},
		{"sick by its health", map[string]string{"HEALTH": "sick"}, "/healthz", 500, "sick"},
		{"sick, but pages answer", map[string]string{"HEALTH": "sick"}, "/", 200, "release"},
		{"the page names its style sheet", map[string]string{"RELEASE": "v1.1.0"}, "/", 200, "href=/static/app.0351e58a.css>"},
		{"its own style sheet", map[string]string{"RELEASE": "v1.1.0"}, "/static/app.0351e58a.css", 200, "/* v1.1.0 */"},
		{"another release's", map[string]string{"RELEASE": "v1.2.0"}, "/static/app.0351e58a.css", 404, "not found"},
		{"slow", map[string]string{"RELEASE": "v1.1.0"}, "/slow?ms=1", 200, "v1.1.0 after 1 ms"},
		{"slow without a time", nil, "/slow", 400, "milliseconds"},
		{"slow backwards", nil, "/slow?ms=-1", 400, "milliseconds"},
		{"in parts", map[string]string{"RELEASE": "v1.1.0"}, "/stream?ms=100", 200, "v1.1.0 part 0\nv1.1.0 part 1\nv1.1.0 end\n"},
		{"in parts without a time", nil, "/stream", 400, "milliseconds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := baked(env(c.env))
			require.NoError(t, err)
			w := httptest.NewRecorder()
			a.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, c.path, nil))
			require.Equal(t, c.status, w.Code)
			require.Contains(t, w.Body.String(), c.body)
			require.Equal(t, a.tag, w.Header().Get("X-Release"))
		})
	}
}

func TestEcho(t *testing.T) {
	a, err := baked(env(map[string]string{"RELEASE": "v1.1.0"}))
	require.NoError(t, err)
	server := httptest.NewServer(a.handler())
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "GET /echo HTTP/1.1\r\nHost: app\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
	for _, line := range []string{"one\n", "two\n"} {
		fmt.Fprint(conn, line)
		back, err := in.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "v1.1.0 "+line, back)
	}
}

func TestUpload(t *testing.T) {
	a, err := baked(env(map[string]string{"RELEASE": "v1.1.0"}))
	require.NoError(t, err)
	w := httptest.NewRecorder()
	a.handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/upload", strings.NewReader("hello")))
	require.JSONEq(t, `{"release":"v1.1.0","bytes":5,"sha256":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}`, w.Body.String())
}

func TestGRPC(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	a, err := baked(env(map[string]string{"RELEASE": "v1"}))
	require.NoError(t, err)
	ctx, terminate := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, listener, a.handler()) }()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	for _, c := range []struct{ name, method, sent, got, status string }{
		{"each message comes back", "Say", "\x00\x00\x00\x00\x02hi\x00\x00\x00\x00\x00", "\x00\x00\x00\x00\x05v1 hi\x00\x00\x00\x00\x03v1 ", "0"},
		{"as many as the message says", "Count", "\x00\x00\x00\x00\x012", "\x00\x00\x00\x00\x09v1 part 0\x00\x00\x00\x00\x09v1 part 1", "0"},
		{"no message", "Say", "", "", "0"},
		{"no number", "Count", "\x00\x00\x00\x00\x02hi", "", "3"},
		{"a message that ends early", "Say", "\x00\x00\x00\x00\x02", "", "3"},
		{"a compressed one", "Say", "\x01\x00\x00\x00\x00", "", "3"},
		{"one that is too long", "Say", "\x00\xff\xff\xff\xff", "", "3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := http.Client{Transport: transport}
			answer, err := client.Post("http://"+listener.Addr().String()+"/demo.Echo/"+c.method, "application/grpc", strings.NewReader(c.sent))
			require.NoError(t, err)
			defer answer.Body.Close()
			got, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			require.Equal(t, "HTTP/2.0", answer.Proto)
			require.Equal(t, "v1", answer.Header.Get("X-Release"))
			require.Equal(t, c.got, string(got))
			require.Equal(t, c.status, answer.Trailer.Get("Grpc-Status"))
		})
	}
	transport.CloseIdleConnections()
	terminate()
	require.NoError(t, <-ended)
}

func TestBadEnvironment(t *testing.T) {
	for name, value := range map[string]string{"FAIL_SHARE": "1.1", "LATENCY": "20"} {
		_, err := baked(env(map[string]string{name: value}))
		require.ErrorContains(t, err, name)
	}
	_, err := baked(env(map[string]string{"FAIL_SHARE": "NaN"}))
	require.Error(t, err)
}

// Failures are spread evenly: in the first n pages there are always as many as the share says, never one more or less.
func TestFailuresAreEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		percent := rapid.IntRange(0, 100).Draw(t, "percent")
		a := app{failShare: float64(percent) / 100}
		failed := int64(0)
		for n := range int64(3000) {
			if a.failsAt(n + 1) {
				failed++
			}
			if want := (n + 1) * int64(percent) / 100; failed != want {
				t.Fatalf("%d of %d pages failed at %d %%, want %d", failed, n+1, percent, want)
			}
		}
	})
}

func TestVersionFlag(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run([]string{"-version"}, env(map[string]string{"RELEASE": "v1.1.0"}), &out))
	require.Equal(t, "v1.1.0\n", out.String())
}

// A request that is being answered when SIGTERM comes is finished; new connections are refused.
func TestEndsGracefully(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "http://" + listener.Addr().String()
	arrived, answer := make(chan struct{}), make(chan struct{})
	ctx, terminate := context.WithCancel(t.Context())
	ended, answered := make(chan error, 1), make(chan string, 1)
	go func() {
		ended <- serve(ctx, listener, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			close(arrived)
			<-answer
			fmt.Fprint(w, "whole")
		}))
	}()
	go func() {
		a, err := http.Get(url)
		if err != nil {
			answered <- err.Error()
			return
		}
		defer a.Body.Close()
		body, _ := io.ReadAll(a.Body)
		answered <- string(body)
	}()
	<-arrived
	terminate()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err != nil
	}, 10*time.Second, time.Millisecond)
	close(answer)
	require.Equal(t, "whole", <-answered)
	require.NoError(t, <-ended)
	http.DefaultClient.CloseIdleConnections()
}

// A request that never ends does not keep the process.
func TestEndsInTime(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	arrived := make(chan struct{})
	ctx, terminate := context.WithCancel(t.Context())
	ended, asked := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- serve(ctx, listener, http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
			close(arrived)
			<-q.Context().Done() // until the connection is closed
		}))
	}()
	go func() {
		defer close(asked)
		if a, err := http.Get("http://" + listener.Addr().String()); err == nil {
			a.Body.Close()
		}
	}()
	<-arrived
	terminate()
	require.NoError(t, <-ended)
	<-asked
}

func TestHealthcheck(t *testing.T) {
	a, err := baked(env(nil))
	require.NoError(t, err)
	s := httptest.NewServer(a.handler())
	require.NoError(t, healthcheck(s.URL+"/healthz"))
	a.sick = true
	require.ErrorContains(t, run([]string{"-healthcheck", s.URL + "/healthz"}, env(nil), io.Discard), "500")
	s.Close()
	require.Error(t, healthcheck(s.URL+"/healthz"))
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestPortTaken(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	err = run([]string{"-listen", listener.Addr().String()}, env(nil), io.Discard)
	require.ErrorContains(t, err, "listen on "+listener.Addr().String())
}
