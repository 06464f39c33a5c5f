package traffic

import (
	"context"
	"errors"
	"time"

	"cutover/traffic/verdict"
)

// ErrCut says that the rollout's folder is gone: somebody has cut back, and nothing of this rollout may touch traffic again.
var ErrCut = errors.New("this rollout was cut back")

// Live is what a running nginx answers about itself through its probe.
type Live struct {
	Generation Generation `json:"generation"`
	Split      Split      `json:"split"`
	// Open tells that the split holds: the rollout's folder stands, or nginx has loaded a share that hangs on no folder.
	// Invariant: false means stable has everything.
	Open bool `json:"open"`
	// Finished tells that the rollout was accepted and is being finished: the candidate has everything.
	Finished bool      `json:"finished"`
	At       time.Time `json:"at"`
	// Severed counts the connections to the old color that did not end in time, and end with its stack. Only Finish tells it.
	Severed int `json:"severed,omitempty"`
}

// Share is the part of the traffic that nginx gives to the color.
func (l Live) Share(c Color) Weight {
	candidate := Weight(0)
	switch {
	case l.Finished:
		candidate = Full
	case l.Open:
		candidate = l.Split.Weight
	}
	if c == l.Split.Candidate() {
		return candidate
	}
	return candidate.Rest()
}

// Router changes the live split of one app and reads it back.
type Router interface {
	// Raise makes nginx serve the split and proves it. Performing one split twice does the same as once.
	// An error means that the share was not raised, or, where the error says so, that it could not be proven.
	// ErrCut where the rollout was cut back meanwhile.
	Raise(ctx context.Context, s Split) (Live, error)
	// Cut sends everything to stable at once by taking the rollout's folder away, and proves it.
	// It waits for nothing. Cutting a rollout that is cut already proves it again.
	Cut(ctx context.Context, id RolloutID, why string) (Live, error)
	// Finish makes the accepted candidate the default, so that its rollout's folder is no longer needed.
	// ErrCut where a cutback came first.
	Finish(ctx context.Context, s Split) (Live, error)
	// Live asks the running nginx.
	Live(ctx context.Context) (Live, error)
}

// Stacks brings a color's Compose project up and down.
type Stacks interface {
	// Prepare makes the color run the tag: images, hooks, web services, readiness, identity, smoke.
	Prepare(ctx context.Context, c Color, tag string) (Release, error)
	// Check asks once more that the color is ready and runs the tag; an error names the service and the check.
	Check(ctx context.Context, c Color, tag string) error
	// HandOver starts the workers and singletons of one color and stops the other's.
	HandOver(ctx context.Context, to Color, tag string) error
	// Retire stops the listed services of the color, container by container.
	Retire(ctx context.Context, c Color) error
}

// Hooks runs the user's commands.
type Hooks interface {
	// Hook runs the commands of one point in order, to the first that fails. Running them twice must do the same as once. It returns
	// soon after the context ends, and leaves nothing running.
	Hook(ctx context.Context, call HookCall) error
}

// Signal streams what users get.
type Signal interface {
	// Follow hands batches of evidence to the judge until the context ends, in order, from one goroutine.
	// An error means that the source is lost; no evidence is then an answer of its own, never health.
	Follow(ctx context.Context, fold func(verdict.Batch)) error
}

// Log is the journal of one app.
type Log interface {
	// Append writes one event and has synced it when it returns.
	Append(ctx context.Context, e Event) error
}
