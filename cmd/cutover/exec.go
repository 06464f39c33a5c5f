package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
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

// runProgram is the stacks' runner, for Compose and for hooks.
func runProgram(ctx context.Context, spec stacks.Command) (stacks.Output, error) {
	c := command(ctx, spec.Argv)
	c.Env, c.Dir = spec.Env, spec.Dir
	stdout, stderr := lines{}, lines{each: spec.Line}
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	out := stacks.Output{Stdout: stdout.all.Bytes(), Stderr: stderr.all.Bytes()}
	if ctx.Err() != nil {
		return out, ctx.Err()
	}
	if errors.Is(err, exec.ErrWaitDelay) { // it has ended well, and left somebody behind who holds its output
		err = nil
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		out.Exit = exit.ExitCode()
		return out, nil
	}
	return out, err
}

// keptOutput is how much of a program's output is kept: one that never stops talking must not cost the promoter its memory.
const keptOutput = 16 << 20

// lines keeps the beginning of what is written, and hands over each whole line of that as it comes.
type lines struct {
	all  bytes.Buffer
	read int // up to where lines were handed over
	each func(string)
}

func (l *lines) Write(text []byte) (int, error) {
	l.all.Write(text[:min(len(text), keptOutput-l.all.Len())])
	for l.each != nil {
		line, _, whole := bytes.Cut(l.all.Bytes()[l.read:], []byte("\n"))
		if !whole {
			break
		}
		l.read += len(line) + 1
		l.each(strings.TrimSuffix(string(line), "\r"))
	}
	return len(text), nil
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
