package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// haproxy is a proxy that can be told another weight while it runs.
type haproxy struct {
	dir         string
	port        int
	blue, green string
	process     *exec.Cmd
	said        bytes.Buffer
}

func (h *haproxy) url() string { return "http://127.0.0.1:" + strconv.Itoa(h.port) + "/" }

// socket is where it takes commands.
func (h *haproxy) socket() string { return filepath.Join(h.dir, "admin.sock") }

// open starts one of our own, which writes no log and answers as the stage's nginx does.
func (h *haproxy) open(ctx context.Context) error {
	if err := os.MkdirAll(h.dir, 0o755); err != nil {
		return err
	}
	file := filepath.Join(h.dir, "haproxy.cfg")
	text := fmt.Sprintf(`global
    stats socket %s mode 600 level admin
    nbthread 2
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 5s
frontend users
    bind 127.0.0.1:%d
    default_backend split
backend split
    balance roundrobin
    server blue %s weight 100
    server green %s weight 0
`, h.socket(), h.port, h.blue, h.green)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return err
	}
	h.process = exec.Command("haproxy", "-db", "-f", file)
	h.process.Stdout, h.process.Stderr = &h.said, &h.said
	h.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := h.process.Start(); err != nil {
		return fmt.Errorf("start HAProxy, which `sh e2e/setup.sh bench` installs: %w", err)
	}
	return until(ctx, "HAProxy answers", func() bool {
		conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(h.port)))
		if err != nil {
			return false
		}
		conn.Close()
		answer, err := http.Get(h.url())
		return err == nil && answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
	})
}

func (h *haproxy) close() error {
	if h.process == nil || h.process.Process == nil {
		return nil
	}
	if err := h.process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = h.process.Wait() // it was told to
	return nil
}

func (h *haproxy) up(ctx context.Context) error {
	return h.weigh(ctx, 100)
}

func (h *haproxy) down(ctx context.Context) error { return h.weigh(ctx, 0) }

// weigh is the one line that people type.
func (h *haproxy) weigh(ctx context.Context, weight int) error {
	line := fmt.Sprintf("echo 'set server split/green weight %d' | socat stdio '%s'", weight, h.socket())
	return quietly(exec.CommandContext(ctx, "sh", "-c", line))
}

// quietly runs the command and shows what it said only in its error.
func quietly(c *exec.Cmd) error {
	if said, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w: %s", c.Args, err, said)
	}
	return nil
}
