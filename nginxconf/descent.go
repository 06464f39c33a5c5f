package nginxconf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"cutover/traffic"
)

// descent is what follows the rename of a cutback: the proof. Where each request asks for the rollout's folder that is all of it.
//
// Where locations pass to a fixed name (nginx.pass: name) nginx asks for nothing, and the folder is only the fence against promoters
// that were frozen. There the way down is longer:
//
//	the folder     is renamed away, as ever: no link in it can be raised any more
//	stable         the link to a tree that gives stable everything, which was rendered and tested before the first raise and waits in
//	               the folder, is renamed onto current: nginx starts with it from here on
//	reload         of the master; proven when the stable tree answers and no worker of before takes connections
//	stop           of the candidate's web containers where that fails, for somebody's broken file or a reload that is ignored: nginx
//	               tries refused connections on stable; proven when each address of the candidate's refuses
//
// It needs no lock. A promoter that made its tree current right before the fence reloads whatever is current, which is the stable tree,
// and its undo link is behind the fence. Of two cutbacks at once the second finds no link, and proves what the first made current.
type descent struct {
	fence    Fence
	tree     description // of the current generation; zero where it cannot be read
	card     Card
	probe    probe
	host     Host
	procs    processes
	patience time.Duration
}

// stableLink leads to the rollout's stable tree.
const stableLink = "stable"

// stopPatience bounds how long the engine may take to stop the candidate: it may hang.
const stopPatience = 10 * time.Second

// errIdle tells that there is no nginx to be told: it will start with what is current.
var errIdle = errors.New("nginx does not run")

// Stop is what a cutback stopped of the candidate.
type Stop struct {
	// Why tells what kept nginx from loading the stable tree; nil where it did, and nothing had to be stopped.
	Why error
	// Project is the candidate's, Services what was stopped of it; empty where nothing of it ran any more.
	Project  string
	Services []string
}

// String says it to people.
func (s Stop) String() string {
	if len(s.Services) == 0 {
		return fmt.Sprintf("the candidate is stopped: %v", s.Why)
	}
	return fmt.Sprintf("stopped %s of %s: %v", strings.Join(s.Services, ", "), s.Project, s.Why)
}

// descentOf is the descent of who has nothing but the app's folder.
func descentOf(root string, card Card, host Host, now func() time.Time) descent {
	d := descent{fence: Fence{root}, card: card, probe: newProbe(root, card.Probe, card.App, now), host: host, procs: processes{"/proc"}, patience: cutPatience}
	d.tree, _ = generations{root}.describe()
	return d
}

func (p *Proxy) descent() descent {
	card, err := ReadCard(p.root)
	if err != nil {
		card = Card{Stacks: p.webStacks()}
	}
	d := descent{fence: p.fence, card: card, probe: p.probe, host: p.options.Host, procs: p.procs, patience: p.cutPatience}
	d.tree, _ = p.trees.describe()
	return d
}

// CutOne is Back for one rollout, for who must not mean a newer one, and may have no nginx yet. Where nginx asks for the folder it
// proves nothing. An nginx that does not run is no error: it starts with everything on stable. Of the outcome only Cut and Stop are set;
// the rollout is in Cut where its folder is gone, whoever took it away.
func CutOne(ctx context.Context, root string, id traffic.RolloutID, host Host, now func() time.Time) (Outcome, error) {
	fence := Fence{root}
	failed := fence.cutBecause(id, "")
	if errors.Is(failed, errFinished) || fence.stands(id) == nil {
		return Outcome{}, failed
	}
	o := Outcome{Cut: []traffic.RolloutID{id}}
	card, unknown := ReadCard(root)
	d := descentOf(root, card, host, now)
	last, err := fence.Last()
	if !d.tree.fixed() || err != nil || last.ID != id { // a newer one was opened only after this one gave nobody anything
		return o, errors.Join(failed, err)
	}
	if unknown != nil {
		return o, errors.Join(failed, noProof(root, unknown))
	}
	_, stop, err := d.prove(ctx)
	if errors.Is(err, errIdle) {
		err = nil
	}
	o.Stop = stop
	return o, errors.Join(failed, err, d.sync())
}

// sync makes the renames survive a power loss.
func (d descent) sync() error {
	err := syncFolder(d.fence.rollouts())
	if d.tree.fixed() {
		err = errors.Join(err, syncFolder(d.fence.Root))
	}
	return err
}

// await asks nginx for as long as a cutback may take. A cutback is not called off when the context ends.
func (d descent) await(ctx context.Context, enough func(traffic.Live) bool) (traffic.Live, error) {
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.patience)
	defer cancel()
	return d.probe.await(patient, enough)
}

// prove ends a cutback: nobody gets the candidate any more when it gives no error. Live then says so, also where nginx would still
// give it a share.
func (d descent) prove(ctx context.Context) (traffic.Live, Stop, error) {
	if !d.tree.fixed() {
		live, err := d.await(ctx, onStable)
		return live, Stop{}, err
	}
	share := d.tree.Split.Weight
	if last, err := d.fence.Last(); share > 0 && (err != nil || last.ID != d.tree.Split.Rollout || last.State != FolderCut) {
		return traffic.Live{}, Stop{}, errors.Join(err, fmt.Errorf("generation %d is of rollout %s, which was not cut back", d.tree.Generation, d.tree.Split.Rollout))
	}
	var live traffic.Live
	why := fmt.Errorf("generation %d is still current, and gives %s %s", d.tree.Generation, d.tree.Split.Candidate(), share)
	if share == 0 {
		live, why = d.reload(ctx)
	}
	if why == nil || errors.Is(why, errIdle) {
		return live, Stop{}, why
	}
	live, stop, err := d.stop(ctx, live, why)
	if err == nil && share > 0 {
		err = &traffic.Fault{Kind: traffic.Unproven, Err: fmt.Errorf("%s was stopped, but nginx would be started with a share for it: %w", d.tree.Split.Candidate(), why),
			Hint: cutByHand(d.fence.Root, why)}
	}
	return live, stop, err
}

// reload has nginx load the current tree, unless it has, and proves it. Whoever raised right before may have workers of his tree start
// while ours are noted: so nothing but the current tree may answer for as long as nginx's master leaves such workers alone.
func (d descent) reload(ctx context.Context) (traffic.Live, error) {
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.patience)
	defer cancel()
	loaded := func(l traffic.Live) bool { return l.Generation == d.tree.Generation }
	if live, err := d.probe.ask(patient); err == nil && loaded(live) {
		return d.probe.settled(patient, loaded)
	}
	if d.card.Pid == "" {
		return traffic.Live{}, errors.New("nobody knows nginx's pid file")
	}
	master, missing := d.procs.master(view{}, d.card.Pid)
	if missing != nil {
		return traffic.Live{}, fmt.Errorf("%w: %v", errIdle, missing)
	}
	old, _ := d.procs.workers(master) // where they are hidden, what answers has to do
	if err := d.host.Hangup(master); err != nil {
		return traffic.Live{}, fmt.Errorf("tell nginx to reload: %w", err)
	}
	calm := lasting(loaded)
	left := len(d.procs.accepting(old))
	live, err := d.probe.await(patient, func(l traffic.Live) bool {
		quiet, before := calm(l), left // looked at before the question was put: so it was no old worker that answered it
		left = len(d.procs.accepting(old))
		return quiet && before == 0
	})
	if err != nil {
		err = fmt.Errorf("nginx did not load generation %d", d.tree.Generation)
	}
	return live, err
}

// stop takes the candidate's web services away from under an nginx that would still pass to them.
func (d descent) stop(ctx context.Context, heard traffic.Live, why error) (traffic.Live, Stop, error) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	candidate := d.tree.Split.Candidate()
	stack := d.card.Stacks[candidate]
	stop := Stop{Why: why, Project: stack.Project}
	err := refusing(bounded, stack.Addresses)
	if err != nil && stack.Project != "" {
		if stop.Services, err = d.stopServices(bounded, stack); err == nil {
			err = refused(bounded, stack.Addresses)
		}
	}
	if err != nil {
		return heard, stop, &traffic.Fault{Kind: traffic.Unproven, Err: fmt.Errorf("%s may still get requests: %w", candidate, errors.Join(why, err)), Hint: stopByHand(candidate, stack)}
	}
	// Whatever nginx's tree says, stable gets what it has no other for.
	heard.Split.Stable, heard.Split.Releases = d.tree.Split.Stable, d.tree.Split.Releases
	heard.Open, heard.Finished, heard.At = false, false, d.probe.now()
	return heard, stop, nil
}

// stopServices stops the running containers of the web services, and tells of which ones there were.
func (d descent) stopServices(ctx context.Context, stack WebStack) ([]string, error) {
	listed, err := d.docker(ctx, "ps", "--filter", "label=com.docker.compose.project="+stack.Project,
		"--filter", "label=com.docker.compose.oneoff=False", "--format", `{{.ID}} {{.Label "com.docker.compose.service"}}`)
	if err != nil {
		return nil, err
	}
	argv := []string{"stop", "-t", "0"}
	var services []string
	for line := range strings.Lines(listed) {
		id, service, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !slices.Contains(stack.Services, service) { // a warning of the client's is none either
			continue
		}
		argv = append(argv, id)
		if !slices.Contains(services, service) {
			services = append(services, service)
		}
	}
	if len(services) == 0 {
		return nil, fmt.Errorf("no container of %s runs %s", stack.Project, strings.Join(stack.Services, " or "))
	}
	_, err = d.docker(ctx, argv...)
	return services, err
}

// docker asks the engine by its command line, which is all that is wanted here: a client costs every cutback its start.
func (d descent) docker(ctx context.Context, args ...string) (string, error) {
	said, err := d.host.Run(ctx, append([]string{"docker"}, args...)...)
	switch {
	case err != nil && ctx.Err() != nil:
		err = fmt.Errorf("docker %s: no answer within %v", args[0], stopPatience)
	case err != nil:
		err = fmt.Errorf("docker %s: %w: %s", args[0], err, strings.TrimSpace(string(said)))
	}
	return string(said), err
}

// refused waits until nobody listens on any of the addresses.
func refused(ctx context.Context, addresses []string) error {
	for {
		err := refusing(ctx, addresses)
		if err == nil || pause(ctx, askPause) != nil {
			return err
		}
	}
}

// refusing gives an error unless nobody listens on any of the addresses.
func refusing(ctx context.Context, addresses []string) error {
	if len(addresses) == 0 {
		return errors.New("nobody knows the addresses of its services")
	}
	var dialer net.Dialer
	for _, address := range addresses {
		connection, err := dialer.DialContext(ctx, "tcp", address)
		switch {
		case err == nil:
			return errors.Join(fmt.Errorf("%s takes connections", address), connection.Close())
		case !errors.Is(err, syscall.ECONNREFUSED):
			return err
		}
	}
	return nil
}

// stopByHand is what to type where a cutback could neither have nginx reload nor stop the candidate.
func stopByHand(candidate traffic.Color, stack WebStack) string {
	const then = "Then `nginx -t` names the file to be mended, and `cutover back` proves it."
	if stack.Project == "" {
		return fmt.Sprintf("Stop %s yourself (%s): nginx then uses stable. %s", candidate, strings.Join(stack.Addresses, ", "), then)
	}
	return fmt.Sprintf("As root: docker stop -t 0 $(docker ps -q --filter label=com.docker.compose.project=%s)\n%s", stack.Project, then)
}

// restore makes the stable tree current that waits in the folder of a rollout that was cut back. There is none where each request asks
// for the folder, where nothing was raised yet, and where it was done before.
func (f Fence) restore(folder string) error {
	if err := f.restoreStable(folder); err != nil {
		return err
	}
	link := filepath.Join(folder, stableLink)
	if _, err := os.Readlink(link); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.Rename(link, filepath.Join(f.Root, "current")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("make the stable tree current: %w", err)
	}
	return nil
}

// Complete ends a cutback that was killed between its renames, so that nginx may be started. Who has one that runs proves it by CutOne.
func (f Fence) Complete() error { return f.restoreLast() }

// restoreLast completes a cutback that was killed between its two renames. Only the newest rollout's: an older stable tree may name a
// release that is gone.
func (f Fence) restoreLast() error {
	folders, err := f.list()
	if err != nil || len(folders) == 0 || folders[len(folders)-1].state != FolderCut {
		return err
	}
	return f.restore(filepath.Join(f.rollouts(), folders[len(folders)-1].name))
}

// rehearseDescent tells whether whoever asks could do the rest of a cutback, where there is more than the rename.
func (f Fence) rehearseDescent() error {
	if tree, err := (generations{f.Root}).describe(); err != nil || !tree.fixed() {
		return nil // without a tree there is nothing to be cut back
	}
	trial, err := os.MkdirTemp(f.Root, ".rehearsal-")
	if err != nil {
		return fmt.Errorf("rehearse a cutback: %w", err)
	}
	if err := os.Remove(trial); err != nil {
		return err
	}
	card, err := ReadCard(f.Root)
	if err != nil || card.Pid == "" {
		return err // before the first rollout nobody knows it
	}
	if master, err := (processes{"/proc"}).master(view{}, card.Pid); err == nil {
		if err := syscall.Kill(master, 0); err != nil {
			return fmt.Errorf("rehearse a cutback: tell nginx to reload: %w", err)
		}
	}
	return nil
}
