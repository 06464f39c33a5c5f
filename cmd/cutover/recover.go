package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"cutover/nginxconf"
	"cutover/traffic"
	"cutover/traffic/journal"
)

const recoverHelp = `
Settles what a reboot left open, for every app of the host: a promotion that
lost its promoter is cut back, and a share by hand that lost its guard, so
that nginx comes up with everything on stable. Shares that were left without
a guard, and accepted releases, stay. It needs no configuration, no engine
and no running nginx: let systemd run it before nginx starts.

EXAMPLES
   cutover recover
   cutover recover --dir /etc/nginx/cutover`

func (i *invocation) recoverCommand() *cli.Command {
	return i.command(commandSpec{
		name: "recover", usage: "settle what a crash or a reboot left open", help: recoverHelp,
		flags: []cli.Flag{&cli.StringFlag{Name: "dir", Usage: "the `FOLDER` nginx.dir", Value: nginxconf.DefaultConfig().Dir}},
		run: func(c *cli.Context) error {
			cards, err := filepath.Glob(filepath.Join(absolute(c.String("dir"), i.dir), "*", "back.json"))
			if err != nil {
				return usagef("recover: --dir: %w", err)
			}
			doc := recoverDocument{Cut: []recoveredRollout{}}
			var failed []error
			for _, card := range cards {
				done, err := i.recoverApp(c.Context, filepath.Dir(card))
				doc.Cut, failed = append(doc.Cut, done...), append(failed, err)
			}
			i.out.line("%d apps, %d rollouts cut back", len(cards), len(doc.Cut))
			i.out.result(doc)
			return errors.Join(failed...)
		},
	})
}

// recoverDocument is what `recover --json` prints.
type recoverDocument struct {
	Cut []recoveredRollout `json:"cut"`
}

type recoveredRollout struct {
	App     string            `json:"app"`
	Rollout traffic.RolloutID `json:"rollout"`
}

// recoverApp cuts an app's standing rollouts back that are promotions without an outcome and without a promoter.
func (i *invocation) recoverApp(ctx context.Context, root string) ([]recoveredRollout, error) {
	card, err := nginxconf.ReadCard(root)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", root, err)
	}
	fence := nginxconf.Fence{Root: root}
	if err := fence.Complete(); err != nil {
		return nil, err
	}
	standing, err := fence.Standing()
	if err != nil || len(standing) == 0 {
		return nil, err
	}
	if _, held, err := journal.Holding(card.State); held && err == nil {
		return nil, nil
	}
	state := i.stateIn(card.State)
	var cut []recoveredRollout
	var failed []error
	for _, id := range standing {
		if r := state.Open; r != nil && r.ID == id && (state.Settled() && !r.Guarded || r.Phase == traffic.Accepted) {
			continue
		}
		outcome, err := nginxconf.CutOne(ctx, root, id, nginxHost{}, i.now)
		failed = append(failed, err)
		if len(outcome.Cut) == 0 {
			continue
		}
		cut = append(cut, recoveredRollout{App: card.App, Rollout: id})
		const why = "found open without a promoter, after a reboot"
		i.out.stamped(i.now(), "recovered", "%s: rollout %s: %s", card.App, id, why)
		e := traffic.Event{Kind: traffic.Recovered, Why: why}
		if err := i.writeDown(ctx, root, card.State, nil, []traffic.RolloutID{id}, e); err != nil {
			i.out.aside("not journaled yet: %v", err)
		}
	}
	return cut, errors.Join(failed...)
}

// stateIn folds an app's journal. What cannot be read counts as unsettled: towards stable.
func (i *invocation) stateIn(dir string) traffic.State {
	if _, err := os.Stat(dir); err != nil {
		return traffic.State{}
	}
	j, err := journal.Open(dir, i.now)
	if err != nil {
		return traffic.State{}
	}
	entries, err := j.Read()
	if err != nil {
		return traffic.State{}
	}
	return fold(entries)
}
