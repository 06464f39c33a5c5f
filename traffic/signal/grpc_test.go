package signal

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic/verdict"
)

// grpcConf is mainConf for a service that speaks gRPC, which is the candidate alone.
const grpcConf = `
%s
worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections 256; }
http {
	log_format cutover escape=json '{"ts":"$msec","app":"shop","color":"green","status":$status,"rt":$request_time,'
		'"us":"$upstream_status","ua":"$upstream_addr","ut":"$upstream_response_time",'
		'"gs":"$upstream_http_grpc_status$upstream_trailer_grpc_status"}';
	access_log logs/cutover-shop.log cutover buffer=64k flush=100ms;
	client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
	upstream split { server 127.0.0.1:%[4]d max_fails=0; }
	server {
		listen 127.0.0.1:%[2]d http2;
		location / { grpc_pass grpc://split; }
	}
	# %[3]d stays free
}
`

// overHTTP2 is without TLS, as nginx and services on loopback speak it.
func overHTTP2() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// serveGRPC answers each call by its path: /trailer/N and /header/N with that status, /http/N with that of HTTP; /cut breaks off after
// the headers, /hang sends some and then nothing.
func serveGRPC(t *testing.T) {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", candidatePort))
	require.NoError(t, err)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		kind, status, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		w.Header().Set("Content-Type", "application/grpc")
		switch kind {
		case "header":
			w.Header().Set("Grpc-Status", status)
			return
		case "http":
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte{0, 0, 0, 0, 0})
		_ = http.NewResponseController(w).Flush()
		switch kind {
		case "trailer":
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
		case "cut":
			panic(http.ErrAbortHandler)
		case "hang":
			<-r.Context().Done()
		}
	}))
	require.NoError(t, s.Listener.Close())
	s.Listener, s.Config.Protocols = listener, overHTTP2()
	s.Start()
	t.Cleanup(s.Close)
}

// call makes one call, and gives up after the first bytes of an answer that hangs.
func call(t *testing.T, path string) {
	transport := &http.Transport{Protocols: overHTTP2()}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("http://127.0.0.1:%d%s", frontPort, path), strings.NewReader("\x00\x00\x00\x00\x00"))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	response, err := transport.RoundTrip(request)
	require.NoError(t, err)
	if path == "/hang" {
		_, err = io.ReadFull(response.Body, make([]byte, 5))
		require.NoError(t, err)
		cancel()
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
}

func TestRealNginxTellsWhatGRPCAnswered(t *testing.T) {
	serveGRPC(t)
	_, path := startNginxWith(t, grpcConf)
	var want []string
	for _, c := range []struct{ path, want string }{
		{"/trailer/0", "candidate+"},
		{"/trailer/13", "candidate-"},
		{"/trailer/5", "candidate+"}, // NOT_FOUND is the caller's
		{"/header/14", "candidate-"},
		{"/header/3", "candidate+"},
		{"/http/503", "candidate-"},
		{"/cut", "candidate+"},
		{"/hang", "candidate+"},
	} {
		call(t, c.path)
		want = append(want, c.want)
	}
	lines := []string{}
	waitUntil(t, "all is logged", func() bool {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		lines = strings.Split(strings.TrimSpace(string(text)), "\n")
		return len(lines) == len(want)
	})
	r := newReader(Reading{App: "shop", Arms: Addresses{fmt.Sprintf("127.0.0.1:%d", candidatePort): {Arm: verdict.Candidate, GRPC: true}}})
	var got []string
	for _, line := range lines {
		t.Log(line)
		samples, err := parseLine(r, []byte(line), nil)
		require.NoError(t, err)
		got = append(got, outcomes(samples))
	}
	require.Equal(t, want, got)
}
