package main

import (
	"context"
	"fmt"
	"time"

	"cutover/nginxconf"
	"cutover/stacks"
)

// containerHost is nginx's host where nginx runs in a container: its program is run there, by the engine.
type containerHost struct {
	engine *stacks.Engine
	name   string
}

// exitError is the exit code of a program that failed in the container.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// ExitCode tells it to who asks for one.
func (e *exitError) ExitCode() int { return e.code }

// execPatience bounds a program in the container: an engine that hangs never tells of its end.
const execPatience = time.Minute

// Run gives the combined output.
func (h containerHost) Run(ctx context.Context, argv ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, execPatience)
	defer cancel()
	output, exit, err := h.engine.Exec(ctx, h.name, argv...)
	if err == nil && exit != 0 {
		err = &exitError{exit}
	}
	return output, err
}

// Hangup makes nginx load its configuration anew. The engine signals a container's first process only, which may be somebody else:
// nginx's master is signaled from here then.
func (h containerHost) Hangup(pid int) error {
	now, err := h.look(context.Background())
	if err != nil || now.Init != pid {
		return nginxHost{}.Hangup(pid)
	}
	return h.engine.Signal(context.Background(), h.name, "HUP")
}

func (h containerHost) look(ctx context.Context) (nginxconf.Container, error) {
	in, err := h.engine.Inside(ctx, h.name)
	return nginxconf.Container{Init: in.Init, Published: in.Published}, err
}
