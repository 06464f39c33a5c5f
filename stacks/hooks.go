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
	// notYet is the exit code (EX_TEMPFAIL of sysexits.h) of a hook that wants to be asked again, and askAgain the pause before that.
	notYet   = 75
	askAgain = 2 * time.Second
	// tailLines is how much of a container's or hook's output is shown with a fault.
	tailLines = 20
)

// The points that are a part of Prepare.
const (
	beforeUp     traffic.HookPoint = "before_up"
	beforeSwitch traffic.HookPoint = "before_switch"
)

// Hook runs the commands of one point, in one-shot containers of the call's release or on the host. It implements traffic.Hooks.
func (c *Compose) Hook(ctx context.Context, call traffic.HookCall) error {
	return c.runHooks(ctx, call, c.hookIn)
}

// Hook runs the commands of one point on the host. It implements traffic.Hooks.
func (x *External) Hook(ctx context.Context, call traffic.HookCall) error {
	return x.runHooks(ctx, call, func(ctx context.Context, call traffic.HookCall, _ string, h Hook) (Output, error) {
		return x.hookOnHost(ctx, call, h)
	})
}

// prepareHooks runs what comes before the services start.
func prepareHooks(ctx context.Context, hooks traffic.Hooks, s stack) error {
	for _, p := range []traffic.HookPoint{beforeUp, beforeSwitch} {
		if err := hooks.Hook(ctx, traffic.HookCall{Point: p, Color: s.color, Tag: s.tag, Phase: traffic.Preparing}); err != nil {
			return fmt.Errorf("%w; nothing was started", err)
		}
	}
	return nil
}

// tryHook is one try of one hook; place is where it stands in the configuration.
type tryHook func(ctx context.Context, call traffic.HookCall, place string, h Hook) (Output, error)

// runHooks runs the hooks of a point in order, to the first that fails.
func (o Options) runHooks(ctx context.Context, call traffic.HookCall, try tryHook) error {
	for i, h := range o.Config.Hooks.At(call.Point) {
		if err := o.runHook(ctx, call, fmt.Sprintf("%s[%d]", call.Point, i), h, try); err != nil {
			return err
		}
	}
	return nil
}

// runHook asks one hook until it says pass or fail, or its time is over.
func (o Options) runHook(ctx context.Context, call traffic.HookCall, place string, h Hook, try tryHook) error {
	limit := h.Timeout
	if limit == 0 {
		limit = hookTimeout
	}
	what := fmt.Sprintf("%s: hook %s: %s", h.where(call.Color), place, strings.Join(h.Run, " "))
	o.sayf("%s (at most %s)", what, limit)
	began := o.Now()
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for told := false; ; told = true {
		out, err := try(limited, call, place, h)
		o.keep(call, place, out)
		fault := &traffic.Fault{Kind: traffic.NotReady, Detail: append(tail(out.Stdout, tailLines), tail(out.Stderr, tailLines)...)}
		switch {
		case ctx.Err() != nil:
			return errors.Join(fmt.Errorf("%s: %w", what, ctx.Err()), err)
		case limited.Err() != nil:
			fault.Err = errors.Join(fmt.Errorf("%s: did not pass within %s; it was stopped", what, limit), unless(err, context.DeadlineExceeded))
			fault.Hint = fmt.Sprintf("Give it more time: stacks.hooks.%s.timeout.", place)
			return fault
		case err != nil:
			return err
		case out.Exit == 0:
			o.sayf("%s: passed in %s", what, o.Now().Sub(began).Round(100*time.Millisecond))
			return nil
		case out.Exit != notYet:
			fault.Err = fmt.Errorf("%s: exited %d", what, out.Exit)
			return fault
		case !told:
			o.sayf("%s: not yet (exit %d); asked again every %s", what, notYet, askAgain)
		}
		select {
		case <-time.After(askAgain):
		case <-limited.Done():
		}
	}
}

// unless is the error, but nil for one that says only what is said already.
func unless(err, known error) error {
	if errors.Is(err, known) {
		return nil
	}
	return err
}

// where a hook runs, in messages.
func (h Hook) where(c traffic.Color) string {
	if h.Service == "" {
		return "host"
	}
	return fmt.Sprintf("%s/%s", c, h.Service)
}

// told is what a hook knows of the rollout, as KEY=value.
func (o Options) told(call traffic.HookCall) []string {
	vars := []string{
		"CUTOVER_APP=" + o.App, "CUTOVER_ENV=" + o.Env, "CUTOVER_HOOK=" + string(call.Point), "CUTOVER_COLOR=" + string(call.Color),
		"CUTOVER_RELEASE=" + call.Tag, "CUTOVER_TAG=" + call.Tag, "CUTOVER_PHASE=" + string(call.Phase), "CUTOVER_REASON=" + call.Reason,
		"CUTOVER_WEIGHT=" + strings.TrimSuffix(call.Weight.String(), " %"),
	}
	if call.Rollout > 0 {
		vars = append(vars, "CUTOVER_ROLLOUT="+call.Rollout.String())
	}
	return vars
}

// hookOnHost runs a hook as a process of the host, in the folder of cutover.yaml, with a cleared environment.
func (o Options) hookOnHost(ctx context.Context, call traffic.HookCall, h Hook) (Output, error) {
	out, err := o.Run(ctx, Command{Argv: h.Run, Env: append(o.passing(), o.told(call)...), Dir: o.Dir})
	if err != nil && ctx.Err() == nil {
		return out, &traffic.Fault{
			Kind: traffic.NotReady, Err: fmt.Errorf("hook %s: %s could not be run: %w", call.Point, h.Run[0], err),
			Hint: "A hook without a service runs on the host, in the folder of cutover.yaml; give the program's whole path.",
		}
	}
	return out, err
}

// hookIn runs a hook in a one-shot container of its service, or on the host where it names none.
func (c *Compose) hookIn(ctx context.Context, call traffic.HookCall, place string, h Hook) (Output, error) {
	if h.Service == "" {
		return c.hookOnHost(ctx, call, h)
	}
	s := c.stack(call.Color, call.Tag)
	if err := c.noneLeft(ctx, s, place); err != nil {
		return Output{}, err
	}
	args := []string{"run", "--rm", "--no-deps", "-T", "--label", labelHook + "=" + place}
	for _, known := range c.told(call) {
		args = append(args, "-e", known)
	}
	out, err := c.compose(ctx, s, progressQuiet, nil, slices.Concat(args, []string{h.Service}, h.Run)...)
	if err != nil && ctx.Err() != nil { // ended from outside: Compose may be gone before its container
		return out, errors.Join(err, c.stopHook(ctx, s, place))
	}
	return out, err
}

// noneLeft refuses to run a hook a second time beside itself: a promoter that was killed leaves its migration running, and two at once
// may ruin a database.
func (c *Compose) noneLeft(ctx context.Context, s stack, place string) error {
	left, err := c.hookBoxes(ctx, s, place)
	if err != nil {
		return err
	}
	for _, b := range left {
		if b.running() {
			return &traffic.Fault{
				Kind: traffic.NotReady,
				Err:  fmt.Errorf("%s: a hook of an earlier attempt is still running in container %s", s.of(b.Service), b.Name),
				Hint: "Wait until it ends (docker logs -f " + b.Name + "), then try again.",
			}
		}
	}
	return nil
}

// stopHook stops the hook's container, under its own deadline because ctx is over. It was started with --rm: the engine removes it.
func (c *Compose) stopHook(ctx context.Context, s stack, place string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	left, err := c.hookBoxes(ctx, s, place)
	for _, b := range left {
		err = errors.Join(err, c.Engine.stop(ctx, b))
	}
	return err
}

func (c *Compose) hookBoxes(ctx context.Context, s stack, place string) ([]box, error) {
	all, err := c.Engine.list(ctx, filters.NewArgs(filters.Arg("label", labelProject+"="+s.project), filters.Arg("label", labelHook+"="+place)))
	if err != nil {
		return nil, err
	}
	return c.Engine.inspectAll(ctx, all)
}

// keep hands a hook's whole output to whoever keeps it.
func (o Options) keep(call traffic.HookCall, place string, out Output) {
	if o.Keep == nil || len(out.Stdout)+len(out.Stderr) == 0 {
		return
	}
	if err := o.Keep(fmt.Sprintf("%s-%s-%s", call.Rollout, place, call.Tag), slices.Concat(out.Stdout, out.Stderr)); err != nil {
		o.sayf("hook %s: its output could not be kept: %v", place, err)
	}
}
