package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// A good release goes all the way, nobody loses a request, and what was no proof is not called one.
func TestPromote_AGoodReleaseLosesNoRequest(t *testing.T) {
	s := set(t, stage.Options{Name: "good", Web: "    labels: { own.health.check: kept }"})
	began := time.Now()
	r := s.types(0, "promote", "--tag", good.Tag, "--json")
	seen := s.since(began)
	require.Zero(t, seen.Lost, "%+v", seen)
	require.Zero(t, seen.Failed, "%+v", seen)
	require.Positive(t, seen.Releases[good.Tag].Answers)

	var end status
	s.reads(r.Stdout, &end)
	require.Equal(t, "promoted", end.Result)
	require.Contains(t, r.Stderr, "proceeded without proof")

	now := s.status()
	require.Equal(t, "green", now.Stable)
	require.Equal(t, "accepted", now.Phase)
	require.Regexp(t, `^green v1\.1\.0 100 % \(proven `, now.Truth)
	require.Equal(t, end.Stable, now.Stable)
	require.Empty(t, now.Warnings)
	last := s.history()[0]
	require.Equal(t, "promoted", last.Result)
	require.Len(t, last.Steps, 3)
	for n, weight := range []float64{5, 20, 100} {
		require.Equal(t, weight, last.Steps[n].Weight)
		require.Equal(t, "proceeded without proof", last.Steps[n].How)
	}
	from := time.Now()
	s.none(from, first.Tag)
	s.journalIsWhole()

	// the release that is stable is not promoted again
	require.Contains(t, s.types(2, "promote", "--tag", good.Tag).Stderr, "stable already")
}

// Law 1: enough requests prove a good release, and nothing else lets it go on: the plan holds where it is not proven.
func TestLaw1_UpwardsOnlyByProof(t *testing.T) {
	t.Parallel()
	s := build(t, stage.Options{Name: "proof", Config: `rollout:
  steps: [{ weight: 50, soak: 60s }, { weight: 100 }]
  bake: 60s
verdict:
  warm_up: 0s
  inconclusive: { after: 10m, then: hold }
`})
	require.NoError(t, s.Compose(t.Context(), "blue", first.Tag, "up", "-d", "--wait"))
	s.types(0, "init", "--stable", "blue", "--tag", first.Tag)
	require.NoError(t, s.StartNginx(t.Context()))
	s.welcomes(520)
	began := time.Now()
	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 50)
	p.reaches("raised", 100)
	require.GreaterOrEqual(t, time.Since(began), 60*time.Second)
	p.ends(0)
	last := s.history()[0]
	require.Equal(t, "promoted", last.Result)
	for _, step := range last.Steps {
		require.Equal(t, "passed", step.How)
	}
	require.NotContains(t, p.said.String(), "without proof")
	require.Zero(t, s.since(began).Lost)
}

// A release that is worse is taken back by the verdict, before it has hurt many, and its stack stays up for a look.
func TestRevert_ABadRelease(t *testing.T) {
	s := set(t, stage.Options{Name: "bad", Config: slow + `environments:
  bold: { rollout: { steps: [{ weight: 20, soak: 10m }, { weight: 100 }] } }
`})
	t.Run("a fifth of the requests fails, reverted at 5 %", func(t *testing.T) {
		s := s.in(t)
		s.types(8, "promote", "--tag", bad.Tag)
		s.none(time.Now(), bad.Tag)
		last := s.history()[0]
		require.Equal(t, "reverted", last.Result)
		require.Equal(t, bad.Tag, last.Release)
		require.Len(t, last.Steps, 1)
		require.Equal(t, 5.0, last.Steps[0].Weight)
		require.Regexp(t, `candidate fails [\d.]+% of requests \(\d+ of \d+\), stable 0% \(0 of [\d,]+\)`, last.Why)
		now := s.status()
		require.Equal(t, "blue", now.Stable)
		require.Zero(t, now.Weight)
		require.Contains(t, now.Why, last.Why)
		require.True(t, now.runs("green", "web"), "kept for a look")
		require.Regexp(t, `^blue v1\.0\.0 100 % \(proven `, now.Truth)
	})
	t.Run("every request fails, reverted within seconds at 20 %", func(t *testing.T) {
		s := s.in(t)
		began := time.Now()
		s.types(8, "promote", "--env", "bold", "--tag", dead.Tag)
		s.none(time.Now(), dead.Tag)
		hurt := s.since(began).Releases[dead.Tag]
		require.Positive(t, hurt.Failed)
		// The rule takes 2.5 s and 8 failures: 125 users at this share and rate. More than four times that is another rule.
		require.Less(t, hurt.Failed, 500)
		last := s.history()[0]
		require.Equal(t, "reverted", last.Result)
		require.Contains(t, last.Why, "failed")
		require.Equal(t, 20.0, last.Steps[0].Weight)
	})
	t.Run("and is only said where the rollout is observed, until somebody cuts back", func(t *testing.T) {
		s := s.in(t)
		p := s.starts("promote", "--env", "bold", "--observe", "--again", "--why", "a look at the judge", "--tag", bad.Tag)
		require.Eventually(t, func() bool { return strings.Contains(s.status().Rollout.Holding, "would have cut back from 20 %") }, time.Minute, time.Second)
		time.Sleep(3 * time.Second) // nothing follows
		require.Equal(t, 20.0, s.status().Weight)
		s.types(0, "back")
		p.ends(10)
		require.Equal(t, "aborted", s.history()[0].Result)
		require.Contains(t, s.history()[0].Would.Why, "candidate fails")
		require.Equal(t, 20.0, s.history()[0].Would.Weight)
		s.none(time.Now(), bad.Tag)
	})
	s.journalIsWhole()
}

// A release that answers everything, but late, is reverted where the plan says what late is.
func TestPromote_ALateReleaseIsReverted(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "late", Config: slow + `  latency: { slower_than: 150ms, ratio: 1.5, worse_by: 1% }
environments:
  bold: { rollout: { steps: [{ weight: 20, soak: 10m }, { weight: 100 }] } }
`})
	began := time.Now()
	r := s.types(8, "promote", "--env", "bold", "--tag", late.Tag)
	require.Contains(t, r.Stdout+r.Stderr, "candidate is slow in")
	require.Equal(t, "reverted", s.history()[0].Result)
	s.none(time.Now(), late.Tag)
	require.Zero(t, s.since(began).Lost)
	s.journalIsWhole()
}
