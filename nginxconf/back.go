package nginxconf

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cutover/traffic"
)

// Outcome is what a cutback did and found.
type Outcome struct {
	// Cut are the rollouts that it took away, oldest first.
	Cut []traffic.RolloutID
	// Already tells that somebody had cut back before, at Since; nothing was left to do.
	Already bool
	Since   time.Time
	// NothingWarm tells that no rollout is there to be taken back: none ever was, or the last was finished. Traffic was
	// not touched; what brings an older release again is a rollback, to Card.Previous.
	NothingWarm bool
	// Live is what nginx answered. Zero where it could not be asked.
	Live traffic.Live
	// Color and Tag are what gets the traffic; from back.json where nginx could not be asked, and empty where that is gone.
	Color traffic.Color
	Tag   string
	Card  Card
	// Took is from the call to the last rename: no request that begins later gets a candidate. Live.At is when that was proven.
	// Where nginx has to load another tree it is until the proof.
	Took time.Duration
	// Stop tells what of the candidate had to be stopped, since nginx did not load another tree. Zero where nothing had to.
	Stop Stop
}

// Back is the whole cutback, for when everything else may be broken: it takes every open rollout's folder away, then proves by
// the probe that stable answers. It needs the app's folder and nothing else: no configuration, journal, engine, lock or
// `nginx -t`. Where the proof fails the error is a fault of kind Unproven, and the cutback has been done all the same.
//
// Where locations pass to a fixed name it also needs the right to signal nginx, or else the engine; see descent.
func Back(ctx context.Context, root string, host Host, now func() time.Time) (Outcome, error) {
	began := now()
	fence := Fence{root}
	var o Outcome
	var failed error
	o.Cut, failed = fence.cutAll()
	o.Took = now().Sub(began)
	if failed != nil {
		failed = &traffic.Fault{Kind: traffic.Unproven, Err: fmt.Errorf("not everything could be cut back: %w", failed), Hint: cutByHand(root, failed)}
	}
	card, err := ReadCard(root)
	if err == nil {
		o.Card = card
		o.Color, o.Tag = card.Stable, card.Tag(card.Stable)
	}
	if last, lastErr := fence.Last(); lastErr == nil && len(o.Cut) == 0 && failed == nil {
		// A cutback that is older than the last finished promotion is history.
		o.Already = last.State == FolderCut && last.ID > card.Finished
		o.NothingWarm = !o.Already
		if o.Already {
			o.Since = last.Since
		}
	}
	d := descentOf(root, card, host, now)
	var syncing sync.WaitGroup
	defer syncing.Wait()
	if len(o.Cut) > 0 {
		// Only a power loss needs it, and a sick disk may take long: the proof does not wait for it.
		syncing.Go(func() { _ = d.sync() })
	}
	if err != nil {
		err = noProof(root, err)
	} else {
		err = o.ask(ctx, d)
	}
	if failed != nil && !o.Live.At.IsZero() {
		err = nil // nginx has told what it serves, and failed why
	}
	if d.tree.fixed() {
		o.Took = now().Sub(began)
	}
	return o, errors.Join(failed, err)
}

// noProof says that nobody knows whom to ask.
func noProof(root string, err error) error {
	if tree, unread := (generations{root}).describe(); unread == nil && tree.fixed() {
		return &traffic.Fault{Kind: traffic.Unproven, Err: fmt.Errorf("nginx was not told: %w", err), Hint: "As root: nginx -s reload"}
	}
	return &traffic.Fault{Kind: traffic.Unproven, Err: fmt.Errorf("no proof is possible, nobody knows the probe: %w", err),
		Hint: "Look into nginx's access log: no line after now may name the candidate."}
}

// ask proves the cutback, or, where there was nothing to cut, finds out who has the traffic.
func (o *Outcome) ask(ctx context.Context, d descent) error {
	var live traffic.Live
	var err error
	if o.NothingWarm {
		live, err = d.await(ctx, func(traffic.Live) bool { return true })
	} else {
		live, o.Stop, err = d.prove(ctx)
	}
	if _, told := errors.AsType[*traffic.Fault](err); told {
		return err
	}
	if !live.At.IsZero() { // also where it is not what was wanted
		o.Live, o.Color = live, live.Split.Stable
		if live.Finished {
			o.Color = live.Split.Candidate()
		}
		o.Tag = live.Split.Releases[o.Color]
	}
	if err != nil {
		return o.unheard(err)
	}
	return nil
}

// unheard says what it means that nginx did not confirm.
func (o *Outcome) unheard(err error) error {
	fault := &traffic.Fault{Kind: traffic.Unproven, Err: fmt.Errorf("nginx was not seen to send everything to stable: %w", err),
		Hint: "Each request asks for the folder that is gone, so stable gets it; see nginx's error log for why the probe does not answer."}
	if name := o.Card.Container; name != "" {
		fault.Hint = "See whether its container runs, `docker ps --filter name=" + name + "`: started, it sends everything to stable, since the folder is gone."
	} else if _, missing := (processes{"/proc"}).master(view{}, o.Card.Pid); o.Card.Pid != "" && missing != nil {
		fault.Hint = "nginx is not running, so nobody gets anything. When it is started it sends everything to stable."
	}
	return fault
}
