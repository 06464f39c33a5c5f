package stacks

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

func app(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "home of ", r.Host) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/gone", http.StatusFound) })
	mux.HandleFunc("/broken", func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "traceback", http.StatusInternalServerError)
	})
	mux.HandleFunc("/picky", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadRequest) })
	mux.HandleFunc("/version", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "release v2 of green in shop-green") })
	mux.HandleFunc("/long", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, strings.Repeat("x", bodyLimit), "v2") })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestAsk(t *testing.T) {
	address := app(t)
	s := stack{color: traffic.Green, project: "shop-green", tag: "v2"}
	for name, c := range map[string]struct {
		test Test
		want string
		hint string
	}{
		"empty path":       {test: Test{}},
		"host":             {test: Test{Path: "/", Host: "shop.example", Contains: "home of shop.example"}},
		"redirect counts":  {test: Test{Path: "/moved"}},
		"redirect stays":   {test: Test{Path: "/moved", Status: 200}, want: "answered 302 (wanted 200)"},
		"error":            {test: Test{Path: "/broken"}, want: "answered 500 (wanted 200 to 399)"},
		"error wanted":     {test: Test{Path: "/broken", Status: 500}},
		"bad request":      {test: Test{Path: "/picky"}, want: "answered 400", hint: "ALLOWED_HOSTS"},
		"not found":        {test: Test{Path: "/nowhere"}, want: "answered 404", hint: "ready.path"},
		"filled in":        {test: Test{Path: "/version", Contains: "{{.Tag}} of {{.Color}} in {{ .Project }}"}},
		"another release":  {test: Test{Path: "/version", Contains: "v3"}, want: `answered 200 without "v3"`},
		"beyond the limit": {test: Test{Path: "/long", Contains: "v2"}, want: "without"},
	} {
		t.Run(name, func(t *testing.T) {
			err := newProber().ask(t.Context(), "backend", address, c.test, fill("v2", s), 1)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			bad, ok := err.(*trouble)
			require.True(t, ok, "%v", err)
			require.ErrorContains(t, bad, "backend: GET http://"+address)
			require.ErrorContains(t, bad, c.want)
			require.Contains(t, bad.hint, c.hint)
			require.LessOrEqual(t, len(strings.Join(bad.detail, "")), quoteLimit+20)
		})
	}
}

func TestAskNobody(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	listener.Close()
	err = newProber().ask(t.Context(), "backend", address, Test{Path: "/healthz"}, fill("", stack{}), 2)
	require.EqualError(t, err, "backend: GET http://"+address+"/healthz: dial tcp "+address+": connect: connection refused")
}

// A connection that is closed without an answer is tried again; an answer is not.
func TestAskTriesAgain(t *testing.T) {
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests == 1 {
			connection, _, _ := w.(http.Hijacker).Hijack()
			connection.Close()
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer server.Close()
	err := newProber().ask(t.Context(), "backend", strings.TrimPrefix(server.URL, "http://"), Test{Path: "/"}, fill("", stack{}), patientTries)
	require.ErrorContains(t, err, "answered 503")
	require.Equal(t, 2, requests)
}

func TestNamesTag(t *testing.T) {
	require.True(t, Test{Contains: `"version":"{{.Tag}}"`}.namesTag())
	require.True(t, Test{Contains: "{{ .Tag }}"}.namesTag())
	require.False(t, Test{Contains: "{{.Color}} ok"}.namesTag())
	require.False(t, Test{}.namesTag())
}
