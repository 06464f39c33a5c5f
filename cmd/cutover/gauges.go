package main

import (
	"fmt"

	"cutover/stacks"
	"cutover/traffic"
	"cutover/traffic/signal"
)

// gauges gives the sources of signals.guards for a rollout over that stable color, in the order of the guards.
func (s *session) gauges(engine *stacks.Engine, with signal.Comparison, stable traffic.Color) []signal.Beside {
	return s.config.Signals.Guarding(with, func(measure string) signal.Gauge {
		return stacks.NewGauge(engine, s.config.Stacks, stable.Other(), stacks.Measure(measure), s.now)
	})
}

// unwatched finds the guards of containers that are nobody's to look at.
func (c Config) unwatched() (found []error) {
	for n, g := range c.Signals.Guards {
		if g.Containers != "" && c.Stacks.Driver != stacks.DriverCompose {
			found = append(found, fmt.Errorf("signals.guards[%d].containers: stacks.driver is %s, so that cutover knows of no containers", n, c.Stacks.Driver))
		}
	}
	return found
}
