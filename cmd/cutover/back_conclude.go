package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
	"cutover/traffic/journal"
)

// A cutback that is done and journaled leaves the rollout to be ended: its outcome recorded and told, workers handed back. Where a promoter or
// a guard is at work that is theirs. Else it is left to a process of its own, so that whoever cut back has his answer, and `back` ends,
// without waiting for an engine. That process holds the app from the first, by the lock that `back` took: no command gets between
// them. Whatever keeps it from its end leaves the rollout to the next command, as a `back` that was killed does.

// concluding is the name of that process's command.
const concluding = "conclude"

// isConcluding tells that the app is held only until a cutback's rollout is ended.
func isConcluding(h journal.Holder) bool { return strings.HasPrefix(h.Command, "cutover "+concluding) }

// concludePatience is how long who finds the app held for that waits for it unasked: as a rule it takes some hundredths of a second.
const concludePatience = 3 * time.Second

// concludeApart starts that process, and does its work itself where it cannot. The folder is the journal's.
func (i *invocation) concludeApart(ctx context.Context, f backFlags, dir string) {
	path, err := findConfig(f.config, i.dir)
	if err != nil {
		return
	}
	argv := []string{"cutover", concluding, "--held", "--config", path}
	if f.environment != "" {
		argv = append(argv, "--env", f.environment)
	}
	holder := journal.Holder{PID: os.Getpid(), Actor: i.actor, Command: strings.Join(argv, " "), Since: i.now()}
	lock, err := journal.TryLock(dir, holder)
	if err != nil {
		return
	}
	none := ^uintptr(0)
	_, err = syscall.ForkExec("/proc/self/exe", argv, &syscall.ProcAttr{ // os.StartProcess would first try with another child what it can do
		Dir: "/", Env: append(slices.Clone(i.environ), "CUTOVER_ACTOR="+i.actor),
		Files: []uintptr{none, none, none, lock.Handle().Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	runtime.KeepAlive(lock)
	if err == nil {
		return // it is nobody's child when this process has ended
	}
	i.conclude(ctx, f, func(s *session) error { return s.inherit(lock.Handle()) })
}

func (i *invocation) concludeCommand() *cli.Command {
	c := i.command(commandSpec{
		name: concluding, usage: "end the rollout that was cut back; back starts it",
		flags: []cli.Flag{&cli.BoolFlag{Name: "held", Usage: "descriptor 3 is the app's lock"}},
		run: func(c *cli.Context) error {
			signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
			i.conclude(c.Context, i.backFlags(c), func(s *session) error {
				if !c.Bool("held") {
					return s.hold(c.Context, 0)
				}
				return s.inherit(os.NewFile(3, "lock"))
			})
			return nil
		},
	})
	c.Hidden = true
	return c
}

// conclude ends the rollout in the journal where no promoter does, and hands its workers back. People have their answer already, so
// it is silent; whatever keeps it from this, such as another holder of the app, leaves it to the next command.
func (i *invocation) conclude(ctx context.Context, f backFlags, hold func(*session) error) {
	quiet := *i
	quiet.out = &output{stdout: io.Discard, stderr: io.Discard, now: i.now}
	s, err := quiet.assemble(f.config, f.environment) // hold replays
	if err != nil {
		return
	}
	defer s.leave(ctx)
	defer s.close()
	if err := hold(s); err == nil && s.state.Phase() == traffic.CuttingBack {
		s.carry(ctx, nil)
	}
}

// inherit takes over the app from a parent that held it.
func (s *session) inherit(f *os.File) (err error) {
	if s.lock, err = journal.Inherit(s.dir, f, s.holder("")); err != nil {
		return err
	}
	return s.replay()
}

// outwait waits a while for the end of a cutback's rollout that a process of its own brings about. It tells whether the app is free.
func (s *session) outwait(ctx context.Context) bool {
	for until := s.now().Add(concludePatience); s.now().Before(until); {
		holder, held, err := journal.Holding(s.dir)
		if !held || err != nil || !isConcluding(holder) {
			return !held && err == nil
		}
		if pause(ctx, 10*time.Millisecond) != nil {
			break
		}
	}
	return false
}
