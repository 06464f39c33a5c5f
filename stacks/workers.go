package stacks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"cutover/traffic"
)

// undoTimeout bounds the return of the old singletons after a handover that failed.
const undoTimeout = 2 * time.Minute

// HandOver makes the color's workers and singletons run, and the other color's stop. The new workers come first and the old ones end
// last, so that somebody always works. Of a singleton never two may run, and while none does its jobs are not done: the new ones are
// made, the old ones stopped, the new ones started, so that no more than a start lies in between. Where they do not come up, the old
// ones run again. It does nothing where the configuration lists none.
func (c *Compose) HandOver(ctx context.Context, to traffic.Color, tag string) error {
	if len(c.Config.Workers)+len(c.Config.Singletons) == 0 {
		return nil
	}
	s, from := c.stack(to, tag), c.stack(to.Other(), "")
	m, err := c.model(ctx, s)
	if err != nil {
		return err
	}
	w := c.watch(s, m)
	if err := c.startWorkers(ctx, w); err != nil {
		return err
	}
	if err := c.handSingletons(ctx, w, from); err != nil {
		return err
	}
	_, err = c.stop(ctx, from, c.Config.Workers)
	return err
}

// startWorkers leaves those alone that run what they should: after a cutback that is stable's, which nobody is to recreate because its
// files have changed meanwhile.
func (c *Compose) startWorkers(ctx context.Context, w *watch) error {
	missing, err := w.missing(ctx, c.Config.Workers)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		if err := c.up(ctx, w.s, missing); err != nil {
			return err
		}
	}
	return c.awaitBackground(ctx, w, c.Config.Workers)
}

func (c *Compose) handSingletons(ctx context.Context, w *watch, from stack) error {
	missing, err := w.missing(ctx, c.Config.Singletons)
	if err == nil && len(missing) > 0 {
		err = c.create(ctx, w.s, missing)
	}
	if err != nil {
		return err
	}
	stopped, err := c.stop(ctx, from, c.Config.Singletons)
	if err == nil {
		err = c.startMade(ctx, w.s, missing)
	}
	if err == nil {
		err = c.awaitBackground(ctx, w, c.Config.Singletons)
	}
	if err != nil {
		return errors.Join(err, c.handBack(ctx, w.s, from, stopped))
	}
	return nil
}

// missing are the services that do not run what they should.
func (w *watch) missing(ctx context.Context, services []string) ([]string, error) {
	var names []string
	for _, name := range services {
		_, err := w.running(ctx, name)
		if _, bad := errors.AsType[*trouble](err); bad {
			names = append(names, name)
		} else if err != nil {
			return nil, err
		}
	}
	return names, nil
}

// startMade starts the containers that create has made.
func (c *Compose) startMade(ctx context.Context, s stack, services []string) error {
	if len(services) == 0 {
		return nil
	}
	boxes, err := c.Engine.boxes(ctx, s.project, services...)
	if err != nil {
		return err
	}
	for _, b := range boxes {
		if err := c.Engine.start(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func (c *Compose) awaitBackground(ctx context.Context, w *watch, services []string) error {
	if len(services) == 0 {
		return nil
	}
	return c.await(ctx, w, services, func(ctx context.Context) error {
		for _, name := range services {
			if _, err := w.running(ctx, name); err != nil {
				return err
			}
		}
		return nil
	})
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
