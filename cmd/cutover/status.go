package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"

	"cutover/nginxconf"
	"cutover/stacks"
	"cutover/traffic"
	"cutover/traffic/journal"
	"cutover/traffic/verdict"
)

// statusDocument is what `status --json` prints, and what every command that moves traffic prints at its end.
type statusDocument struct {
	App         string `json:"app"`
	Environment string `json:"environment"`
	// Result and Exit are of the command that printed this; empty in status.
	Result string `json:"result,omitempty"`
	Exit   int    `json:"exit"`
	// Truth is one line: who has the traffic, as nginx was proven to serve it, or that it could not be asked.
	Truth  string        `json:"truth"`
	Stable traffic.Color `json:"stable"`
	// Weight is the candidate's share in percent, as nginx serves it; as the journal has it where nginx does not answer.
	Weight traffic.Weight `json:"weight"`
	// Measured is the candidate's share of the requests that the log shows since the last raise; left out where it shows none.
	Measured *traffic.Weight `json:"measured,omitempty"`
	Colors   []colorStatus   `json:"colors"`
	// Why says what is happening, or how the last rollout ended, in one sentence. Next says what comes, or what to type.
	Why   string        `json:"why"`
	Next  string        `json:"next,omitempty"`
	Phase traffic.Phase `json:"phase"`
	// Rollout is the open one, or the last.
	Rollout  *traffic.Rollout `json:"rollout,omitempty"`
	Live     *traffic.Live    `json:"live,omitempty"`
	Promoter *journal.Holder  `json:"promoter,omitempty"`
	// Guard judges a share that was left by hand.
	Guard *journal.Holder `json:"guard,omitempty"`
	// Draining is what nginx still has from before; colors with a share are left out. Nil where nothing is left.
	Draining *nginxconf.Draining `json:"draining,omitempty"`
	// Warnings are what somebody should look at.
	Warnings []string `json:"warnings,omitempty"`
}

// colorStatus is one color's part of the status.
type colorStatus struct {
	Color   traffic.Color  `json:"color"`
	Release string         `json:"release"`
	Role    string         `json:"role"`
	Weight  traffic.Weight `json:"weight"`
	// Services is filled by `status` only: asking the engine takes time.
	Services []stacks.Standing `json:"services,omitempty"`
}

const statusHelp = `
Shows which color has which share, as nginx answers it right now, what is
happening and why, and what comes next. It works beside a running rollout,
with a damaged journal, and with a dead engine. The last line is the truth:
who has the traffic, and whether nginx proved it.

With --watch it goes on with a line for whatever happens, and one every ten
seconds for the evidence while a release is judged, until Ctrl-C.

EXAMPLES
   cutover status
   cutover status --watch
   cutover status --watch --events | jq .say
   cutover status --json | jq .weight`

func (i *invocation) statusCommand() *cli.Command {
	return i.command(commandSpec{
		name: "status", usage: "where the traffic is, what happens, why, what comes next", help: statusHelp,
		flags: []cli.Flag{&cli.BoolFlag{Name: "watch", Usage: "go on with a line for whatever happens", DisableDefaultText: true}},
		run: func(c *cli.Context) error {
			if c.Bool("watch") && c.Bool("json") {
				return usagef("status: --json prints one document and --watch has no end; take --events")
			}
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			doc := s.status(c.Context)
			for n := range doc.Colors {
				services, err := s.stacks.Describe(c.Context, doc.Colors[n].Color)
				if err != nil {
					doc.Warnings = append(doc.Warnings, fmt.Sprintf("%s: %v", doc.Colors[n].Color, err))
				}
				doc.Colors[n].Services = services
			}
			if i.out.result(doc); i.out.format == forPeople {
				s.printStatus(doc)
			}
			if c.Bool("watch") {
				return s.watchOn(c.Context)
			}
			return nil
		},
	})
}

// status gathers what is known. Whatever cannot be asked becomes a warning.
func (s *session) status(ctx context.Context) statusDocument {
	doc := s.standing(ctx)
	if doc.Live != nil {
		s.drains(ctx, &doc)
	}
	return doc
}

// standing is status without what drains: for that the kernel goes through its table of all connections, which takes it tens of
// milliseconds where there is much memory.
func (s *session) standing(ctx context.Context) statusDocument {
	s.hear()
	now := s.now()
	doc := statusDocument{
		App: s.config.App, Environment: s.config.Environment, Stable: s.state.Stable, Phase: s.state.Phase(),
		Why: traffic.Doing(s.state, now), Next: traffic.Coming(s.state, now), Rollout: s.state.Open,
	}
	if doc.Rollout == nil {
		doc.Rollout = s.state.Last
	}
	if r := s.state.Open; r != nil {
		doc.Weight = r.Actual
		if measured, ok := r.Measured(); ok && r.Phase != traffic.Accepted {
			doc.Measured = &measured
		}
	}
	share := func(c traffic.Color) traffic.Weight {
		switch {
		case s.state.Stable == "":
			return 0
		case c == s.carrier():
			return doc.Weight
		}
		return doc.Weight.Rest()
	}
	if live, err := s.proxy.Live(ctx); err != nil {
		doc.Warnings = append(doc.Warnings, err.Error())
		doc.Truth = fmt.Sprintf("%s (NOT proven: nginx does not answer)", traffic.Headline(s.state))
	} else {
		doc.Live, share = &live, live.Share
		doc.Weight = live.Share(s.carrier())
		doc.Truth = s.truth(live)
	}
	for _, color := range []traffic.Color{traffic.Blue, traffic.Green} {
		doc.Colors = append(doc.Colors, colorStatus{
			Color: color, Release: s.state.Tag(color), Role: s.role(color), Weight: share(color),
		})
	}
	s.warn(&doc)
	return doc
}

// drains looks for what nginx still has from before.
func (s *session) drains(ctx context.Context, doc *statusDocument) {
	without := slices.DeleteFunc([]traffic.Color{traffic.Blue, traffic.Green}, func(c traffic.Color) bool { return doc.Live.Share(c) > 0 })
	left, err := s.proxy.Draining(ctx, without...)
	if err != nil {
		doc.Warnings = append(doc.Warnings, fmt.Sprintf("what still drains: %v", err))
	} else if !left.Over() {
		doc.Draining = &left
	}
}

// carrier is the color whose share the status gives as the weight: the candidate of an open rollout, else the idle color.
func (s *session) carrier() traffic.Color {
	if r := s.state.Open; r != nil && s.state.Stable == r.Stable {
		return r.Candidate()
	}
	return s.state.Stable.Other()
}

func (s *session) truth(live traffic.Live) string {
	at := live.At.Local().Format(time.TimeOnly)
	for _, c := range []traffic.Color{traffic.Blue, traffic.Green} {
		if live.Share(c) == traffic.Full {
			return fmt.Sprintf("%s (proven %s)", spaced(string(c), s.state.Tag(c), "100 %"), at)
		}
	}
	c := s.carrier()
	return fmt.Sprintf("%s, %s (proven %s)", spaced(string(c), s.state.Tag(c), live.Share(c).String()),
		spaced(string(c.Other()), s.state.Tag(c.Other()), live.Share(c.Other()).String()), at)
}

func (s *session) role(c traffic.Color) string {
	switch {
	case c == s.state.Stable:
		return "stable"
	case s.state.Phase() == traffic.Accepted:
		return "warm"
	case s.state.Open != nil && c == s.state.Open.Candidate():
		return "candidate"
	}
	return "idle"
}

// hear takes the judge's latest numbers from the promoter's evidence file: the journal has only its changes of mind.
func (s *session) hear() {
	r := s.state.Open
	if r == nil {
		return
	}
	text, err := os.ReadFile(s.evidenceFile())
	if err != nil {
		return
	}
	var latest evidence
	if json.Unmarshal(text, &latest) == nil && latest.Rollout == r.ID && r.HasJudge() && r.Phase != traffic.Accepted {
		r.Verdict = latest.Verdict
	}
}

// evidence is the file in which a promoter leaves the judge's numbers once a second, for status.
type evidence struct {
	Rollout traffic.RolloutID `json:"rollout"`
	At      time.Time         `json:"at"`
	Verdict verdict.Result    `json:"verdict"`
}

func (s *session) evidenceFile() string { return filepath.Join(s.dir, "evidence.json") }

// leaveEvidence is a convenience for readers: nothing depends on it, so its errors are dropped.
func (s *session) leaveEvidence(r traffic.Rollout, at time.Time) {
	if text, err := json.Marshal(evidence{r.ID, at, r.Verdict}); err == nil {
		_ = renameio.WriteFile(s.evidenceFile(), text, 0o640, renameio.WithStaticPermissions(0o640))
	}
}

func (s *session) warn(doc *statusDocument) {
	if s.damage != nil {
		doc.Warnings = append(doc.Warnings, s.damage.Error()+": nothing is raised on it")
	}
	if ahead := s.written.Sub(s.now()); ahead > clockSlack {
		doc.Warnings = append(doc.Warnings, fmt.Sprintf("the journal's last line is of %s, %v ahead of this clock: is the clock right?",
			s.written.Local().Format(time.DateTime), ahead.Round(time.Second)))
	}
	holder, held, err := journal.Holding(s.dir)
	if held && holder.PID != os.Getpid() {
		doc.Promoter = &holder
	}
	if !held && err == nil && s.lock == nil && !s.state.Settled() {
		doc.Warnings = append(doc.Warnings, "NOBODY WATCHES THIS ROLLOUT: its promoter is gone. Type `cutover back`.")
	}
	if r := s.state.Open; r != nil && r.Guarded {
		if guard, guarded := s.guardOf(r.ID); guarded {
			doc.Guard = &guard
		} else if r.Phase == traffic.Soaking {
			doc.Warnings = append(doc.Warnings, "NOBODY JUDGES THIS SHARE: its guard is gone. Type `cutover back`.")
		}
	}
	if doc.Live != nil {
		if contradiction := s.contradiction(*doc.Live); contradiction != "" {
			doc.Warnings = append(doc.Warnings, contradiction)
		}
	}
}

// clockSlack is how far two clocks, or one before and after it was set, may be apart without a word.
const clockSlack = time.Minute

// contradiction says how what nginx serves is not what the journal has; empty where it is, or where that is just changing.
func (s *session) contradiction(live traffic.Live) string {
	if !s.state.Settled() || s.state.Stable == "" {
		return ""
	}
	expected := traffic.Weight(0)
	if r := s.state.Open; r != nil && s.state.Stable == r.Stable {
		expected = r.Actual
	}
	if got := live.Share(s.carrier()); got != expected {
		return fmt.Sprintf("nginx gives %s to %s, the journal says %s", got, s.carrier(), expected)
	}
	return ""
}

func (s *session) printStatus(doc statusDocument) {
	o := s.out
	o.line("%s (%s)", doc.App, doc.Environment)
	for _, c := range doc.Colors {
		o.line("  %-6s %-20s %-10s %7s", c.Color, orDash(c.Release), c.Role, c.Weight)
		for _, service := range c.Services {
			o.line("         %-18s %-10s %-10s %s", service.Service, service.State, orDash(service.Health), service.Address)
		}
	}
	o.line("now   %s", doc.Why)
	if doc.Measured != nil {
		o.line("share %s set, %s of %d requests measured", doc.Weight, *doc.Measured,
			doc.Rollout.Verdict.Candidate.Requests+doc.Rollout.Verdict.Baseline.Requests)
	}
	if doc.Next != "" {
		o.line("next  %s", doc.Next)
	}
	if r := doc.Rollout; r != nil && r.Ending == "" && r.Actual > 0 {
		for _, p := range slices.Concat(r.Verdict.Routes, r.Verdict.Counted) {
			o.line("      %s: candidate failed %d of %d, stable %d of %d", p.Name,
				p.Candidate.Errors, p.Candidate.Requests, p.Baseline.Errors, p.Baseline.Requests)
		}
		for _, note := range r.Verdict.Notes {
			o.line("note  %s", note)
		}
	}
	if doc.Promoter != nil {
		o.line("by    %s since %s: %s (process %d)", doc.Promoter.Actor, doc.Promoter.Since.Local().Format(time.TimeOnly),
			doc.Promoter.Command, doc.Promoter.PID)
	}
	if doc.Draining != nil {
		o.line("drain %s", doc.Draining)
	}
	for _, w := range doc.Warnings {
		o.line("WARN  %s", w)
	}
	o.line("%s", doc.Truth)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
