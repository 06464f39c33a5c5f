package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"cutover/nginxconf"
	"cutover/traffic"
	"cutover/traffic/notify"
)

// The guardian is a second process of the same binary, in a session of its own, that holds the read end of a pipe to the promoter.
// The kernel closes the pipe however the promoter ends: by kill -9, a panic, an exit in a goroutine, for lack of memory. If the promoter
// has not said before that its rollout is settled, the guardian takes the rollout's folder away, and needs nothing else for it.
// Afterwards it stays for what outlives a promoter: an old stack that is kept warm, a failed one that is kept for a look.

// parting is what a promoter tells its guardian, one JSON object a line. The last one counts.
type parting struct {
	// Rollout is the one to watch. No line, no rollout: the guardian just ends.
	Rollout traffic.RolloutID `json:"rollout"`
	// Settled tells that nothing is to be cut back if the promoter ends now.
	Settled bool `json:"settled"`
	// Until is when something will be left to do: an old stack to be retired, a failed one to be stopped. Zero: nothing.
	Until time.Time `json:"until,omitzero"`
}

// guard is a promoter's end of the pipe.
type guard struct{ pipe *os.File }

// post starts the guardian. It watches nothing until it is told a rollout.
func (s *session) post() (*guard, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the guardian: %w", err)
	}
	defer func() { _ = read.Close() }()
	if err := s.detach("guardian", read, "--root", s.proxy.Fence().Root, "--state", s.dir); err != nil {
		return nil, errors.Join(fmt.Errorf("start the guardian: %w", err), write.Close())
	}
	return &guard{write}, nil
}

// detach starts another part of this very binary, also when its file was replaced meanwhile, in a session of its own that no lost
// terminal reaches. What it says goes to a log in the state folder; the pipe, where there is one, is its descriptor 3.
func (s *session) detach(part string, pipe *os.File, args ...string) error {
	log, err := os.OpenFile(filepath.Join(s.dir, part+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	c := exec.Command("/proc/self/exe", append([]string{part, "--config", s.path, "--env", s.config.Environment}, args...)...)
	c.Args[0] = "cutover"
	c.Dir, c.Env = "/", append(slices.Clone(s.environ), "CUTOVER_ACTOR="+part+" of "+s.actor)
	c.Stdout, c.Stderr = log, log
	if pipe != nil {
		c.ExtraFiles = []*os.File{pipe}
	}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	return c.Process.Release()
}

// tell leaves the guardian with what it has to know if the promoter says nothing any more.
func (g *guard) tell(p parting) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if _, err := g.pipe.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("tell the guardian: %w", err)
	}
	return nil
}

// inform keeps the guardian up to date with the state that was just journaled.
func (s *session) inform(state traffic.State) {
	if s.guard == nil {
		return
	}
	p := parting{Rollout: state.LastID, Settled: state.Open == nil || state.Phase() == traffic.Accepted || state.Phase() == traffic.Finishing}
	if p.Settled {
		p.Until = s.leftUntil(state)
	}
	_ = s.guard.tell(p) // a guardian that is gone cannot be told; the next command stands in for it
}

// leftUntil is when a state that is not to be cut back leaves something to do: at once where the end of a promotion was interrupted,
// else when a warm stack, or a failed one, need not be kept any longer. Zero: nothing is left.
func (s *session) leftUntil(state traffic.State) time.Time {
	switch warm := state.WarmUntil(); {
	case state.Phase() == traffic.Finishing, !state.Settled():
		return state.Open.Entered
	case !warm.IsZero():
		return warm
	}
	return s.failedUntil(state)
}

// failedUntil is when the candidate of the last rollout, which did not make it, need not be kept for a look any more; zero where
// nothing of it is known to run.
func (s *session) failedUntil(state traffic.State) time.Time {
	r := state.Last
	if r == nil || state.Open != nil || r.Mode != traffic.Promotion || r.Ending == traffic.Promoted {
		return time.Time{}
	}
	if running, known := state.Releases[r.Candidate()]; !known || running.Tag != r.Release.Tag {
		return time.Time{}
	}
	return r.Ended.Add(s.config.Stacks.KeepFailed)
}

func (i *invocation) guardianCommand() *cli.Command {
	c := i.command(commandSpec{
		name: "guardian", usage: "cut back when the promoter dies; promote starts it",
		flags: []cli.Flag{&cli.StringFlag{Name: "root", Required: true}, &cli.StringFlag{Name: "state", Required: true}},
		run: func(c *cli.Context) error {
			signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGPIPE)
			last, err := hear(os.NewFile(3, "promoter"))
			switch {
			case err != nil || last.Rollout == 0:
				return err
			case !last.Settled:
				return i.avenge(c, last.Rollout)
			}
			return i.tidy(c, last.Rollout, last.Until)
		},
	})
	c.Hidden = true
	return c
}

// hear listens until the promoter has ended.
func hear(pipe io.Reader) (last parting, err error) {
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		var p parting
		if json.Unmarshal(lines.Bytes(), &p) == nil { // half a line is of a promoter that died within it
			last = p
		}
	}
	return last, lines.Err()
}

// deathPatience bounds the wait for the lock of a promoter that is dead: the kernel may let go of it after the pipe.
const deathPatience = 5 * time.Second

// avenge cuts the rollout of a dead promoter back: the folder first, by its id, so that a newer rollout is never meant; then the
// journal and the proof, as `cutover back` does. Whatever of that fails, the folder is gone.
func (i *invocation) avenge(c *cli.Context, id traffic.RolloutID) error {
	root, dir := c.String("root"), c.String("state")
	fence := nginxconf.Fence{Root: root}
	standing, err := fence.Standing()
	quicker := err == nil && !slices.Contains(standing, id)
	outcome, unproven := nginxconf.CutOne(c.Context, root, id, nginxHost{}, i.now)
	if quicker || len(outcome.Cut) == 0 {
		return unproven // of somebody who was quicker it is not known whether he came to the end
	}
	const why = "its promoter died without an outcome, the guardian cut back"
	i.out.stamped(i.now(), "guardian", "rollout %s: %s", id, why)
	if outcome.Stop.Why != nil {
		i.out.stamped(i.now(), "guardian", "%s", outcome.Stop)
	}
	// Recovered, and not CutSeen: nobody has judged the release, so that a repeated job may try it again.
	err = errors.Join(unproven, i.writeDown(c.Context, root, dir, nil, []traffic.RolloutID{id}, traffic.Event{Kind: traffic.Recovered, Why: why}))
	i.conclude(c.Context, i.backFlags(c), func(s *session) error { return s.hold(c.Context, deathPatience) })
	s, opened := i.open(i.configOf(c), i.environmentOf(c))
	if opened != nil {
		return errors.Join(err, opened)
	}
	m := s.message(notify.Guardian, s.state, i.now())
	if s.state.LastID != id { // the journal was lost, or somebody has begun the next one already
		m.Rollout, m.Release, m.Text, m.Next = id.String(), "", fmt.Sprintf("rollout %s: %s", id, why), ""
	}
	s.cry(c.Context, m)
	s.leave(c.Context)
	return errors.Join(err, i.tidy(c, id, s.leftUntil(s.state)))
}

const (
	// tidyEvery is the pause between two looks at what is left, and two tries to do it: an old connection, or a dead engine, may stand
	// in the way.
	tidyEvery = time.Minute
	// tidyPatience ends the tries. The next command stands in.
	tidyPatience = 24 * time.Hour
)

// tidy does what outlives the promoter when its time has come, and delivers until then what is still queued. A newer rollout makes
// both somebody else's.
func (i *invocation) tidy(c *cli.Context, id traffic.RolloutID, until time.Time) error {
	for tried := false; !until.IsZero() && i.now().Before(until.Add(tidyPatience)); tried = true {
		next := i.now().Add(tidyEvery)
		if until.Before(next) && (!tried || until.After(i.now())) {
			next = until
		}
		if gone, err := i.nap(c, next); gone || err != nil {
			return err
		}
		left, err := i.tidyNow(c, id)
		if err != nil {
			i.out.failed(err)
			continue
		}
		until = left
	}
	return nil
}

// tidyNow does what any next command would do first, and tells when something will be left to do after it.
func (i *invocation) tidyNow(c *cli.Context, id traffic.RolloutID) (left time.Time, err error) {
	s, err := i.open(i.configOf(c), i.environmentOf(c))
	if err != nil || s.state.LastID != id {
		return time.Time{}, err
	}
	err = s.settle(c.Context)
	s.leave(c.Context)
	return s.leftUntil(s.state), err
}

// nap waits until the time has come, a little at a time: the timers of a suspended machine stand still, its clock does not.
// Gone tells that the app was removed meanwhile.
func (i *invocation) nap(c *cli.Context, until time.Time) (gone bool, err error) {
	for i.now().Before(until) {
		if _, err := os.Stat(c.String("root")); err != nil {
			return true, nil
		}
		if err := pause(c.Context, min(until.Sub(i.now()), 10*time.Second)); err != nil {
			return false, err
		}
	}
	return false, nil
}
