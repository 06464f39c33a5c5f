package nginxconf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cutover/traffic"
)

// fixed tells that locations pass to the routes' fixed names.
func (p *Proxy) fixed() bool { return p.options.Config.Pass == PassName }

// samePass refuses what would mix two ways: the present tree was made for the other one.
func (p *Proxy) samePass() error {
	tree, err := p.trees.describe()
	if err != nil {
		return nil // what cannot be read is told by whoever needs it
	}
	if before := tree.Buckets; before != p.wayOf() {
		return &traffic.Fault{Kind: traffic.Usage,
			Err:  fmt.Errorf("nginx.switch and nginx.buckets were changed: generation %d was made for %s", tree.Generation, wayNamed(before)),
			Hint: "Set them back until no rollout is open; the next one begins with the change."}
	}
	if tree.fixed() == p.fixed() {
		return nil
	}
	before := PassVariable
	if tree.fixed() {
		before = PassName
	}
	return &traffic.Fault{Kind: traffic.Usage, Err: fmt.Errorf("nginx.pass: %s, but generation %d was made for %s", p.options.Config.Pass, tree.Generation, before),
		Hint: "Set it back until no rollout is open; then `cutover init --stable COLOR` changes it."}
}

// samePassIn is samePass for a rollout that has a tree already: its cutback goes the way that its trees were made for.
func (p *Proxy) samePassIn(id traffic.RolloutID) error {
	if tree, err := p.trees.describe(); err != nil || tree.Buckets == 0 && tree.Split.Rollout != id {
		return nil
	}
	return p.samePass()
}

// prepareDescent renders the rollout's stable tree, has nginx judge it, and lays its link into the rollout's folder, before anything of
// the rollout is raised. The card is written again with what a cutback may have to stop.
func (p *Proxy) prepareDescent(ctx context.Context, i instance, s traffic.Split, folder string) error {
	link := filepath.Join(folder, stableLink)
	if _, err := os.Readlink(link); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	gen, err := p.trees.next()
	if err != nil {
		return err
	}
	s.Weight = 0
	files, err := p.render(s, gen, p.serverLines(i), poolStable)
	if err != nil {
		return err
	}
	if err := p.trees.stage(gen, files); err != nil {
		return err
	}
	err = p.test(ctx, i, gen)
	if err == nil {
		err = p.writeCard(s, func(c *Card) { c.Pid = i.chain.PidFile(i.build) })
	}
	if err == nil {
		err = errors.Join(p.trees.prepare(link, gen), syncFolder(folder))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the way back of rollout %s: %w", s.Rollout, err), p.trees.drop(gen))
	}
	return nil
}

// overtaken tells that a cutback came while a raise was being proven, which its tree then never is.
func (p *Proxy) overtaken(s traffic.Split) bool {
	return p.fixed() && s.Rollout != 0 && p.fence.stands(s.Rollout) != nil
}

// unladen makes sure that nginx gives nothing to the color. After a cutback that had to stop the candidate it would, as soon as
// something answers there again.
func (p *Proxy) unladen(ctx context.Context, c traffic.Color) error {
	if !p.fixed() {
		return nil
	}
	live, err := p.probe.ask(ctx)
	if err != nil || live.Share(c) == 0 {
		return nil // who does not answer is told by the first raise
	}
	return &traffic.Fault{Kind: traffic.Busy, Err: fmt.Errorf("nginx still serves generation %d, which gives %s %s", live.Generation, c, live.Share(c)),
		Hint: "`cutover back` has it load the current one; `nginx -t` tells what keeps it from that."}
}
