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

// ErrDraining says that the candidate is nginx's default, but the old color is still in use: by connections that are open to it, or by
// workers of older generations, which may answer from it. The old stack must stay. To finish again completes it.
var ErrDraining = errors.New("nginx has not let go of the old release")

// Finish makes the accepted candidate the default; see traffic.Router. s is the rollout's split: Stable is still the old
// default. It may be repeated from each half-done state:
//
//	rollouts/000017       -> 000017.done by one rename; from then on the candidate has everything, and no cutback is possible
//	000017.done, old tree -> the new default is rendered, tested, made current, reloaded, proven
//	000017.done, new tree -> proven again; then, when nothing of nginx uses the old color, the folder is removed
//	no folder, new tree   -> proven again
//
// It waits for old workers and connections until the context ends; then the error is ErrDraining, a fault of kind Busy. It waits no
// more when nginx.drain is over since the candidate became the default. nginx's configuration is tested before the first rename, so
// that a foreign broken file leaves the way back open.
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
	if live.Severed, err = p.drained(ctx, i.master, s); err != nil {
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
	if p.live() {
		if err := p.samePassIn(s.Rollout); err != nil {
			return traffic.Live{}, instance{}, err
		}
		live, err := p.finishLive(ctx, s, wanted)
		return live, i, err
	}
	if p.isDefault(wanted) {
		live, err := p.provenDefault(ctx, i, s, wanted)
		return live, i, err
	}
	if err := errors.Join(p.samePassIn(s.Rollout), p.testCurrent(ctx, i)); err != nil {
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

// drained waits until nginx has let go of the old color, or nginx.drain is over; severed counts the connections that are open then.
//
// Connections to the color alone would not do: one that a client has opened to an old worker, and that is still silent, is answered by
// that worker. Nor would the workers alone: a request of any length may be open through one that was started since.
func (p *Proxy) drained(ctx context.Context, master int, s traffic.Split) (severed int, err error) {
	const between = 100 * time.Millisecond // reading the whole process table costs more than a question
	// Since the folder got its name, or the last link in it was used.
	since := p.fence.since(rolloutFolder{name: filepath.Base(p.fence.doneFolder(s.Rollout)), state: FolderDone})
	for {
		left, err := p.draining(master, s.Stable)
		if err == nil && left.Over() {
			return 0, nil
		}
		longest := since.Add(p.options.Config.Drain).Sub(p.options.Now())
		if longest <= 0 && !since.IsZero() {
			return left.Connections[s.Stable], nil
		}
		what := fmt.Errorf("%w: %s; waits for %v at most", ErrDraining, left, longest.Round(time.Second))
		if err != nil {
			what = errors.Join(ErrDraining, err)
		}
		if err != nil || pause(ctx, between) != nil {
			return 0, &traffic.Fault{Kind: traffic.Busy, Err: what,
				Hint: "The old stack stays until then; the next command tries again. nginx.drain limits the wait, `worker_shutdown_timeout 5m;` in nginx.conf what old workers keep."}
		}
	}
}
