package e2e

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
	"cutover/traffic/journal"
)

// disaster is something that may be broken when somebody has to cut back.
type disaster struct {
	name string
	// strikes breaks it and gives what mends it again.
	strikes func(s *scene) (mended func())
	// env is what the one who cuts back has in the environment.
	env string
	// unwritten tells that the cutback cannot be journaled at once.
	unwritten bool
}

var disasters = []disaster{
	{name: "nothing else is broken", strikes: func(*scene) func() { return func() {} }},
	{name: "somebody's broken file in nginx's configuration", strikes: func(s *scene) func() {
		return s.writes(filepath.Join(s.Dir, "nginx", "conf.d", "foreign.conf"), "server { listen ;;; oops\n")
	}},
	{name: "cutover.yaml is broken", strikes: func(s *scene) func() {
		text, err := os.ReadFile(s.ConfigFile())
		require.NoError(s.t, err)
		return s.writes(s.ConfigFile(), strings.Replace(string(text), "stacks:", "stacks: [ oops", 1))
	}},
	{name: "the journal is torn", strikes: func(s *scene) func() {
		return s.rewrites(func(text string) string { return text[:len(text)-20] })
	}},
	{name: "the journal is broken in the middle", strikes: func(s *scene) func() {
		return s.rewrites(func(text string) string { return strings.Replace(text, `"kind":"opened"`, `"kind":"0pened"`, 1) })
	}},
	{name: "the journal's folder is gone", strikes: func(s *scene) func() {
		aside := s.StateDir() + ".aside"
		require.NoError(s.t, os.Rename(s.StateDir(), aside))
		return func() {
			require.NoError(s.t, os.RemoveAll(s.StateDir()))
			require.NoError(s.t, os.Rename(aside, s.StateDir()))
		}
	}},
	{name: "nothing can be written where the journal is", unwritten: true, strikes: func(s *scene) func() {
		aside := s.StateDir() + ".aside"
		require.NoError(s.t, os.Rename(s.StateDir(), aside))
		require.NoError(s.t, os.WriteFile(s.StateDir(), nil, 0o644)) // root may write to any folder; this is none
		return func() {
			require.NoError(s.t, os.Remove(s.StateDir()))
			require.NoError(s.t, os.Rename(aside, s.StateDir()))
		}
	}},
	{name: "the engine is dead", env: "DOCKER_HOST=unix:///nonexistent/docker.sock", strikes: func(*scene) func() { return func() {} }},
}

// Law 2: whatever else is broken, no request that starts after `back` has ended reaches the candidate.
func TestLaw2_CutbackAlwaysWorks(t *testing.T) {
	s := set(t, stage.Options{Name: "back", Head: "    include conf.d/*.conf;"})
	s.foreign()
	s.types(0, "up", "--to", "green", "--tag", good.Tag)
	for _, d := range disasters {
		t.Run(d.name, func(t *testing.T) {
			s := s.in(t)
			s.types(0, "shift", "--to", "green", "--weight", "50")
			began := time.Now()
			s.serves(50)
			require.Positive(t, s.since(began).Releases[good.Tag].Answers)
			mended := d.strikes(s)
			r := s.backs(d.env)
			ended := time.Now()
			require.Zero(t, r.Exit, r.Stdout)
			s.none(ended, good.Tag)
			require.Equal(t, d.unwritten, strings.Contains(r.Stdout, "not journaled"), r.Stdout)
			s.narrow(r, `blue v1\.0\.0 100 %`)

			again := s.backs(d.env)
			require.Zero(t, again.Exit)
			require.Regexp(t, `already back since \d\d:\d\d:\d\d`, again.Stdout)
			s.narrow(again, `blue v1\.0\.0 100 %`)
			mended()
			now := s.status()
			require.Zero(t, now.Weight)
			require.NotEqual(t, "soaking", now.Phase, "the journal knows of it: %+v", now)
		})
	}
}

// Law 2: nothing stands before the rename, and no engine is asked at all. A journal that cannot be read hangs whoever tries.
func TestLaw2_BackAsksNeitherTheEngineNorTheJournal(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "alone"})
	s.types(0, "up", "--to", "green", "--tag", good.Tag)
	s.types(0, "shift", "--to", "green", "--weight", "50", "--no-guard")
	engine, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	asked := make(chan error, 1)
	go func() { // ends with the listener
		_, err := engine.Accept()
		asked <- err
	}()
	lines := filepath.Join(s.StateDir(), "journal.jsonl")
	require.NoError(t, os.Rename(lines, lines+".aside"))
	require.NoError(t, syscall.Mkfifo(lines, 0o640)) // who opens it to read waits for a writer, and there is none

	r := s.backs("DOCKER_HOST=tcp://" + engine.Addr().String())
	ended := time.Now()
	require.Zero(t, r.Exit, r.Stdout)
	s.none(ended, good.Tag)
	require.Contains(t, r.Stdout, "not journaled")
	s.narrow(r, `blue v1\.0\.0 100 %`)
	require.NoError(t, engine.Close())
	require.ErrorIs(t, <-asked, net.ErrClosed, "the engine was asked")

	require.NoError(t, os.Rename(lines+".aside", lines))
	now := s.status()
	require.Zero(t, now.Weight)
	require.Equal(t, "idle", now.Phase, "%+v", now)
	s.journalIsWhole()
}

// Law 8: the process to which `back` leaves the end of the rollout may be killed, and the next command ends it.
func TestLaw8_WhatBackLeftOpenIsEndedByTheNextCommand(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "left"})
	s.types(0, "up", "--to", "green", "--tag", good.Tag)
	s.types(0, "shift", "--to", "green", "--weight", "50", "--no-guard")
	require.NoError(t, syscall.Kill(s.NginxPID(), syscall.SIGSTOP)) // the proof of the end, too, has to wait for nginx
	workers := slices.Sorted(maps.Keys(s.workers()))
	for _, pid := range workers {
		require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	}
	r := s.backs("")
	require.Equal(t, 11, r.Exit, r.Stdout)
	var left int
	until(t, "a process of its own ends the rollout", func() bool {
		holder, held, err := journal.Holding(s.StateDir())
		left = holder.PID
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", left)) // until it has said its own id, that of `back`, which is gone
		return err == nil && held && strings.Contains(string(cmdline), "conclude")
	})
	require.NoError(t, syscall.Kill(left, syscall.SIGKILL))
	for _, pid := range append(workers, s.NginxPID()) {
		require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))
	}
	s.types(0, "shift", "--to", "green", "--weight", "0")
	now := s.status()
	require.Equal(t, "idle", now.Phase, "%+v", now)
	s.narrow(s.backs(""), `blue v1\.0\.0 100 %`)
	s.journalIsWhole()
}

// Law 2: with the disk full, so that neither nginx's folder nor the journal's takes a byte.
func TestLaw2_CutbackOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, syscall.Mount("none", dir, "tmpfs", 0, "size=4m"), "a small disk needs root")
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	s := set(t, stage.Options{Name: "full", Dir: filepath.Join(dir, "stage")})
	s.types(0, "up", "--to", "green", "--tag", good.Tag)
	s.types(0, "shift", "--to", "green", "--weight", "50")
	s.serves(50)
	filler := fills(t, dir)
	r := s.backs("")
	ended := time.Now()
	require.Zero(t, r.Exit, r.Stdout)
	s.none(ended, good.Tag)
	s.narrow(r, `blue v1\.0\.0 100 %`)
	require.Zero(t, s.backs("").Exit)

	// nothing goes up that cannot be written down
	r, err := s.Cutover(t.Context(), "shift", "--to", "green", "--weight", "50")
	require.NoError(t, err)
	require.NotZero(t, r.Exit, r.Stdout)
	s.none(time.Now(), good.Tag)

	require.NoError(t, os.Remove(filler))
	now := s.status()
	require.Equal(t, "idle", now.Phase, "%+v", now)
	s.journalIsWhole()
}

// Law 2: a promoter that was frozen before the cutback and wakes after it raises nothing any more.
func TestLaw2_AFrozenPromoterWakesTooLate(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "frozen", Config: quick})
	for _, moment := range []struct {
		kind   string
		weight float64
	}{{"raised", 5}, {"raised", 20}, {"judged", 0}} {
		p := s.starts("promote", "--tag", good.Tag, "--again", "--why", "it is the promoter that is tried")
		p.reaches(moment.kind, moment.weight)
		p.gets(syscall.SIGSTOP)
		r := s.backs("")
		ended := time.Now()
		require.Zero(t, r.Exit, r.Stdout)
		s.narrow(r, `blue v1\.0\.0 100 %`)
		pass(t, 2*time.Second) // its soak is over when it wakes
		p.gets(syscall.SIGCONT)
		p.ends(10)
		s.none(ended, good.Tag)
		require.Equal(t, "aborted", s.history()[0].Result)
		require.Equal(t, "idle", s.status().Phase)
	}
	s.journalIsWhole()
}

// Law 2: while a promotion runs, `back` takes effect at once and the promotion ends. After it, while the old stack is warm,
// `back` returns to the release before, which is stable again. With nothing warm it says what to type instead.
func TestLaw2_BackDuringAndAfterAPromotion(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "warm", Config: quick + `environments:
  patient: { rollout: { steps: [{ weight: 20, soak: 10m }, { weight: 100 }] } }
`})
	s.types(4, "back")

	p := s.starts("promote", "--env", "patient", "--tag", good.Tag)
	p.reaches("raised", 20)
	r := s.backs("")
	ended := time.Now()
	require.Zero(t, r.Exit, r.Stdout)
	p.ends(10)
	s.none(ended, good.Tag)
	require.Contains(t, p.said.String(), "blue v1.0.0 100 %")
	require.Contains(t, s.history()[0].Why, "cutover back")

	require.Contains(t, s.types(4, "promote", "--tag", good.Tag).Stderr, "taken back before")
	s.types(0, "promote", "--tag", good.Tag, "--again", "--why", "nothing was wrong with it")
	r = s.backs("")
	ended = time.Now()
	require.Zero(t, r.Exit, r.Stdout)
	s.narrow(r, `blue v1\.0\.0 100 %`)
	s.none(ended, good.Tag)
	now := s.status()
	require.Equal(t, "blue", now.Stable, "%+v", now)
	require.Equal(t, "idle", now.Phase, "%+v", now)
	require.Empty(t, now.Warnings)
	s.narrow(s.backs(""), `blue v1\.0\.0 100 %`)

	s.types(0, "promote", "--tag", next.Tag)
	s.types(0, "down") // nothing is kept warm any more
	before := time.Now()
	r = s.backs("")
	require.Equal(t, 4, r.Exit, r.Stdout)
	require.Contains(t, r.Stdout, "cutover rollback --tag v1.0.0")
	s.narrow(r, `green v1\.5\.0 100 %`)
	s.none(before, first.Tag)
	require.Zero(t, s.since(before).Lost)
}

// backs has `back` typed, with one more variable in the environment. Stdout is what a terminal shows: both streams.
func (s *scene) backs(env string) stage.Result {
	s.t.Helper()
	c := s.Command(s.t.Context(), "back")
	if env != "" {
		c.Env = append(c.Env, env)
	}
	said, _ := c.CombinedOutput() // the exit code tells
	return stage.Result{Exit: c.ProcessState.ExitCode(), Stdout: string(said)}
}

// writes puts text into a file and gives what brings the file's former state back.
func (s *scene) writes(path, text string) (back func()) {
	s.t.Helper()
	before, err := os.ReadFile(path)
	require.NoError(s.t, os.WriteFile(path, []byte(text), 0o644))
	if err != nil {
		return func() { require.NoError(s.t, os.Remove(path)) }
	}
	return func() { require.NoError(s.t, os.WriteFile(path, before, 0o644)) }
}

// rewrites damages the journal. It stays damaged: nobody can mend a journal. What mends the site is a new one.
func (s *scene) rewrites(change func(string) string) (mended func()) {
	s.t.Helper()
	path := filepath.Join(s.StateDir(), "journal.jsonl")
	text, err := os.ReadFile(path)
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(path, []byte(change(string(text))), 0o640))
	return func() {
		s.t.Helper()
		if r, err := s.Cutover(s.t.Context(), "shift", "--to", "green", "--weight", "1"); err == nil && r.Exit == 0 {
			s.types(0, "back") // a torn tail is cut off by the next writer, and nothing is missing then
			return
		}
		require.NoError(s.t, os.Rename(path, path+".damaged"))
		s.types(0, "init", "--stable", "blue", "--tag", first.Tag)
	}
}

// fills takes the last byte of a disk, and gives the file that has it.
func fills(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	require.NoError(t, err)
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; _, err = f.Write(make([]byte, size)) {
		}
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	_ = f.Close()
	return path
}
