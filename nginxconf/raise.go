package nginxconf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"cutover/traffic"
)

// move is one way from the current generation to the next. Its links lie in the rollout's folder, so that it can neither be
// made nor undone once that was renamed away.
type move struct {
	instance
	split traffic.Split
	gen   traffic.Generation
	// before is what the present generation renders, previous its number; zero where there is none.
	before   traffic.Split
	previous traffic.Generation
	// link leads to gen, undo to previous.
	link, undo string
}

// Raise makes nginx serve the split from a new generation and proves it; see traffic.Router. A split that is live already is
// only proven again. What could not be proven is undone, unless the present tree would give the candidate more.
func (p *Proxy) Raise(ctx context.Context, s traffic.Split) (traffic.Live, error) {
	if err := errors.Join(p.options.Validate(), validateSplit(s)); err != nil {
		return traffic.Live{}, &traffic.Fault{Kind: traffic.Usage, Err: err}
	}
	if s.Rollout == 0 {
		return traffic.Live{}, &traffic.Fault{Kind: traffic.Usage, Err: errors.New("raise: no rollout was named")}
	}
	unlock, err := p.lock(ctx)
	if err != nil {
		return traffic.Live{}, err
	}
	defer unlock()
	if err := errors.Join(p.raisable(s.Rollout), p.samePassIn(s.Rollout)); err != nil {
		return traffic.Live{}, err
	}
	if s.Weight > 0 {
		if err := p.Reaches(ctx, s.Candidate()); err != nil {
			return traffic.Live{}, p.unlessCut(s.Rollout, err)
		}
	}
	if p.live() {
		return p.raiseLive(ctx, s)
	}
	if live, ok := p.already(ctx, s); ok {
		return live, nil
	}
	m, err := p.prepare(ctx, s, p.fence.openFolder(s.Rollout))
	if err != nil {
		return traffic.Live{}, p.unlessCut(s.Rollout, err)
	}
	return p.perform(ctx, m)
}

// raisable makes sure that the rollout stands and is the newest: an older one must never move traffic again.
func (p *Proxy) raisable(id traffic.RolloutID) error {
	if err := p.fence.stands(id); err != nil {
		return err
	}
	last, err := p.fence.Last()
	if err != nil {
		return err
	}
	if last.ID != id {
		return &traffic.Fault{Kind: traffic.Busy, Err: fmt.Errorf("rollout %s is not the newest: %s is", id, last.ID)}
	}
	return nil
}

// unlessCut gives traffic.ErrCut instead of an error that came because the rollout's folder is gone.
func (p *Proxy) unlessCut(id traffic.RolloutID, err error) error {
	if cut := p.fence.stands(id); cut != nil {
		return cut
	}
	return err
}

// already tells whether nginx serves the split from the current generation, and nothing else.
func (p *Proxy) already(ctx context.Context, s traffic.Split) (traffic.Live, bool) {
	gen, err := p.trees.current()
	if err != nil {
		return traffic.Live{}, false
	}
	if _, split, err := p.trees.read(gen); err != nil || !sameSplit(split, s) {
		return traffic.Live{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	live, err := p.probe.settled(ctx, func(l traffic.Live) bool { return l.Generation == gen && l.Open })
	return live, err == nil
}

// prepare renders the next generation, has nginx judge it, and makes the links. Nothing that nginx reads has changed then.
func (p *Proxy) prepare(ctx context.Context, s traffic.Split, folder string) (move, error) {
	i, err := p.running(ctx)
	if err != nil {
		return move{}, err
	}
	if err := p.probe.free(ctx); err != nil {
		return move{}, err
	}
	m := move{instance: i, split: s}
	if m.previous, err = p.trees.current(); err != nil {
		return move{}, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s has no generation to go back to: %w", p.root, err), Hint: "`cutover init` writes the first one."}
	}
	if _, m.before, err = p.trees.read(m.previous); err != nil {
		return move{}, err
	}
	if p.fixed() && s.Rollout != 0 {
		if err := p.prepareDescent(ctx, i, s, folder); err != nil {
			return move{}, err
		}
	}
	if m.gen, err = p.trees.next(); err != nil {
		return move{}, err
	}
	m.link = filepath.Join(folder, fmt.Sprintf("current.%d", m.gen))
	m.undo = filepath.Join(folder, fmt.Sprintf("undo.%d", m.gen))
	err = p.stageTested(ctx, i, s, m.gen)
	if err == nil {
		err = errors.Join(p.trees.prepare(m.undo, m.previous), p.trees.prepare(m.link, m.gen), syncFolder(folder))
	}
	if err != nil {
		return move{}, errors.Join(err, p.discard(m))
	}
	return m, nil
}

// stage renders a generation and writes it where nobody looks yet.
func (p *Proxy) stage(s traffic.Split, gen traffic.Generation, logs []string) error {
	files, err := p.Render(s, gen, logs)
	if err != nil {
		return err
	}
	return p.trees.stage(gen, files)
}

// stageTested is stage, with nginx's judgement. nginx reads what was written while it goes to the disk; nobody names the generation
// before both are done.
func (p *Proxy) stageTested(ctx context.Context, i instance, s traffic.Split, gen traffic.Generation) error {
	files, err := p.Render(s, gen, p.serverLines(i))
	if err != nil {
		return err
	}
	if err := p.trees.write(gen, files); err != nil {
		return err
	}
	var syncing sync.WaitGroup
	var synced error
	syncing.Go(func() { synced = p.trees.sync(gen, files) })
	err = p.test(ctx, i, gen)
	syncing.Wait()
	return errors.Join(err, synced)
}

// discard takes a change away that was never made.
func (p *Proxy) discard(m move) error {
	errs := []error{p.trees.drop(m.gen)}
	for _, link := range []string{m.link, m.undo} {
		if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// perform makes a prepared change: one rename, reload, proof; and takes it back when it cannot be proven.
//
// The rename goes to the disk while nginx is being proven to obey. A power loss before that leaves one of two trees current that were
// both accepted, as one right before the rename or right after it would; nobody has been told by then which.
func (p *Proxy) perform(ctx context.Context, m move) (traffic.Live, error) {
	err := p.trees.rename(m.link)
	if errors.Is(err, fs.ErrNotExist) {
		return traffic.Live{}, errors.Join(fmt.Errorf("make generation %d current: %w", m.gen, traffic.ErrCut), p.discard(m))
	}
	var live traffic.Live
	if err == nil {
		var syncing sync.WaitGroup
		var synced error
		syncing.Go(func() { synced = syncFolder(p.root) })
		live, err = p.reload(ctx, m)
		syncing.Wait()
		err = errors.Join(err, synced)
	}
	if err == nil {
		// The way back from here is the cutback. A link that is left over is only litter.
		_ = os.Remove(m.undo)
		return live, nil
	}
	if errors.Is(err, traffic.ErrCut) {
		return traffic.Live{}, err // stable has everything, whichever of the trees is loaded
	}
	return traffic.Live{}, p.undone(ctx, m, err)
}

// reload tells nginx's master to read the current tree and proves that it did. The old workers are noted right before: each
// that is there now is replaced by a reload that succeeds, also one that somebody else's reload has just started.
func (p *Proxy) reload(ctx context.Context, m move) (traffic.Live, error) {
	old, hidden := p.procs.workers(m.master)
	if err := p.options.Host.Hangup(m.master); err != nil {
		return traffic.Live{}, &traffic.Fault{Kind: traffic.Refused, Err: fmt.Errorf("tell nginx to reload: %w", err),
			Hint: "Run as root, or as the user that runs nginx."}
	}
	return p.prove(ctx, m, old, hidden)
}

// prove waits until the new generation answered and no old worker takes connections any more.
func (p *Proxy) prove(ctx context.Context, m move, old []process, hidden error) (traffic.Live, error) {
	patient, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	loaded := func(l traffic.Live) bool { return l.Generation == m.gen }
	var live traffic.Live
	var err error
	if hidden != nil {
		live, err = p.probe.settled(patient, loaded)
	} else {
		live, err = p.relieved(patient, old, func(l traffic.Live, relieved bool) bool { return loaded(l) && relieved || p.overtaken(m.split) })
	}
	switch {
	case err == nil:
		return live, p.fenced(m.split, live)
	case ctx.Err() != nil:
		return live, fmt.Errorf("wait for generation %d: %w", m.gen, ctx.Err())
	}
	return live, p.notLoaded(m, len(p.procs.accepting(old)), live, err)
}

// relieved asks nginx until the answer is enough, knowing whether none of the old workers took connections any more when the question
// was put: then none of them answered it. nginx tells them to go 100 ms after it started the new ones, whether anybody asks or not, so
// they are looked at far more often than a question is put.
func (p *Proxy) relieved(ctx context.Context, old []process, enough func(l traffic.Live, relieved bool) bool) (traffic.Live, error) {
	const look = time.Millisecond
	gone := func() bool {
		for len(old) > 0 && len(p.procs.accepting(old[:1])) == 0 {
			old = old[1:] // who has stopped taking connections never takes one again
		}
		return len(old) == 0
	}
	relieved := gone()
	rest := func() error {
		for range askPause / look {
			if err := pause(ctx, look); err != nil {
				return err
			}
			if !relieved && gone() {
				relieved = true
				break // to ask at once
			}
		}
		return nil
	}
	return p.probe.awaitAfter(ctx, func(l traffic.Live) bool { return enough(l, relieved) }, rest)
}

// fenced makes sure that the workers see the rollout's folder as we do.
func (p *Proxy) fenced(s traffic.Split, live traffic.Live) error {
	if s.Rollout == 0 || live.Open && !p.fixed() {
		return nil
	}
	if err := p.fence.stands(s.Rollout); err != nil || p.fixed() {
		return err
	}
	folder := p.fence.candidateFolder(s.Rollout, s.Candidate())
	if _, err := os.Lstat(folder); err != nil {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("the folder that nginx asks for is missing: %w", err), Hint: "Begin a new rollout."}
	}
	return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("nginx's workers cannot reach %s: to them it is missing, and everything goes to stable", folder),
		Hint: "Let the workers' user enter each folder of this path (`namei -l` shows them), or set nginx.dir to another one."}
}

// notLoaded says why a reload was not proven.
func (p *Proxy) notLoaded(m move, left int, live traffic.Live, err error) error {
	fault := &traffic.Fault{Kind: traffic.Refused, Hint: "nginx's error log says why it did not load the new files."}
	switch {
	case isStranger(err):
		fault.Err = fmt.Errorf("generation %d was not loaded: %w", m.gen, err)
	case live.Generation == 0:
		fault.Err = fmt.Errorf("nginx does not answer the probe since the reload to generation %d: %w", m.gen, err)
	case live.Generation != m.gen:
		fault.Err = fmt.Errorf("nginx ignored the reload: after %s generation %d still answers, not %d", p.patience, live.Generation, m.gen)
	default:
		fault.Err = fmt.Errorf("generation %d answers, but after %s %d old workers still take connections", m.gen, p.patience, left)
	}
	return fault
}

// undone takes a change back that could not be proven, and says which side serves. Where even that cannot be proven, that is
// the first fault.
func (p *Proxy) undone(ctx context.Context, m move, why error) error {
	if !m.mayUndo() {
		return errors.Join(why, fmt.Errorf("generation %d stays in place, since the one before gives %s more; `cutover back` works", m.gen, m.split.Candidate()))
	}
	err := p.trees.swap(m.undo)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(why, fmt.Errorf("undo: %w", traffic.ErrCut))
	}
	if err != nil {
		return errors.Join(why, fmt.Errorf("undo: generation %d could not be made current again: %w", m.previous, err))
	}
	if err := p.options.Host.Hangup(m.master); err != nil {
		return errors.Join(unproven(fmt.Sprintf("undo: tell nginx to reload generation %d", m.previous), err), why)
	}
	live, err := p.proveUndo(ctx, m)
	if err != nil {
		return errors.Join(unproven(fmt.Sprintf("undo: generation %d is current again, but was not seen to serve", m.previous), err), why)
	}
	return errors.Join(why, fmt.Errorf("undone: generation %d serves, %s %s, %s %s", live.Generation,
		live.Split.Stable, live.Share(live.Split.Stable), live.Split.Candidate(), live.Share(live.Split.Candidate())))
}

// proveUndo waits until nothing but the previous generation answers. Workers are not looked at: where the reload was ignored
// they are the same as before. Who was told to stop does not want to wait, and cuts back next.
func (p *Proxy) proveUndo(ctx context.Context, m move) (traffic.Live, error) {
	wait := p.patience
	if ctx.Err() != nil {
		wait = time.Second
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer cancel()
	return p.probe.settled(bounded, func(l traffic.Live) bool { return l.Generation == m.previous })
}

// mayUndo tells whether the tree before gives the candidate no more than this one.
func (m move) mayUndo() bool {
	switch {
	case m.previous == 0:
		return false // without a tree nginx would not start
	case m.before.Stable != m.split.Stable:
		return true // finishing: the folder .done gives the candidate everything in the tree before, too
	case m.before.Rollout != m.split.Rollout:
		return true // its rollout is over: everything goes to stable
	}
	return m.before.Weight <= m.split.Weight
}

// Cut takes the rollout's folder away, which sends everything to stable with the next request, and proves it; see
// traffic.Router. It waits for no lock, and goes on when the context has ended: a cutback is not called off.
func (p *Proxy) Cut(ctx context.Context, id traffic.RolloutID, why string) (traffic.Live, error) {
	switch err := p.fence.cutBecause(id, why); {
	case errors.Is(err, errFinished):
		return traffic.Live{}, &traffic.Fault{Kind: traffic.Policy, Err: err, Hint: "Nothing is warm to go back to; an older release comes back as a new rollout."}
	case err != nil:
		return traffic.Live{}, &traffic.Fault{Kind: traffic.Unproven, Err: err, Hint: cutByHand(p.root, err)}
	}
	d := p.descent()
	live, stop, err := d.prove(ctx)
	if stop.Why != nil && p.options.Say != nil {
		p.options.Say(stop.String())
	}
	// Only a power loss needs the sync, and a sick disk may take long for it: proof first.
	synced := d.sync()
	if _, told := errors.AsType[*traffic.Fault](err); told {
		return traffic.Live{}, errors.Join(err, synced)
	}
	if err != nil {
		return traffic.Live{}, errors.Join(unproven(fmt.Sprintf("rollout %s was cut, but nginx was not seen to obey", id), err), synced)
	}
	return live, nil
}

// onStable tells that stable gets everything.
func onStable(l traffic.Live) bool { return !l.Open && !l.Finished }

// cutByHand is what to type where a cutback may not rename.
func cutByHand(root string, err error) string {
	if errors.Is(err, syscall.EROFS) {
		return fmt.Sprintf("As root: mount -o remount,rw %s, or where that is mounted, then `cutover back` again. "+
			"Until then: stop the candidate's web containers, and stable answers for them.", shellWord(root))
	}
	if errors.Is(err, syscall.ENOTDIR) {
		return fmt.Sprintf("Something else lies where %s/rollouts was: nginx finds no rollout there, and stable gets everything. Move it away, "+
			"then `cutover init --stable COLOR`. Where the folder itself comes back, so does its share: `cutover back` at once.", shellWord(root))
	}
	if tree, err := (generations{root}).describe(); err == nil && tree.fixed() {
		return "As root: cutover back"
	}
	return fmt.Sprintf("As root: cd %s/rollouts && for r in [0-9]*[0-9]; do mv $r $r.cut; done", shellWord(root))
}
