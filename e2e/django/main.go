// Django plays cutover on the kind of application that it is made for: Django behind gunicorn, a Celery worker and beat, in two
// colors beside one data project with MariaDB and Redis, under users who place orders, each of which sends a task. A good release
// goes all the way, a bad one is taken back by itself, and a person takes a third one back. Then it counts, in the database and at
// the users: requests and tasks lost, and beats that ran twice or not at all. It leaves .bench/django.json, and nothing that runs.
//
//	base/        the layer under all images, of Debian's packages, and how MariaDB starts in it
//	app/         the application, as v1.0.0 is; releases/ has the files that other releases lay over it (images.go)
//	data/        the data services' Compose project
//	*.yml        the application's Compose files, as in any site; cutover.yaml beside them (site.go)
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cutover/e2e/load"
	"cutover/e2e/stage"
)

const (
	folder  = ".bench/django"
	results = ".bench/django.json"
	name    = "django" // begins the names of projects, and is the app's
	pages   = 15       // requests a second for lists and pages
	placed  = 12       // orders a second; each sends one task
	enough  = 1000     // tasks that a run must have sent
	// patience of a client is above any pause that a machine with other work may cause.
	patience = 30 * time.Second
	exitBad  = 8 // of a promotion that the verdict took back
)

func main() {
	signal.Ignore(syscall.SIGPIPE) // who no longer listens is no reason to leave containers behind
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "django:", err)
		stop()
		os.Exit(1)
	}
}

// story is the run under way.
type story struct {
	*stage.Stage
	pages  *load.Run
	orders *orders
	result result
}

func run(ctx context.Context) (failed error) {
	began := time.Now()
	if os.Getenv("CUTOVER_ENGINE") == "local" {
		return errors.New("no Docker Engine can be had here; this application runs in containers only")
	}
	base, err := buildImages(ctx)
	if err != nil {
		return err
	}
	say("the images are here after %v", time.Since(began).Round(time.Second))
	s, err := set(ctx, base)
	if err != nil {
		return err
	}
	defer func() { failed = errors.Join(failed, s.strike(context.WithoutCancel(ctx))) }()
	if err := s.open(ctx); err != nil {
		return err
	}
	for _, chapter := range []func(context.Context) error{s.goodRelease, s.badRelease, s.takenBack, s.count} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	say("the whole run took %v; %s has the numbers", time.Since(began).Round(time.Second), results)
	return s.result.acceptable()
}

// open brings up what stood before cutover came: the data services, blue, nginx, users.
func (s *story) open(ctx context.Context) error {
	say("the data project comes up: MariaDB and Redis, shared by both colors")
	if err := s.data(ctx, "up", "-d", "--wait"); err != nil {
		return err
	}
	say("blue comes up with %s, as it ran before cutover came: migrated by hand, then web, worker and beat", first.Tag)
	for _, args := range [][]string{{"run", "--rm", "-T", "web", "python3", "manage.py", "migrate", "--noinput"}, {"up", "-d", "--wait"}} {
		if err := s.compose(ctx, "blue", first.Tag, args...); err != nil {
			return err
		}
	}
	if err := s.typed(ctx, 0, "init", "--stable", "blue", "--tag", first.Tag); err != nil {
		return err
	}
	if err := s.StartNginx(ctx); err != nil {
		return err
	}
	var err error
	if s.pages, err = load.Start(ctx, load.Plan{URL: s.URL() + "api/orders", Rate: pages, Workers: 8, Timeout: patience}); err != nil {
		return err
	}
	s.orders = startOrders(ctx, s.URL()+"api/orders")
	say("nginx answers on %s; %d lists and %d orders a second, each order a task", s.URL(), pages, placed)
	return pause(ctx, 4*time.Second)
}

func (s *story) goodRelease(ctx context.Context) error {
	say("1. A good release: %s adds a column; migrated before the switch, worker and beat handed over after it", good.Tag)
	began := time.Now()
	if err := s.typed(ctx, 0, "promote", "--tag", good.Tag); err != nil {
		return err
	}
	var err error
	if s.result.Ready, err = s.readyAfter(); err != nil {
		return err
	}
	return errors.Join(s.onlyColor(ctx, "green"), s.chapter(ctx, &s.result.Promotion, began))
}

func (s *story) badRelease(ctx context.Context) error {
	say("2. A bad release: %s answers 500 to a third of the requests", bad.Tag)
	began := time.Now()
	if err := s.typed(ctx, exitBad, "promote", "--tag", bad.Tag); err != nil {
		return err
	}
	return errors.Join(s.onlyColor(ctx, "green"), s.chapter(ctx, &s.result.Revert, began))
}

func (s *story) takenBack(ctx context.Context) error {
	say("3. Taken back: %s is accepted, its worker and beat run, and somebody on call types back", next.Tag)
	began := time.Now()
	if err := s.typed(ctx, 0, "promote", "--tag", next.Tag); err != nil {
		return err
	}
	if err := errors.Join(pause(ctx, 3*time.Second), s.onlyColor(ctx, "blue")); err != nil {
		return err
	}
	if err := s.typed(ctx, 0, "back"); err != nil {
		return err
	}
	if err := s.await(ctx, 3*time.Minute, "green's worker and beat again", func() error { return s.onlyColor(ctx, "green") }); err != nil {
		return err
	}
	return s.chapter(ctx, &s.result.Back, began)
}

// typed shows a command as somebody types it, with everything that it prints, and wants the exit code.
func (s *story) typed(ctx context.Context, want int, args ...string) error {
	fmt.Printf("\n$ cutover %s\n", strings.Join(args, " "))
	c := s.Command(ctx, args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = time.Minute
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if got := c.ProcessState.ExitCode(); got != want {
		return fmt.Errorf("cutover %s: exit %d, expected %d", args[0], got, want)
	}
	if want != 0 {
		fmt.Printf("(exit %d)\n", want)
	}
	return nil
}

// strike takes everything down that was started, also after Ctrl-C. The images stay, for the next run.
func (s *story) strike(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	say("cleaning up")
	if s.orders != nil {
		s.orders.stop()
	}
	if s.pages != nil {
		s.pages.Stop()
	}
	return errors.Join(s.Strike(ctx), sweep(ctx))
}

func (s *story) await(ctx context.Context, most time.Duration, what string, look func() error) error {
	for end := time.Now().Add(most); ; {
		err := look()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s did not come within %s: %w", what, most, err)
		}
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
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

func writeJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func say(format string, args ...any) { fmt.Printf("\n── "+format+"\n", args...) }
