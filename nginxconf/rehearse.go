package nginxconf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"cutover/traffic"
)

// Rehearsal is what a rehearsed cutback came to.
type Rehearsal struct {
	// Rollout is the id that it had.
	Rollout traffic.RolloutID
	// Took is from the call of the cutback to its proof.
	Took time.Duration
}

// rehearsed is the reason in a folder that a rehearsal took away.
const rehearsed = "rehearsed by cutover doctor"

// Rehearse cuts a rollout of weight 0 back: it takes the next id, raises, proves that nginx sees the folder, and takes that
// away and proves it, all as with a real one. No user is on the candidate at any time: what the current tree calls stable stays
// stable, and who that is must be the caller's belief too. Where it dies half-way the folder stays, and gives nobody anything.
//
// standing is called while the folder stands. The caller holds the app's rollout lock. After a proven cutback the id is free
// again: the tree that asks for its folder gives the candidate nothing, whoever opens it, until it is replaced.
func (p *Proxy) Rehearse(ctx context.Context, stable traffic.Color, after traffic.RolloutID, standing func()) (Rehearsal, error) {
	gen, err := p.trees.current()
	if err != nil {
		return Rehearsal{}, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s has no generation yet: %w", p.root, err), Hint: "`cutover init` writes the first one."}
	}
	split, err := p.standing(gen)
	if err != nil {
		return Rehearsal{}, err
	}
	if split.Stable != stable {
		return Rehearsal{}, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("generation %d makes %s the default, while the journal says that %s is stable", gen, split.Stable, stable),
			Hint: "Was the journal replaced? Say which color serves now with `cutover init --stable COLOR`."}
	}
	after = max(after, split.Rollout) // what the tree renders already would not be raised, and nothing proven
	split.Rollout, split.Weight = 0, 0
	id, err := p.Open(ctx, after, split)
	if err != nil {
		return Rehearsal{}, err
	}
	split.Rollout = id
	if _, err := p.Raise(ctx, split); err != nil {
		_, cut := p.Cut(ctx, id, rehearsed)
		return Rehearsal{Rollout: id}, errors.Join(err, cut, p.forget(id))
	}
	standing()
	began := p.options.Now()
	live, err := p.Cut(ctx, id, rehearsed)
	if err != nil {
		return Rehearsal{Rollout: id}, err // its folder says what happened, and keeps the id
	}
	return Rehearsal{Rollout: id, Took: live.At.Sub(began)}, errors.Join(p.forget(id), p.Prune(ctx))
}

// forget removes what a rehearsal leaves: `back` must not take it for somebody's cutback. One that somebody cut back meanwhile,
// and could not write down, stays for the next who writes the journal.
func (p *Proxy) forget(id traffic.RolloutID) error {
	folder := p.fence.openFolder(id) + ".cut"
	if _, err := os.Lstat(filepath.Join(folder, whyFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return errors.Join(os.RemoveAll(folder), syncFolder(p.fence.rollouts()))
}
