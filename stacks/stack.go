package stacks

import (
	"context"
	"fmt"
	"time"

	"cutover/traffic"
)

// Command is one call of a program.
type Command struct {
	// Argv is the program and its arguments.
	Argv []string
	// Env is the whole environment, as KEY=value; nothing is inherited.
	Env []string
	Dir string
	// Line gets each line of standard error as it comes; may be nil.
	Line func(string)
}

// Output is what a program left behind.
type Output struct {
	Stdout, Stderr []byte
	Exit           int
}

// Runner runs a command to its end. An error means that it could not run or that the context ended; an exit code that is not
// zero is in Output. When the context ends, the program is asked to stop (SIGTERM) before it is killed.
type Runner func(ctx context.Context, c Command) (Output, error)

// Options are what a driver needs from outside.
type Options struct {
	Config Config
	// Dir is the folder of cutover.yaml; relative paths of the configuration hang on it.
	Dir string
	// App and Env are told to hooks.
	App, Env string
	// Compose is how Compose is called: {"docker", "compose"}, or one path.
	Compose []string
	// Environ is the caller's whole environment; the driver takes from it only what may pass.
	Environ []string
	Run     Runner
	// Say tells people, in one line, what is going on; may be nil.
	Say func(string)
	// Keep keeps the output of a hook, under a name that tells which; may be nil.
	Keep func(name string, output []byte) error
	Now  func() time.Time
	// Engine is not needed for external stacks.
	Engine *Engine
}

// Standing is one listed service of one color as it is now.
type Standing struct {
	Service string `json:"service"`
	// State is the engine's word (running, restarting, exited …), "absent" without a container;
	// of an external stack "answers" or "silent".
	State string `json:"state"`
	// Health is the engine's word; empty without a health check.
	Health string `json:"health,omitempty"`
	Image  string `json:"image,omitempty"`
	Tag    string `json:"tag,omitempty"`
	// Restarts counts what the engine's restart policy did since the container was created.
	Restarts int `json:"restarts"`
	// Address is where the configuration publishes a web service; empty for the others.
	Address string `json:"address,omitempty"`
	// Ours tells that the container runs and, of a web service, that it is the one that publishes the address.
	Ours bool `json:"ours"`
}

// Inspector looks at a color without changing anything.
type Inspector interface {
	// Preflight tells whether the color could be prepared. The only thing that it may change is the engine's store of images: it
	// pulls those that are missing.
	Preflight(ctx context.Context, c traffic.Color, tag string) error
	// Images gives, by web service, the id of the image that the tag means on this host: what would run. Empty where nobody
	// can tell.
	Images(ctx context.Context, c traffic.Color, tag string) (map[string]string, error)
	// Describe gives each listed service of the color, in the order of the configuration. It does not need the compose files.
	Describe(ctx context.Context, c traffic.Color) ([]Standing, error)
	// Answers asks each web service of the color once whether it is ready, whatever release it runs. It needs neither engine nor files.
	Answers(ctx context.Context, c traffic.Color) error
	// Serving gives the release that the color runs, if all its web services run, are ours and answer.
	Serving(ctx context.Context, c traffic.Color) (traffic.Release, error)
}

// Driver is the driver that the configuration names.
type Driver struct {
	traffic.Stacks
	traffic.Hooks
	Inspector
}

// Open makes the driver that the configuration names. It touches nothing.
func Open(o Options) (*Driver, error) {
	switch o.Config.Driver {
	case DriverCompose:
		c := NewCompose(o)
		return &Driver{Stacks: c, Hooks: c, Inspector: c}, nil
	case DriverExternal:
		x := NewExternal(o)
		return &Driver{Stacks: x, Hooks: x, Inspector: x}, nil
	}
	return nil, fmt.Errorf("stacks.driver: %q is neither compose nor external", o.Config.Driver)
}

// stack is one color's project together with the tag that it shall run.
type stack struct {
	color   traffic.Color
	project string
	tag     string
}

// of names a service in messages, as in green/backend.
func (s stack) of(service string) string { return fmt.Sprintf("%s/%s", s.color, service) }

func (o Options) stack(c traffic.Color, tag string) stack {
	return stack{color: c, project: o.Config.Slot(c).Project, tag: tag}
}

// sayf tells people one line; it is silent where nobody listens.
func (o Options) sayf(format string, args ...any) {
	if o.Say != nil {
		o.Say(fmt.Sprintf(format, args...))
	}
}
