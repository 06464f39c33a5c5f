package stacks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cutover/traffic"
)

// undoTimeout bounds the return of the old singletons after a handover that failed.
const undoTimeout = 2 * time.Minute

// HandOver makes the color's workers and singletons run, and the other color's stop: first the old singletons, because of a singleton never
// two may run; then the new services; the old workers only when the new ones run, so that somebody always works.
// Where the new ones do not come up, the old singletons run again. It does nothing where the configuration lists none.
func (c *Compose) HandOver(ctx context.Context, to traffic.Color, tag string) error {
	services := slices.Concat(c.Config.Workers, c.Config.Singletons)
	if len(services) == 0 {
		return nil
	}
	s, from := c.stack(to, tag), c.stack(to.Other(), "")
	stopped, err := c.stop(ctx, from, c.Config.Singletons)
	if err == nil {
		err = c.startBackground(ctx, s, services)
	}
	if err != nil {
		return errors.Join(err, c.handBack(ctx, s, from, stopped))
	}
	_, err = c.stop(ctx, from, c.Config.Workers)
	return err
}

func (c *Compose) startBackground(ctx context.Context, s stack, services []string) error {
	m, err := c.model(ctx, s)
	if err != nil {
		return err
	}
	if err := c.up(ctx, s, services); err != nil {
		return err
	}
	w := c.watch(s, m)
	return c.await(ctx, w, services, w.background)
}

// handBack stops the new singletons and starts the old ones again, those that this handover has stopped.
func (c *Compose) handBack(ctx context.Context, s, from stack, stopped []box) error {
	if len(stopped) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if _, err := c.stop(ctx, s, c.Config.Singletons); err != nil {
		return fmt.Errorf("singletons of %s stay stopped, because those of %s may be running: %w", from.color, s.color, err)
	}
	var failed error
	for _, b := range stopped {
		if err := c.Engine.start(ctx, b); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s does not run again: %w", from.of(b.Service), err))
			continue
		}
		c.sayf("%s: %s runs again", from.color, b.Service)
	}
	return failed
}

// stop stops the running containers of the services, one by one, each for as long as its own grace allows, and gives those that it
// stopped. Containers and volumes stay.
func (c *Compose) stop(ctx context.Context, s stack, services []string) ([]box, error) {
	if len(services) == 0 {
		return nil, nil
	}
	boxes, err := c.Engine.boxes(ctx, s.project, services...)
	if err != nil {
		return nil, fmt.Errorf("%s: stop %s: %w", s.color, strings.Join(services, ", "), err)
	}
	var stopped []box
	var failed error
	for _, b := range boxes {
		if !b.running() {
			continue
		}
		c.sayf("%s: stopping %s (%s, at most %s)", s.color, b.Service, b.Name, b.grace)
		if err := c.Engine.stop(ctx, b); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", s.of(b.Service), err))
			continue
		}
		stopped = append(stopped, b)
	}
	return stopped, failed
}
