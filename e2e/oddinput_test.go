package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
	"cutover/traffic/journal"
)

// What people do to a rollout by hand, and what time does to it: nothing goes up, and what is wrong is said.
func TestOddInput_ByHand(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "odd", Config: faulty})
	began := time.Now()
	rollout := func(id string) string { return filepath.Join(s.Root(), "rollouts", id) }
	t.Run("the rollout's folder is deleted", func(t *testing.T) {
		s := s.in(t)
		p := s.starts("promote", "--env", "patient", "--tag", good.Tag)
		p.reaches("raised", 20)
		require.NoError(t, os.RemoveAll(rollout("000001")))
		s.none(time.Now(), good.Tag)
		p.ends(10)
		require.Equal(t, "aborted", s.history()[0].Result)
		require.Contains(t, s.types(2, "approve").Stderr, "no rollout is running")
		require.Equal(t, "idle", s.status().Phase)
	})
	t.Run("a folder that was cut is made again", func(t *testing.T) {
		s := s.in(t)
		p := s.starts("promote", "--env", "patient", "--tag", next.Tag)
		p.reaches("raised", 20)
		require.Zero(t, s.backs("").Exit)
		p.ends(10)
		s.none(time.Now(), next.Tag)
		require.NoError(t, os.MkdirAll(filepath.Join(rollout("000002"), "green"), 0o755))
		s.share(next.Tag, 20) // a person's doing
		require.Contains(t, strings.Join(s.status().Warnings, "\n"), "nginx gives 20 % to green, the journal says 0 %")
		for _, command := range []string{"promote --tag v1.1.0", "up --to green --tag v1.1.0", "shift --to green --weight 50", "down"} {
			r := s.types(3, strings.Fields(command)...)
			require.Contains(t, r.Stderr, "nginx gives 20 % to green, the journal says 0 %")
			require.Contains(t, r.Stderr, "`cutover back`")
		}
		s.share(next.Tag, 20) // nor did they do anything
		require.Zero(t, s.backs("").Exit)
		s.none(time.Now(), next.Tag)
		require.DirExists(t, rollout("000002.cut.1"))
		require.Empty(t, s.status().Warnings)
	})
	t.Run("a folder that no rollout has made", func(t *testing.T) {
		s := s.in(t)
		require.NoError(t, os.Mkdir(rollout("000042"), 0o755))
		s.none(time.Now(), next.Tag)
		require.Contains(t, s.types(0, "back").Stdout, "rollout 000042 cut")
		require.NoError(t, os.Mkdir(rollout("000043"), 0o755))
		s.types(0, "up", "--to", "green", "--tag", good.Tag)
		s.types(0, "shift", "--to", "green", "--weight", "50")
		require.DirExists(t, rollout("000043.cut"), "whoever begins one takes it away")
		require.DirExists(t, rollout("000044"), "an id is used once")
		s.types(0, "back")
	})
	t.Run("another app's journal", func(t *testing.T) {
		s := s.in(t)
		other := filepath.Join(t.TempDir(), "other")
		j, err := journal.Open(other, time.Now)
		require.NoError(t, err)
		_, err = j.Append(t.Context(), "", "ann@elsewhere", map[string]any{
			"kind": "stable-set", "at": time.Now(), "color": "green", "release": map[string]any{"tag": "v7.0.0"},
		})
		require.NoError(t, err)
		aside := s.StateDir() + ".aside"
		require.NoError(t, os.Rename(s.StateDir(), aside))
		require.NoError(t, os.CopyFS(s.StateDir(), os.DirFS(other)))
		blue := s.containers("blue")
		for _, command := range []string{"promote --tag v1.1.0", "up --to blue --tag v1.1.0", "shift --to blue --weight 50", "down --color blue"} {
			r := s.types(3, strings.Fields(command)...)
			require.Contains(t, r.Stderr, "nginx gives 100 % to blue, the journal says 0 %")
			require.Contains(t, r.Stderr, s.StateDir()+" is this app's own")
		}
		require.Equal(t, blue, s.containers("blue"), "what serves is left alone")
		require.Contains(t, strings.Join(s.status().Warnings, "\n"), "nginx gives 100 % to blue")
		require.NoError(t, os.RemoveAll(s.StateDir()))
		require.NoError(t, os.Rename(aside, s.StateDir()))
	})
	t.Run("a day from now, and words of a newer version", func(t *testing.T) {
		s := s.in(t)
		s.writes(filepath.Join(s.Root(), "back.json"), strings.Replace(s.text(filepath.Join(s.Root(), "back.json")), "{", `{ "novel": [1],`, 1))
		tomorrow := time.Now().Add(24 * time.Hour)
		j, err := journal.Open(s.StateDir(), func() time.Time { return tomorrow })
		require.NoError(t, err)
		for _, e := range []map[string]any{
			{"kind": "foreseen", "at": tomorrow, "novel": map[string]any{"weight": "all"}},
			{"kind": "stack-down", "at": tomorrow, "color": "green", "novel": true},
		} {
			_, err = j.Append(t.Context(), "", "a newer cutover", e)
			require.NoError(t, err)
		}
		require.Regexp(t, `the journal's last line is of .*, 2[34]h\S+ ahead of this clock`, strings.Join(s.status().Warnings, "\n"))
		p := s.starts("promote", "--env", "patient", "--tag", good.Tag, "--again", "--why", "it is the clock that is tried")
		p.reaches("raised", 20)
		require.Zero(t, s.backs("").Exit)
		s.none(time.Now(), good.Tag)
		p.ends(10)
		s.types(0, "promote", "--env", "quickly", "--tag", good.Tag, "--again", "--why", "it is the clock that is tried")
		require.Empty(t, s.status().Warnings)
		require.Zero(t, s.backs("").Exit)
	})
	require.Zero(t, s.since(began).Lost)
	s.journalIsWhole()
}

// Law 8: the guardian needs nothing of the binary's file, which an upgrade replaces while a promotion runs.
func TestLaw8_TheBinaryIsReplaced(t *testing.T) {
	t.Parallel()
	o := nightly("upgraded", faulty)
	s := set(t, o)
	text, err := os.ReadFile(binary)
	require.NoError(t, err)
	replaced := filepath.Join(s.Dir, "cutover")
	for _, fresh := range []string{"#!/bin/sh\nexit 99\n", "\x7fELF, but torn"} {
		require.NoError(t, os.RemoveAll(replaced))
		require.NoError(t, os.WriteFile(replaced, text, 0o755))
		s.Binary = replaced
		p := s.starts("promote", "--env", "patient", "--tag", good.Tag)
		p.reaches("raised", 20)
		s.carries(good.Tag)
		require.NoError(t, os.WriteFile(replaced+".new", []byte(fresh), 0o755))
		require.NoError(t, os.Rename(replaced+".new", replaced))
		killed := time.Now()
		p.gets(syscall.SIGKILL)
		s.Binary = binary
		s.guarded(p.since, killed, good.Tag)
	}
	s.journalIsWhole()
}
