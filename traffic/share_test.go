package traffic_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
	"cutover/traffic/verdict"
)

// A step is not left upwards while the log shows another share than nginx was asked for, whatever the verdict on the release.
func TestAShareThatIsNotServed(t *testing.T) {
	for _, c := range []struct {
		name                string
		draws               bool
		candidate, baseline int64
		holds               bool
	}{
		{"as asked", true, 500, 9500, false},
		{"a little off, by chance", true, 590, 9410, false},
		{"more than chance gives", true, 620, 9380, true},
		{"less than chance gives", true, 380, 9620, true},
		{"nothing of stable's in the log", true, 600, 0, true},
		{"too few to tell", true, 200, 200, false},
		{"clients are drawn", false, 2000, 8000, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newScript()
			s.plan.DrawsRequests = c.draws
			require.NoError(t, s.walk("at idle"))
			for _, line := range []string{"opened promotion v1.4.0", "prepared", "checked", "+5s raised 5"} {
				_, err := s.run(line)
				require.NoError(t, err)
			}
			next := traffic.Next(s.state, traffic.Event{Kind: traffic.Judged, At: s.now.Add(11 * time.Minute), Verdict: &verdict.Result{
				Decision: verdict.Passed, Rule: verdict.RuleEvidence,
				Candidate: verdict.Tally{Requests: c.candidate}, Baseline: verdict.Tally{Requests: c.baseline},
			}})
			if c.holds {
				require.Equal(t, traffic.Soaking, next.Phase())
				require.Contains(t, next.Open.Holding, "nginx was asked for 5 %, but the log shows")
				return
			}
			require.Equal(t, traffic.Shifting, next.Phase())
		})
	}
}

// A share that is drawn as it should be holds nobody up, however often one looks.
func TestAShareThatIsServed(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	s := newScript()
	s.plan.DrawsRequests = true
	require.NoError(t, s.walk("at idle"))
	for _, line := range []string{"opened promotion v1.4.0", "prepared", "checked", "+5s raised 5"} {
		_, err := s.run(line)
		require.NoError(t, err)
	}
	var candidate, baseline int64
	for range 5000 {
		for range 100 {
			if random.Float64() < 0.05 {
				candidate++
			} else {
				baseline++
			}
		}
		next := traffic.Next(s.state, traffic.Event{Kind: traffic.Judged, At: s.now.Add(11 * time.Minute), Verdict: &verdict.Result{
			Decision: verdict.Passed, Rule: verdict.RuleEvidence,
			Candidate: verdict.Tally{Requests: candidate}, Baseline: verdict.Tally{Requests: baseline},
		}})
		require.Equal(t, traffic.Shifting, next.Phase(), "%d of %d", candidate, candidate+baseline)
	}
}
