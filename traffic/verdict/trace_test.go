package verdict

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A recording says what the judge must make of one recorded rollout.
type recording struct {
	Class    string
	Requests int
	Schedule [][2]float64 // time, share in percent
	EndTS    float64      `json:"end_ts"`
	OnsetTS  float64      `json:"onset_ts"`
	WithinS  float64      `json:"within_s"`
	NoPass   noPass       `json:"no_pass_between"`
}

// noPass is the stretch in which a trace must not pass; some files write one pair, some may write several.
type noPass [][2]float64

func (n *noPass) UnmarshalJSON(b []byte) error {
	var one [2]float64
	if err := json.Unmarshal(b, &one); err == nil {
		*n = noPass{one}
		return nil
	}
	return json.Unmarshal(b, (*[][2]float64)(n))
}

// seconds is a time of a trace as a Time, to the millisecond as logs have it.
func seconds(ts float64) time.Time { return time.UnixMilli(int64(math.Round(ts * 1000))) }

func TestTraces(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "traces", "expected.json"))
	require.NoError(t, err)
	var expected struct {
		Canary string
		Traces map[string]recording
	}
	require.NoError(t, json.Unmarshal(raw, &expected))
	files, err := filepath.Glob(filepath.Join("testdata", "traces", "*.jsonl.gz"))
	require.NoError(t, err)
	require.Len(t, files, len(expected.Traces))
	for _, name := range files {
		r, ok := expected.Traces[filepath.Base(name)]
		require.True(t, ok, name)
		t.Run(filepath.Base(name), func(t *testing.T) {
			samples := readTrace(t, name, expected.Canary)
			require.Len(t, samples, r.Requests)
			r.hold(t, samples)
		})
	}
}

func readTrace(t *testing.T, name, candidate string) (samples []Sample) {
	f, err := os.Open(name)
	require.NoError(t, err)
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	require.NoError(t, err)
	lines := bufio.NewScanner(unzipped)
	for lines.Scan() {
		var line struct {
			TS     float64
			Pool   string
			Status int
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &line))
		s := Sample{At: seconds(line.TS), Bad: line.Status >= 500}
		if line.Pool == candidate {
			s.Arm = Candidate
		}
		samples = append(samples, s)
	}
	require.NoError(t, lines.Err())
	return samples
}

// hold replays the trace line by line and checks each failure at once, other decisions ten times a second.
func (r recording) hold(t *testing.T, samples []Sample) {
	cfg := DefaultConfig()
	cfg.WarmUp = 0
	j := NewJudge(cfg)
	schedule := r.Schedule
	var failed, checked time.Time
	check := func(at time.Time) {
		result := j.Result()
		if result.Decision == Failed && failed.IsZero() {
			failed = at
			t.Logf("failed at %v: %s", at.Sub(seconds(r.Schedule[0][0])), result.Reason)
		}
		if result.Decision == Passed {
			require.NotEqual(t, "must-hold", r.Class, "passed at %v: %s", at, result.Reason)
			for _, stretch := range r.NoPass {
				within := !at.Before(seconds(stretch[0])) && !at.After(seconds(stretch[1]))
				require.False(t, within, "passed at %v: %s", at, result.Reason)
			}
		}
	}
	for _, s := range samples {
		for len(schedule) > 0 && !s.At.Before(seconds(schedule[0][0])) {
			j.Shift(seconds(schedule[0][0]), schedule[0][1]/100)
			schedule = schedule[1:]
		}
		j.Fold(Batch{Samples: []Sample{s}, Now: s.At})
		if s.At.Sub(checked) >= 100*time.Millisecond || (j.convicted() && failed.IsZero()) {
			checked = s.At
			check(s.At)
		}
	}
	j.Advance(seconds(r.EndTS))
	check(seconds(r.EndTS))
	t.Logf("at the end: %+v", j.Result())
	switch r.Class {
	case "must-revert":
		require.False(t, failed.IsZero(), "never failed")
		require.False(t, failed.Before(seconds(r.OnsetTS)), "failed before the fault, at %v", failed)
		require.LessOrEqual(t, failed.Sub(seconds(r.OnsetTS)).Seconds(), r.WithinS)
	case "must-not-revert", "must-hold":
		require.True(t, failed.IsZero(), "failed at %v", failed)
	default:
		t.Fatalf("unknown class %q", r.Class)
	}
}
