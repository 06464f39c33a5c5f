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

const (
	// pollEvery is the pause between two looks at a stack that is not ready yet.
	pollEvery = 250 * time.Millisecond
	// crashLoop is how many restarts while we wait are enough to give up.
	crashLoop = 4
	// explainTimeout bounds the gathering of log lines after a failure.
	explainTimeout = 5 * time.Second
)

// trouble is what keeps services from being ready.
type trouble struct {
	services []string
	err      error
	hint     string
	detail   []string
	// final tells that waiting longer cannot help.
	final bool
}

func (t *trouble) Error() string { return strings.Join(t.services, ", ") + ": " + t.err.Error() }

func (t *trouble) Unwrap() error { return t.err }

// await looks until nothing is wrong several times in a row, or until the time for it is over. Every reason is told once.
// The error is trouble, or that the caller's context ended.
func await(ctx context.Context, r Ready, say func(why error), look func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	told := map[string]bool{}
	var why error
	for good := 0; ; {
		err := look(limited)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			if good++; good >= r.Consecutive {
				return nil
			}
		case limited.Err() == nil || why == nil: // an answer that our own deadline cut off is no reason
			good, why = 0, err
			if !told[err.Error()] {
				told[err.Error()] = true
				say(err)
			}
		}
		if t, ok := errors.AsType[*trouble](err); ok && t.final {
			return err
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return late(why, r)
		case <-time.After(pollEvery):
		}
	}
}

// late adds to the last reason that its time is over.
func late(why error, r Ready) error {
	if why == nil {
		return fmt.Errorf("not ready %d times in a row within %s", r.Consecutive, r.Timeout)
	}
	if t, ok := errors.AsType[*trouble](why); ok {
		over := *t
		over.err = fmt.Errorf("%w; not ready within %s", t.err, r.Timeout)
		return &over
	}
	return fmt.Errorf("%w; not ready within %s", why, r.Timeout)
}

// await waits for the services and turns what is wrong into a fault with their last words.
func (c *Compose) await(ctx context.Context, w *watch, services []string, look func(context.Context) error) error {
	names := strings.Join(services, ", ")
	c.sayf("%s: waiting for %s, at most %s", w.s.color, names, c.Config.Ready.Timeout)
	began := c.Now()
	err := await(ctx, c.Config.Ready, func(why error) { c.sayf("%s: not yet: %v", w.s.color, why) }, look)
	if err != nil {
		return c.fault(ctx, w.s, err)
	}
	c.sayf("%s: %s ready after %s", w.s.color, names, c.Now().Sub(began).Round(100*time.Millisecond))
	return nil
}

// watch looks at one stack again and again and remembers how often its containers were restarted.
type watch struct {
	c     *Compose
	s     stack
	m     model
	tries int
	// first and last are restart counts by container, at the first look and at the last.
	first, last map[string]int
}

func (c *Compose) watch(s stack, m model) *watch {
	return &watch{c: c, s: s, m: m, tries: 1, first: map[string]int{}, last: map[string]int{}}
}

// web asks of each web service: running, healthy, of the right image, publishing its address, and answering.
func (w *watch) web(ctx context.Context) error {
	for _, web := range w.c.Config.Web {
		boxes, err := w.running(ctx, web.Service)
		if err != nil {
			return err
		}
		address := web.Address(w.s.color)
		var published []string
		for _, b := range boxes {
			published = append(published, b.Published...)
		}
		if !slices.ContainsFunc(boxes, func(b box) bool { return b.answersAt(address) }) {
			return &trouble{services: []string{web.Service}, err: fmt.Errorf("its container publishes %q, not %s: an answer from there may be somebody else's", published, address)}
		}
		if err := w.c.http.ready(ctx, web, address, fill(w.s.tag, w.s), w.tries); err != nil {
			return err
		}
	}
	return nil
}

// running gives the service's containers if all of them run what they should and none was restarted since the last look.
func (w *watch) running(ctx context.Context, service string) ([]box, error) {
	boxes, err := w.c.Engine.boxes(ctx, w.s.project, service)
	if err != nil {
		return nil, err
	}
	bad := &trouble{services: []string{service}}
	if len(boxes) == 0 {
		bad.err = fmt.Errorf("project %s has no container of it", w.s.project)
		return nil, bad
	}
	reference := w.m.image(w.s, service)
	wanted, err := w.c.Engine.image(ctx, reference)
	if err != nil {
		return nil, err
	}
	for _, b := range boxes {
		if bad.final, bad.err = w.wrong(b); bad.err != nil {
			return nil, bad
		}
		// An image that was removed from the store while its container runs can be told only by its name.
		if b.Image != reference || (wanted != "" && b.ImageID != wanted) {
			bad.err = fmt.Errorf("container %s runs %s (%.19s), not %s (%.19s)", b.Name, b.Image, b.ImageID, reference, wanted)
			return nil, bad
		}
	}
	return boxes, nil
}

// wrong tells what is wrong with the container's state, and whether that is final.
func (w *watch) wrong(b box) (final bool, err error) {
	first, seen := w.first[b.ID]
	if !seen {
		first, w.first[b.ID], w.last[b.ID] = b.Restarts, b.Restarts, b.Restarts
	}
	grown := b.Restarts > w.last[b.ID]
	w.last[b.ID] = b.Restarts
	switch {
	case b.Restarts-first >= crashLoop:
		return true, fmt.Errorf("container %s keeps crashing: restarted %d times, last exit code %d", b.Name, b.Restarts, b.Exit)
	case b.State == "exited" || b.State == "dead":
		return true, fmt.Errorf("container %s has ended with exit code %d", b.Name, b.Exit)
	case b.State != "running":
		return false, fmt.Errorf("container %s is %s", b.Name, b.State)
	case grown:
		return false, fmt.Errorf("container %s was restarted", b.Name)
	case b.Health != "" && b.Health != "healthy":
		return false, fmt.Errorf("container %s: health check says %s", b.Name, b.Health)
	}
	return false, nil
}

// smoke asks what the configuration wants to be asked of a release before it gets any share.
func (c *Compose) smoke(ctx context.Context, s stack) error {
	for _, t := range c.Config.Smoke {
		w := c.Config.smokeTarget(t)
		if err := c.http.ask(ctx, w.Service, w.Address(s.color), t, fill(s.tag, s), patientTries); err != nil {
			return c.fault(ctx, s, err)
		}
	}
	return nil
}

// fault makes an error of what is wrong with a stack: which check of which service, what its containers look like, their last lines.
// The containers stay as they are.
func (c *Compose) fault(ctx context.Context, s stack, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) { // whoever gave up is no fault of the stack
		return fmt.Errorf("%s: %w", s.color, ctx.Err())
	}
	t, ok := errors.AsType[*trouble](err)
	if !ok {
		return fmt.Errorf("%s: %w", s.color, err)
	}
	f := &traffic.Fault{Kind: traffic.NotReady, Err: fmt.Errorf("%s: %w", s.of(strings.Join(t.services, "+")), t.err), Hint: t.hint, Detail: t.detail}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), explainTimeout)
	defer cancel()
	boxes, err := c.Engine.boxes(ctx, s.project, t.services...)
	if err != nil {
		f.Detail = append(f.Detail, err.Error())
	}
	if len(boxes) > 0 && f.Hint == "" {
		f.Hint = "Its containers are left as they are, for a look: docker logs " + boxes[0].Name
	}
	for _, b := range boxes {
		f.Detail = append(f.Detail, b.facts())
		if b.Checked != "" && b.Health != "healthy" {
			f.Detail = append(f.Detail, b.Name+": health check: "+b.Checked)
		}
		lines, err := c.Engine.logs(ctx, b, tailLines)
		if err != nil {
			lines = []string{err.Error()}
		}
		for _, line := range lines {
			f.Detail = append(f.Detail, b.Name+" | "+line)
		}
	}
	return f
}

// facts is the container's state in one line.
func (b box) facts() string {
	text := fmt.Sprintf("%s: %s", b.Name, b.State)
	if b.Health != "" {
		text += ", " + b.Health
	}
	if b.State != "running" || b.Restarts > 0 {
		text += fmt.Sprintf(", exit code %d, restarted %d times", b.Exit, b.Restarts)
	}
	if b.OOM {
		text += ", out of memory"
	}
	return text
}
