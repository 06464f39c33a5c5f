package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"cutover/nginxconf"
	"cutover/stacks"
	"cutover/traffic"
	"cutover/traffic/journal"
)

// session is one command at work on one app: the composition root of everything but `back`.
type session struct {
	*invocation
	config  Config
	path    string // of cutover.yaml
	dir     string // of the journal
	journal *journal.Journal
	proxy   *nginxconf.Proxy
	stacks  *stacks.Driver
	engine  *stacks.Engine // nil where nothing is asked of one
	lock    *journal.Lock
	since   time.Time
	crier   *crier
	// guard is the guardian of the rollout that this process carries; nil where it carries none.
	guard *guard
	// patience is the controller's FinishPatience.
	patience time.Duration

	state traffic.State
	// seen is the last journal entry that the state contains.
	seen uint64
	// written is when that entry was written, by the writer's clock.
	written time.Time
	// damage is set where the journal is not whole. Commands that raise refuse to go on with it.
	damage error
}

// open assembles a session and replays the journal.
func (i *invocation) open(configPath, environment string) (*session, error) {
	s, err := i.assemble(configPath, environment)
	if err != nil {
		return nil, err
	}
	return s, s.replay()
}

// assemble loads the configuration and wires the parts. It changes nothing but the state folder's existence.
func (i *invocation) assemble(configPath, environment string) (*session, error) {
	path, err := findConfig(configPath, i.dir)
	if err != nil {
		return nil, err
	}
	c, err := loadConfig(path, environment)
	if err != nil {
		return nil, err
	}
	s := &session{invocation: i, config: c, path: path, dir: filepath.Join(c.State, c.App), since: i.now()}
	if err := s.wire(); err != nil {
		return nil, err
	}
	s.journal, err = journal.Open(s.dir, i.now)
	if err != nil {
		return nil, &traffic.Fault{
			Kind: traffic.Preflight, Err: fmt.Errorf("state folder: %w", err),
			Hint: fmt.Sprintf("Make %s writable for you (root, or the group that owns it), or set state in %s.", c.State, path),
		}
	}
	s.crier = s.newCrier()
	return s, nil
}

func (s *session) wire() error {
	c := s.config
	rendered := c.rendered()
	rendered.State, rendered.Host, rendered.Now = s.dir, nginxHost{}, s.now
	var engine *stacks.Engine
	var err error
	if c.Stacks.Driver == stacks.DriverCompose || c.Nginx.Container != "" {
		if engine, err = stacks.NewEngine(); err != nil {
			return err
		}
	}
	if c.Nginx.Container != "" {
		inside := containerHost{engine, c.Nginx.Container}
		rendered.Host, rendered.Container = inside, inside.look
	}
	rendered.Say = func(line string) { s.out.stamped(s.now(), "nginx", "%s", line) }
	s.proxy = nginxconf.New(rendered)
	options := stacks.Options{
		Config: c.Stacks, Dir: filepath.Dir(s.path), App: c.App, Env: c.Environment,
		Compose: s.compose(), Environ: s.environ, Run: runProgram, Now: s.now,
		Say: func(line string) { s.out.stamped(s.now(), "stack", "%s", line) }, Keep: s.keepOutput, Engine: engine,
	}
	s.engine = engine
	s.stacks, err = stacks.Open(options)
	return err
}

// compose is how Compose is called: the engine's plugin, or the program that CUTOVER_COMPOSE names.
func (i *invocation) compose() []string {
	if path := i.env("CUTOVER_COMPOSE"); path != "" {
		return []string{path}
	}
	return []string{"docker", "compose"}
}

// replay folds the journal into the state.
func (s *session) replay() error {
	entries, err := s.journal.Read()
	if _, torn := errors.AsType[*journal.CorruptError](err); torn {
		s.damage = err
	} else if err != nil {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("read the journal: %w", err)}
	}
	s.state = fold(entries)
	if n := len(entries); n > 0 {
		s.seen, s.written = entries[n-1].Seq, entries[n-1].Time
	}
	return nil
}

// fold gives the state that a journal's entries lead to.
func fold(entries []journal.Entry) traffic.State {
	state := traffic.State{}
	for _, entry := range entries {
		if e, ok := eventOf(entry); ok {
			state = traffic.Next(state, e)
		}
	}
	return state
}

// eventOf reads an entry's event. One that this version does not know is no event of it.
func eventOf(entry journal.Entry) (traffic.Event, bool) {
	var e traffic.Event
	err := json.Unmarshal(entry.Event, &e) // before the return, which need not read e after it
	return e, err == nil
}

// Append writes one event to the journal; it makes the session the traffic.Log of a controller.
func (s *session) Append(ctx context.Context, e traffic.Event) error {
	by := e.By
	if by == "" {
		by = s.actor
	}
	id, err := e.Rollout.MarshalText()
	if err != nil {
		return err
	}
	_, err = s.journal.Append(ctx, string(id), by, e)
	return err
}

// record takes an event that the command itself brings: journal first, then the state.
func (s *session) record(ctx context.Context, e traffic.Event) error {
	e.At, e.By = s.now(), s.actor
	if err := s.Append(ctx, e); err != nil {
		return &traffic.Fault{
			Kind: traffic.Preflight, Err: fmt.Errorf("write the journal: %w", err),
			Hint: "Nothing was changed. Look for a full disk or missing rights on " + s.dir + ".",
		}
	}
	s.state = traffic.Next(s.state, e)
	return nil
}

// hold takes the app's rollout lock, waiting as long as --wait says.
func (s *session) hold(ctx context.Context, patience time.Duration) error {
	deadline := s.now().Add(patience)
	for told := false; ; told = true {
		lock, err := journal.TryLock(s.dir, s.holder(""))
		busy, isBusy := errors.AsType[*journal.BusyError](err)
		switch {
		case err == nil:
			s.lock = lock
			s.leaveTerminal()
			return s.replay() // others may have written until now
		case !isBusy:
			return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("take the rollout lock: %w", err)}
		case isConcluding(busy.Holder) && !told && s.outwait(ctx):
			continue
		case !s.now().Before(deadline):
			return &traffic.Fault{
				Kind: traffic.Busy, Err: busy,
				Hint: "`cutover status` shows it, `--wait 5m` waits for it, `cutover back` ends it with all traffic on stable.",
			}
		case !told:
			s.out.stamped(s.now(), "waiting", "%v; until %s", busy, deadline.Local().Format(time.TimeOnly))
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// leaveTerminal lets go of the terminal: neither its loss, nor Ctrl-Z, nor a reader who stops may end what moves traffic half-way, or halt it.
func (s *session) leaveTerminal() {
	signal.Ignore(syscall.SIGHUP, syscall.SIGTSTP, syscall.SIGTTOU, syscall.SIGTTIN)
	s.out.loosen()
}

func (s *session) holder(rollout string) journal.Holder {
	return journal.Holder{PID: os.Getpid(), Actor: s.actor, Command: s.commandLine, Rollout: rollout, Since: s.since}
}

func (s *session) close() {
	if s.lock != nil {
		_ = s.lock.Unlock() // the process ends: the kernel lets go of it in any case
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
