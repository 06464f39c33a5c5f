package stacks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"

	"cutover/traffic"
)

// Measure is what a Gauge reads of containers.
type Measure string

// Restarts, OOMKills and TurnsUnhealthy count what happened to the candidate's listed containers since the first look. Memory and CPU
// compare what the candidate's web services use with the most that the old stack's same services were seen to use.
const (
	Restarts       Measure = "restarts"
	OOMKills       Measure = "oom"
	TurnsUnhealthy Measure = "unhealthy"
	Memory         Measure = "memory"
	CPU            Measure = "cpu"
)

// Gauge reads one measure of the candidate's containers, again and again from one goroutine. Its first look is where it begins to
// count, so that it belongs to one rollout.
type Gauge struct {
	read func(context.Context) (float64, string, error)
}

// Read gives the value now, and in words for a person. An error says why nobody can tell.
func (g *Gauge) Read(ctx context.Context) (value float64, text string, err error) { return g.read(ctx) }

// NewGauge prepares a gauge of a rollout of that candidate. Of external stacks there is never a value.
func NewGauge(engine *Engine, config Config, candidate traffic.Color, m Measure, now func() time.Time) *Gauge {
	if engine == nil || config.Driver != DriverCompose {
		return &Gauge{func(context.Context) (float64, string, error) {
			return 0, "", fmt.Errorf("nobody asks an engine about containers: stacks.driver is %s", config.Driver)
		}}
	}
	switch m {
	case Restarts, OOMKills, TurnsUnhealthy:
		of := stack{color: candidate, project: config.Slot(candidate).Project}
		return &Gauge{(&incidents{engine: engine, of: of, services: config.listed(), measure: m, now: now}).read}
	case Memory, CPU:
		u := &usage{engine: engine, services: config.webNames(), measure: m, before: map[string]spent{}}
		for i, color := range []traffic.Color{candidate, candidate.Other()} {
			u.stacks[i] = stack{color: color, project: config.Slot(color).Project}
		}
		return &Gauge{u.read}
	}
	return &Gauge{func(context.Context) (float64, string, error) {
		return 0, "", fmt.Errorf("%q is no measure of containers", m)
	}}
}

// incidents counts what happens to the containers of one color.
type incidents struct {
	engine   *Engine
	of       stack
	services []string
	measure  Measure
	now      func() time.Time
	// known are the containers by their id; nil before the first look. One that comes later counts from then on.
	known map[string]*history
	// heard is the time of the last of the engine's events, by its own clock, in nanoseconds; unheard before any look at them.
	heard int64
}

const (
	unheard = -1
	// burst is how close the engine's events of one incident lie: control groups tell of one kill several times within milliseconds.
	burst = int64(time.Second)
)

// history is what happened to one container since it was seen first.
type history struct {
	first, last box
	// restarts are what the engine's policy did, events those that the measure is about.
	restarts, events int
	// heard is the time of the last event, in nanoseconds.
	heard int64
}

// read looks once. A container that is gone leaves no value from then on: what happened to it is not known, nor what took its place.
func (w *incidents) read(ctx context.Context) (float64, string, error) {
	boxes, err := w.engine.boxes(ctx, w.of.project, w.services...)
	if err != nil {
		return 0, "", err
	}
	if len(boxes) == 0 && w.known == nil {
		return 0, "", fmt.Errorf("%s has no container of %s", w.of.color, strings.Join(w.services, ", "))
	}
	if err := w.recognize(boxes); err != nil {
		return 0, "", err
	}
	if w.measure == TurnsUnhealthy && !slices.ContainsFunc(boxes, func(b box) bool { return b.Health != "" }) {
		return 0, "", fmt.Errorf("no container of %s has a health check", w.of.color)
	}
	if w.measure != Restarts {
		if err := w.hear(ctx); err != nil {
			return 0, "", err
		}
	}
	value, text := w.sum()
	return value, text, nil
}

func (w *incidents) recognize(boxes []box) error {
	for id, h := range w.known {
		if !slices.ContainsFunc(boxes, func(b box) bool { return b.ID == id }) {
			return fmt.Errorf("%s (%s) was removed or recreated by somebody else, so that nobody knows what happened to it", w.of.of(h.last.Service), h.last.Name)
		}
	}
	if w.known == nil {
		w.known, w.heard = map[string]*history{}, unheard
	}
	for _, b := range boxes {
		h := w.known[b.ID]
		if h == nil {
			h = &history{first: b, last: b}
			w.known[b.ID] = h
		}
		before := h.last.Restarts
		if b.Restarts < before {
			before = 0 // somebody started it by hand, and the engine counts anew
		}
		h.restarts += b.Restarts - before
		h.last = b
	}
	return nil
}

// hear counts the engine's events since the last look.
func (w *incidents) hear(ctx context.Context) error {
	told, err := w.engine.events(ctx, w.of.project, w.now(), eventOf[w.measure])
	if err == nil {
		w.count(told)
	}
	return err
}

// count takes the events in their order. Those of the first look only tell where the counting begins.
func (w *incidents) count(told []events.Message) {
	last := max(w.heard, 0)
	for _, e := range told {
		last = max(last, e.TimeNano)
		h := w.known[e.Actor.ID]
		if h == nil || e.TimeNano <= w.heard {
			continue
		}
		if w.heard != unheard && e.TimeNano-h.heard > burst {
			h.events++
		}
		h.heard = e.TimeNano
	}
	w.heard = last
}

// times is how often it happened. The engine keeps a few hundred events, so that what a container is now counts too.
func (h *history) times(m Measure) int {
	switch m {
	case Restarts:
		if h.first.running() && !h.last.running() {
			return h.restarts + 1 // it has ended, and the engine leaves it so
		}
		return h.restarts
	case OOMKills:
		if h.events == 0 && h.last.OOM && !h.first.OOM {
			return 1
		}
	case TurnsUnhealthy:
		if h.events == 0 && h.last.Health == container.Unhealthy {
			return 1
		}
	}
	return h.events
}

// measured names one incident, and several.
var measured = map[Measure]struct{ one, several string }{
	Restarts: {"restart", "restarts"}, OOMKills: {"OOM kill", "OOM kills"}, TurnsUnhealthy: {"turn to unhealthy", "turns to unhealthy"},
}

func (w *incidents) sum() (value float64, text string) {
	total, of := 0, []string{}
	for _, h := range w.known {
		if n := h.times(w.measure); n > 0 {
			total += n
			of = append(of, fmt.Sprintf("%s %d", h.last.Name, n))
		}
	}
	slices.Sort(of)
	word := measured[w.measure]
	switch total {
	case 0:
		return 0, fmt.Sprintf("0 %s in %s", word.several, w.of.color)
	case 1:
		return 1, fmt.Sprintf("1 %s in %s (%s)", word.one, w.of.color, of[0])
	}
	return float64(total), fmt.Sprintf("%d %s in %s (%s)", total, word.several, w.of.color, strings.Join(of, ", "))
}
