package e2e

import (
	"cmp"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"
)

// engine stands between a command and the real engine, to hang or die for that command alone.
type engine struct {
	socket   string
	listener net.Listener
	// hangs is closed once nothing is passed on any more.
	hangs chan struct{}
	mu    sync.Mutex
	open  []net.Conn
}

// proxies puts a proxy before the engine for as long as the scene lasts.
func (s *scene) proxies() *engine {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "e2e") // short: a socket's path has at most 107 bytes
	require.NoError(s.t, err)
	e := &engine{socket: filepath.Join(dir, "docker.sock"), hangs: make(chan struct{})}
	e.listener, err = net.Listen("unix", e.socket)
	require.NoError(s.t, err)
	real := strings.TrimPrefix(cmp.Or(os.Getenv("DOCKER_HOST"), "unix:///var/run/docker.sock"), "unix://")
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			asked, err := e.listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { e.pass(asked, real) })
		}
	})
	s.t.Cleanup(func() {
		e.die()
		serving.Wait()
		require.NoError(s.t, os.RemoveAll(dir))
	})
	return e
}

// pass carries one connection until either end closes it; once the engine hangs it lies there.
func (e *engine) pass(asked net.Conn, real string) {
	answers, err := net.Dial("unix", real)
	if err != nil {
		_ = asked.Close()
		return
	}
	e.mu.Lock()
	e.open = append(e.open, asked, answers)
	e.mu.Unlock()
	var both sync.WaitGroup
	carry := func(to, from net.Conn) {
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			select {
			case <-e.hangs:
				_, _ = io.Copy(io.Discard, from) // until somebody closes it
				return
			default:
			}
			if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
				_ = to.(*net.UnixConn).CloseWrite()
				return
			}
		}
	}
	both.Go(func() { carry(answers, asked) })
	both.Go(func() { carry(asked, answers) })
	both.Wait()
	_, _ = asked.Close(), answers.Close()
}

// hang lets every question of now and later wait for ever.
func (e *engine) hang() { close(e.hangs) }

// die refuses whoever asks, and drops who was being answered.
func (e *engine) die() {
	_ = e.listener.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.open {
		_ = c.Close()
	}
}

// through has a command typed that reaches the engine by the proxy.
func (s *scene) through(e *engine, args ...string) *running {
	s.t.Helper()
	c := s.Command(context.WithoutCancel(s.t.Context()), args...)
	c.Env = append(c.Env, "DOCKER_HOST=unix://"+e.socket)
	return s.launches(c)
}
