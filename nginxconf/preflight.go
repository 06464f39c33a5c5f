package nginxconf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"cutover/traffic"
)

// Preflight makes sure that nginx can be moved: it is there, recent enough and running, its configuration includes ours and
// holds nothing that would keep a rollout from being split, watched or taken back, its workers reach our folder, the probe's
// port is nginx's or nobody's, and nginx accepts its configuration as it stands. It changes nothing.
// The fault has all that was found in its Detail.
func (p *Proxy) Preflight(ctx context.Context) error {
	if err := p.options.Validate(); err != nil {
		return &traffic.Fault{Kind: traffic.Usage, Err: err}
	}
	v, err := p.look(ctx)
	if err != nil {
		return err
	}
	build, judged, err := p.buildJudging(ctx)
	if err != nil {
		return err
	}
	i, err := p.configuredAs(v, build)
	if err != nil {
		return err
	}
	var found []error
	for _, f := range p.findings(i) {
		if f.Severity == Refuse {
			found = append(found, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s:%d: %s", f.File, f.Line, f.What), Hint: f.Remedy})
		}
	}
	around := p.surroundings(ctx, i)
	for _, err := range []error{around.Enclosed, around.Tree, around.Reach, around.Movable, around.Namesake, around.Running, around.Stranger} {
		if err != nil {
			found = append(found, err)
		}
	}
	if len(found) == 0 {
		return judged
	}
	fault := &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("nginx is not ready for %s: %w", p.options.App, found[0])}
	if len(found) > 1 {
		fault.Err = fmt.Errorf("nginx is not ready for %s, %d findings, the first: %w", p.options.App, len(found), found[0])
	}
	for _, err := range append(found, judged) {
		fault.Hint, fault.Detail = firstHint(fault.Hint, err), appendDetail(fault.Detail, err)
	}
	return fault
}

// Findings reads nginx's configuration for what is wrong or doubtful about it, without running anything but `nginx -V`.
func (p *Proxy) Findings(ctx context.Context) ([]Finding, error) {
	i, err := p.configured(ctx)
	if err != nil {
		return nil, err
	}
	return p.findings(i), nil
}

func (p *Proxy) findings(i instance) []Finding { return i.chain.Findings(p.site()) }

// site is what the user's configuration must hold for this app.
func (p *Proxy) site() Site {
	return Site{App: p.options.App, Root: p.root, Config: p.options.Config, AccessLog: p.options.AccessLog,
		OwnsServers: len(p.options.Routes) > 0, Variables: p.Variables(), Web: p.options.Web}
}

// workerUser is whom the workers run as: the one that the configuration names, where the master is root, else our own.
func (p *Proxy) workerUser(i instance) string {
	if i.view.inside() {
		return "" // users are the container's own; the first raise proves it by a request
	}
	master, err := p.procs.master(i.view, i.chain.PidFile(i.build))
	if err == nil && p.procs.owner(master) != 0 || err != nil && os.Geteuid() != 0 {
		return ""
	}
	return i.chain.User(i.build)
}

func firstHint(hint string, err error) string {
	var fault *traffic.Fault
	if hint == "" && errors.As(err, &fault) {
		return fault.Hint
	}
	return hint
}

// appendDetail adds one finding with its own remedy.
func appendDetail(detail []string, err error) []string {
	var fault *traffic.Fault
	switch {
	case err == nil:
		return detail
	case errors.As(err, &fault):
		return append(append(detail, strings.TrimSuffix(err.Error()+". "+fault.Hint, ". ")), fault.Detail...)
	}
	return append(detail, err.Error())
}

// makeRoot makes the folders of the app, and leaves those that are there as they are.
func (p *Proxy) makeRoot() error {
	for _, f := range []struct {
		path string
		mode fs.FileMode
	}{
		{p.options.Config.Dir, 0o755}, {p.root, 0o755}, {filepath.Join(p.root, "gen"), 0o755},
		// Set-group-id and writable: whoever is in the folder's group can cut back without root.
		{p.fence.rollouts(), fs.ModeSetgid | 0o775},
	} {
		switch err := makeFolder(f.path, f.mode); {
		case errors.Is(err, fs.ErrExist):
		case err != nil:
			return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("make nginx's folder: %w", err),
				Hint: "Run as a user who may write there, or set nginx.dir to another folder."}
		case f.path == p.fence.rollouts():
			if err := lend(f.path, f.mode); err != nil {
				return err
			}
		}
	}
	return nil
}

// lend gives a folder to the group cutover. Where there is no such group, or we may not give to it, the folder stays its
// owner's, who alone can cut back then.
func lend(path string, mode fs.FileMode) error {
	group, err := user.LookupGroup("cutover")
	if err != nil {
		return nil
	}
	gid, err := strconv.Atoi(group.Gid)
	if err != nil || os.Chown(path, -1, gid) != nil {
		return nil
	}
	return os.Chmod(path, mode) // a change of the group may have taken set-group-id away
}
