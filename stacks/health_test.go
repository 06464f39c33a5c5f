package stacks

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// grpcServer speaks HTTP/2 without TLS only, and answers the health check with these bytes and this status.
func grpcServer(t *testing.T, body []byte, status string) string {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		if r.URL.Path != healthCheck || r.Header.Get("Content-Type") != "application/grpc" || r.Header.Get("Te") != "trailers" {
			w.Header().Set("Grpc-Status", "3")
			return
		}
		if len(body) == 0 { // trailers only: the status comes with the headers
			w.Header().Set("Grpc-Status", status)
			return
		}
		_, _ = w.Write(body)
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func TestAskHealth(t *testing.T) {
	rpc := Web{Service: "rpc", GRPC: true}
	for name, c := range map[string]struct {
		body         []byte
		status, want string
	}{
		"serves":               {serving, "0", ""},
		"knows no such thing":  {nil, "12", ""},
		"does not serve yet":   {[]byte{0, 0, 0, 0, 2, 8, 2}, "0", "it does not serve yet (0000000002"},
		"is unavailable":       {nil, "14", `grpc-status "14"`},
		"breaks off":           {serving[:3], "0", "it does not serve yet"},
		"says it without word": {serving, "", `grpc-status ""`},
	} {
		t.Run(name, func(t *testing.T) {
			err := newProber().ready(t.Context(), rpc, grpcServer(t, c.body, c.status), fill("", stack{}), 1)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
		})
	}
	t.Run("speaks HTTP/1 only", func(t *testing.T) {
		err := newProber().ready(t.Context(), rpc, app(t), fill("", stack{}), 1)
		bad, ok := err.(*trouble)
		require.True(t, ok)
		require.Contains(t, bad.hint, "HTTP/2 without TLS")
	})
	t.Run("a path of its own is asked by HTTP", func(t *testing.T) {
		byHTTP := Web{Service: "rpc", GRPC: true, Ready: Test{Path: "/version"}}
		require.NoError(t, newProber().ready(t.Context(), byHTTP, app(t), fill("", stack{}), 1))
	})
}
