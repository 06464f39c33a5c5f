package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
	"cutover/traffic/journal"
)

// report is one rollout, whole, as --json prints it. Text and page say the same. It is made of the journal and the access log
// alone: the same ones give the same report to the byte, whenever it is asked for.
type report struct {
	App string `json:"app"`
	// Headline is how it ended, in one line without the reason.
	Headline string `json:"headline"`
	// Result is the ending, or the phase of a rollout that is not over.
	Result string `json:"result"`
	// Why is the reason in one sentence; empty where none was recorded.
	Why     string          `json:"why,omitempty"`
	Rollout traffic.Rollout `json:"rollout"`
	// Decided is when the verdict or a person ended it; zero while that is open.
	Decided  time.Time  `json:"decided,omitzero"`
	Timeline []happened `json:"timeline"`
	// Shares are the candidate's, from when on each was proven.
	Shares []shareSince `json:"shares,omitempty"`
	// Notes are whole sentences on what has not decided but should be known: guards that only observe, trouble, damage.
	Notes   []string        `json:"notes,omitempty"`
	Traffic recordedTraffic `json:"traffic"`
}

// happened is one line of the timeline.
type happened struct {
	At    time.Time         `json:"at"`
	Event traffic.EventKind `json:"event"`
	About string            `json:"about"`
	Say   string            `json:"say"`
	By    string            `json:"by,omitempty"`
}

type shareSince struct {
	At     time.Time      `json:"at"`
	Weight traffic.Weight `json:"weight"`
}

const reportHelp = `
Tells what happened in one rollout and why: how it ended, everything that
happened in order, each step with its numbers, and how the verdict came
about. Without ID it is the last one, over or not. Times are those of the
host on which it ran.

The journal has all of that but the requests. Those are read from the access
log, and judged once more second by second, by the margins of cutover.yaml as
it is now. Where the log has been rotated away, --log names the older file,
plain or gzipped; without it the rest is told all the same.

--html also writes it as a page with a chart: one file that needs no network,
to be mailed, attached to a ticket, or printed. '-' writes only the page, to
standard output.

EXAMPLES
   cutover report
   cutover report --html report.html 17
   cutover report --log /var/log/nginx/cutover-shop.log.2.gz 17
   cutover report --json | jq -r .why`

func (i *invocation) reportCommand() *cli.Command {
	return i.command(commandSpec{
		name: "report", usage: "what happened in one rollout, and why", help: reportHelp, argument: "[ID]",
		flags: []cli.Flag{
			&cli.StringFlag{Name: "html", Usage: "also write a page to `FILE`"},
			&cli.StringFlag{Name: "log", Usage: "read the requests from `FILE`", DefaultText: "the access log"},
		},
		run: func(c *cli.Context) error {
			id := traffic.RolloutID(0)
			if c.NArg() == 1 {
				var err error
				if id, err = traffic.ParseRolloutID(c.Args().First()); err != nil {
					return usagef("report: %w", err)
				}
			}
			onlyPage := c.String("html") == "-"
			if onlyPage && i.out.format != forPeople {
				return usagef("report: --html - prints the page, and --json or --events something else; name a file")
			}
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			told, err := s.report(id, c.String("log"))
			if err != nil {
				return err
			}
			if onlyPage {
				return told.page(i.out.stdout)
			}
			if err := i.writePage(told, c.String("html")); err != nil {
				return err
			}
			i.out.result(told)
			if i.out.format == forPeople {
				told.print(i.out)
			}
			return nil
		},
	})
}

// writePage writes the page where one was asked for.
func (i *invocation) writePage(told report, path string) error {
	if path == "" {
		return nil
	}
	var page strings.Builder
	if err := told.page(&page); err != nil {
		return err
	}
	path = absolute(path, i.dir)
	if err := os.WriteFile(path, []byte(page.String()), 0o644); err != nil { // by rename it would replace a device or a pipe
		return &traffic.Fault{Kind: traffic.Usage, Err: fmt.Errorf("report: --html: %w", err)}
	}
	i.out.aside("the page is %s", path)
	return nil
}

// report gathers what is known of the rollout; id 0 is the last one. log is the file of its requests, empty for the configured one.
func (s *session) report(id traffic.RolloutID, log string) (report, error) {
	entries, err := s.journal.Read()
	if _, torn := errors.AsType[*journal.CorruptError](err); err != nil && !torn {
		return report{}, err
	}
	if id == 0 {
		id = s.state.LastID
	}
	if id == 0 {
		return report{}, usagef("report: there has been no rollout yet")
	}
	told, found := remembered(id, entries)
	if !found {
		return report{}, usagef("report: the journal in %s has no rollout %s; `cutover history` lists them", s.dir, id)
	}
	told.App = s.config.App
	if s.damage != nil {
		told.Notes = append(told.Notes, s.damage.Error())
	}
	ran := courseOf(id, entries)
	ran.app = s.config.App
	told.Traffic, err = s.replayed(told, ran, log)
	return told, err
}

// remembered is what the journal tells of the rollout; false where it has none of that id.
func remembered(id traffic.RolloutID, entries []journal.Entry) (told report, found bool) {
	state, share := traffic.State{}, traffic.Weight(0)
	for _, entry := range entries {
		e, ok := eventOf(entry)
		if !ok {
			continue
		}
		before := state
		state = traffic.Next(before, e)
		r := state.Open
		if r == nil {
			r = state.Last
		}
		if r == nil || r.ID != id || before.Open == nil && state.Open == nil {
			continue
		}
		found, told.Rollout = true, *r
		if about, text := transcript(before, state, *r, e); text != "" {
			told.Timeline = append(told.Timeline, happening(e, about, text))
		}
		if r.Actual != share {
			share = r.Actual
			told.Shares = append(told.Shares, shareSince{e.At, share})
		}
		if told.Decided.IsZero() && r.Ending != "" {
			told.Decided = e.At
		}
	}
	told.conclude()
	return told, found
}

// happening is the line of an event, with who brought it about and what they said where the line does not say so.
func happening(e traffic.Event, about, text string) happened {
	h := happened{At: e.At, Event: e.Kind, About: about, Say: text}
	if e.Why != "" && !strings.Contains(text, e.Why) {
		h.Say += ": " + e.Why
	}
	if !strings.Contains(text, e.By) {
		h.By = e.By
	}
	return h
}

// conclude words what the rollout came to.
func (told *report) conclude() {
	r := told.Rollout
	told.Result, told.Why = string(r.Ending), r.Why
	if r.Ending == "" {
		told.Result, told.Why = string(r.Phase), orElse(r.Holding, r.Verdict.Reason)
	}
	if r.Ending == traffic.Promoted && len(r.Steps) > 0 {
		told.Why = spaced(r.Why+":", r.Steps[len(r.Steps)-1].Result.Reason)
	}
	told.Headline = spaced(r.Release.Tag, "on", string(r.Candidate()), told.ended())
	if r.Unproven != "" {
		told.Notes = append(told.Notes, "NOT PROVEN that stable has the traffic: "+r.Unproven)
	}
	if r.Would != nil {
		told.Notes = append(told.Notes, r.Would.String())
	}
	if r.Trouble != "" {
		told.Notes = append(told.Notes, "trouble: "+r.Trouble)
	}
	for _, step := range r.Steps {
		told.note(step.Result.Notes)
	}
	told.note(r.Verdict.Notes)
}

func (told *report) note(notes []string) {
	for _, n := range notes {
		if !slices.Contains(told.Notes, n) {
			told.Notes = append(told.Notes, n)
		}
	}
}

// ended says how the rollout ended, without the reason.
func (told *report) ended() string {
	r := told.Rollout
	share := ""
	if n := len(r.Steps); n > 0 {
		share = " at " + r.Steps[n-1].Weight.String()
	}
	switch r.Ending {
	case traffic.Promoted:
		return "was promoted"
	case traffic.Reverted:
		return "was reverted by the verdict" + share
	case traffic.Held:
		return "was taken back for lack of evidence" + share
	case traffic.Aborted:
		return "was cut back" + share
	case traffic.Declined:
		return "was taken back because nginx did not serve it"
	case traffic.Failed:
		return "got no traffic: it failed before"
	}
	return "is not over: " + string(r.Phase) + share
}

// zone is the host's where and when the rollout was opened, so that the report is the same wherever it is made.
func (told *report) zone() *time.Location {
	_, offset := told.Rollout.Opened.Zone()
	return time.FixedZone("", offset)
}

// clock writes a time of the rollout, with the date where it is not that of its first day.
func (told *report) clock(t time.Time) string {
	t, opened := t.In(told.zone()), told.Rollout.Opened.In(told.zone())
	if t.Format(time.DateOnly) != opened.Format(time.DateOnly) {
		return t.Format(time.DateTime)
	}
	return t.Format(time.TimeOnly)
}

// carried is for how long the candidate had traffic; zero where it never had, or has it still.
func (told *report) carried() time.Duration {
	if len(told.Shares) == 0 || told.Decided.IsZero() {
		return 0
	}
	return max(0, told.Decided.Sub(told.Shares[0].At)).Round(100 * time.Millisecond)
}

// reached is the highest share that the candidate had.
func (told *report) reached() (most traffic.Weight) {
	for _, s := range told.Shares {
		most = max(most, s.Weight)
	}
	return most
}

// writeClean writes text in which reasons, tags and names from outside stand. What is not printable could steer a terminal, or
// turn the order of what one reads around.
func writeClean(w io.Writer, text string) error {
	_, err := io.WriteString(w, strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text))
	return err
}
