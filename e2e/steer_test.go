package e2e

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// steered waits for people in each environment in another way.
const steered = `rollout:
  steps: [{ weight: 5, soak: 1s }, { weight: 20, soak: 1s }, { weight: 100 }]
  bake: 1s
verdict:
  warm_up: 0s
  inconclusive: { after: 1s, then: proceed }
environments:
  asks:   { rollout: { approve: [{ at: start }, { at: 20 }] } }
  hurry:  { rollout: { approve: [{ at: 20, within: 2s }] } }
  awaits: { rollout: { approve: [{ at: 100 }] } }
  long:   { rollout: { steps: [{ weight: 5, soak: 3s }, { weight: 100 }], bake: 10m } }
`

// A rollout waits for the people that its plan names, whatever --yes says, and anybody can let it go on from anywhere; anybody can
// wait for its end from anywhere, and gets its exit code.
func TestApprove_FromAnotherTerminal(t *testing.T) {
	t.Parallel()
	s := set(t, nightly("approve", steered))
	for _, unknown := range []string{"000001", "17", "soon"} {
		s.types(2, "wait", unknown)
	}
	s.types(2, "approve")
	p := s.starts("promote", "--env", "asks", "--yes", "--tag", good.Tag)
	s.waits(0)
	w := s.starts("wait", "000001")
	require.Empty(t, s.containers("green"), "nothing happens before the start")
	s.types(0, "approve")
	p.reaches("raised", 5)
	s.waits(5)
	s.types(0, "approve", "--why", "as agreed with support")
	p.reaches("raised", 20)
	s.types(2, "approve")
	p.ends(0)
	w.ends(0)
	require.Contains(t, s.kinds(p.since, "approved")[1].Why, "support")

	p = s.starts("promote", "--env", "hurry", "--tag", next.Tag)
	p.reaches("raised", 5)
	w = s.starts("wait")
	p.ends(9)
	w.ends(9)
	s.types(9, "wait", "000002")
	s.types(0, "wait", "000001")
	require.Contains(t, s.history()[0].Why, "nobody approved within 2s")
	s.none(time.Now(), next.Tag)
	s.journalIsWhole()
}

// The judge does not rest while a person is waited for.
func TestApprove_ABreachMeanwhileReverts(t *testing.T) {
	t.Parallel()
	s := set(t, nightly("breach", steered))
	p := s.starts("promote", "--env", "awaits", "--tag", good.Tag)
	p.reaches("raised", 20)
	s.waits(20)
	w := s.starts("wait")
	require.NoError(t, s.Compose(t.Context(), "green", good.Tag, "stop", "--timeout", "1"))
	p.ends(8)
	w.ends(8)
	last := s.history()[0]
	require.Equal(t, "reverted", last.Result)
	require.Equal(t, []float64{5, 20}, last.steps())
	s.none(time.Now(), good.Tag)
	require.Zero(t, s.load.Snapshot().Failed, "stable answered for it")
}

// A rollout is paused, resumed and ended from any terminal, by as many people as like to.
func TestSteer_FromAnotherTerminal(t *testing.T) {
	t.Parallel()
	s := set(t, nightly("steer", steered))
	for _, command := range []string{"pause", "resume", "approve"} {
		require.Contains(t, s.types(2, command).Stderr, "no rollout is running")
	}
	p := s.starts("promote", "--env", "long", "--tag", good.Tag)
	p.reaches("raised", 5)
	s.types(0, "pause", "--why", "looking at a slow query")
	pass(t, 5*time.Second)
	require.False(t, p.journaled("raised", 100))
	require.Contains(t, s.status().Why, "paused by demo@localhost")
	s.types(0, "resume")
	p.reaches("raised", 100)
	w := s.starts("wait", "000001")
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if r, err := s.Cutover(t.Context(), "abort", "--why", "wrong tag"); err != nil || r.Exit != 0 {
				t.Errorf("abort: %v %+v", err, r)
			}
		})
	}
	both.Wait()
	p.ends(10)
	w.ends(10)
	require.Contains(t, s.history()[0].Why, "wrong tag")
	require.Contains(t, s.types(0, "abort").Stdout, "no rollout is running")
	s.none(time.Now(), good.Tag)
	s.journalIsWhole()
}

// What users were taken away from does not come back by itself: a job that is run again is refused, until a person says what is
// different. And before all that: a plan can be looked at, and nothing changes.
func TestAgain_ATakenBackReleaseIsRefused(t *testing.T) {
	t.Parallel()
	s := set(t, nightly("again", night+`  bold:    { rollout: { steps: [{ weight: 20, soak: 10m }, { weight: 100 }] } }
`))
	s.plans()
	bold := []string{"promote", "--env", "bold", "--json", "--yes", "--tag", dead.Tag}
	s.types(8, bold...)
	for range 2 {
		r := s.types(4, bold...)
		require.Contains(t, r.Stderr, "v1.3.0 was taken back before, in rollout 000001 on ")
		require.Contains(t, r.Stderr, s.history()[0].Why)
	}
	require.Contains(t, s.types(2, append(bold, "--again")...).Stderr, "--why")
	since := s.lastLine()
	s.types(8, append(bold, "--again", "--why", "the database is back")...)
	require.Equal(t, "the database is back", s.kinds(since, "opened")[0].Why)

	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 5)
	require.Zero(t, s.backs("").Exit)
	p.ends(10)
	require.Contains(t, s.types(4, "promote", "--tag", good.Tag).Stderr, "`cutover back` by demo@localhost")
	s.types(0, "promote", "--env", "quickly", "--tag", good.Tag, "--again", "--why", "it was the network")
	require.Zero(t, s.backs("").Exit) // after the end
	s.types(4, "promote", "--tag", good.Tag)
	s.types(0, "promote", "--env", "quickly", "--tag", next.Tag)
	s.journalIsWhole()
}

// plans looks at a plan, and wants that neither what nginx reads nor the journal has changed after it.
func (s *scene) plans() {
	s.t.Helper()
	journal := filepath.Join(s.StateDir(), "journal.jsonl")
	before, written := s.tree(), s.text(journal)
	said := s.types(0, "promote", "--plan", "--tag", good.Tag).Stdout
	require.Regexp(s.t, `(?s)requests/s now.*step +requests/s to it +proven in.*\n +5 % +.*\n +20 % +.*\n +100 % +`, said)
	var doc struct {
		Rates    struct{ Requests int }
		Forecast struct{ Steps []struct{ Needed int } }
	}
	s.reads(s.types(0, "promote", "--plan", "--json", "--tag", good.Tag).Stdout, &doc)
	require.Positive(s.t, doc.Rates.Requests)
	require.Len(s.t, doc.Forecast.Steps, 3)
	require.Positive(s.t, doc.Forecast.Steps[0].Needed)
	require.Equal(s.t, before, s.tree())
	require.Equal(s.t, written, s.text(journal))
	require.Empty(s.t, s.Guardians())
}

func (s *scene) text(path string) string {
	s.t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(s.t, err)
	return string(text)
}

// waits waits until a rollout waits for a person at that share.
func (s *scene) waits(weight float64) {
	s.t.Helper()
	until(s.t, "it waits for a person", func() bool {
		now := s.status()
		return now.Phase == "waiting" && now.Weight == weight
	})
}
