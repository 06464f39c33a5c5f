package stacks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

const (
	// leastMemory, in bytes, and leastCPU, in processors, are what the old stack is taken to use at least: several times next to nothing
	// is next to nothing.
	leastMemory = 16 << 20
	leastCPU    = 0.05
)

// usage compares what two colors use.
//
// The candidate's use is held against the most that the old stack was seen to use, not against its use now: with the last share the
// old stack falls idle, and everything would be many times that.
type usage struct {
	engine   *Engine
	stacks   [2]stack // the candidate's and the old one
	services []string
	measure  Measure
	// before is what each container had spent of the processor at the last look.
	before map[string]spent
	// most is the old stack's highest use so far, in bytes or processors.
	most float64
}

// spent is how much of the processor a container has had since it started.
type spent struct {
	cpu time.Duration
	at  time.Time
}

// read looks at both colors at the same time. The old one is looked at whatever is wrong with the candidate: its highest use may be now.
func (u *usage) read(ctx context.Context) (float64, string, error) {
	var boxes [2][]box
	for i, s := range u.stacks {
		found, err := u.engine.boxes(ctx, s.project, u.services...)
		if err != nil {
			return 0, "", err
		}
		boxes[i] = slices.DeleteFunc(found, func(b box) bool { return b.State != "running" })
	}
	looks := u.engine.stats(ctx, slices.Concat(boxes[:]...))
	candidate, errCandidate := u.sum(u.stacks[0], boxes[0], looks)
	old, errOld := u.sum(u.stacks[1], boxes[1], looks)
	if errOld == nil {
		u.most = max(u.most, old)
	}
	if err := errors.Join(errCandidate, errOld); err != nil {
		return 0, "", err
	}
	least := leastCPU
	if u.measure == Memory {
		least = leastMemory
	}
	most := max(u.most, least)
	ratio := candidate / most
	return ratio, fmt.Sprintf("%s uses %s, %s%% of the most that %s used (%s)", u.stacks[0].color, u.amount(candidate),
		strconv.FormatFloat(100*ratio, 'f', 0, 64), u.stacks[1].color, u.amount(most)), nil
}

func (u *usage) amount(use float64) string {
	if u.measure == Memory {
		return fmt.Sprintf("%.0f MiB", use/(1<<20))
	}
	return fmt.Sprintf("%.2f CPUs", use)
}

// sum adds up what the color's web services use; each of them must run.
func (u *usage) sum(of stack, boxes []box, looks map[string]look) (sum float64, err error) {
	var missing []error
	for _, b := range boxes {
		use, err := u.ofBox(b.ID, looks[b.ID])
		if err != nil {
			missing = append(missing, fmt.Errorf("%s (%s): %w", of.of(b.Service), b.Name, err))
		}
		sum += use
	}
	for _, service := range u.services {
		if !slices.ContainsFunc(boxes, func(b box) bool { return b.Service == service }) {
			missing = append(missing, fmt.Errorf("%s does not run", of.of(service)))
		}
	}
	return sum, errors.Join(missing...)
}

func (u *usage) ofBox(id string, l look) (float64, error) {
	if l.err != nil {
		return 0, l.err
	}
	if u.measure == Memory {
		return memoryOf(l.MemoryStats)
	}
	now := spent{cpu: time.Duration(l.CPUStats.CPUUsage.TotalUsage), at: l.Read}
	then, known := u.before[id]
	u.before[id] = now
	if !known || now.cpu < then.cpu || !now.at.After(then.at) {
		return 0, errors.New("what it uses of the processor shows between two looks, and this is the first since it started")
	}
	return float64(now.cpu-then.cpu) / float64(now.at.Sub(then.at)), nil
}

// memoryOf leaves out the pages of files that the kernel can drop at any time, as `docker stats` does: version 1 of control groups
// has them as total_inactive_file, version 2 as inactive_file.
func memoryOf(m container.MemoryStats) (float64, error) {
	if m.Usage == 0 {
		return 0, errors.New("the engine tells no memory of it")
	}
	cache, ok := m.Stats["total_inactive_file"]
	if !ok {
		cache = m.Stats["inactive_file"]
	}
	if cache > m.Usage {
		cache = 0
	}
	return float64(m.Usage - cache), nil
}

// look is what a running container had used up to then.
type look struct {
	container.StatsResponse
	err error
}

// stats looks at all of them at once, by their id: an older engine takes a second for each.
func (e *Engine) stats(ctx context.Context, boxes []box) map[string]look {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	looks := make([]look, len(boxes))
	var looking sync.WaitGroup
	for i, b := range boxes {
		looking.Go(func() {
			answer, err := e.docker.ContainerStatsOneShot(ctx, b.ID)
			if err == nil {
				defer answer.Body.Close()
				err = json.NewDecoder(answer.Body).Decode(&looks[i].StatsResponse)
			}
			if err != nil {
				looks[i].err = e.fault("statistics of "+b.Name, err)
			}
		})
	}
	looking.Wait()
	byID := make(map[string]look, len(boxes))
	for i, b := range boxes {
		byID[b.ID] = looks[i]
	}
	return byID
}

// eventOf is what the engine calls an incident, to ask for it and in the answer.
var eventOf = map[Measure][2]string{
	OOMKills:       {string(events.ActionOOM), string(events.ActionOOM)},
	TurnsUnhealthy: {string(events.ActionHealthStatus), string(events.ActionHealthStatusUnhealthy)},
}

// events gives what the engine still knows of such events of the project's containers. It keeps the last few hundred of all kinds.
func (e *Engine) events(ctx context.Context, project string, until time.Time, kind [2]string) ([]events.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	told, ended := e.docker.Events(ctx, events.ListOptions{
		Since: "1", Until: fmt.Sprintf("%d.%09d", until.Unix(), until.Nanosecond()), // without an end the engine would go on telling
		Filters: filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)), filters.Arg("event", kind[0]),
			filters.Arg("label", labelProject+"="+project)),
	})
	var all []events.Message
	for {
		select {
		case m := <-told:
			if string(m.Action) == kind[1] {
				all = append(all, m)
			}
		case err := <-ended:
			if errors.Is(err, io.EOF) {
				return all, nil
			}
			return nil, e.fault("events", err)
		}
	}
}
