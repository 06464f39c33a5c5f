package stacks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"

	"cutover/traffic"
)

// Preflight tells, before anything is started, whether the color could run the tag.
// It changes nothing but the engine's store: images that are missing are pulled.
func (c *Compose) Preflight(ctx context.Context, color traffic.Color, tag string) error {
	_, err := c.preflight(ctx, c.stack(color, tag))
	return err
}

func (c *Compose) preflight(ctx context.Context, s stack) (model, error) {
	if err := c.readable(); err != nil {
		return model{}, err
	}
	m, err := c.merge(ctx, s)
	if err != nil {
		return model{}, err
	}
	if err := c.known(s, m); err != nil {
		return model{}, err
	}
	for _, w := range c.Config.Web {
		if err := publishes(s, w, m.Services[w.Service]); err != nil {
			return model{}, err
		}
	}
	if _, err := c.Engine.Ping(ctx); err != nil {
		return model{}, err
	}
	if err := c.vacant(ctx, s, m); err != nil {
		return model{}, err
	}
	return m, c.havePulled(ctx, s, m)
}

// readable opens each file: Compose's own words for a missing one do not say where the name came from.
func (c *Compose) readable() error {
	names := slices.Clone(c.Config.Files)
	where := make([]string, len(names))
	for i := range names {
		where[i] = fmt.Sprintf("stacks.files[%d]", i)
	}
	if c.Config.EnvFile != "" {
		names, where = append(names, c.Config.EnvFile), append(where, "stacks.env_file")
	}
	for i, name := range names {
		f, err := os.Open(c.path(name))
		if err != nil {
			return &traffic.Fault{
				Kind: traffic.Usage, Err: fmt.Errorf("%s: %w", where[i], err),
				Hint: "Correct it in cutover.yaml (its paths hang on its own folder), or make the file readable for you.",
			}
		}
		f.Close()
	}
	return nil
}

// known wants each listed service in the merged files, and the tag in the image of a web service: else every tag would be the same.
func (c *Compose) known(s stack, m model) error {
	wanted := c.Config.listed()
	for _, h := range c.Config.Hooks.BeforeSwitch {
		wanted = append(wanted, h.Service)
	}
	for _, name := range wanted {
		if _, ok := m.Services[name]; !ok {
			return &traffic.Fault{
				Kind: traffic.Usage,
				Err:  fmt.Errorf("stacks: service %s is not in %s", name, strings.Join(c.Config.Files, ", ")),
				Hint: "The services there: " + strings.Join(slices.Sorted(maps.Keys(m.Services)), ", ") + ".",
			}
		}
	}
	tagged := func(w Web) bool { return strings.Contains(m.image(s, w.Service), s.tag) }
	if !slices.ContainsFunc(c.Config.Web, tagged) {
		return &traffic.Fault{
			Kind: traffic.Usage,
			Err:  fmt.Errorf("stacks.tag_variable: no web service's image has the tag %s", s.tag),
			Hint: fmt.Sprintf("Write it into the compose files, as in image: %s:${%s}", c.Config.Web[0].Service, c.Config.TagVariable),
		}
	}
	return nil
}

// publishes wants exactly the address that nginx knows, and nothing of the service open to the world: who can reach it directly
// passes nginx by. Layered files join their ports, so that without !override the port of the development file is there too. For an
// nginx in a container the address may be a fixed one in a network that both are on.
func publishes(s stack, w Web, sv service) error {
	address := w.Address(s.color)
	host, _, _ := net.SplitHostPort(address)
	found := false
	for _, wish := range sv.Networks {
		found = found || wish != nil && (wish.IPv4 == host || wish.IPv6 == host)
	}
	for _, p := range sv.Ports {
		ip := net.ParseIP(p.HostIP)
		switch {
		case p.Protocol != "udp" && p.address() == address:
			found = true
		case ip == nil || !ip.IsLoopback():
			return badPort(s, w, sv, fmt.Errorf("publishes port %d on %s, not only on %s", p.Target, p.address(), address))
		}
	}
	if !found {
		return badPort(s, w, sv, fmt.Errorf("does not publish %s", address))
	}
	return nil
}

func badPort(s stack, w Web, sv service, err error) error {
	host, number, _ := net.SplitHostPort(w.Address(s.color))
	target := 8000
	if len(sv.Ports) > 0 {
		target = sv.Ports[len(sv.Ports)-1].Target
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return &traffic.Fault{
		Kind: traffic.Preflight,
		Err:  fmt.Errorf("%s: the merged compose files: the service %w", s.of(w.Service), err),
		Hint: fmt.Sprintf(`Write into the last compose file, under %s: ports: !override ["%s:${%s}:%d"] (%s is %s for %s)`, w.Service, host, w.PortVariable, target, w.PortVariable, number, s.color),
	}
}

// address is where the port is published, as host:port; "*" stands for every address and for any free port.
func (p port) address() string {
	host, number := p.HostIP, p.Published
	if host == "" {
		host = "*"
	}
	if number == "" {
		number = "*"
	}
	return net.JoinHostPort(host, number)
}

// vacant wants each TCP port of the web services free or held by the service's own container. An app that listens there would
// answer the readiness requests in our container's place.
func (c *Compose) vacant(ctx context.Context, s stack, m model) error {
	for _, w := range c.Config.Web {
		boxes, err := c.Engine.boxes(ctx, s.project, w.Service)
		if err != nil {
			return fmt.Errorf("%s: %w", s.of(w.Service), err)
		}
		for _, p := range m.Services[w.Service].Ports {
			address := p.address()
			own := slices.ContainsFunc(boxes, func(b box) bool { return slices.Contains(b.Published, address) })
			if own || p.Protocol == "udp" || p.Published == "" {
				continue
			}
			if err := c.free(ctx, s.of(w.Service), address, boxes); err != nil {
				return err
			}
		}
	}
	return nil
}

// free binds the address for a moment, as the engine is going to. Where we may not (a port below 1024), the engine may.
// A container of our own that is just being restarted has no port in one moment and the port in the next.
func (c *Compose) free(ctx context.Context, who, address string, own []box) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err == nil {
		return listener.Close()
	}
	if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil
	}
	f := &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s: %s cannot be used: %w", who, address, err)}
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		f.Hint = "No network interface of this host has that address: correct it under stacks.web."
		return f
	}
	holder, err := c.Engine.publisher(ctx, address)
	switch {
	case err != nil:
		return errors.Join(f, err)
	case slices.ContainsFunc(own, func(b box) bool { return b.Name == holder }):
		return nil
	case holder != "":
		f.Err = fmt.Errorf("%s: %s is taken by container %s", who, address, holder)
		f.Hint = fmt.Sprintf("Stop it (docker stop %s), or give this color another address under stacks.web.", holder)
	default:
		_, number, _ := net.SplitHostPort(address)
		f.Err = fmt.Errorf("%s: %s is taken by another program", who, address)
		f.Hint = fmt.Sprintf("See which one (ss -ltnp 'sport = :%s') and stop it, or give this color another address under stacks.web.", number)
	}
	return f
}

// havePulled wants the images of all listed services and hooks here before anything starts: a worker's image that is missing would else
// show only after the release has all the traffic.
func (c *Compose) havePulled(ctx context.Context, s stack, m model) error {
	missing, err := c.missing(ctx, s, m)
	if err != nil || len(missing) == 0 {
		return err
	}
	pull := slices.DeleteFunc(slices.Clone(missing), func(name string) bool {
		policy := m.Services[name].PullPolicy
		return policy == "never" || policy == "build"
	})
	var said []string
	if len(pull) > 0 {
		c.sayf("%s: pulling the images of %s", s.color, strings.Join(pull, ", "))
		out, err := c.compose(ctx, s, progressQuiet, nil, append([]string{"pull"}, pull...)...)
		if err != nil {
			return err
		}
		said = tail(out.Stderr, tailLines)
		if missing, err = c.missing(ctx, s, m); err != nil || len(missing) == 0 {
			return err
		}
	}
	return &traffic.Fault{
		Kind:   traffic.NotReady,
		Err:    fmt.Errorf("%s: image %s is not on this host; nothing was started", s.of(missing[0]), m.image(s, missing[0])),
		Hint:   "Build or load it here, or push it to where docker compose pull finds it. Is the tag right?",
		Detail: said,
	}
}

// missing gives the services whose image the engine does not have.
func (c *Compose) missing(ctx context.Context, s stack, m model) ([]string, error) {
	names := c.Config.listed()
	for _, h := range c.Config.Hooks.BeforeSwitch {
		names = append(names, h.Service)
	}
	slices.Sort(names)
	var missing []string
	for _, name := range slices.Compact(names) {
		id, err := c.Engine.image(ctx, m.image(s, name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.of(name), err)
		}
		if id == "" {
			missing = append(missing, name)
		}
	}
	return missing, nil
}
