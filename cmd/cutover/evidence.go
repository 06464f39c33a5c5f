package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"cutover/stacks"
	"cutover/traffic"
	"cutover/traffic/signal"
	"cutover/traffic/verdict"
)

// evidence is all that the judge hears about a rollout: the request log, and the sources beside it.
func (s *session) evidence(r *traffic.Rollout) *signal.Joined {
	log := signal.OpenAccessLog(s.config.judgedLog(), s.config.reading(r.Stable), s.now)
	arms := [2]traffic.Color{verdict.Baseline: r.Stable, verdict.Candidate: r.Candidate()}
	tags := [2]string{verdict.Baseline: r.Previous, verdict.Candidate: r.Release.Tag}
	with, pages := signal.Comparison{SlowerThan: s.config.Verdict.Latency.SlowerThan, Now: s.now}, [2]string{}
	for arm, color := range arms {
		subject := signal.Subject{Color: string(color), Project: s.config.Stacks.Slot(color).Project, Release: tags[arm]}
		for _, w := range s.config.Stacks.Web {
			subject.Addresses = append(subject.Addresses, w.Address(color))
			if w.Service == cmp.Or(s.config.Signals.Scrape.Service, s.config.Stacks.Web[0].Service) {
				pages[arm] = w.Address(color)
			}
		}
		with.Arms[arm] = subject
	}
	beside := append(s.config.Signals.Beside(with, pages), prober{s.stacks, r.Stable, s.now})
	return signal.Join(s.now, log, append(beside, s.gauges(s.engine, with, r.Stable)...)...)
}

// judge is who hears the evidence.
func (s *session) judge() *verdict.Judge {
	return verdict.NewJudgeBeside(s.config.judged(), verdict.Beside{
		Counted: s.config.Signals.Counted(s.config.Verdict.Latency.SlowerThan), Guards: s.config.Signals.Guarded(),
	})
}

// validateScraped tells of a service that signals.scrape asks and stacks.web does not have: neither section knows the other.
func (c Config) validateScraped() error {
	for _, w := range c.Stacks.Web {
		if s := c.Signals.Scrape.Service; s == "" || s == w.Service {
			return nil
		}
	}
	return fmt.Errorf("signals.scrape.service: %q is none of stacks.web", c.Signals.Scrape.Service)
}

const (
	// probeEvery is how often stable is asked beside the traffic, and probePatience how long an answer may take: an outage must be
	// known before the judge can have convicted for it, which takes 2.5 s at least.
	probeEvery    = time.Second
	probePatience = time.Second
)

// prober asks the stable color's web services whether they answer, past nginx.
type prober struct {
	stacks *stacks.Driver
	color  traffic.Color
	now    func() time.Time
}

// Follow hands over one probe a second until the context ends.
func (p prober) Follow(ctx context.Context, fold func(verdict.Batch)) error {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		asked, cancel := context.WithTimeout(ctx, probePatience)
		err := p.stacks.Answers(asked, p.color)
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		probe := verdict.Probe{At: p.now()}
		if err != nil {
			probe.Failed = err.Error()
		}
		fold(verdict.Batch{Probes: []verdict.Probe{probe}})
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// Missing accuses nobody: without a probe the candidate answers for whatever it fails.
func (p prober) Missing(at time.Time, _ string) verdict.Batch {
	return verdict.Batch{Probes: []verdict.Probe{{At: at}}}
}
