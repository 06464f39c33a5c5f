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

// linkError tells that what shares are switched live by is not as cutover left it, and nginx gives the candidate something all the
// same, or nobody knows who is stable.
type linkError struct {
	err  error
	hint string
}

func (e *linkError) Error() string { return e.err.Error() }

func (e *linkError) Unwrap() error { return e.err }

// askLive compares what the links say with what nginx does. Whatever they promise, nginx has the last word: a candidate that does not
// get the lowest bucket gets none.
func (p probe) askLive(ctx context.Context, a answer) (traffic.Live, error) {
	b := buckets{root: p.root, count: a.Buckets}
	l, err := b.read()
	if l.stable == "" {
		return traffic.Live{}, &linkError{fmt.Errorf("what is switched live cannot be read: %w", err),
			"`cutover back` makes the link anew while a rollout is open, `cutover init --stable COLOR` while none is."}
	}
	if err == nil {
		a, err = p.askEdges(ctx, b, l)
	} else {
		err = &linkError{fmt.Errorf("what is switched live cannot be read: %w", err), ""}
	}
	if broken, ok := errors.AsType[*linkError](err); ok {
		l.n = 0
		if a, err = p.askEdges(ctx, b, l); errors.As(err, new(*linkError)) {
			broken.hint = fmt.Sprintf("Somebody else's links are in %s: `cutover back` takes away what it knows, and says what nginx does then.", filepath.Join(p.root, "rollouts"))
			err = broken
		}
	}
	if err != nil {
		return traffic.Live{}, err
	}
	split := traffic.Split{Rollout: l.rollout, Stable: l.stable, Weight: b.weight(l.n)}
	if card, err := ReadCard(p.root); err == nil {
		split.Releases = card.Releases
	}
	return traffic.Live{Generation: a.Generation, Split: split, Open: a.Pool != poolStable && l.rollout != 0, At: p.now()}, nil
}

// askEdges compares the links with what nginx does at the edges of the share: the last bucket of the candidate's, and the first of
// stable's. It gives nginx's last answer; a linkError where they differ.
func (p probe) askEdges(ctx context.Context, b buckets, l linked) (a answer, err error) {
	for _, edge := range []struct {
		bucket int
		wanted traffic.Color
	}{{l.n - 1, l.stable.Other()}, {l.n, l.stable}} {
		if edge.bucket < 0 || edge.bucket == b.count {
			continue
		}
		if a, err = p.question(ctx, "/?bucket="+b.name(edge.bucket)); err != nil {
			return a, err
		}
		if got, _, _ := strings.Cut(a.Choice, "_"); got != string(edge.wanted) || a.Stable != l.stable {
			return a, &linkError{fmt.Errorf("nginx gives bucket %s to %s, the links in %s give it to %s", b.name(edge.bucket), got, p.root, edge.wanted), ""}
		}
	}
	return a, nil
}

// live tells that shares are switched live.
func (p *Proxy) live() bool { return p.options.Config.Switch == SwitchLive }

// wayOf is how many buckets a tree of this configuration has.
func (p *Proxy) wayOf() int {
	if p.live() {
		return p.options.Config.Buckets
	}
	return 0
}

func wayNamed(buckets int) string {
	if buckets == 0 {
		return "switch: reload"
	}
	return fmt.Sprintf("switch: live with %d buckets", buckets)
}

func (p *Proxy) buckets() buckets { return buckets{root: p.root, count: p.options.Config.Buckets} }

// Exact tells whether the share can be served as it is, and gives the nearest that can: the next lower one, or the least there is.
func (p *Proxy) Exact(w traffic.Weight) (nearest traffic.Weight, exact bool) {
	if !p.live() {
		return w, true
	}
	b := p.buckets()
	nearest = b.weight(b.of(w))
	return nearest, nearest == w
}

// raiseLive gives the candidate its buckets by one rename, and proves it. The caller holds the lock.
func (p *Proxy) raiseLive(ctx context.Context, s traffic.Split) (traffic.Live, error) {
	b, folder := p.buckets(), p.fence.openFolder(s.Rollout)
	n := b.of(s.Weight)
	served := func(l traffic.Live) bool {
		return l.Open && l.Split.Rollout == s.Rollout && l.Split.Stable == s.Stable && l.Split.Weight == b.weight(n)
	}
	asked, unheard := p.probe.ask(ctx)
	if unheard == nil && served(asked) {
		return asked, nil
	}
	before, err := b.read()
	if before.stable == "" {
		return traffic.Live{}, err
	}
	if err != nil || unheard == nil && asked.Split.Weight == 0 {
		before.n = 0 // whatever the links promise, an undo is not to give what nobody had
	}
	if err := p.announceLive(s.Rollout, folder); err != nil {
		return traffic.Live{}, err
	}
	candidate := p.fence.candidateFolder(s.Rollout, s.Candidate())
	if err := b.give(n, folder, candidate); err != nil {
		return traffic.Live{}, p.unlessCut(s.Rollout, err)
	}
	live, err := p.proveLive(ctx, served)
	if err == nil {
		return live, syncFolder(folder)
	}
	if cut := p.fence.stands(s.Rollout); cut != nil {
		return traffic.Live{}, cut
	}
	return traffic.Live{}, p.takenBack(b, before, n, folder, candidate, p.unseen(err, s))
}

// announceLive makes the rollout the one that nginx asks for. It gives nobody anything yet.
func (p *Proxy) announceLive(id traffic.RolloutID, folder string) error {
	err := os.Rename(filepath.Join(folder, openNew), p.fence.openLink())
	if errors.Is(err, fs.ErrNotExist) { // done before, or behind the fence
		return p.fence.stands(id)
	}
	if err != nil {
		return fmt.Errorf("open rollout %s to nginx: %w", id, err)
	}
	return syncFolder(p.fence.rollouts())
}

// give makes the candidate's link lead to the set of n buckets, or takes it away for none. Both paths lie in the rollout's folder.
func (b buckets) give(n int, folder, candidate string) error {
	if n == 0 {
		if err := os.Remove(candidate); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := b.make(n); err != nil {
		return err
	}
	link := filepath.Join(folder, fmt.Sprintf("buckets.%d", n))
	err := os.Symlink(filepath.Join("..", "..", b.set(n)), link)
	if errors.Is(err, fs.ErrExist) { // left by one that was killed, and the same for every caller
		err = nil
	}
	if err == nil {
		err = os.Rename(link, candidate)
	}
	return err
}

// takenBack undoes a raise that could not be proven, unless that would be a raise.
func (p *Proxy) takenBack(b buckets, before linked, n int, folder, candidate string, why error) error {
	if before.n > n {
		return errors.Join(why, fmt.Errorf("%s stays, since there was more before; `cutover back` works", b.weight(n)))
	}
	if err := b.give(before.n, folder, candidate); err != nil {
		return errors.Join(why, fmt.Errorf("undo: %w", err))
	}
	return errors.Join(why, fmt.Errorf("undone: the candidate's share is %s again", b.weight(before.n)))
}

// proveLive asks nginx until it does as the links say.
func (p *Proxy) proveLive(ctx context.Context, enough func(traffic.Live) bool) (traffic.Live, error) {
	patient, cancel := context.WithTimeout(ctx, p.cutPatience)
	defer cancel()
	return p.probe.await(patient, enough)
}

// unseen words a switch that nginx was not seen to make.
func (p *Proxy) unseen(err error, s traffic.Split) error {
	return &traffic.Fault{Kind: traffic.Refused, Err: fmt.Errorf("%s for %s was not seen to take effect: %w", s.Weight, s.Candidate(), err),
		Hint: fmt.Sprintf("Let nginx's workers enter %s (`namei -l` shows each folder of it); `cutover doctor` says more.", p.fence.rollouts())}
}

// finishLive makes the accepted candidate the default: one rename, and another that ends the way back. Nothing is loaded. The caller
// holds the lock.
func (p *Proxy) finishLive(ctx context.Context, s, wanted traffic.Split) (traffic.Live, error) {
	id := s.Rollout
	err := os.Rename(filepath.Join(p.fence.openFolder(id), stableNew), p.fence.stableLink())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return traffic.Live{}, fmt.Errorf("finish rollout %s: %w", id, err)
	}
	if is, err := p.fence.liveStable(); err != nil || is != wanted.Stable {
		return traffic.Live{}, errors.Join(fmt.Errorf("finish rollout %s: %w", id, traffic.ErrCut), err)
	}
	err = errors.Join(syncFolder(p.root), p.fence.Done(id))
	if errors.Is(err, traffic.ErrCut) && p.over(id) {
		err = nil
	}
	if err != nil {
		return traffic.Live{}, err
	}
	live, err := p.proveLive(ctx, func(l traffic.Live) bool { return l.Split.Stable == wanted.Stable && l.Split.Weight == 0 })
	if err != nil {
		return traffic.Live{}, unproven(fmt.Sprintf("rollout %s was finished, but nginx was not seen to obey", id), err)
	}
	return live, p.writeFinished(s, wanted)
}

// over tells that no folder of the rollout is left: it was finished before.
func (p *Proxy) over(id traffic.RolloutID) bool {
	folders, err := p.fence.list()
	if err != nil {
		return false
	}
	for _, f := range folders {
		if f.id == id {
			return false
		}
	}
	return true
}

// renew makes the current tree the one that this configuration renders while no rollout is open, and has it loaded. It does nothing
// where it is that already.
func (p *Proxy) renew(ctx context.Context, s traffic.Split) error {
	tree, err := p.trees.describe()
	if err != nil {
		return err
	}
	if !p.live() && tree.Buckets == 0 {
		return nil // the next raise renders anew in any case
	}
	if p.live() && tree.Buckets > 0 {
		if is, err := p.fence.liveStable(); err == nil && is != s.Stable {
			return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("nginx's default is %s, not %s", is, s.Stable),
				Hint: fmt.Sprintf("Move the traffic by `cutover shift --to %s --weight 100` and `cutover accept`.", s.Stable)}
		}
	}
	unlock, err := p.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	i, err := p.running(ctx)
	if err != nil {
		return err
	}
	if same, err := p.upToDate(i, s); err != nil || same {
		return err
	}
	if p.live() {
		if err := p.fence.setStable(s.Stable); err != nil {
			return err
		}
	}
	return p.replace(ctx, i, traffic.Split{Stable: s.Stable, Releases: s.Releases})
}

// upToDate tells whether the current tree is what this configuration renders.
func (p *Proxy) upToDate(i instance, s traffic.Split) (bool, error) {
	files, gen, err := p.Current()
	if err != nil {
		return false, err
	}
	wanted, err := p.Render(traffic.Split{Stable: s.Stable}, gen, p.serverLines(i))
	if err != nil || len(files) != len(wanted) {
		return false, err
	}
	for n := range files {
		if files[n].Name != wanted[n].Name || string(files[n].Data) != string(wanted[n].Data) {
			return false, nil
		}
	}
	return true, nil
}

// replace renders the split of no rollout into the next generation, and has it loaded.
func (p *Proxy) replace(ctx context.Context, i instance, s traffic.Split) error {
	m, err := p.prepare(ctx, s, p.root)
	if err != nil {
		return err
	}
	m.instance = i
	_, err = p.perform(ctx, m)
	return err
}
