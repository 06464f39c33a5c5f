package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/urfave/cli/v2"

	"cutover/nginxconf"
	"cutover/traffic"
	"cutover/traffic/journal"
)

const backHelp = `
Returns all traffic to the stable release NOW, by one rename: no question, no lock, no nginx -t, no reload. It works with the engine
dead, the disk full, the journal torn, cutover.yaml broken, nginx's configuration broken by somebody else, and the promoter hung.

While a rollout is open it goes to stable. After a promotion, while the old stack is warm, it goes to the previous release, which is
stable again. Repeated it says since when. With nothing warm it exits 4 and prints the rollback to type. The last line is the truth.

EXAMPLES
   cutover back
   cutover back --app shop --why 'checkout is slow'     # from anywhere, without cutover.yaml

EXIT CODES
   0 done, or done before · 4 nothing to go back to · 11 done, but nginx could not prove it`

func (i *invocation) backCommand() *cli.Command {
	return i.command(commandSpec{
		name: "back", usage: "cut back to stable NOW: no arguments, no questions", help: backHelp,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "app", Usage: "the app's `NAME`; left out: cutover.yaml's, or the only one there is"},
			&cli.StringFlag{Name: "dir", Usage: "the `FOLDER` nginx.dir; left out: cutover.yaml's, or " + nginxconf.DefaultConfig().Dir},
			&cli.StringFlag{Name: "why", Usage: "a `SENTENCE` for the history"},
		},
		run: func(c *cli.Context) error {
			root, err := i.findRoot(c)
			if err != nil {
				return err
			}
			return i.back(c.Context, c, root)
		},
	})
}

// back acts first: nothing stands before the rename. What follows tells people and the journal, and may all fail.
func (i *invocation) back(ctx context.Context, c *cli.Context, root string) error {
	outcome, err := nginxconf.Back(ctx, root, i.now)
	o := i.out
	for _, id := range outcome.Cut {
		o.line("back: rollout %s cut in %v", id, outcome.Took.Round(10*time.Microsecond))
	}
	switch {
	case outcome.NothingWarm:
		return nothingWarm(outcome)
	case outcome.Already && err == nil:
		o.line("already back since %s", outcome.Since.Local().Format(time.TimeOnly))
	}
	why := orElse(c.String("why"), "`cutover back` by "+i.actor)
	if len(outcome.Cut) > 0 {
		if journaled := i.writeDown(ctx, c, root, outcome, why); journaled != nil {
			_, _ = fmt.Fprintf(o.stderr, "not journaled yet: %v\n", journaled)
		}
	}
	if err != nil {
		return err
	}
	truth := fmt.Sprintf("%s %s 100 %% (proven %s)", outcome.Color, outcome.Tag, outcome.Live.At.Local().Format(time.TimeOnly))
	if o.format == forScripts {
		o.document(backDocument{
			Result: "back", Cut: outcome.Cut, Already: outcome.Already, Since: outcome.Since, Stable: outcome.Color, Release: outcome.Tag,
			TookMS: float64(outcome.Took.Microseconds()) / 1000, Live: outcome.Live, Truth: truth,
		})
	}
	o.line("%s", truth)
	return nil
}

// backDocument is what `back --json` prints.
type backDocument struct {
	Result  string              `json:"result"`
	Cut     []traffic.RolloutID `json:"cut"`
	Already bool                `json:"already"`
	Since   time.Time           `json:"since,omitzero"`
	Stable  traffic.Color       `json:"stable"`
	Release string              `json:"release"`
	// TookMS is how long the renames took, in milliseconds; the proof comes after them.
	TookMS float64      `json:"took_ms"`
	Live   traffic.Live `json:"live"`
	Truth  string       `json:"truth"`
}

func nothingWarm(outcome nginxconf.Outcome) error {
	rollback := "cutover rollback --tag TAG"
	if previous := outcome.Card.Previous; previous != "" {
		rollback = "cutover rollback --tag " + previous
	}
	return &traffic.Fault{
		Kind: traffic.Policy, Err: fmt.Errorf("nothing warm to go back to: %s %s is stable", outcome.Color, outcome.Tag),
		Hint: fmt.Sprintf("An older release comes back with:\n%s", rollback),
	}
}

// writeDown puts the cutback into the journal and, where nobody carries the rollout any more, ends it there.
// What cannot be journaled is left in the cut folder, for the next writer.
func (i *invocation) writeDown(ctx context.Context, c *cli.Context, root string, outcome nginxconf.Outcome, why string) error {
	var failed []error
	for _, id := range outcome.Cut {
		e := traffic.Event{Kind: traffic.CutSeen, At: i.now(), Rollout: id, By: i.actor, Why: why}
		if err := i.journalCut(ctx, c, root, e); err != nil {
			text, _ := json.Marshal(e) // plain data
			failed = append(failed, err, nginxconf.Fence{Root: root}.WriteWhy(id, text))
		}
	}
	return errors.Join(failed...)
}

func (i *invocation) journalCut(ctx context.Context, c *cli.Context, root string, e traffic.Event) error {
	dir, err := i.stateOf(c, root)
	if err != nil {
		return err
	}
	j, err := journal.Open(dir, i.now)
	if err != nil {
		return err
	}
	if _, err := j.Append(ctx, e.Rollout.String(), i.actor, e); err != nil {
		return err
	}
	return i.concludeBack(ctx, c, dir)
}

// concludeBack ends the rollout in the journal where no promoter does; a configuration that is broken leaves that to the next command.
func (i *invocation) concludeBack(ctx context.Context, c *cli.Context, dir string) error {
	if _, held, err := journal.Holding(dir); held || err != nil {
		return nil
	}
	s, err := i.open(flagOf(c, "config"), flagOf(c, "env"))
	if err != nil {
		return nil
	}
	defer s.close()
	if err := s.hold(ctx, 0); err != nil || s.state.Phase() != traffic.CuttingBack {
		return nil
	}
	quiet := *s.out
	quiet.format = forScripts
	s.out = &quiet
	quiet.stderr = discard{}
	return s.carry(ctx, nil)
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// cutSeenOf reads what writeDown left in a cut folder.
func cutSeenOf(text []byte) (traffic.Event, bool) {
	var e traffic.Event
	err := json.Unmarshal(text, &e)
	return e, err == nil && e.Kind == traffic.CutSeen && e.Rollout > 0
}

// stateOf is the journal's folder: as the last raise wrote it beside nginx's files, else as the configuration says.
func (i *invocation) stateOf(c *cli.Context, root string) (string, error) {
	if card, err := nginxconf.ReadCard(root); err == nil && card.State != "" {
		return card.State, nil
	}
	path, err := findConfig(flagOf(c, "config"), i.dir)
	if err != nil {
		return "", err
	}
	config, err := loadConfig(path, flagOf(c, "env"))
	return filepath.Join(config.State, config.App), err
}

// The two keys that `back` takes from a cutover.yaml that may be too broken to be parsed.
var (
	appLine = regexp.MustCompile(`(?m)^app:\s*["']?([a-z][a-z0-9_-]*)`)
	dirLine = regexp.MustCompile(`(?m)^\s+dir:\s*["']?(/[^\s"'#]+)|^nginx:\s*\{[^}]*\bdir:\s*["']?(/[^\s"',}]+)`)
)

// findRoot finds the app's folder under nginx.dir. cutover.yaml is only a hint: flags go before it, and without either the only
// app that has a back.json is meant.
func (i *invocation) findRoot(c *cli.Context) (string, error) {
	app, dir := c.String("app"), c.String("dir")
	if path, err := findConfig(flagOf(c, "config"), i.dir); err != nil {
		// no hint
	} else if config, err := loadConfig(path, flagOf(c, "env")); err == nil {
		app, dir = orElse(app, config.App), orElse(dir, config.Nginx.Dir)
	} else {
		text, _ := os.ReadFile(path) // an unreadable one hints at nothing
		if found := appLine.FindSubmatch(text); app == "" && found != nil {
			app = string(found[1])
		}
		if found := dirLine.FindSubmatch(text); dir == "" && found != nil {
			dir = string(found[1]) + string(found[2])
		}
	}
	if dir == "" {
		dir = nginxconf.DefaultConfig().Dir
	}
	if app != "" {
		return filepath.Join(dir, app), nil
	}
	cards, err := filepath.Glob(filepath.Join(dir, "*", "back.json"))
	if err != nil || len(cards) != 1 {
		return "", &traffic.Fault{
			Kind: traffic.Usage, Err: fmt.Errorf("which app is meant is not clear: %d of them in %s", len(cards), dir),
			Hint: "Say `cutover back --app NAME`, with --dir where nginx.dir is another folder.",
		}
	}
	return filepath.Dir(cards[0]), nil
}
