package stacks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"cutover/traffic"
)

// release gives what the stack's web services run now, by what the engine says.
func (c *Compose) release(ctx context.Context, s stack) (traffic.Release, error) {
	boxes, err := c.Engine.boxes(ctx, s.project, c.Config.webNames()...)
	if err != nil {
		return traffic.Release{}, fmt.Errorf("%s: %w", s.color, err)
	}
	r := traffic.Release{Tag: s.tag, Images: map[string]string{}}
	for _, b := range boxes {
		r.Images[b.Service] = b.ImageID
	}
	return r, nil
}

// Images gives the ids of the web services' images as the tag names them on this host. Preflight has seen that they are there.
func (c *Compose) Images(ctx context.Context, color traffic.Color, tag string) (map[string]string, error) {
	s := c.stack(color, tag)
	m, err := c.model(ctx, s)
	if err != nil {
		return nil, err
	}
	images := map[string]string{}
	for _, w := range c.Config.Web {
		if images[w.Service], err = c.Engine.image(ctx, m.image(s, w.Service)); err != nil {
			return nil, fmt.Errorf("%s: %w", s.of(w.Service), err)
		}
	}
	return images, nil
}

// Serving gives the release that the color's web services run, if each runs, publishes its address and answers.
// A fault of kind NotReady means that this color does not.
func (c *Compose) Serving(ctx context.Context, color traffic.Color) (traffic.Release, error) {
	s := c.stack(color, "")
	standing, err := c.Describe(ctx, color)
	if err != nil {
		return traffic.Release{}, err
	}
	for i, w := range c.Config.Web {
		switch now := standing[i]; {
		case !now.Ours:
			return traffic.Release{}, notServing(s, w.Service, fmt.Errorf("%s, and not publishing %s", now.State, now.Address))
		case s.tag != "" && now.Tag != s.tag:
			return traffic.Release{}, notServing(s, w.Service, fmt.Errorf("runs %s while another web service runs %s", now.Tag, s.tag))
		default:
			s.tag = now.Tag
		}
	}
	for _, w := range c.Config.Web {
		if err := c.http.ready(ctx, w, w.Address(color), fill(s.tag, s), patientTries); err != nil {
			return traffic.Release{}, notServing(s, w.Service, err)
		}
	}
	return c.release(ctx, s)
}

func notServing(s stack, service string, err error) error {
	return &traffic.Fault{Kind: traffic.NotReady, Err: fmt.Errorf("%s is not serving: %w", s.of(service), err)}
}

// Describe gives each listed service of the color as the engine sees it, web first.
func (c *Compose) Describe(ctx context.Context, color traffic.Color) ([]Standing, error) {
	s := c.stack(color, "")
	boxes, err := c.Engine.boxes(ctx, s.project, c.Config.listed()...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", color, err)
	}
	all := make([]Standing, 0, len(c.Config.listed()))
	for _, w := range c.Config.Web {
		all = append(all, describe(w.Service, w.Address(color), boxes))
	}
	for _, name := range slices.Concat(c.Config.Workers, c.Config.Singletons) {
		all = append(all, describe(name, "", boxes))
	}
	return all, nil
}

// describe takes, of several containers of one service, the one that does its work.
func describe(service, address string, boxes []box) Standing {
	best := Standing{Service: service, State: "absent", Address: address}
	for _, b := range boxes {
		if b.Service != service || best.Ours {
			continue
		}
		best = Standing{
			Service: service, State: b.State, Health: b.Health, Image: b.Image, Tag: tagOf(b.Image), Restarts: b.Restarts, Address: address,
			Ours: b.State == "running" && (address == "" || b.answersAt(address)),
		}
	}
	return best
}

// tagOf takes the tag, or else the digest, out of an image reference; "latest" goes without saying.
func tagOf(reference string) string {
	name, digest, _ := strings.Cut(reference, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[colon+1:]
	}
	if digest != "" {
		return digest
	}
	return "latest"
}
