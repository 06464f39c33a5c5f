package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/load"
	"cutover/e2e/stage"
	"cutover/traffic/journal"
)

// quick is the part of cutover.yaml for scenes that want to be through with a rollout.
const quick = `rollout:
  steps: [{ weight: 5, soak: 2s }, { weight: 20, soak: 2s }, { weight: 100 }]
  bake: 2s
verdict:
  warm_up: 0s
  inconclusive: { after: 2s, then: proceed }
`

// slow is a plan that stays at 5 % for as long as the scene likes, and at 20 % then.
const slow = `rollout:
  steps: [{ weight: 5, soak: 10m }, { weight: 20, soak: 10m }, { weight: 100 }]
  bake: 10m
verdict:
  warm_up: 0s
`

// promptly makes a stack ready as soon as it answers: the image's own health check takes seconds, and one scene has it.
const (
	promptly = "    healthcheck: { disable: true }"
	atOnce   = "  ready: { timeout: 60s, consecutive: 1 }"
)

// rate is the number of requests a second of most scenes.
const rate = 250

// scene is a site with users, on which blue carries the first release.
type scene struct {
	*stage.Stage
	t    *testing.T
	load *load.Run
}

// in is the scene as a subtest plays on it.
func (s *scene) in(t *testing.T) *scene {
	inner := *s
	inner.t = t
	return &inner
}

var stages atomic.Int64

// set sets a stage up with blue, nginx and users on it, and strikes it when the test is over. The options' name, config and
// additions count; the rest is filled in.
func set(t *testing.T, o stage.Options) *scene {
	t.Helper()
	s := build(t, o)
	s.opens()
	return s
}

// build makes the stage, with nothing running.
func build(t *testing.T, o stage.Options) *scene {
	t.Helper()
	if lacking != "" {
		t.Skip("NOT PLAYED: " + lacking)
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	o.Name, o.Binary, o.Image = called(o.Name), binary, image
	o.Ports = stage.PortsFrom(firstPort() + 20*int(stages.Add(1)))
	if o.Config == "" {
		o.Config = quick
	}
	if o.Web == "" {
		o.Web = promptly
	}
	o.Stacks = atOnce + "\n" + o.Stacks
	built, err := stage.Build(o)
	require.NoError(t, err)
	s := &scene{Stage: built, t: t}
	t.Cleanup(s.strikes)
	return s
}

// called is the name of a scene's app: a lane has names of its own.
func called(name string) string {
	if lane > 0 {
		return fmt.Sprintf("e2e%d-%s", lane, name)
	}
	return "e2e-" + name
}

// webOf is what a location proxies to for the service web of the scene of that name.
func webOf(name string) string {
	s := stage.Stage{Options: stage.Options{Name: called(name)}}
	return s.Upstream("web")
}

// adds puts more at the end of cutover.yaml, before anything runs.
func (s *scene) adds(text string) {
	s.t.Helper()
	f, err := os.OpenFile(s.ConfigFile(), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(s.t, err)
	_, err = f.WriteString(text)
	require.NoError(s.t, err)
	require.NoError(s.t, f.Close())
}

// opens brings up what stood before cutover came: blue, nginx, users.
func (s *scene) opens() {
	s.t.Helper()
	require.NoError(s.t, s.Compose(s.t.Context(), "blue", first.Tag, "up", "-d", "--wait"))
	s.types(0, "init", "--stable", "blue", "--tag", first.Tag)
	require.NoError(s.t, s.StartNginx(s.t.Context()))
	s.welcomes(rate)
}

// welcomes lets users come in.
func (s *scene) welcomes(rate int) {
	s.t.Helper()
	run, err := load.Start(s.t.Context(), load.Plan{URL: s.URL(), Rate: rate, Workers: 16})
	require.NoError(s.t, err)
	s.load = run
	s.serves(rate / 5)
}

func (s *scene) strikes() {
	if s.t.Failed() {
		said, _ := os.ReadFile(filepath.Join(s.Dir, "nginx", "logs", "error.log"))
		for line := range strings.Lines(string(said)) {
			if !strings.Contains(line, "[notice]") {
				s.t.Logf("nginx: %s", line)
			}
		}
		guard, _ := os.ReadFile(filepath.Join(s.StateDir(), "guard.log")) // most scenes have none
		for line := range strings.Lines(string(guard)) {
			s.t.Logf("guard: %s", line)
		}
		for _, e := range s.events(0) {
			s.t.Logf("journal %d: %s %v %% %s", e.seq, e.Kind, e.Weight, e.Why)
		}
	}
	if s.load != nil {
		s.load.Stop()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), patience)
	defer cancel()
	if err := s.Strike(ctx); err != nil {
		s.t.Errorf("strike the stage: %v", err)
	}
}

// types has a command typed, and wants its exit code.
func (s *scene) types(want int, args ...string) stage.Result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	r, err := s.Cutover(ctx, args...)
	require.NoError(s.t, err, "cutover %v", args)
	require.Equal(s.t, want, r.Exit, "cutover %v: %s%s", args, r.Stdout, r.Stderr)
	return r
}

// running is a command that has not ended, or has.
type running struct {
	s     *scene
	args  []string
	pid   int
	since uint64 // the last line of the journal before it
	exit  int    // once over is closed; -1 where a signal ended it
	state string // likewise, in words
	over  chan struct{}
	said  transcript
}

// transcript is what a command says on both of its streams.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(b)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// starts has a command typed without waiting for its end. One that is still there at the scene's end is killed.
func (s *scene) starts(args ...string) *running {
	s.t.Helper()
	return s.launches(s.Command(context.WithoutCancel(s.t.Context()), args...))
}

// launches is starts for a command that was prepared, and may have streams of its own.
func (s *scene) launches(c *exec.Cmd) *running {
	s.t.Helper()
	args := c.Args[1:]
	r := &running{s: s, args: args, since: s.lastLine(), over: make(chan struct{})}
	if c.Stdout == nil {
		c.Stdout, c.Stderr = &r.said, &r.said
	}
	require.NoError(s.t, c.Start())
	r.pid = c.Process.Pid
	go func() {
		defer close(r.over)
		_ = c.Wait() // the exit code tells
		r.exit, r.state = c.ProcessState.ExitCode(), c.ProcessState.String()
	}()
	s.t.Cleanup(func() {
		r.gets(syscall.SIGKILL)
		<-r.over
		if s.t.Failed() {
			s.t.Logf("cutover %s said:\n%s", strings.Join(args, " "), r.said.String())
		}
	})
	return r
}

// gets sends a signal; one that has ended gets none.
func (r *running) gets(signal syscall.Signal) {
	select {
	case <-r.over:
	default:
		_ = syscall.Kill(r.pid, signal)
	}
}

// ends waits for the end, and wants its exit code.
func (r *running) ends(want int) string {
	r.s.t.Helper()
	until(r.s.t, fmt.Sprintf("cutover %v ends", r.args), r.hasEnded)
	require.Equal(r.s.t, want, r.exit, "cutover %v (%s): %s", r.args, r.state, r.said.String())
	return r.said.String()
}

func (r *running) hasEnded() bool {
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}

// reaches waits until the journal has an event of that kind since the command began, and of that weight.
func (r *running) reaches(kind string, weight float64) {
	r.s.t.Helper()
	until(r.s.t, fmt.Sprintf("cutover %v: %s %v %%", r.args, kind, weight), func() bool {
		ended := r.hasEnded() // before the look, or its last words would be missed
		if r.journaled(kind, weight) {
			return true
		}
		if ended {
			r.s.t.Fatalf("cutover %v ended before %s %v %%: %s", r.args, kind, weight, r.state)
		}
		return false
	})
}

// journaled tells whether the journal has such an event since the command began, whoever wrote it.
func (r *running) journaled(kind string, weight float64) bool {
	return slices.ContainsFunc(r.s.events(r.since), func(e event) bool { return e.Kind == kind && e.Weight == weight })
}

// says waits until the command has said something.
func (r *running) says(text string) {
	r.s.t.Helper()
	until(r.s.t, fmt.Sprintf("cutover %v says %q", r.args, text), func() bool {
		return strings.Contains(r.said.String(), text)
	})
}

// event is what the scenes read of a journal's line.
type event struct {
	Kind   string  `json:"kind"`
	Weight float64 `json:"weight"`
	By     string  `json:"by"`
	Why    string  `json:"why"`
	Live   struct {
		Severed int `json:"severed"`
	} `json:"live"`
	seq uint64
}

// events are the journal's after the given line. A journal that is not whole gives what is whole of it.
func (s *scene) events(after uint64) []event {
	j, err := journal.Open(s.StateDir(), time.Now)
	if err != nil {
		return nil
	}
	entries, _ := j.Read()
	var all []event
	for _, entry := range entries {
		e := event{seq: entry.Seq}
		if json.Unmarshal(entry.Event, &e) == nil && entry.Seq > after {
			all = append(all, e)
		}
	}
	return all
}

func (s *scene) lastLine() uint64 {
	if all := s.events(0); len(all) > 0 {
		return all[len(all)-1].seq
	}
	return 0
}

// journalIsWhole wants every line of the journal to prove itself.
func (s *scene) journalIsWhole() {
	s.t.Helper()
	j, err := journal.Open(s.StateDir(), time.Now)
	require.NoError(s.t, err)
	_, err = j.Read()
	require.NoError(s.t, err)
}
