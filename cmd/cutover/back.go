package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"cutover/nginxconf"
	"cutover/traffic"
	"cutover/traffic/journal"
)

const backHelp = `
Returns all traffic to the stable release NOW, by one rename: no question, no
lock, no nginx -t, no reload. It works with the engine dead, the disk full,
the journal torn, cutover.yaml broken, nginx's configuration broken by
somebody else, and the promoter hung.

With nginx.pass: name it also has nginx load a tree with everything on
stable, and where that is refused stops the candidate's web containers.

While a rollout is open it goes to stable. After a promotion, while the old
stack is warm, it goes to the previous release, which is stable again.
Repeated it says since when. With nothing warm it exits 4 and prints what to
type instead. The last line is the truth.

Without cutover.yaml it takes --app and --dir, or the only app that there is.

EXAMPLES
   cutover back
   cutover back --why 'checkout is slow'
   cutover back --app shop --dir /etc/nginx/cutover     # from anywhere

EXIT CODES
   0 done, or done before · 4 nothing to go back to ·
   11 done, but nginx could not prove it`

// backColumns is how wide the screen of whoever is called at night may be.
const backColumns = 40

func (i *invocation) backCommand() *cli.Command {
	return i.command(commandSpec{
		name: "back", usage: "cut back to stable NOW: no questions, no dependencies", help: backHelp,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "app", Usage: "the app's `NAME`, if not cutover.yaml's"},
			&cli.StringFlag{Name: "dir", Usage: "the `FOLDER` nginx.dir, if not cutover.yaml's"},
			&cli.StringFlag{Name: "why", Usage: "a `SENTENCE` for the history"},
		},
		run: func(c *cli.Context) error {
			return i.back(c.Context, i.backFlags(c))
		},
	})
}

// backFlags are what the command line says of a cutback, with the environment's variables where it says nothing.
type backFlags struct{ app, dir, why, config, environment string }

// backFlags are those of any command that has some of them.
func (i *invocation) backFlags(c *cli.Context) backFlags {
	return backFlags{app: c.String("app"), dir: c.String("dir"), why: c.String("why"), config: i.configOf(c), environment: i.environmentOf(c)}
}

// back acts first: nothing stands before the rename. What follows tells people and the journal, and may all fail.
func (i *invocation) back(ctx context.Context, f backFlags) error {
	i.out.columns = backColumns
	root, err := i.findRoot(f)
	if err != nil {
		return err
	}
	outcome, err := nginxconf.Back(ctx, root, nginxHost{}, i.now)
	doc := backDocument{
		Result: "back", Cut: outcome.Cut, Already: outcome.Already, Since: outcome.Since, Stable: outcome.Color, Release: outcome.Tag,
		TookMS: float64(outcome.Took.Microseconds()) / 1000, Truth: heard(outcome), Stopped: outcome.Stop.Services,
	}
	if doc.Live = &outcome.Live; outcome.Live.At.IsZero() {
		doc.Live = nil
	}
	i.tellCut(outcome)
	dir, unknown := i.stateOf(f, root)
	journaled := len(outcome.Cut) > 0 && unknown == nil
	if len(outcome.Cut) > 0 {
		e := traffic.Event{Kind: traffic.CutSeen, Why: orElse(f.why, "`cutover back` by "+i.actor)}
		if outcome.Stop.Why != nil {
			e.Why += "; " + outcome.Stop.String()
		}
		if failed := i.writeDown(ctx, root, dir, unknown, outcome.Cut, e); failed != nil {
			i.out.aside("not journaled yet: %v", failed)
			journaled = false
		}
	}
	if outcome.NothingWarm {
		doc.Result, err = "nothing-warm", nothingWarm(outcome, root)
	}
	if err != nil {
		i.out.explain(err)
		told := failureOf(err)
		doc.Error, doc.Kind, doc.Hint, doc.Exit = told.Error, told.Kind, told.Hint, told.Exit
	}
	i.out.result(doc)
	i.out.line("%s", doc.Truth)
	if journaled {
		i.concludeApart(ctx, f, dir)
	}
	if err != nil {
		return &toldError{doc.Exit}
	}
	return nil
}

// backDocument is what `back --json` prints.
type backDocument struct {
	// Result is back, also where there was nothing left to do (Already), or nothing-warm.
	Result  string              `json:"result"`
	Exit    int                 `json:"exit"`
	Cut     []traffic.RolloutID `json:"cut"`
	Already bool                `json:"already"`
	Since   time.Time           `json:"since,omitzero"`
	Stable  traffic.Color       `json:"stable"`
	Release string              `json:"release"`
	// TookMS is how long the renames and the proof took, in milliseconds.
	TookMS float64 `json:"took_ms"`
	// Stopped are the candidate's services that had to be stopped, since nginx did not load the stable tree.
	Stopped []string      `json:"stopped,omitempty"`
	Live    *traffic.Live `json:"live,omitempty"`
	Truth   string        `json:"truth"`
	Error   string        `json:"error,omitempty"`
	Kind    string        `json:"kind,omitempty"`
	Hint    string        `json:"hint,omitempty"`
}

func (i *invocation) tellCut(outcome nginxconf.Outcome) {
	for _, id := range outcome.Cut {
		i.out.line("back: rollout %s cut in %v", id, outcome.Took.Round(10*time.Microsecond))
	}
	if outcome.Already {
		i.out.line("already back since %s", outcome.Since.Local().Format(time.TimeOnly))
	}
	if outcome.Stop.Why != nil {
		i.out.line("%s", outcome.Stop)
	}
}

// heard is the last line: who has the traffic, and whether nginx said so.
func heard(outcome nginxconf.Outcome) string {
	who := spaced(orElse(string(outcome.Color), "stable"), outcome.Tag, "100 %")
	if outcome.Live.At.IsZero() {
		return who + " (NOT proven)"
	}
	if stable := outcome.Live.Share(outcome.Color); stable != traffic.Full {
		other := outcome.Color.Other()
		who = fmt.Sprintf("%s, %s", spaced(string(other), outcome.Live.Split.Releases[other], outcome.Live.Share(other).String()),
			spaced(string(outcome.Color), outcome.Tag, stable.String()))
	}
	return fmt.Sprintf("%s (proven %s)", who, outcome.Live.At.Local().Format(time.TimeOnly))
}

func nothingWarm(outcome nginxconf.Outcome, root string) error {
	if outcome.Card.App == "" {
		f := &traffic.Fault{Kind: traffic.Policy, Err: fmt.Errorf("nothing to go back to: %s has had no rollout", root)}
		if _, err := os.Stat(root); err != nil {
			f.Err = fmt.Errorf("nothing to go back to: there is no %s", root)
			f.Hint = "Is another app or folder meant? `cutover back --app NAME --dir FOLDER`"
		}
		return f
	}
	return &traffic.Fault{
		Kind: traffic.Policy, Err: errors.New("nothing warm to go back to"),
		Hint: "An older release comes back with:\ncutover rollback --tag " + orElse(outcome.Card.Previous, "TAG"),
	}
}

// writeDown puts the cutbacks into the journal, each as the event with its id. What cannot be journaled is left in the cut folder, for the next writer.
func (i *invocation) writeDown(ctx context.Context, root, dir string, unknown error, cut []traffic.RolloutID, e traffic.Event) error {
	var failed []error
	for _, id := range cut {
		e.At, e.By, e.Rollout = i.now(), i.actor, id
		err := unknown
		if err == nil {
			err = i.journalCut(ctx, dir, e)
		}
		if err != nil {
			text, _ := json.Marshal(e) // plain data
			failed = append(failed, err, nginxconf.Fence{Root: root}.WriteWhy(id, text))
		}
	}
	return errors.Join(failed...)
}

func (i *invocation) journalCut(ctx context.Context, dir string, e traffic.Event) error {
	j, err := journal.Open(dir, i.now)
	if err != nil {
		return err
	}
	_, err = j.Append(ctx, e.Rollout.String(), i.actor, e)
	return err
}

// cutSeenOf reads what writeDown left in a cut folder.
func cutSeenOf(text []byte) (traffic.Event, bool) {
	var e traffic.Event
	err := json.Unmarshal(text, &e)
	return e, err == nil && (e.Kind == traffic.CutSeen || e.Kind == traffic.Recovered) && e.Rollout > 0
}

// stateOf is the journal's folder: as the last raise wrote it beside nginx's files, else as the configuration says.
func (i *invocation) stateOf(f backFlags, root string) (string, error) {
	if card, err := nginxconf.ReadCard(root); err == nil && card.State != "" {
		return card.State, nil
	}
	path, err := findConfig(f.config, i.dir)
	if err != nil {
		return "", err
	}
	config, err := loadConfig(path, f.environment)
	return filepath.Join(config.State, config.App), err
}

// The two keys that `back` takes from a cutover.yaml that may be too broken to be parsed.
var (
	appLine = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^app:\s*["']?([a-z][a-z0-9_-]*)`) })
	dirLine = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`(?m)^\s+dir:\s*["']?(/[^\s"'#]+)|^nginx:\s*\{[^}]*\bdir:\s*["']?(/[^\s"',}]+)`)
	})
)

// hintOf reads what a cutover.yaml says of app and nginx.dir, also where it is too broken to be parsed.
func (i *invocation) hintOf(path, environment string) hint {
	text, err := os.ReadFile(path)
	if err != nil {
		return hint{} // an unreadable one hints at nothing
	}
	if h, ok := hintIn(text); ok {
		return h
	}
	if config, err := loadConfig(path, environment); err == nil {
		return hint{config.App, config.Nginx.Dir}
	}
	var h hint
	if found := appLine().FindSubmatch(text); found != nil {
		h.app = string(found[1])
	}
	if found := dirLine().FindSubmatch(text); found != nil {
		h.dir = string(found[1]) + string(found[2])
	}
	return h
}

// findRoot finds the app's folder under nginx.dir. cutover.yaml is only a hint: flags go before it, and without either the only
// app that has a back.json is meant.
func (i *invocation) findRoot(f backFlags) (string, error) {
	app, dir := f.app, f.dir
	if path, err := findConfig(f.config, i.dir); err == nil && (app == "" || dir == "") {
		h := i.hintOf(path, f.environment)
		app, dir = orElse(app, h.app), orElse(dir, h.dir)
	}
	dir = absolute(orElse(dir, nginxconf.DefaultConfig().Dir), i.dir)
	if app != "" {
		return filepath.Join(dir, app), nil
	}
	cards, _ := filepath.Glob(filepath.Join(dir, "*", "back.json")) // a folder that no pattern can name holds none
	switch len(cards) {
	case 0:
		return "", &traffic.Fault{
			Kind: traffic.Usage, Err: fmt.Errorf("which app is meant? %s holds none", dir),
			Hint: "`cutover back --app NAME --dir FOLDER`, FOLDER being nginx.dir",
		}
	case 1:
		return filepath.Dir(cards[0]), nil
	}
	var apps []string
	for _, card := range cards {
		apps = append(apps, filepath.Base(filepath.Dir(card)))
	}
	return "", &traffic.Fault{
		Kind: traffic.Usage, Err: fmt.Errorf("which app is meant? %s holds %s", dir, strings.Join(apps, ", ")),
		Hint: "`cutover back --app " + apps[0] + "`",
	}
}
