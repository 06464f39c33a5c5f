package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"cutover/traffic"
)

// rehearsal is what became of the cutback on a rollout of weight 0.
type rehearsal struct {
	// skipped says why there was none; nil where one was begun. faulty is what failed in it.
	skipped, faulty error
	// took is from the cutback to its proof; zero where none was proven.
	took time.Duration
}

// rehearsalPatience bounds the rehearsal: nginx's lock and one reload, each as long as in a promotion, and two rounds of requests.
const rehearsalPatience = 40 * time.Second

// rehearses cuts a rollout back on which nobody is, asking the user's servers before and after it; where that cannot be, it
// only asks them.
func (d *checkup) rehearses(ctx context.Context) {
	d.skipped = d.unfit()
	if d.skipped == nil {
		d.skipped = d.hold(ctx, 0)
	}
	if d.skipped == nil {
		d.skipped = d.unfit() // others may have written until the lock was ours
	}
	ctx, cancel := context.WithTimeout(ctx, rehearsalPatience)
	defer cancel()
	if d.skipped == nil {
		d.skipped = d.takeStrays(ctx)
	}
	if d.skipped == nil {
		done, err := d.proxy.Rehearse(ctx, d.state.Stable, d.state.LastID, func() { d.open = d.visit(ctx) })
		d.faulty, d.took = err, done.Took
	}
	if d.lock != nil {
		d.close()
		d.lock = nil
	}
	d.closed = d.visit(ctx)
}

// unfit says why no cutback can be rehearsed now.
func (d *checkup) unfit() error {
	root := d.proxy.Fence().Root
	switch {
	case d.lookOnly:
		return errors.New("--no-rehearsal")
	case d.unread != nil, d.damage != nil, d.unsettled != nil:
		return errors.New("the journal is not well")
	case d.state.Stable == "":
		return errors.New("nobody has said which color is stable")
	case d.state.Open != nil:
		return fmt.Errorf("%s is open", d.state.Open.Name())
	case !d.nginx.Sound(), d.unheard != nil:
		return errors.New("nginx would not take a rollout as things are")
	case d.unready[d.state.Stable] != nil:
		return fmt.Errorf("%s, which is stable, was not seen to be ready, and a reload would take its addresses from cutover.yaml", d.state.Stable)
	case worst(d.disks) == bad:
		return errors.New("the disk is too full for another tree")
	case unix.Access(root, unix.W_OK) != nil:
		return fmt.Errorf("you may not write in %s", root)
	}
	return nil
}

func worst(all []finding) level {
	found := fine
	for _, f := range all {
		if f.Level == bad || f.Level == warning && found == fine {
			found = f.Level
		}
	}
	return found
}

func (d *checkup) lookAtRehearsal() finding {
	const what = "rehearsal"
	switch {
	case d.skipped != nil:
		return finding{What: what, Level: warning, Says: fmt.Sprintf("no cutback was rehearsed: %v", d.skipped)}
	case d.faulty != nil:
		return look(what, "", d.faulty)
	}
	return finding{What: what, Level: fine, Says: fmt.Sprintf("a rollout of weight 0 was cut back and proven in %v", d.took.Round(10*time.Microsecond))}
}

// refuge is the color to which a cutback would lead.
func (d *checkup) refuge() traffic.Color {
	if r := d.state.Open; r != nil {
		return r.Stable
	}
	return d.state.Stable
}

// inTheWay says why whoever asks could not cut back now, or could not have it proven; nil where they can.
func (d *checkup) inTheWay() error {
	fault := func(hint, f string, args ...any) error {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf(f, args...), Hint: hint}
	}
	if d.unheard != nil {
		return fault(failureOf(d.unheard).Hint, "nginx could not prove it")
	}
	if d.nginx.Reach != nil {
		return fault(failureOf(d.nginx.Reach).Hint, "nginx's workers do not see the folder that a cutback renames")
	}
	if err := d.mayRename(); err != nil {
		return fault("Join the group of "+d.renamers()+", or use sudo.", "you may not rename in the rollouts folder: %w", err)
	}
	if d.faulty != nil {
		return fault(failureOf(d.faulty).Hint, "the rehearsal failed: %s", firstLine(d.faulty.Error()))
	}
	if v, found := d.deaf(); found {
		return fault(deafRemedy, "%s still follows a rollout that was cut back", v)
	}
	if traffic.KindOf(d.unready[d.refuge()]) == traffic.NotReady {
		return fault("Bring it up again before anything else: users get it, or would get it.", "%s, to which it leads, does not serve", d.refuge())
	}
	if d.asked() && !d.reached() && worst(d.disks) != bad { // a full disk takes no line, and yet a rename
		return fault("See the findings about requests.", "no request through your own servers was seen to reach %s", d.config.App)
	}
	return nil
}

// mayRename tries it beside the rollouts. On a full disk nothing can be made that could be renamed, while a rename itself needs no room.
func (d *checkup) mayRename() error {
	err := d.proxy.Fence().Rehearse()
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return unix.Access(d.rollouts(), unix.W_OK|unix.X_OK)
	}
	return err
}

func (d *checkup) rollouts() string { return filepath.Join(d.proxy.Fence().Root, "rollouts") }

// renamers names the rollouts folder and the group that may rename in it.
func (d *checkup) renamers() string {
	info, err := os.Stat(d.rollouts())
	if err != nil {
		return d.rollouts()
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return d.rollouts()
	}
	group := strconv.Itoa(int(stat.Gid))
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("%s (%s, group %s)", d.rollouts(), info.Mode(), group)
}
