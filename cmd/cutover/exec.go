package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"cutover/stacks"
)

// stopPatience is how long a command that was told to stop may take before it is killed.
const stopPatience = 10 * time.Second

// command prepares a process of its own group: a terminal's Ctrl-C or hang-up reaches cutover, which decides, and nobody else.
// When ctx ends the whole group gets SIGTERM.
func command(ctx context.Context, argv []string) *exec.Cmd {
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGTERM) }
	c.WaitDelay = stopPatience
	return c
}

// runCompose is the stacks' runner.
func runCompose(ctx context.Context, spec stacks.Command) (stacks.Output, error) {
	c := command(ctx, spec.Argv)
	c.Env, c.Dir = spec.Env, spec.Dir
	var stdout, stderr bytes.Buffer
	c.Stdout = &stdout
	pipe, err := c.StderrPipe()
	if err != nil {
		return stacks.Output{}, err
	}
	if err := c.Start(); err != nil {
		return stacks.Output{}, err
	}
	var reading sync.WaitGroup
	reading.Go(func() { lines(io.TeeReader(pipe, &stderr), spec.Line) })
	reading.Wait()
	err = c.Wait()
	out := stacks.Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		out.Exit = exit.ExitCode()
		return out, nil
	}
	return out, err
}

func lines(r io.Reader, each func(string)) {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if each != nil {
			each(scanner.Text())
		}
	}
	_, _ = io.Copy(io.Discard, r) // a line too long for the scanner must not block the command
}

// nginxHost runs nginx's program and signals its master.
type nginxHost struct{}

// Run gives the combined output.
func (nginxHost) Run(ctx context.Context, argv ...string) ([]byte, error) {
	return command(ctx, argv).CombinedOutput()
}

// Hangup makes nginx load its configuration anew.
func (nginxHost) Hangup(pid int) error {
	if pid <= 1 {
		return fmt.Errorf("pid %d is no nginx", pid)
	}
	return syscall.Kill(pid, syscall.SIGHUP)
}
