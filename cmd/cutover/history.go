package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
)

// historyLine is one rollout of `history`.
type historyLine struct {
	Rollout traffic.RolloutID    `json:"rollout"`
	Mode    traffic.Mode         `json:"mode"`
	Opened  time.Time            `json:"opened"`
	Ended   time.Time            `json:"ended,omitzero"`
	By      string               `json:"by"`
	Release string               `json:"release"`
	Color   traffic.Color        `json:"color"`
	Result  string               `json:"result"`
	Steps   []traffic.StepRecord `json:"steps,omitempty"`
	Why     string               `json:"why"`
	// Would is the cutback that a rollout with --observe would have had first.
	Would *traffic.Observed `json:"would,omitempty"`
}

const historyHelp = `
Lists the rollouts, the newest first: who, when, which release, how far it
came, how it ended and why. --json has every step with the numbers of its
verdict.

EXAMPLES
   cutover history
   cutover history --last 1
   cutover history --json | jq '.[0].why'`

func (i *invocation) historyCommand() *cli.Command {
	return i.command(commandSpec{
		name: "history", usage: "what happened and why", help: historyHelp,
		flags: []cli.Flag{&cli.IntFlag{Name: "last", Usage: "show the newest `N`", Value: 20}},
		run: func(c *cli.Context) error {
			if c.Int("last") < 1 {
				return usagef("history: --last %d must be 1 or more", c.Int("last"))
			}
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			lines, err := s.history()
			if err != nil {
				return err
			}
			lines = lines[:min(len(lines), c.Int("last"))]
			switch i.out.format {
			case forScripts:
				i.out.result(lines)
			case forFollower:
				for _, l := range lines {
					i.out.event(l)
				}
			case forPeople:
				s.printHistory(lines)
			}
			if s.damage != nil {
				i.out.aside("WARN  %v", s.damage)
			}
			return nil
		},
	})
}

// history folds the journal once more and keeps each rollout as it was last.
func (s *session) history() ([]historyLine, error) {
	entries, err := s.journal.Read()
	if err != nil && s.damage == nil {
		return nil, err
	}
	state := traffic.State{}
	byID := map[traffic.RolloutID]traffic.Rollout{}
	for _, entry := range entries {
		e, ok := eventOf(entry)
		if !ok {
			continue
		}
		state = traffic.Next(state, e)
		for _, r := range []*traffic.Rollout{state.Last, state.Open} {
			if r != nil {
				byID[r.ID] = *r
			}
		}
	}
	lines := []historyLine{}
	for id := state.LastID; id > 0; id-- {
		if r, ok := byID[id]; ok {
			lines = append(lines, lineOf(r))
		}
	}
	return lines, nil
}

func lineOf(r traffic.Rollout) historyLine {
	result := string(r.Ending)
	if r.Ending == "" {
		result = string(r.Phase)
	}
	return historyLine{
		Rollout: r.ID, Mode: r.Mode, Opened: r.Opened, Ended: r.Ended, By: r.By, Release: r.Release.Tag, Color: r.Candidate(),
		Result: result, Steps: r.Steps, Why: r.Why, Would: r.Would,
	}
}

func (s *session) printHistory(lines []historyLine) {
	if len(lines) == 0 {
		s.out.line("no rollout yet")
	}
	for _, l := range lines {
		reached := traffic.Weight(0)
		for _, step := range l.Steps {
			reached = max(reached, step.Weight)
		}
		s.out.line("%s  %s  %-14s %-6s %-9s %-10s reached %5s  %s", l.Rollout, l.Opened.Local().Format(time.DateTime), l.Release, l.Color,
			l.Mode, l.Result, reached, l.By)
		if l.Why != "" {
			s.out.line("        %s", l.Why)
		}
		if l.Would != nil {
			s.out.line("        %s", l.Would)
		}
	}
}
