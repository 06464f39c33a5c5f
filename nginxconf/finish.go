package nginxconf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"cutover/traffic"
)

// ErrDraining says that the candidate is nginx's default, but workers of older generations still have connections, which
// they may answer from the old color. The old stack must stay. To finish again completes it.
var ErrDraining = errors.New("old workers of nginx still have connections")

// Finish makes the accepted candidate the default; see traffic.Router. s is the rollout's split: Stable is still the old
// default. It may be repeated from each half-done state:
//
//	rollouts/000017       -> 000017.done by one rename; from then on the candidate has everything, and no cutback is possible
//	000017.done, old tree -> the new default is rendered, tested, made current, reloaded, proven
//	000017.done, new tree -> proven again; then, when no old worker is left, the folder is removed
//	no folder, new tree   -> proven again
//
// It waits for old workers until the context ends; then the error is ErrDraining, a fault of kind Busy. nginx's
// configuration is tested before the first rename, so that a foreign broken file leaves the way back open.
func (p *Proxy) Finish(ctx context.Context, s traffic.Split) (traffic.Live, error) {
	if err := errors.Join(p.options.Validate(), validateSplit(s)); err != nil || s.Rollout == 0 {
		return traffic.Live{}, &traffic.Fault{Kind: traffic.Usage, Err: fmt.Errorf("finish rollout %s: %w", s.Rollout, errors.Join(err))}
	}
	live, i, err := p.makeDefault(ctx, s)
	if err != nil {
		return traffic.Live{}, err
	}
	if _, err := os.Lstat(p.fence.doneFolder(s.Rollout)); errors.Is(err, fs.ErrNotExist) {
		return live, nil
	}
	if err := p.drained(ctx, i.master); err != nil {
		return live, err
	}
	if err := os.RemoveAll(p.fence.doneFolder(s.Rollout)); err != nil {
		return live, fmt.Errorf("finish rollout %s: %w", s.Rollout, err)
	}
	return live, syncFolder(p.fence.rollouts())
}

// makeDefault does the part of finishing that needs the lock.
func (p *Proxy) makeDefault(ctx context.Context, s traffic.Split) (traffic.Live, instance, error) {
	unlock, err := p.lock(ctx)
	if err != nil {
		return traffic.Live{}, instance{}, err
	}
	defer unlock()
	i, err := p.running(ctx)
	if err != nil {
		return traffic.Live{}, instance{}, err
	}
	wanted := traffic.Split{Stable: s.Candidate(), Releases: s.Releases}
	if p.isDefault(wanted) {
		live, err := p.provenDefault(ctx, i, s, wanted)
		return live, i, err
	}
	if err := p.testCurrent(ctx, i); err != nil {
		return traffic.Live{}, instance{}, err
	}
	if err := p.fence.Done(s.Rollout); err != nil {
		return traffic.Live{}, instance{}, err
	}
	m, err := p.prepare(ctx, wanted, p.fence.doneFolder(s.Rollout))
	if err != nil {
		return traffic.Live{}, instance{}, fmt.Errorf("finish rollout %s (the candidate has everything already): %w", s.Rollout, err)
	}
	live, err := p.perform(ctx, m)
	if err != nil {
		return traffic.Live{}, instance{}, fmt.Errorf("finish rollout %s (the candidate has everything already): %w", s.Rollout, err)
	}
	return live, i, p.writeFinished(s, wanted)
}

// isDefault tells whether the current tree already has the wanted default.
func (p *Proxy) isDefault(wanted traffic.Split) bool {
	gen, err := p.trees.current()
	if err != nil {
		return false
	}
	_, split, err := p.trees.read(gen)
	return err == nil && split.Rollout == 0 && split.Stable == wanted.Stable
}

// provenDefault proves a default that was made current before. It reloads only where nginx does not serve it, since a crash may
// have come before the reload; each reload more would leave workers more to wait for.
func (p *Proxy) provenDefault(ctx context.Context, i instance, s, wanted traffic.Split) (traffic.Live, error) {
	gen, err := p.trees.current()
	if err != nil {
		return traffic.Live{}, err
	}
	brief, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	live, err := p.probe.settled(brief, func(l traffic.Live) bool { return l.Generation == gen })
	if err != nil {
		live, err = p.reload(ctx, move{instance: i, split: wanted, gen: gen})
	}
	if err != nil {
		return traffic.Live{}, fmt.Errorf("finish rollout %s: %w", s.Rollout, err)
	}
	return live, p.writeFinished(s, wanted)
}

// writeFinished lets a later cutback know that there is nothing warm to go back to.
func (p *Proxy) writeFinished(s, wanted traffic.Split) error {
	if card, err := ReadCard(p.root); err == nil && card.Finished >= s.Rollout {
		return nil // a repetition must not hide what was opened since
	}
	return p.writeCard(wanted, func(c *Card) { c.Finished, c.Previous = s.Rollout, s.Releases[s.Stable] })
}

// drained waits until no worker of an older generation is left. Titled `is shutting down` is not enough: a connection
// that was opened and is still silent is answered by it.
func (p *Proxy) drained(ctx context.Context, master int) error {
	const between = 100 * time.Millisecond // reading the whole process table costs more than a question
	for {
		left, err := p.procs.draining(master)
		if err == nil && len(left) == 0 {
			return nil
		}
		what := fmt.Errorf("%w: %d of them", ErrDraining, len(left))
		if err != nil {
			what = errors.Join(ErrDraining, err)
		}
		if err != nil || pause(ctx, between) != nil {
			return &traffic.Fault{Kind: traffic.Busy, Err: what,
				Hint: "The old stack has to stay until they are gone; the next command tries again. `worker_shutdown_timeout 5m;` in nginx.conf limits them."}
		}
	}
}
