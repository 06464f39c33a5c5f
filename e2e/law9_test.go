package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
	"cutover/traffic/journal"
)

// Law 9: the same input gives the same decision. A rollout that the verdict reverted is reverted again by its log: by the same rule
// on the same evidence, whether the journal says when it had which share or somebody who read it there. And the journal, carried to
// another folder, tells the same of it.
func TestLaw9_TheSameInputGivesTheSameDecision(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "again", Config: slow + `environments:
  bold: { rollout: { steps: [{ weight: 20, soak: 10m }, { weight: 100 }] } }
`})
	s.types(8, "promote", "--tag", bad.Tag)
	s.types(8, "promote", "--env", "bold", "--tag", dead.Tag)
	s.load.Stop()
	log := filepath.Join(t.TempDir(), "access.log") // nginx holds the last lines back for a moment
	require.NoError(t, os.WriteFile(log, []byte(s.text(s.AccessLog())), 0o644))

	for _, rollout := range []string{"000001", "000002"} {
		t.Run(rollout, func(t *testing.T) {
			s := s.in(t)
			ran := s.judged(rollout)
			said := s.replays(log, "--rollout", rollout)
			require.Equal(t, said, s.replays(log, "--rollout", rollout), "twice the same to the byte")
			ran.isFoundAgain(t, said)
			ran.isFoundAgain(t, s.replays(log, "--candidate", "green", "--schedule", ran.schedule))
		})
	}
	t.Run("the journal elsewhere", func(t *testing.T) {
		s := s.in(t)
		elsewhere := s.carriesItsJournalAway()
		require.Equal(t, s.types(0, "history", "--json").Stdout, s.types(0, "history", "--json", "--config", elsewhere).Stdout)
		require.Equal(t, s.remembers(), s.remembers("--config", elsewhere))
	})
	s.journalIsWhole()
}

// verdictEvent is what this scene reads of a journal's line.
type verdictEvent struct {
	Kind    string    `json:"kind"`
	At      time.Time `json:"at"`
	Weight  float64   `json:"weight"`
	Rollout string    `json:"rollout"`
	Verdict *struct {
		Decision  string `json:"decision"`
		Rule      string `json:"rule"`
		Reason    string `json:"reason"`
		Candidate tally  `json:"candidate"`
	} `json:"verdict"`
}

type tally struct {
	Requests float64 `json:"requests"`
}

// course is a rollout as the journal has it: its shares in the words of --schedule, and the event that reverted it.
type course struct {
	schedule string
	reverts  verdictEvent
}

// judged reads the rollout from the journal.
func (s *scene) judged(rollout string) course {
	s.t.Helper()
	j, err := journal.Open(s.StateDir(), time.Now)
	require.NoError(s.t, err)
	entries, err := j.Read()
	require.NoError(s.t, err)
	var shares []string
	var ran course
	for _, entry := range entries {
		var e verdictEvent
		require.NoError(s.t, json.Unmarshal(entry.Event, &e))
		switch {
		case e.Rollout != rollout:
		case e.Kind == "raised":
			shares = append(shares, fmt.Sprintf("%s=%v", e.At.Format(time.RFC3339Nano), e.Weight))
		case e.Kind == "judged" && e.Verdict != nil && e.Verdict.Decision == "fail":
			ran.reverts = e
		}
	}
	require.NotEmpty(s.t, shares)
	require.NotNil(s.t, ran.reverts.Verdict, "the verdict has not reverted it")
	ran.schedule = strings.Join(shares, ",")
	return ran
}

// replays judges the log by the stage's own configuration, and gives the document.
func (s *scene) replays(log string, how ...string) string {
	s.t.Helper()
	return s.types(0, append([]string{"judge", "--replay", log, "--json"}, how...)...).Stdout
}

// isFoundAgain wants that a replay came to what the journal says. The promoter got each line a little after it was logged, so that
// its seconds of evidence held other lines than those of a replay: by one of them the two may differ.
func (c course) isFoundAgain(t *testing.T, said string) {
	t.Helper()
	var doc struct {
		Decision string `json:"decision"`
		Rule     string `json:"rule"`
		Events   []struct {
			TS        float64 `json:"ts"`
			Weight    float64 `json:"weight"`
			Decision  string  `json:"decision"`
			Reason    string  `json:"reason"`
			Candidate tally   `json:"candidate"`
		} `json:"events"`
	}
	require.NoError(t, json.Unmarshal([]byte(said), &doc))
	require.Equal(t, "fail", doc.Decision, said)
	require.Equal(t, c.reverts.Verdict.Rule, doc.Rule)
	last := doc.Events[len(doc.Events)-1]
	require.Equal(t, "fail", last.Decision)
	apart := time.UnixMicro(int64(last.TS * 1e6)).Sub(c.reverts.At)
	t.Logf("promoter: %s\nreplay, %v apart: %s", c.reverts.Verdict.Reason, apart.Round(time.Millisecond), last.Reason)
	require.Less(t, apart.Abs(), soon)
	aSecond := rate * last.Weight / 100
	require.InDelta(t, c.reverts.Verdict.Candidate.Requests, last.Candidate.Requests, 2*aSecond)
}

// carriesItsJournalAway copies the state to another folder and gives a configuration that keeps its state there.
func (s *scene) carriesItsJournalAway() (config string) {
	s.t.Helper()
	elsewhere := s.t.TempDir()
	state := filepath.Dir(s.StateDir())
	require.NoError(s.t, os.CopyFS(elsewhere, os.DirFS(state)))
	text := s.text(s.ConfigFile())
	require.Contains(s.t, text, "state: "+state+"\n")
	config = filepath.Join(filepath.Dir(s.ConfigFile()), "elsewhere.yaml")
	require.NoError(s.t, os.WriteFile(config, []byte(strings.Replace(text, state, elsewhere, 1)), 0o644))
	return config
}

// remembers is all of `status --json` but what nginx and the engine answer at the moment.
func (s *scene) remembers(how ...string) map[string]any {
	s.t.Helper()
	var all map[string]any
	s.reads(s.types(0, append([]string{"status", "--json"}, how...)...).Stdout, &all)
	for _, asked := range []string{"truth", "live", "colors"} {
		delete(all, asked)
	}
	require.Contains(s.t, all, "rollout")
	return all
}
