package nginxconf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"cutover/traffic"
)

// Base makes nginx's first tree, which sends everything to stable, so that the user's includes have something to lead to.
// It does nothing where there is one, but to have it loaded if nginx runs without it.
//
// A running nginx whose configuration includes the app is tested, reloaded and asked; any other is left alone.
func (p *Proxy) Base(ctx context.Context, stable traffic.Color, releases map[traffic.Color]string) error {
	split := traffic.Split{Stable: stable, Releases: releases}
	if err := errors.Join(p.options.Validate(), validateSplit(split)); err != nil {
		return &traffic.Fault{Kind: traffic.Usage, Err: err}
	}
	if err := p.namesake(); err != nil {
		return err
	}
	if err := p.makeRoot(); err != nil {
		return err
	}
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	gen, err := p.trees.current()
	if errors.Is(err, fs.ErrNotExist) {
		return p.firstTree(ctx, split)
	}
	if err != nil {
		return err
	}
	if err := p.relink(stable); err != nil {
		return err
	}
	live, err := p.standing(gen)
	switch {
	case err != nil:
		return err
	case p.samePass() != nil && p.unoccupied() == nil && live.Stable == stable:
		return p.firstTree(ctx, split) // nobody has a share, whichever way
	case live.Stable != stable:
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("generation %d makes %s the default, not %s", gen, live.Stable, stable),
			Hint: fmt.Sprintf("Move the traffic by `cutover shift --to %s --weight 100` and `cutover accept`.", stable)}
	case p.unoccupied() == nil && p.outlived(ctx, gen):
		return p.firstTree(ctx, split)
	case live.Rollout != 0:
		return nil // loading it could raise a share; only Raise does that
	}
	return p.load(ctx, gen, live)
}

// outlived tells that nginx refuses the current tree itself, which it took once: its program is another version now, mostly an older one.
// It would not start with that tree, so the same is rendered for what it is now.
func (p *Proxy) outlived(ctx context.Context, gen traffic.Generation) bool {
	i, err := p.configured(ctx)
	if err != nil {
		return false
	}
	err = p.test(ctx, i, gen)
	return traffic.KindOf(err) == traffic.Refused && strings.Contains(detailOf(err), p.trees.folder(gen)+"/")
}

// detailOf is what nginx said about what it refuses.
func detailOf(err error) string {
	fault, _ := errors.AsType[*traffic.Fault](err)
	if fault == nil {
		return ""
	}
	return strings.Join(fault.Detail, "\n")
}

// relink makes the link to the default anew where it cannot be read and no rollout has one that waits: then nobody but the person who
// names the color knows it, and back.json must not know another.
func (p *Proxy) relink(stable traffic.Color) error {
	tree, err := p.trees.describe()
	if err != nil || tree.Buckets == 0 {
		return nil // told by what reads it next, or there is no such link
	}
	if _, err := p.fence.liveStable(); err == nil || p.unoccupied() != nil {
		return nil
	}
	if card, err := ReadCard(p.root); err == nil && card.Stable != stable {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s cannot be read, and %s was stable, not %s", p.fence.stableLink(), card.Stable, stable),
			Hint: fmt.Sprintf("`cutover init --stable %s` makes the link anew.", card.Stable)}
	}
	return p.fence.setStable(stable)
}

// standing is the split of the current generation. Where the links decide they say who is stable.
func (p *Proxy) standing(gen traffic.Generation) (traffic.Split, error) {
	_, s, err := p.trees.read(gen)
	if err != nil {
		return traffic.Split{}, err
	}
	if tree, err := p.trees.describe(); err == nil && tree.Buckets > 0 {
		s.Stable, err = p.fence.liveStable()
		return s, err
	}
	return s, nil
}

// firstTree makes the first generation current. A tree that nginx refuses is not made current, with one exception: where the
// includes are there and lead to nothing, nginx cannot start without it, and is asked afterwards.
func (p *Proxy) firstTree(ctx context.Context, s traffic.Split) error {
	i, err := p.configured(ctx)
	if i.build.Version == "" {
		return err
	}
	readable := err == nil
	if err := p.enclosed(i); err != nil {
		return err
	}
	if p.live() {
		if err := p.fence.setStable(s.Stable); err != nil {
			return err
		}
	}
	if err := p.probe.free(ctx); err != nil {
		return err
	}
	gen, err := p.trees.next()
	if err != nil {
		return err
	}
	if err := p.stage(s, gen, p.serverLines(i)); err != nil {
		return err
	}
	tested := false
	if readable {
		err := p.test(ctx, i, gen)
		if traffic.KindOf(err) != traffic.Preflight && err != nil {
			return errors.Join(err, p.trees.drop(gen))
		}
		tested = err == nil
	}
	link := filepath.Join(p.root, fmt.Sprintf("current.%d", gen))
	if err := errors.Join(p.writeCard(s, func(*Card) {}), p.trees.prepare(link, gen)); err != nil {
		return errors.Join(err, p.trees.drop(gen))
	}
	if err := p.trees.swap(link); err != nil {
		return fmt.Errorf("make generation %d current: %w", gen, err)
	}
	if tested {
		return p.tell(ctx, i, gen, s)
	}
	return p.load(ctx, gen, s)
}

// load has nginx judge the current generation, which has no rollout, and a running nginx serve it. Where the configuration
// cannot be read or does not include the app there is nobody to be told; Preflight says so.
func (p *Proxy) load(ctx context.Context, gen traffic.Generation, s traffic.Split) error {
	if live, err := p.probe.ask(ctx); err == nil && live.Generation == gen {
		return nil
	}
	i, err := p.configured(ctx)
	if err == nil {
		err = p.test(ctx, i, gen)
	}
	if traffic.KindOf(err) == traffic.Preflight {
		return nil
	}
	if err != nil {
		return fmt.Errorf("generation %d is in place: %w", gen, err)
	}
	return p.tell(ctx, i, gen, s)
}

// tell has a running nginx serve the current generation, which was tested.
func (p *Proxy) tell(ctx context.Context, i instance, gen traffic.Generation, s traffic.Split) error {
	var err error
	if i.master, err = p.procs.master(i.view, i.chain.PidFile(i.build)); err != nil {
		return nil // not running: it starts with this tree
	}
	if err := p.probe.free(ctx); err != nil {
		return err
	}
	if _, err := p.reload(ctx, move{split: s, gen: gen, instance: i}); err != nil {
		return fmt.Errorf("generation %d is in place, but nginx did not take it: %w", gen, err)
	}
	return nil
}

// Open takes the id of a new rollout by making its folder, and writes what a cutback of it will need. No traffic moves:
// no generation asks for the folder yet. The id is above after and above that of every folder.
// Busy where another rollout stands or is not finished.
func (p *Proxy) Open(ctx context.Context, after traffic.RolloutID, s traffic.Split) (traffic.RolloutID, error) {
	if err := errors.Join(p.options.Validate(), validateSplit(traffic.Split{Stable: s.Stable})); err != nil {
		return 0, &traffic.Fault{Kind: traffic.Usage, Err: err}
	}
	if err := p.unoccupied(); err != nil {
		return 0, err
	}
	if err := p.unladen(ctx, s.Candidate()); err != nil {
		return 0, err
	}
	if err := p.renew(ctx, s); err != nil {
		return 0, err
	}
	i, err := p.configured(ctx)
	if err != nil {
		return 0, err
	}
	id, err := p.fence.open(after)
	if err != nil {
		return 0, &traffic.Fault{Kind: traffic.Preflight, Err: err, Hint: "`cutover init` makes the folder; joining its group lets you write there."}
	}
	s.Rollout = id
	err = p.writeCard(s, func(c *Card) { c.Pid = i.chain.PidFile(i.build) })
	if err == nil {
		err = p.fence.admit(id)
	}
	switch {
	case err != nil:
	case p.live():
		err = p.fence.arrange(id, s.Stable)
	default:
		err = makeFolder(p.fence.candidateFolder(id, s.Candidate()), 0o755)
	}
	if err == nil {
		err = syncFolder(p.fence.openFolder(id))
	}
	if err != nil {
		// A folder that nobody will ever use must not look like an open rollout.
		return 0, errors.Join(fmt.Errorf("open rollout %s: %w", id, p.unlessCut(id, err)), p.fence.cutBecause(id, "it could not be opened"))
	}
	return id, nil
}

// unoccupied makes sure that no rollout is open or half finished.
func (p *Proxy) unoccupied() error {
	folders, err := p.fence.list()
	if err != nil {
		return err
	}
	for _, r := range folders {
		switch r.state {
		case FolderOpen:
			return &traffic.Fault{Kind: traffic.Busy, Err: fmt.Errorf("rollout %s is open", r.id), Hint: "`cutover status` shows it; `cutover back` ends it."}
		case FolderDone:
			return &traffic.Fault{Kind: traffic.Busy, Err: fmt.Errorf("rollout %s is not finished yet", r.id),
				Hint: "What nginx still has open to the release before keeps it. `cutover status` shows it, nginx.drain limits it."}
		}
	}
	return nil
}

// Prune removes generations and cut folders that nobody needs any more. It keeps the current generation, those that the
// links of an open or half-finished rollout name, and the newest few of each.
func (p *Proxy) Prune(ctx context.Context) error {
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(p.pruneGenerations(), p.pruneCuts())
}

// kept is how many old generations and cut folders stay for a look.
const kept = 5

func (p *Proxy) pruneGenerations() error {
	all, err := p.trees.list()
	if err != nil {
		return err
	}
	// A cutback waits for no lock. It moves a link from an open folder to a cut one, and from there to current: looked at in this
	// order, it is seen somewhere.
	needed := map[traffic.Generation]bool{}
	for _, pattern := range []string{"[0-9]*[0-9]/*", "*.done/*", "*.cut*/" + stableLink} {
		links, err := filepath.Glob(filepath.Join(p.fence.rollouts(), pattern))
		if err != nil {
			return err
		}
		for _, link := range links {
			if target, err := os.Readlink(link); err == nil {
				gen, _ := parseGeneration(filepath.Base(target))
				needed[gen] = true
			}
		}
	}
	current, err := p.trees.current()
	if err != nil {
		return err
	}
	needed[current] = true
	// Copies of the user's files lie there only while a test runs, and we hold the lock.
	left, err := filepath.Glob(filepath.Join(p.root, "gen", "*.test"))
	if err != nil {
		return err
	}
	var failed []error
	for _, scratch := range left {
		failed = append(failed, os.RemoveAll(scratch))
	}
	for n, gen := range all {
		if n < len(all)-kept && !needed[gen] {
			failed = append(failed, p.trees.drop(gen))
		}
	}
	return errors.Join(failed...)
}

func (p *Proxy) pruneCuts() error {
	folders, err := p.fence.list()
	if err != nil {
		return err
	}
	var failed []error
	for n, r := range folders {
		path := filepath.Join(p.fence.rollouts(), r.name)
		_, err := os.Lstat(filepath.Join(path, whyFile))
		unread := !errors.Is(err, fs.ErrNotExist) // its reason is in no journal yet
		if r.state == FolderCut && n < len(folders)-kept && !unread {
			failed = append(failed, os.RemoveAll(path))
		}
	}
	return errors.Join(failed...)
}
