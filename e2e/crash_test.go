package e2e

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// Laws 5 and 8: the promoter and its guardian are killed without a word, at each moment of a rollout. The next command of any
// kind cuts back first; the journal is whole; and the next promotion works.
func TestLaw5_ThePromoterIsKilled(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "killed", Config: quick + `environments:
  bold: { rollout: { steps: [{ weight: 5, soak: 10m }, { weight: 100 }], bake: 10m } }
  sudden: { rollout: { steps: [{ weight: 100 }], bake: 10m } }
`})
	for _, c := range []struct {
		moment, env, kind string
		weight            float64
		next              []string
	}{
		{"preparing", "bold", "opened", 0, []string{"status"}},
		{"ready", "bold", "prepared", 0, []string{"history"}},
		{"shifting", "bold", "checked", 0, []string{"config"}},
		{"soaking at 5 %", "bold", "raised", 5, []string{"status", "--json"}},
		{"baking at 100 %", "sudden", "raised", 100, []string{"render"}},
	} {
		t.Run(c.moment, func(t *testing.T) {
			s := s.in(t)
			p := s.starts("promote", "--env", c.env, "--tag", good.Tag)
			p.reaches(c.kind, c.weight)
			p.dies()
			s.journalIsWhole()
			s.types(0, c.next...)
			ended := time.Now()
			s.none(ended, good.Tag)
			now := s.status()
			require.Equal(t, "idle", now.Phase, "%+v", now)
			require.Equal(t, "blue", now.Stable)
			require.Empty(t, now.Warnings)
			require.Regexp(t, `^blue v1\.0\.0 100 % \(proven `, now.Truth)
			last := s.history()[0]
			require.Equal(t, "aborted", last.Result)
			require.Contains(t, last.Why, "promoter")
			s.journalIsWhole()
		})
	}
	s.types(0, "promote", "--tag", good.Tag)

	// killed while it finishes: the candidate is stable already, and stays it
	p := s.starts("down")
	p.reaches("finish-now", 0)
	p.dies()
	s.types(0, "status")
	s.share(good.Tag, 100)
	now := s.status()
	require.Equal(t, "green", now.Stable)
	require.Equal(t, "idle", now.Phase, fmt.Sprintf("%+v", now))
	s.journalIsWhole()
}

// dies kills the promoter, and first its guardian, where it has one.
func (r *running) dies() {
	for _, pid := range r.s.Guardians() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	r.gets(syscall.SIGKILL)
	<-r.over
}
