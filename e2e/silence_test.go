package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// hasty goes on without proof whenever it may: what keeps it from going on is the law alone.
const hasty = `rollout:
  steps: [{ weight: 20, soak: 1s }, { weight: 100 }]
  bake: 1s
verdict:
  warm_up: 0s
  inconclusive: { after: 4s, then: proceed }
`

// Law 6: a log that cannot be read is not health. The rollout holds, says why, never proceeds, and is cut back after a while.
func TestLaw6_ALogThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "nolog", Config: hasty})
	require.NoError(t, os.Remove(s.AccessLog()))
	require.NoError(t, os.Symlink("/dev/null", s.AccessLog()))
	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 20)
	until(t, "status says that it holds", func() bool { return s.status().Rollout.Holding != "" || p.hasEnded() })
	p.ends(9)
	s.unproceeded("no evidence can be read", p)
}

// Law 6: nor is one to which nothing is written while users come and go: here nginx finds no room for it.
func TestLaw6_ALogThatDoesNotGrow(t *testing.T) {
	t.Parallel()
	s := build(t, stage.Options{Name: "stale", Config: hasty})
	logs := filepath.Dir(s.AccessLog())
	require.NoError(t, syscall.Mount("none", logs, "tmpfs", 0, "size=64k"), "a small disk needs root")
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(logs, syscall.MNT_DETACH)) })
	s.opens()
	fills(t, logs)
	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 20)
	p.ends(9)
	s.unproceeded("no request was logged for", p)
}

// Law 6: too little evidence is no evidence of health either: what is missing is said, and the plan's rule is kept.
func TestLaw6_TooFewRequests(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "few", Config: slow + `  inconclusive: { after: 2s, then: hold }
environments:
  holds: { rollout: { steps: [{ weight: 5, soak: 1s }, { weight: 100 }] } }
  backs: { rollout: { steps: [{ weight: 5, soak: 1s }, { weight: 100 }] }, verdict: { inconclusive: { after: 2s, then: back } } }
`})
	s.types(9, "promote", "--env", "backs", "--tag", good.Tag)
	last := s.history()[0]
	require.Equal(t, "held", last.Result)
	require.Contains(t, last.Why, "too little to tell")

	p := s.starts("promote", "--env", "holds", "--tag", good.Tag)
	until(t, "status says that it holds", func() bool { return s.status().Rollout.Holding != "" })
	now := s.status()
	require.Contains(t, now.Why, "too little to tell")
	require.Contains(t, now.Why, "clean candidate requests needed")
	s.share(good.Tag, 5) // it stays
	s.types(0, "abort", "--why", "nobody wants to wait")
	p.ends(10)
	require.Contains(t, s.history()[0].Why, "nobody wants to wait")
	s.none(time.Now(), good.Tag)
	require.Contains(t, s.types(0, "abort").Stdout, "no rollout is running")
}

// unproceeded wants that a rollout has ended for lack of evidence, without ever going on.
func (s *scene) unproceeded(why string, p *running) {
	s.t.Helper()
	require.Contains(s.t, p.said.String(), "holding")
	require.NotContains(s.t, p.said.String(), "proceeded")
	last := s.history()[0]
	require.Equal(s.t, "held", last.Result)
	require.Contains(s.t, last.Why, why)
	require.Equal(s.t, []float64{20}, last.steps())
	s.none(time.Now(), good.Tag)
	require.Equal(s.t, "blue", s.status().Stable)
}
