package stacks

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"cutover/traffic"
)

// External drives stacks that somebody else brings up and stops: systemd units, another tool. It asks them and leaves them alone.
// It implements traffic.Stacks.
type External struct {
	Options
	http prober
}

// NewExternal makes the driver. It touches nothing.
func NewExternal(o Options) *External { return &External{Options: o, http: newProber()} }

// Preflight finds nothing wrong: what somebody else is still to start need not be there yet.
func (x *External) Preflight(context.Context, traffic.Color, string) error { return nil }

// Prepare waits until the color's services answer as they should, and for the release where an answer can name it.
func (x *External) Prepare(ctx context.Context, color traffic.Color, tag string) (traffic.Release, error) {
	s := x.stack(color, tag)
	if err := prepareHooks(ctx, x, s); err != nil {
		return traffic.Release{}, err
	}
	if !x.namesTag() {
		x.sayf("%s: nothing proves that it runs %s; a smoke test with contains: \"{{.Tag}}\" would", color, tag)
	}
	x.sayf("%s: waiting for stacks that somebody else runs, at most %s", color, x.Config.Ready.Timeout)
	say := func(why error) { x.sayf("%s: not yet: %v", color, why) }
	err := await(ctx, x.Config.Ready, say, func(ctx context.Context) error { return x.look(ctx, s, 1) })
	if err != nil {
		return traffic.Release{}, x.fault(s, err)
	}
	return traffic.Release{Tag: tag}, nil
}

// Check asks each service once more.
func (x *External) Check(ctx context.Context, color traffic.Color, tag string) error {
	s := x.stack(color, tag)
	if err := x.look(ctx, s, patientTries); err != nil {
		return x.fault(s, err)
	}
	return nil
}

// HandOver leaves workers to whoever runs them.
func (x *External) HandOver(_ context.Context, to traffic.Color, _ string) error {
	x.sayf("%s: external stacks: hand workers and singletons over yourself", to)
	return nil
}

// Retire leaves the stack to whoever runs it.
func (x *External) Retire(_ context.Context, color traffic.Color) error {
	x.sayf("%s: external stacks: stop it yourself, when nothing needs it", color)
	return nil
}

// Images tells nothing: what runs is somebody else's.
func (x *External) Images(context.Context, traffic.Color, string) (map[string]string, error) {
	return nil, nil
}

// Describe asks each web service once.
func (x *External) Describe(ctx context.Context, color traffic.Color) ([]Standing, error) {
	s := x.stack(color, "")
	var all []Standing
	for _, w := range x.Config.Web {
		now := Standing{Service: w.Service, State: "answers", Address: w.Address(color), Ours: true}
		if err := x.http.ready(ctx, w.ofAnyRelease(), now.Address, fill("", s), 1); err != nil {
			now.State, now.Ours = "silent", false
		}
		all = append(all, now)
	}
	return all, ctx.Err()
}

// Answers asks each web service once.
func (x *External) Answers(ctx context.Context, color traffic.Color) error {
	return x.http.answers(ctx, x.Config, color)
}

// Serving tells whether all web services of the color answer. Nobody can tell which release that is: its tag is empty.
func (x *External) Serving(ctx context.Context, color traffic.Color) (traffic.Release, error) {
	standing, err := x.Describe(ctx, color)
	if err != nil {
		return traffic.Release{}, err
	}
	for _, now := range standing {
		if !now.Ours {
			return traffic.Release{}, notServing(x.stack(color, ""), now.Service, fmt.Errorf("no right answer from %s", now.Address))
		}
	}
	return traffic.Release{}, nil
}

// namesTag tells whether a right answer of some test proves which release gives it.
func (x *External) namesTag() bool {
	return slices.ContainsFunc(x.Config.Smoke, Test.namesTag) || slices.ContainsFunc(x.Config.Web, func(w Web) bool { return w.Ready.namesTag() })
}

// look asks for the readiness of each service and then for the smoke tests.
func (x *External) look(ctx context.Context, s stack, tries int) error {
	for _, w := range x.Config.Web {
		if err := x.http.ready(ctx, w, w.Address(s.color), fill(s.tag, s), tries); err != nil {
			return err
		}
	}
	for _, t := range x.Config.Smoke {
		w := x.Config.smokeTarget(t)
		if err := x.http.ask(ctx, w.Service, w.Address(s.color), t, fill(s.tag, s), tries); err != nil {
			return err
		}
	}
	return nil
}

func (x *External) fault(s stack, err error) error {
	t, ok := errors.AsType[*trouble](err)
	if !ok {
		return fmt.Errorf("%s: %w", s.color, err)
	}
	return &traffic.Fault{Kind: traffic.NotReady, Err: fmt.Errorf("%s/%w", s.color, err), Hint: t.hint, Detail: t.detail}
}
