package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
	"cutover/traffic/journal"
	"cutover/traffic/verdict"
)

// traces are recorded rollouts of which somebody has said what the verdict must be.
const traces = "../../traffic/verdict/testdata/traces"

// typed is a command typed in a folder: its exit code and what it printed.
func typed(dir string, now time.Time, args ...string) (exit int, stdout, stderr string) {
	var said, beside bytes.Buffer
	clock := func() time.Time { return now }
	i := &invocation{out: &output{stdout: &said, stderr: &beside, now: clock}, now: clock, dir: dir}
	exit = i.run(context.Background(), append([]string{"cutover"}, args...))
	return exit, said.String(), beside.String()
}

// judges types judge in an empty folder, twice on different days, and gives what is the same both times.
func judges(t *testing.T, args ...string) string {
	t.Helper()
	args = append([]string{"judge"}, args...)
	exit, first, beside := typed(t.TempDir(), time.Unix(1e9, 0), args...)
	require.Zero(t, exit, beside)
	_, second, _ := typed(t.TempDir(), time.Unix(2e9, 0), args...)
	require.Equal(t, first, second, "the same input, the same output to the byte")
	return first
}

// read is what stands in a replay's document.
type read struct {
	Decision string `json:"decision"`
	Reason   string `json:"reason"`
	Events   []struct {
		TS       float64            `json:"ts"`
		Weight   float64            `json:"weight"`
		Decision string             `json:"decision"`
		Reason   string             `json:"reason"`
		LogM     map[string]float64 `json:"log_m"`
	} `json:"events"`
	Requests map[string]verdict.Count `json:"requests"`
}

func TestReplayOfTheTraces(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(traces, "expected.json"))
	require.NoError(t, err)
	var expected struct {
		Canary string
		Slow   float64 `json:"slow_threshold_s"`
		Traces map[string]struct {
			Class    string
			Requests int64
			Schedule [][2]float64
			Onset    float64 `json:"onset_ts"`
			Within   float64 `json:"within_s"`
		}
	}
	require.NoError(t, json.Unmarshal(raw, &expected))
	require.NotEmpty(t, expected.Traces)
	for name, trace := range expected.Traces {
		t.Run(name, func(t *testing.T) {
			var schedule []string
			for _, shift := range trace.Schedule {
				schedule = append(schedule, fmt.Sprintf("%.3f=%v", shift[0], shift[1]))
			}
			path, err := filepath.Abs(filepath.Join(traces, name))
			require.NoError(t, err)
			said := judges(t, "--replay", path, "--candidate", expected.Canary, "--schedule", strings.Join(schedule, ","),
				"--slower-than", fmt.Sprintf("%vs", expected.Slow), "--json")
			var got read
			require.NoError(t, json.Unmarshal([]byte(said), &got))
			require.Equal(t, trace.Requests, got.Requests["candidate"].Requests+got.Requests["stable"].Requests)
			last := got.Events[len(got.Events)-1]
			require.Equal(t, last.Decision, got.Decision)
			before := ""
			for _, e := range got.Events {
				require.NotEqual(t, before, e.Decision, "an event for each change")
				require.False(t, e.Decision == "pass" && trace.Class == "must-hold")
				require.Len(t, e.LogM, 3)
				before = e.Decision
			}
			switch trace.Class {
			case "must-revert":
				require.Equal(t, "fail", got.Decision)
				require.GreaterOrEqual(t, last.TS, trace.Onset)
				require.LessOrEqual(t, last.TS, trace.Onset+trace.Within)
				require.GreaterOrEqual(t, math.Log(0.5*math.Exp(last.LogM["errors"])+0.3*math.Exp(last.LogM["slow"])+
					0.2*math.Exp(last.LogM["ceiling"])), math.Log(100))
			case "must-not-revert", "must-hold":
				require.NotEqual(t, "fail", got.Decision)
			default:
				t.Fatalf("unknown class %q", trace.Class)
			}
		})
	}
}

// A torn recording is no verdict: it may be what was torn off that tells.
func TestReplayOfATornRecording(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join(traces, "v02-half-failing.jsonl.gz"))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "torn.gz"), whole[:len(whole)/2], 0o644))
	exit, stdout, stderr := typed(dir, time.Now(), "judge", "--replay", "torn.gz", "--candidate", "green", "--schedule", "1700000000=5")
	require.Equal(t, exitUnexpected, exit)
	require.Empty(t, stdout)
	require.Regexp(t, `torn.gz: at line \d+, the last one logged at 2023-11-14T22:\d+:[\d.]+Z: its compressed data end too early`, stderr)
}

// A rollout's color, shares and end come from the journal.
func TestReplayByTheJournal(t *testing.T) {
	dir := t.TempDir()
	began := time.Unix(1700000000, 0)
	require.NoError(t, os.WriteFile(filepath.Join(dir, configName), fmt.Appendf(nil, `app: shop
state: %s/state
stacks: { driver: external, web: [{ service: web, blue: 127.0.0.1:18000, green: 127.0.0.1:28000 }] }
verdict: { warm_up: 0s }
nginx: { dir: %s/nginx }
`, dir, dir), 0o644))
	plan := defaultConfig().plan()
	j, err := journal.Open(filepath.Join(dir, "state", "shop"), func() time.Time { return began })
	require.NoError(t, err)
	failed := verdict.Result{Decision: verdict.Failed, Rule: verdict.RuleErrors, Reason: "worse"}
	for _, e := range []traffic.Event{
		{Kind: traffic.StableSet, Color: traffic.Blue, Release: &traffic.Release{Tag: "v1.0.0"}},
		{Kind: traffic.Opened, Rollout: 1, Opening: &traffic.Opening{Mode: traffic.Promotion, Plan: plan, Stable: traffic.Blue, Tag: "v1.1.0"}},
		{Kind: traffic.Prepared, Rollout: 1}, {Kind: traffic.Checked, Rollout: 1},
		{Kind: traffic.Raised, Rollout: 1, Weight: 500},
		{Kind: traffic.Judged, Rollout: 1, At: began.Add(83 * time.Second), Verdict: &failed},
		{Kind: traffic.CutProven, Rollout: 1, At: began.Add(84 * time.Second)},
	} {
		if e.At.IsZero() {
			e.At = began
		}
		id, err := e.Rollout.MarshalText()
		require.NoError(t, err)
		_, err = j.Append(t.Context(), string(id), "ann@host", e)
		require.NoError(t, err)
	}
	trace, err := filepath.Abs(filepath.Join(traces, "v02-half-failing.jsonl.gz"))
	require.NoError(t, err)
	judge := func(args ...string) (int, string, string) {
		return typed(dir, began.Add(2*time.Minute), append([]string{"judge", "--replay", trace, "--json"}, args...)...)
	}
	exit, byJournal, stderr := judge("--rollout", "1")
	require.Zero(t, exit, stderr)
	_, bySchedule, _ := judge("--candidate", "green", "--schedule", "2023-11-14T22:13:20Z=5,1700000085=0")
	require.Equal(t, bySchedule, byJournal)
	var got read
	require.NoError(t, json.Unmarshal([]byte(byJournal), &got))
	require.Equal(t, "fail", got.Decision)
	require.Less(t, got.Requests["stable"].Requests, int64(8000), "what followed the rollout is not counted")

	exit, _, stderr = judge("--rollout", "2")
	require.Equal(t, exitUsage, exit)
	require.Contains(t, stderr, "has no rollout 000002 with traffic")
	exit, _, stderr = judge("--rollout", "1", "--candidate", "green")
	require.Equal(t, exitUsage, exit)
	require.Contains(t, stderr, "give one or the other")
}

// The times are those that the judge was measured to take: a fault of 100 % at 5 % of 50 requests a second is found in 4 s by half
// of the rollouts, and in 5 s by 95 %; one of 5 % in 38 s and 86 s.
func TestSimulateTellsWhatWasMeasured(t *testing.T) {
	c := defaultConfig()
	c.Verdict.WarmUp = 0
	s := simulator{config: c.Verdict, plan: c.plan(), traffic: verdict.Traffic{PerSecond: 50, ErrorRate: 0.001}, runs: 200, seed: 1}
	slight := s.faulty(0.05)
	require.Equal(t, 200, slight.Reverted)
	require.InDelta(t, 38, *slight.ToRevert.Median, 8)
	require.InDelta(t, 86, *slight.ToRevert.P95, 25)
	require.InDelta(t, 5, *slight.Hurt.Median, 2)
	dead := s.faulty(1)
	require.Equal(t, 200, dead.Reverted)
	require.InDelta(t, 4, *dead.ToRevert.Median, 1)
	require.InDelta(t, 9, *dead.Hurt.Median, 3)

	s.runs = 40
	healthy := s.healthy()
	require.Equal(t, 40, healthy.Promoted+healthy.Held+healthy.Reverted)
	require.LessOrEqual(t, healthy.Reverted, 2)
	require.Equal(t, 40, healthy.Steps[0].Reached)
	require.InDelta(t, 600, *healthy.Steps[0].Took.Median, 1, "the soak")
	require.Equal(t, healthy, s.healthy())
	s.most = 1
	require.Equal(t, fewestRuns, s.healthy().Runs)
}

// Where the traffic proves nothing a plan holds, or does what it says for that; never a pass.
func TestSimulateTooLittleTraffic(t *testing.T) {
	for then, check := range map[verdict.Then]func(healthyCourse){
		verdict.Hold:    func(h healthyCourse) { require.Equal(t, 20, h.Held) },
		verdict.Back:    func(h healthyCourse) { require.Equal(t, 20, h.Held) },
		verdict.Proceed: func(h healthyCourse) { require.Equal(t, 20, h.Steps[0].Proceeded); require.Zero(t, h.Steps[0].Passed) },
	} {
		c := defaultConfig()
		c.Verdict.Inconclusive.Then = then
		s := simulator{config: c.Verdict, plan: c.plan(), traffic: verdict.Traffic{PerSecond: 1}, runs: 20, seed: 1}
		h := s.healthy()
		require.Equal(t, 20, h.Runs)
		require.Nil(t, h.Steps[0].Took.Median)
		check(h)
	}
}

func TestSimulateFitsATerminal(t *testing.T) {
	text := judges(t, "--simulate", "--runs", "5", "--rate", "19999.5", "--errors", "0.123456%", "--fault", "12.3456%")
	for line := range strings.Lines(text) {
		require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 80, line)
	}
	require.Contains(t, text, "reverted  0 of 5 (0%); promised: at most 1%")
	require.NotEqual(t, text, judges(t, "--simulate", "--runs", "5", "--rate", "50", "--seed", "2"))
}
