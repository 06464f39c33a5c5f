package stacks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"cutover/traffic"
)

// askTimeout bounds one question to the engine: a daemon that hangs accepts the connection and never answers.
const askTimeout = 10 * time.Second

const (
	labelProject = "com.docker.compose.project"
	labelService = "com.docker.compose.service"
	labelOneOff  = "com.docker.compose.oneoff"
)

// Engine asks the Docker Engine, and stops and starts single containers. It makes none: that is Compose's work.
type Engine struct {
	docker *client.Client
}

// NewEngine prepares for the engine that DOCKER_HOST and its kin name. Nothing is connected yet.
func NewEngine() (*Engine, error) {
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("docker engine: %w", err), Hint: "Look at DOCKER_HOST and DOCKER_CERT_PATH."}
	}
	return &Engine{docker: docker}, nil
}

// Close lets go of idle connections.
func (e *Engine) Close() error { return e.docker.Close() }

// Ping gives the engine's version.
func (e *Engine) Ping(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	v, err := e.docker.ServerVersion(ctx)
	if err != nil {
		return "", e.fault("version", err)
	}
	return v.Version, nil
}

// fault names the engine and what was asked of it.
func (e *Engine) fault(asked string, err error) error {
	err = fmt.Errorf("docker engine at %s: %s: %w", e.docker.DaemonHost(), asked, err)
	if !client.IsErrConnectionFailed(err) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &traffic.Fault{
		Kind: traffic.Preflight,
		Err:  err,
		Hint: "Start it (systemctl start docker), or let this user reach its socket (group docker). If the docker command uses a context, set DOCKER_HOST to that context's address.",
	}
}

// box is one container, as far as readiness is concerned.
type box struct {
	ID, Name, Service string
	// State is the engine's word: created, running, paused, restarting, removing, exited, dead.
	State string
	// Health is starting, healthy or unhealthy; empty without a health check.
	Health string
	// Checked is what the last health check said.
	Checked  string
	Exit     int
	OOM      bool
	Restarts int
	// Image is the reference that it was created from, ImageID what that was then.
	Image, ImageID string
	// Published holds each TCP address of the host that leads into it, as host:port.
	Published []string
	// Addresses are its own in the engine's networks.
	Addresses []string
	tty       bool
	// grace is how long the engine waits for it to stop.
	grace time.Duration
}

// running counts a container that the engine is about to start again as running: it must be stopped too.
func (b box) running() bool {
	switch b.State {
	case "running", "restarting", "paused":
		return true
	}
	return false
}

// boxes gives the project's containers, running or not, without those of `run`; only those of the services, where any are named.
func (e *Engine) boxes(ctx context.Context, project string, services ...string) ([]box, error) {
	all, err := e.list(ctx, filters.NewArgs(filters.Arg("label", labelProject+"="+project), filters.Arg("label", labelOneOff+"=False")))
	if err != nil {
		return nil, err
	}
	if len(services) > 0 {
		all = slices.DeleteFunc(all, func(one container.Summary) bool { return !slices.Contains(services, one.Labels[labelService]) })
	}
	return e.inspectAll(ctx, all)
}

func (e *Engine) inspectAll(ctx context.Context, all []container.Summary) ([]box, error) {
	var found []box
	for _, one := range all {
		b, err := e.inspect(ctx, one.ID)
		if cerrdefs.IsNotFound(err) {
			continue // gone since the list was made
		}
		if err != nil {
			return nil, err
		}
		found = append(found, b)
	}
	return found, nil
}

func (e *Engine) list(ctx context.Context, f filters.Args) ([]container.Summary, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	all, err := e.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: f})
	if err != nil {
		return nil, e.fault("containers", err)
	}
	return all, nil
}

func (e *Engine) inspect(ctx context.Context, id string) (box, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := e.docker.ContainerInspect(ctx, id)
	if err != nil {
		return box{}, e.fault("container "+id, err)
	}
	return unpack(answer), nil
}

func unpack(a container.InspectResponse) box {
	b := box{
		ID: a.ID, Name: strings.TrimPrefix(a.Name, "/"), Service: a.Config.Labels[labelService],
		State: a.State.Status, Exit: a.State.ExitCode, OOM: a.State.OOMKilled, Restarts: a.RestartCount,
		Image: a.Config.Image, ImageID: a.Image, tty: a.Config.Tty, grace: 10 * time.Second,
	}
	if h := a.State.Health; h != nil && h.Status != container.NoHealthcheck {
		b.Health = h.Status
		if n := len(h.Log); n > 0 {
			b.Checked = fmt.Sprintf("exit code %d: %s", h.Log[n-1].ExitCode, strings.TrimSpace(h.Log[n-1].Output))
		}
	}
	if a.Config.StopTimeout != nil {
		b.grace = time.Duration(*a.Config.StopTimeout) * time.Second
	}
	for port, bindings := range a.NetworkSettings.Ports {
		for _, to := range bindings {
			if port.Proto() == "tcp" {
				b.Published = append(b.Published, net.JoinHostPort(to.HostIP, to.HostPort))
			}
		}
	}
	for _, network := range a.NetworkSettings.Networks {
		b.Addresses = append(b.Addresses, network.IPAddress, network.GlobalIPv6Address)
	}
	return b
}

// answersAt tells that what answers at the address is the container: it publishes it, or has it in a network.
func (b box) answersAt(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	return slices.Contains(b.Published, address) || slices.Contains(b.Addresses, host)
}

// image gives the id of a local image, and "" where there is none.
func (e *Engine) image(ctx context.Context, reference string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := e.docker.ImageInspect(ctx, reference)
	if cerrdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", e.fault("image "+reference, err)
	}
	return answer.ID, nil
}

// publisher names who publishes the TCP address, and "" where no running container does.
func (e *Engine) publisher(ctx context.Context, address string) (string, error) {
	host, port, _ := net.SplitHostPort(address)
	all, err := e.list(ctx, filters.NewArgs(filters.Arg("status", "running"), filters.Arg("publish", port)))
	if err != nil {
		return "", err
	}
	for _, summary := range all {
		for _, p := range summary.Ports {
			ip := net.ParseIP(p.IP)
			if strconv.Itoa(int(p.PublicPort)) == port && p.Type == "tcp" && (ip.IsUnspecified() || ip.Equal(net.ParseIP(host))) {
				return strings.TrimPrefix(strings.Join(summary.Names[:1], ""), "/"), nil
			}
		}
	}
	return "", nil
}

// stop asks the container to end and waits as long as the container's own grace says, then kills it. A stopped one stays stopped.
func (e *Engine) stop(ctx context.Context, b box) error {
	ctx, cancel := context.WithTimeout(ctx, b.grace+askTimeout)
	defer cancel()
	if err := e.docker.ContainerStop(ctx, b.ID, container.StopOptions{}); err != nil && !cerrdefs.IsNotFound(err) {
		return e.fault("stop "+b.Name, err)
	}
	return nil
}

func (e *Engine) start(ctx context.Context, b box) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := e.docker.ContainerStart(ctx, b.ID, container.StartOptions{}); err != nil {
		return e.fault("start "+b.Name, err)
	}
	return nil
}

// logs gives the last lines that the container wrote.
func (e *Engine) logs(ctx context.Context, b box, lines int) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	stream, err := e.docker.ContainerLogs(ctx, b.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(lines)})
	if err != nil {
		return nil, e.fault("logs of "+b.Name, err)
	}
	defer stream.Close()
	var text bytes.Buffer
	if b.tty {
		_, err = text.ReadFrom(stream)
	} else {
		_, err = stdcopy.StdCopy(&text, &text, stream)
	}
	if err != nil {
		return nil, e.fault("logs of "+b.Name, err)
	}
	return tail(text.Bytes(), lines), nil
}
