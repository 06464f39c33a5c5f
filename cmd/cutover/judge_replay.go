package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
	"cutover/traffic/journal"
	"cutover/traffic/signal"
	"cutover/traffic/verdict"
)

// replayDocument is what `judge --replay --json` prints.
type replayDocument struct {
	Decision string        `json:"decision"`
	Rule     string        `json:"rule"`
	Reason   string        `json:"reason"`
	Events   []replayEvent `json:"events"`
	// Requests are attempts, from the first share to the end.
	Requests struct {
		Candidate verdict.Count `json:"candidate"`
		Stable    verdict.Count `json:"stable"`
	} `json:"requests"`
	Lines struct {
		All int64 `json:"all"`
		// LeftOut are those of another app, or of no known format.
		LeftOut int64 `json:"left_out"`
	} `json:"lines"`
}

// replayEvent is a change of the decision.
type replayEvent struct {
	TS       unixTime            `json:"ts"`
	Weight   traffic.Weight      `json:"weight"`
	Decision string              `json:"decision"`
	Rule     string              `json:"rule"`
	Reason   string              `json:"reason"`
	LogM     verdict.LogEvidence `json:"log_m"`
	// Candidate and Stable count since the last change of the share, the warm-up left out.
	Candidate verdict.Tally `json:"candidate"`
	Stable    verdict.Tally `json:"stable"`
}

// unixTime is written as logs have it: 1700000000.123.
type unixTime time.Time

// MarshalJSON writes seconds since 1970 with as many decimals as there are.
func (t unixTime) MarshalJSON() ([]byte, error) {
	text := fmt.Sprintf("%d.%09d", time.Time(t).Unix(), time.Time(t).Nanosecond())
	return []byte(strings.TrimSuffix(strings.TrimRight(text, "0"), ".")), nil
}

// course is what is known of a rollout besides its requests.
type course struct {
	candidate traffic.Color
	shifts    []verdict.Shift
	until     time.Time // zero: the end of the recording
	app       string    // empty: that of the recording's first line
}

func (i *invocation) replay(c *cli.Context) error {
	if err := onlyOf(c, "replay", simulateFlags); err != nil {
		return err
	}
	if c.IsSet("slower-than") && c.Duration("slower-than") <= 0 {
		return usagef("judge: --slower-than %v must be above 0s", c.Duration("slower-than"))
	}
	config, path, err := i.judged(c)
	if err != nil {
		return err
	}
	var ran course
	if c.IsSet("rollout") {
		ran, err = i.recorded(c, config, path)
	} else {
		ran, err = scheduled(c)
	}
	if err != nil {
		return err
	}
	metrics := verdict.ErrorsOnly
	if c.Duration("slower-than") > 0 {
		metrics = verdict.ErrorsAndSlowness
	}
	format, err := formatOf(c, config)
	if err != nil {
		return err
	}
	known := config.reading(ran.candidate.Other())
	recording, err := signal.OpenRecording(absolute(c.String("replay"), i.dir), signal.Wanted{
		App: ran.app, Candidate: string(ran.candidate), Stable: string(ran.candidate.Other()), SlowerThan: c.Duration("slower-than"),
		Known: known.Arms, Routes: known.Routes, Format: format,
	})
	if err != nil {
		return unreadable(err)
	}
	r := verdict.NewReplay(config.judged(), metrics, ran.shifts, ran.until)
	if err := recording.Play(r.Play); err != nil {
		return err
	}
	last, judged := r.End()
	stable, candidate := r.Counted(verdict.Baseline), r.Counted(verdict.Candidate)
	if !judged || stable.Requests+candidate.Requests == 0 {
		return usagef("judge: no request of blue or green between %s and the end; the recording goes from %s to %s",
			stamp(ran.shifts[0].At), stamp(recording.First), stamp(recording.Last))
	}
	i.tellReplay(recording, r, last, ran)
	return nil
}

// formatOf is the format of the recording: the flag's, else the configured one; nil for cutover's own and for traces.
func formatOf(c *cli.Context, config Config) (*signal.Format, error) {
	log := config.Signals.AccessLog
	if c.IsSet("format") {
		log.Format = c.String("format")
	}
	format, err := log.Layout()
	switch {
	case err != nil:
		return nil, usagef("judge: --format: %w", err)
	case format != nil && !format.Colored && len(config.Stacks.Web) == 0:
		return nil, usagef("judge: --format: the addresses of both colors stand in cutover.yaml, which is not here; give --config")
	}
	return format, nil
}

// unreadable is what is wrong with a recording, as far as a person can mend it.
func unreadable(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &traffic.Fault{Kind: traffic.Usage, Err: err}
	case errors.Is(err, signal.ErrForeign):
		return &traffic.Fault{Kind: traffic.Usage, Err: err, Hint: "nginx's own formats do not say which color answered; " +
			"cutover's log does (signals.access_log.path), and traces: `cutover judge --help` shows a line."}
	}
	return err
}

// scheduled is the course that the flags give.
func scheduled(c *cli.Context) (course, error) {
	switch {
	case c.String("candidate") == "":
		return course{}, usagef("judge: --candidate COLOR is missing: blue or green (or --rollout ID)")
	case c.String("schedule") == "":
		return course{}, usagef("judge: --schedule TIME=PERCENT is missing (or --rollout ID)")
	}
	candidate, err := traffic.ParseColor(c.String("candidate"))
	if err != nil {
		return course{}, usagef("judge: --candidate: %w", err)
	}
	ran := course{candidate: candidate}
	for _, part := range strings.Split(c.String("schedule"), ",") {
		at, weight, ok := strings.Cut(part, "=")
		if !ok {
			return course{}, usagef("judge: --schedule: %q is not TIME=PERCENT, such as 1700000000=5", part)
		}
		s := verdict.Shift{}
		if s.At, err = parseMoment(at); err != nil {
			return course{}, usagef("judge: --schedule: %w", err)
		}
		w, err := traffic.ParseWeight(weight)
		if err != nil {
			return course{}, usagef("judge: --schedule: %w", err)
		}
		n := len(ran.shifts)
		switch {
		case !ran.until.IsZero():
			return course{}, usagef("judge: --schedule: %s follows the share of 0, which ends a rollout; judge the next one by itself", part)
		case n > 0 && !s.At.After(ran.shifts[n-1].At):
			return course{}, usagef("judge: --schedule: %s is not after the share before it", part)
		case w == 0 && n == 0:
			return course{}, usagef("judge: --schedule: the first share is 0")
		case w == 0:
			ran.until = s.At
			continue
		}
		s.Share = w.Fraction()
		ran.shifts = append(ran.shifts, s)
	}
	return ran, nil
}

// parseMoment reads seconds since 1970, or a time as the journal and --json write it.
func parseMoment(text string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return at, nil
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 && seconds < 1e11 {
		return time.UnixMilli(int64(math.Round(seconds * 1000))), nil
	}
	return time.Time{}, fmt.Errorf("time %q is neither seconds since 1970 nor like 2023-11-14T22:13:20Z", text)
}

// closing is how long after its end a rollout's requests are still judged: a second of evidence was under way, and lines of
// the log come late.
const closing = 2 * time.Second

// recorded is the course of a rollout that stands in the journal.
func (i *invocation) recorded(c *cli.Context, config Config, path string) (course, error) {
	if c.IsSet("candidate") || c.IsSet("schedule") {
		return course{}, usagef("judge: --rollout says what --candidate and --schedule say; give one or the other")
	}
	id, err := traffic.ParseRolloutID(c.String("rollout"))
	if err != nil {
		return course{}, usagef("judge: --rollout: %w", err)
	}
	if path == "" {
		_, err := findConfig("", i.dir)
		return course{}, err
	}
	dir := filepath.Join(config.State, config.App)
	if _, err := os.Stat(dir); err != nil { // opening a journal would make one
		return course{}, &traffic.Fault{Kind: traffic.Usage, Err: fmt.Errorf("no journal of %s: %w", config.App, err)}
	}
	j, err := journal.Open(dir, i.now)
	if err != nil {
		return course{}, err
	}
	entries, err := j.Read()
	if _, torn := errors.AsType[*journal.CorruptError](err); err != nil && !torn {
		return course{}, err
	}
	ran := courseOf(id, entries)
	if len(ran.shifts) == 0 {
		return course{}, usagef("judge: the journal in %s has no rollout %s with traffic", dir, id)
	}
	ran.app = config.App
	return ran, nil
}

// courseOf folds the journal and notes what its rollout's judge was told.
func courseOf(id traffic.RolloutID, entries []journal.Entry) course {
	var ran course
	state := traffic.State{}
	for _, entry := range entries {
		e, ok := eventOf(entry)
		if !ok {
			continue
		}
		state = traffic.Next(state, e)
		r := state.Open
		if r == nil || r.ID != id {
			continue
		}
		ran.candidate = r.Candidate()
		switch n := len(ran.shifts); {
		case e.Kind == traffic.Raised && e.Rollout == id && (n == 0 || !ran.shifts[n-1].At.Equal(e.At)):
			ran.shifts = append(ran.shifts, verdict.Shift{At: e.At, Share: r.Actual.Fraction()})
		case ran.until.IsZero() && slices.Contains([]traffic.Phase{traffic.CuttingBack, traffic.Accepted}, r.Phase):
			ran.until = e.At.Add(closing)
		}
	}
	return ran
}

func (i *invocation) tellReplay(recording *signal.Recording, r *verdict.Replay, last verdict.Opinion, ran course) {
	if recording.Foreign > 0 {
		i.out.aside("WARN  %d of %d lines left out, the first is line %d: another app's, or of no known format",
			recording.Foreign, recording.Lines, recording.FirstForeign)
	}
	if n := recording.Disordered; n > 0 {
		i.out.aside("WARN  line %d was logged over a minute before the one above it: put files together in the order of time", n)
	}
	doc := replayDocument{Decision: decided(last.Result), Rule: last.Result.Rule, Reason: last.Result.Reason}
	doc.Requests.Candidate, doc.Requests.Stable = r.Counted(verdict.Candidate), r.Counted(verdict.Baseline)
	doc.Lines.All, doc.Lines.LeftOut = recording.Lines, recording.Foreign
	if doc.Requests.Candidate.Requests == 0 {
		i.out.aside("WARN  not one request of %s: is that the candidate?", ran.candidate)
	}
	i.out.line("%s tried beside %s: %d requests of it, %d of stable", ran.candidate, ran.candidate.Other(),
		doc.Requests.Candidate.Requests, doc.Requests.Stable.Requests)
	doc.Events = eventsOf(r.Opinions())
	for _, e := range doc.Events {
		i.out.event(e)
		i.out.line("%s  %5s  %-4s  %s", stamp(time.Time(e.TS)), e.Weight, e.Decision, e.Reason)
	}
	i.out.result(doc)
	i.out.line("verdict: %s: %s", doc.Decision, doc.Reason)
}

// decided is the decision in the words of a replay, which knows no difference between too little evidence and none.
func decided(r verdict.Result) string {
	switch r.Decision {
	case verdict.Passed, verdict.Failed:
		return string(r.Decision)
	}
	return "hold"
}

// stamp is a time of a recording: never by the time zone of who reads it.
func stamp(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }
