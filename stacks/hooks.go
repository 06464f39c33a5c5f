package stacks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"

	"cutover/traffic"
)

const (
	// labelHook marks our one-shot containers; its value is the hook's place in the configuration.
	labelHook = "cutover.hook"
	// hookTimeout holds where the configuration gives none.
	hookTimeout = 10 * time.Minute
	// tailLines is how much of a container's or hook's output is shown with a fault.
	tailLines = 20
)

// runHooks runs the before_switch hooks in order, each in a one-shot container of the new release, which is told in CUTOVER_APP,
// CUTOVER_ENV, CUTOVER_COLOR and CUTOVER_TAG what it is run for.
func (c *Compose) runHooks(ctx context.Context, s stack) error {
	if len(c.Config.Hooks.BeforeSwitch) == 0 {
		return nil
	}
	left, err := c.hookBoxes(ctx, s)
	if err != nil {
		return err
	}
	for _, b := range left {
		if b.running() { // a promoter that was killed leaves its migration running; two at once may ruin a database
			return &traffic.Fault{
				Kind: traffic.NotReady,
				Err:  fmt.Errorf("%s: a hook of an earlier attempt is still running in container %s", s.of(b.Service), b.Name),
				Hint: "Wait until it ends (docker logs -f " + b.Name + "), then try again.",
			}
		}
	}
	for i, h := range c.Config.Hooks.BeforeSwitch {
		if err := c.runHook(ctx, s, i, h); err != nil {
			return err
		}
	}
	return nil
}

func (c *Compose) runHook(ctx context.Context, s stack, i int, h Hook) error {
	limit := h.Timeout
	if limit == 0 {
		limit = hookTimeout
	}
	command := strings.Join(h.Run, " ")
	c.sayf("%s: before_switch: %s (at most %s)", s.of(h.Service), command, limit)
	began := c.Now()
	args := []string{"run", "--rm", "--no-deps", "-T", "--label", fmt.Sprintf("%s=%d", labelHook, i)}
	for _, known := range []string{"APP=" + c.App, "ENV=" + c.Env, "COLOR=" + string(s.color), "TAG=" + s.tag} {
		args = append(args, "-e", "CUTOVER_"+known)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, err := c.compose(limited, s, progressQuiet, nil, slices.Concat(args, []string{h.Service}, h.Run)...)
	fault := &traffic.Fault{Kind: traffic.NotReady, Detail: append(tail(out.Stdout, tailLines), tail(out.Stderr, tailLines)...)}
	switch {
	case err != nil && limited.Err() != nil: // ended from outside: Compose may be gone before its container
		stopErr := c.stopHook(ctx, s)
		if ctx.Err() != nil {
			return errors.Join(fmt.Errorf("%s: hook %s: %w", s.of(h.Service), command, ctx.Err()), stopErr)
		}
		fault.Err = errors.Join(fmt.Errorf("%s: hook %s did not end within %s; it was stopped", s.of(h.Service), command, limit), stopErr)
		fault.Hint = fmt.Sprintf("Give it more time: stacks.hooks.before_switch[%d].timeout.", i)
		return fault
	case err != nil:
		return err
	case out.Exit != 0:
		fault.Err = fmt.Errorf("%s: hook %s exited %d; nothing was started", s.of(h.Service), command, out.Exit)
		return fault
	}
	c.sayf("%s: before_switch: done in %s", s.of(h.Service), c.Now().Sub(began).Round(100*time.Millisecond))
	return nil
}

// stopHook stops the hook's container, under its own deadline because ctx may be over. It was started with --rm: the engine removes it.
func (c *Compose) stopHook(ctx context.Context, s stack) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	left, err := c.hookBoxes(ctx, s)
	for _, b := range left {
		err = errors.Join(err, c.Engine.stop(ctx, b))
	}
	return err
}

func (c *Compose) hookBoxes(ctx context.Context, s stack) ([]box, error) {
	all, err := c.Engine.list(ctx, filters.NewArgs(filters.Arg("label", labelProject+"="+s.project), filters.Arg("label", labelHook)))
	if err != nil {
		return nil, err
	}
	return c.Engine.inspectAll(ctx, all)
}
