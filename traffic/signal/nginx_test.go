package signal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic/verdict"
)

// The ports that this test listens on.
const (
	frontPort     = 21000
	stablePort    = 21001
	candidatePort = 21002
)

// mainConf takes the user line, and the ports of front, stable and candidate. Its log_format is cutover's contract.
const mainConf = `
%s
worker_processes 2;
pid nginx.pid;
error_log error.log;
events { worker_connections 256; }
http {
	log_format cutover escape=json '{"ts":"$msec","app":"shop","env":"prod","rollout":"000017","generation":123,"pool":"split",'
		'"color":"green","release":"v1.1.0","status":$status,"method":"$request_method","rt":$request_time,'
		'"us":"$upstream_status","ua":"$upstream_addr","ut":"$upstream_response_time","id":"$request_id"}';
	access_log logs/cutover-shop.log cutover buffer=64k flush=100ms;
	client_body_temp_path temp; proxy_temp_path temp; fastcgi_temp_path temp; uwsgi_temp_path temp; scgi_temp_path temp;
	upstream stable { server 127.0.0.1:%[3]d max_fails=0; }
	upstream split { zone split 64k; server 127.0.0.1:%[3]d max_fails=0; server 127.0.0.1:%[4]d max_fails=0; }
	server {
		listen 127.0.0.1:%[2]d;
		location / { proxy_pass http://split; }
		location /redirected/ { proxy_pass http://split; proxy_intercept_errors on; error_page 500 = @stable; }
		location @stable { proxy_pass http://stable; }
		location /none/ { return 204; }
	}
}
`

// server is an upstream that counts what it did itself.
type server struct {
	*httptest.Server
	attempts, bad atomic.Int64
}

// serve listens on the port and answers 500 to, and then hangs up on, so many of each ten attempts.
func serve(t *testing.T, port int, failing, silent int64) *server {
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	require.NoError(t, err)
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch turn := s.attempts.Add(1) % 10; {
		case turn < failing:
			s.bad.Add(1)
			w.WriteHeader(http.StatusInternalServerError)
		case turn < failing+silent:
			s.bad.Add(1)
			panic(http.ErrAbortHandler)
		}
	}))
	require.NoError(t, s.Listener.Close())
	s.Listener = listener
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// startNginx runs an nginx of this test's own and gives its master and the path of its log.
func startNginx(t *testing.T) (*os.Process, string) { return startNginxWith(t, mainConf) }

func startNginxWith(t *testing.T, text string) (*os.Process, string) {
	binary, err := exec.LookPath("nginx")
	if err != nil {
		binary, err = exec.LookPath("/usr/sbin/nginx")
	}
	if err != nil && os.Getenv("CUTOVER_REQUIRE_REAL") == "" {
		t.Skip("NOT TESTED: attribution by a real nginx; there is none on this machine")
	}
	require.NoError(t, err)

	prefix := t.TempDir()
	for _, folder := range []string{"logs", "temp"} {
		require.NoError(t, os.Mkdir(filepath.Join(prefix, folder), 0o755))
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root root;" // the workers reopen the log themselves, and reach this folder only so
	}
	conf := filepath.Join(prefix, "nginx.conf")
	require.NoError(t, os.WriteFile(conf, fmt.Appendf(nil, text, user, frontPort, stablePort, candidatePort), 0o644))
	nginx := exec.Command(binary, "-p", prefix+"/", "-c", conf, "-e", filepath.Join(prefix, "error.log"), "-g", "daemon off;")
	nginx.Stderr = t.Output()
	require.NoError(t, nginx.Start())
	t.Cleanup(func() {
		require.NoError(t, nginx.Process.Signal(syscall.SIGTERM))
		require.NoError(t, nginx.Wait())
	})
	waitUntil(t, "nginx listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", frontPort))
		if err == nil {
			err = c.Close()
		}
		return err == nil
	})
	return nginx.Process, filepath.Join(prefix, "logs", "cutover-shop.log")
}

func waitUntil(t *testing.T, what string, holds func() bool) {
	require.Eventually(t, holds, 20*time.Second, 10*time.Millisecond, what)
}

// tally counts what a Follow has handed out.
type tally struct {
	sync.Mutex
	started  bool
	attempts map[verdict.Arm]int64
	bad      map[verdict.Arm]int64
	gaps     int
	faults   []string
}

func (y *tally) fold(b verdict.Batch) {
	y.Lock()
	defer y.Unlock()
	y.started = true
	for _, s := range b.Samples {
		y.attempts[s.Arm]++
		if s.Bad {
			y.bad[s.Arm]++
		}
	}
	if b.Gap {
		y.gaps++
	}
	if b.Fault != "" {
		y.faults = append(y.faults, b.Fault)
	}
}

func (y *tally) of(arm verdict.Arm) (attempts, bad int64) {
	y.Lock()
	defer y.Unlock()
	return y.attempts[arm], y.bad[arm]
}

// follow runs a Follow on the log until the test ends.
func follow(t *testing.T, path string) *tally {
	arms := Addresses{
		fmt.Sprintf("127.0.0.1:%d", stablePort):    {Arm: verdict.Baseline},
		fmt.Sprintf("127.0.0.1:%d", candidatePort): {Arm: verdict.Candidate},
	}
	y := &tally{attempts: map[verdict.Arm]int64{}, bad: map[verdict.Arm]int64{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- OpenAccessLog(path, Reading{App: "shop", Arms: arms}, time.Now).Follow(ctx, y.fold) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	waitUntil(t, "the log is followed", func() bool { y.Lock(); defer y.Unlock(); return y.started })
	return y
}

// request asks nginx once and gives the status that the client got.
func request(client *http.Client, path string) (int, error) {
	response, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d%s", frontPort, path))
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, errors.Join(err, response.Body.Close())
}

// load sends requests from four clients until stop is closed; done is closed after the last one.
func load(t *testing.T, stop <-chan struct{}) (sent *atomic.Int64, done <-chan struct{}) {
	sent = &atomic.Int64{}
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				path := []string{"/", "/redirected/", "/none/"}[i%3]
				if _, err := request(client, path); err != nil {
					t.Errorf("request %s: %v", path, err)
					return
				}
				sent.Add(1)
			}
		})
	}
	ended := make(chan struct{})
	go func() { clients.Wait(); close(ended) }()
	return sent, ended
}

// TestRealNginx rotates the log twice under load. What the log tells about each arm must be what its server counted.
func TestRealNginx(t *testing.T) {
	stable, candidate := serve(t, stablePort, 0, 0), serve(t, candidatePort, 2, 2)
	master, path := startNginx(t)
	seen := follow(t, path)

	stop := make(chan struct{})
	sent, done := load(t, stop)
	for i := range 2 {
		wait := sent.Load() + 500
		waitUntil(t, "load", func() bool { return sent.Load() >= wait })
		require.NoError(t, os.Rename(path, fmt.Sprintf("%s.%d", path, i)))
		waitUntil(t, "load after the rename", func() bool { return sent.Load() >= wait+500 })
		require.NoError(t, master.Signal(syscall.SIGUSR1))
		waitUntil(t, "load after the reopening", func() bool { return sent.Load() >= wait+1000 })
	}
	close(stop)
	<-done

	waitUntil(t, "the whole log is read", func() bool {
		baseline, _ := seen.of(verdict.Baseline)
		challenger, _ := seen.of(verdict.Candidate)
		return baseline >= stable.attempts.Load() && challenger >= candidate.attempts.Load()
	})
	attempts, bad := seen.of(verdict.Baseline)
	require.Equal(t, stable.attempts.Load(), attempts)
	require.Zero(t, bad)
	attempts, bad = seen.of(verdict.Candidate)
	require.Equal(t, candidate.attempts.Load(), attempts)
	require.Equal(t, candidate.bad.Load(), bad)
	require.NotZero(t, bad)
	require.Zero(t, seen.gaps)
	require.Empty(t, seen.faults)
}

// TestRealNginxHidesADeadCandidate is why attempts are counted: each client is content, and the log is not.
func TestRealNginxHidesADeadCandidate(t *testing.T) {
	stable, candidate := serve(t, stablePort, 0, 0), serve(t, candidatePort, 0, 0)
	candidate.Close()
	_, path := startNginx(t)
	seen := follow(t, path)

	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	const requests = 100
	for range requests {
		status, err := request(&http.Client{Transport: transport}, "/")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
	waitUntil(t, "the whole log is read", func() bool {
		attempts, _ := seen.of(verdict.Baseline)
		return attempts >= requests
	})
	require.EqualValues(t, requests, stable.attempts.Load())
	attempts, bad := seen.of(verdict.Candidate)
	require.NotZero(t, attempts)
	require.Equal(t, attempts, bad)
}
