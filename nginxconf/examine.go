package nginxconf

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"cutover/traffic"
)

// Examination is what Preflight looks at, each by itself. An error says what is wrong; nil is well, or was not looked at
// because Unreadable is set.
type Examination struct {
	// Version is nginx's own, empty where its program cannot be asked.
	Version string
	// Unreadable is set where nginx's program or its configuration cannot be read.
	Unreadable error
	// Findings are what is wrong or doubtful in the user's configuration.
	Findings []Finding
	// Enclosed tells what is wrong with the container that nginx runs in.
	Enclosed error
	// Tree tells whether there is a generation, Reach whether nginx's workers get to the folder that a cutback renames.
	Tree, Reach error
	// Movable tells whether whoever asks can rename what a rollout needs renamed, in and out of that folder.
	Movable error
	// Namesake is another app of this nginx whose names would be the same.
	Namesake error
	// Running tells whether nginx's master is there, Refused what `nginx -t` has against the configuration as it stands.
	Running, Refused error
	// Stranger tells that something else has the probe's port.
	Stranger error
}

// Sound tells that nothing is in the way of a raise.
func (e Examination) Sound() bool {
	for _, f := range e.Findings {
		if f.Severity == Refuse {
			return false
		}
	}
	for _, err := range []error{e.Unreadable, e.Enclosed, e.Tree, e.Reach, e.Movable, e.Namesake, e.Running, e.Refused, e.Stranger} {
		if err != nil {
			return false
		}
	}
	return true
}

// Examine looks at nginx and its configuration, and changes nothing.
func (p *Proxy) Examine(ctx context.Context) Examination {
	if err := p.options.Validate(); err != nil {
		return Examination{Unreadable: &traffic.Fault{Kind: traffic.Usage, Err: err}}
	}
	i, err := p.configured(ctx)
	if err != nil {
		return Examination{Version: i.build.Version, Unreadable: err}
	}
	e := p.surroundings(ctx, i)
	e.Version, e.Findings, e.Refused = i.build.Version, p.findings(i), p.testCurrent(ctx, i)
	return e
}

// surroundings looks at what is not in nginx's configuration: folders, the master, the probe's port.
func (p *Proxy) surroundings(ctx context.Context, i instance) Examination {
	e := Examination{Namesake: p.namesake(), Stranger: p.probe.free(ctx), Enclosed: p.enclosed(i)}
	_, e.Running = p.procs.master(i.view, i.chain.PidFile(i.build))
	if _, err := p.trees.current(); err != nil {
		e.Tree = &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s has no generation yet: %w", p.root, err), Hint: "`cutover init` writes the first one."}
		return e
	}
	e.Reach, e.Movable = CheckReach(p.fence.rollouts(), p.workerUser(i)), p.fence.movable()
	return e
}

// namesake finds another app beside this one whose upstreams and variables would have the same names, as shop-api and shop_api.
func (p *Proxy) namesake() error {
	trees, err := filepath.Glob(filepath.Join(p.options.Config.Dir, "*", "current"))
	if err != nil {
		return err
	}
	for _, tree := range trees {
		app := filepath.Base(filepath.Dir(tree))
		if _, err := os.Readlink(tree); err == nil && app != p.options.App && RouteName(app) == RouteName(p.options.App) {
			return &traffic.Fault{Kind: traffic.Preflight,
				Err:  fmt.Errorf("app %s beside it has the same names in nginx, cutover_%s_…: nginx would refuse the second one", app, RouteName(app)),
				Hint: fmt.Sprintf("Give one of them another name, or remove %s if nobody needs it any more.", filepath.Dir(tree))}
		}
	}
	return nil
}
