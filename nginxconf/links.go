package nginxconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cutover/traffic"
)

// Where shares are switched live (nginx.switch: live) one tree serves every share. Each request asks for links, and a switch is one
// rename of a link that waits in the rollout's folder, or the rename of that folder:
//
//	stable -> colors/blue             the color that gets whatever no candidate gets
//	rollouts/open -> 000017           the rollout that was raised last; it may be gone
//	rollouts/000017/green -> a set    the candidate's buckets; see buckets
//	rollouts/000017/open.new          waits to become rollouts/open, at the first raise
//	rollouts/000017/stable.new        waits to become stable, when the accepted release is made the default
//	rollouts/000017/stable.old        waits to become stable again, where a cutback comes between that and its end

// The links of a rollout that wait to be renamed.
const (
	openNew   = "open.new"
	stableNew = "stable.new"
	stableOld = "stable.old"
)

func (f Fence) stableLink() string { return filepath.Join(f.Root, "stable") }

func (f Fence) openLink() string { return filepath.Join(f.rollouts(), "open") }

// colorTarget is what the link stable holds: nginx asks whether stable/green/ is there.
func colorTarget(c traffic.Color) string { return filepath.Join("colors", string(c)) }

// makeColors makes what the link stable can lead to.
func (f Fence) makeColors() error {
	for _, c := range []traffic.Color{traffic.Blue, traffic.Green} {
		for _, path := range []string{"colors", colorTarget(c), filepath.Join(colorTarget(c), string(c))} {
			if err := makeFolder(filepath.Join(f.Root, path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	}
	return syncFolder(filepath.Join(f.Root, "colors"))
}

// setStable makes the color the default where no rollout is open.
func (f Fence) setStable(c traffic.Color) error {
	if is, err := f.liveStable(); err == nil && is == c {
		return nil
	}
	aside := f.stableLink() + ".new"
	err := os.Remove(aside)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = errors.Join(f.makeColors(), os.Symlink(colorTarget(c), aside))
	}
	if err == nil {
		err = os.Rename(aside, f.stableLink())
	}
	if err != nil {
		return fmt.Errorf("make %s the default: %w", c, err)
	}
	return syncFolder(f.Root)
}

// liveStable reads the default.
func (f Fence) liveStable() (traffic.Color, error) {
	target, err := os.Readlink(f.stableLink())
	if err != nil {
		return "", err
	}
	c, err := traffic.ParseColor(filepath.Base(target))
	if err == nil && target != colorTarget(c) {
		err = fmt.Errorf("%s leads to %s, which is no color's folder", f.stableLink(), target)
	}
	return c, err
}

// anyFolder holds a folder for each color while the rollout stands: testers who ask for one get it, whatever the share.
const anyFolder = "any"

// askedFolder is what nginx asks for when a request asks for a color; link is the rollout's folder, or the link to it.
func (f Fence) askedFolder(link, app string) string {
	return filepath.Join(f.rollouts(), link, anyFolder, "$cutover_"+app+"__asked") + "/"
}

// admit lets testers choose.
func (f Fence) admit(id traffic.RolloutID) error {
	folder := filepath.Join(f.openFolder(id), anyFolder)
	err := makeFolder(folder, 0o755)
	for _, c := range []traffic.Color{traffic.Blue, traffic.Green} {
		err = errors.Join(err, makeFolder(filepath.Join(folder, string(c)), 0o755))
	}
	return err
}

// arrange lays the links into a new rollout's folder that wait there.
func (f Fence) arrange(id traffic.RolloutID, stable traffic.Color) error {
	folder := f.openFolder(id)
	return errors.Join(
		os.Symlink(id.String(), filepath.Join(folder, openNew)),
		os.Symlink(colorTarget(stable.Other()), filepath.Join(folder, stableNew)),
		os.Symlink(colorTarget(stable), filepath.Join(folder, stableOld)),
	)
}

// restoreStable makes the color stable again that was it before the rollout in the folder, which was cut back. Most often it is still,
// and then it is no failure that the link cannot be renamed: whoever may write in rollouts/ need not be able to write above it. Nobody
// else can change the default now, since what could is behind the fence.
func (f Fence) restoreStable(folder string) error {
	waiting := filepath.Join(folder, stableOld)
	err := os.Rename(waiting, f.stableLink())
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	was, gone := os.Readlink(waiting)
	is, _ := os.Readlink(f.stableLink()) // an unreadable one is not the same
	switch {
	case errors.Is(gone, fs.ErrNotExist): // between two mounts the kernel does not say so
		return nil
	case gone == nil && is == was:
		_ = os.Remove(waiting) // only to be tidy: a later cutback would find the same
		return nil
	}
	return fmt.Errorf("make the release before the default again: %w", err)
}

// linked is what the links say.
type linked struct {
	stable traffic.Color
	// rollout is what rollouts/open names; zero where nothing was raised yet. n is how many buckets its candidate has, and zero where
	// its folder is gone.
	rollout traffic.RolloutID
	n       int
}

// read follows the links as nginx does. Of links that cannot be followed the error comes with what was read before: stable is empty where
// not even that is known.
func (b buckets) read() (linked, error) {
	f := Fence{b.root}
	var l linked
	var err error
	if l.stable, err = f.liveStable(); err != nil {
		return linked{}, err
	}
	target, err := os.Readlink(f.openLink())
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		l.rollout, err = traffic.ParseRolloutID(target)
	}
	if err != nil {
		return l, err
	}
	set, err := os.Readlink(f.candidateFolder(l.rollout, l.stable.Other()))
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		l.n, err = b.sized(set)
	}
	return l, err
}
