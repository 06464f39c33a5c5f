package stacks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"cutover/traffic"
)

// Inside is a running container, as far as it matters to whoever works in it.
type Inside struct {
	// Init is its first process, by its number on the engine's host.
	Init int
	// Published holds the addresses of the host that lead to each of its TCP ports, as host:port.
	Published map[int][]string
	// Gateways are the host's own addresses in its networks, by their names' order.
	Gateways []string
}

// Inside looks at a container, by its name or id. One that does not run is a fault.
func (e *Engine) Inside(ctx context.Context, name string) (Inside, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := e.docker.ContainerInspect(ctx, name)
	if err != nil {
		return Inside{}, e.fault("container "+name, err)
	}
	if !answer.State.Running || answer.State.Pid == 0 {
		return Inside{}, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("container %s does not run (%s)", name, answer.State.Status),
			Hint: "`docker start " + name + "`; `docker logs --tail 20 " + name + "` says why it ended."}
	}
	in := Inside{Init: answer.State.Pid, Published: map[int][]string{}}
	for port, bindings := range answer.NetworkSettings.Ports {
		for _, to := range bindings {
			if port.Proto() == "tcp" {
				in.Published[port.Int()] = append(in.Published[port.Int()], net.JoinHostPort(to.HostIP, to.HostPort))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(answer.NetworkSettings.Networks)) {
		if gateway := answer.NetworkSettings.Networks[name].Gateway; gateway != "" {
			in.Gateways = append(in.Gateways, gateway)
		}
	}
	return in, nil
}

// endEvery is the pause between two looks at whether a program has ended.
const endEvery = 5 * time.Millisecond

// Exec runs a program in a container, as the container's own user, and gives both of its streams in one.
func (e *Engine) Exec(ctx context.Context, name string, argv ...string) (output []byte, exit int, err error) {
	failed := func(err error) ([]byte, int, error) {
		return nil, 0, e.fault(fmt.Sprintf("run %s in %s", argv[0], name), errors.Join(err, ctx.Err()))
	}
	made, err := e.docker.ContainerExecCreate(ctx, name, container.ExecOptions{Cmd: argv, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return failed(err)
	}
	stream, err := e.docker.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return failed(err)
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, stream.Close)() // nothing else ends the reading
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, stream.Reader); err != nil {
		return failed(err)
	}
	for { // the engine may learn of the end only after the streams have ended
		ended, err := e.docker.ContainerExecInspect(ctx, made.ID)
		if err != nil {
			return failed(err)
		}
		if !ended.Running {
			return text.Bytes(), ended.ExitCode, nil
		}
		select {
		case <-ctx.Done():
			return failed(nil)
		case <-time.After(endEvery):
		}
	}
}

// Signal sends a signal, such as HUP, to a container's first process.
func (e *Engine) Signal(ctx context.Context, name, signal string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := e.docker.ContainerKill(ctx, name, signal); err != nil {
		return e.fault("send "+signal+" to "+name, err)
	}
	return nil
}
