package traffic_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cutover/traffic"
)

func TestParseWeight(t *testing.T) {
	good := map[string]traffic.Weight{
		"0": 0, "5": 500, "20": 2000, "100": traffic.Full, "0.5": 50, "0.01": 1, "99.99": 9999, "5%": 500, "5 %": 500,
		" 20 % ": 2000, "33.33": 3333, "20.0": 2000, "1e1": 1000, "-0": 0,
	}
	for text, want := range good {
		got, err := traffic.ParseWeight(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got, text)
	}
	bad := map[string]string{
		"many": "not a number", "": "not a number", "%": "not a number", "5%%": "not a number", "5 percent": "not a number",
		"NaN": "not a number", "1,5": "not a number", "-1": "outside 0 to 100", "101": "outside 0 to 100", "100.01": "outside 0 to 100",
		"Inf": "outside 0 to 100", "-0.01": "outside 0 to 100", "0.001": "finer than 0.01", "33.333": "finer than 0.01", "0.005": "finer than 0.01",
	}
	for text, complaint := range bad {
		_, err := traffic.ParseWeight(text)
		require.ErrorContains(t, err, complaint, "%q", text)
		require.ErrorContains(t, err, text)
	}
}

func TestWeightRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := traffic.Weight(rapid.IntRange(0, int(traffic.Full)).Draw(t, "weight"))
		again, err := traffic.ParseWeight(w.String())
		require.NoError(t, err)
		require.Equal(t, w, again)
		require.Equal(t, w, deepCopy(t, w))
		yaml, err := w.MarshalYAML()
		require.NoError(t, err)
		require.NoError(t, again.UnmarshalYAML([]byte(`"`+string(yaml)+`%"`)))
		require.Equal(t, w, again)
		require.Equal(t, traffic.Full, w+w.Rest())
		require.InDelta(t, float64(w)/10000, w.Fraction(), 1e-12)
	})
}

func FuzzParseWeight(f *testing.F) {
	for _, seed := range []string{"5", "0.5 %", "-1", "1e400", "NaN", "0x1p4", "٥"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := traffic.ParseWeight(text)
		if err != nil {
			require.Zero(t, w)
			return
		}
		require.True(t, w >= 0 && w <= traffic.Full)
		again, err := traffic.ParseWeight(w.String())
		require.NoError(t, err)
		require.Equal(t, w, again)
	})
}

func TestRolloutID(t *testing.T) {
	for text, want := range map[string]traffic.RolloutID{"000017": 17, "17": 17, "999999": 999999, "1000000": 1000000} {
		id, err := traffic.ParseRolloutID(text)
		require.NoError(t, err)
		require.Equal(t, want, id)
	}
	for _, text := range []string{"", "0", "000000", "-1", "+1", "17.cut", "0x11", "1_0", "99999999999"} {
		_, err := traffic.ParseRolloutID(text)
		require.Error(t, err, "%q", text)
	}
	require.Equal(t, "000017", traffic.RolloutID(17).String())
	require.Equal(t, "1000000", traffic.RolloutID(1000000).String())

	type line struct {
		ID traffic.RolloutID `json:"id,omitzero"`
	}
	for id, want := range map[traffic.RolloutID]string{17: `{"id":"000017"}`, 0: `{}`} {
		text, err := json.Marshal(line{id})
		require.NoError(t, err)
		require.Equal(t, want, string(text))
		require.Equal(t, line{id}, deepCopy(t, line{id}))
	}
	var read line
	require.NoError(t, json.Unmarshal([]byte(`{"id":""}`), &read))
	require.Zero(t, read.ID)
	require.Error(t, json.Unmarshal([]byte(`{"id":"many"}`), &read))
}

func TestColors(t *testing.T) {
	for _, c := range []traffic.Color{traffic.Blue, traffic.Green} {
		parsed, err := traffic.ParseColor(string(c))
		require.NoError(t, err)
		require.Equal(t, c, parsed)
		require.NotEqual(t, c, c.Other())
		require.Equal(t, c, c.Other().Other())
	}
	require.Empty(t, traffic.Color("").Other())
	for _, text := range []string{"", "red", "Blue", " blue"} {
		_, err := traffic.ParseColor(text)
		require.ErrorContains(t, err, "blue and green")
	}
}

// TestShareOfLive holds that a missing folder means stable, and that the two shares are always everything.
func TestShareOfLive(t *testing.T) {
	split := traffic.Split{Rollout: 1, Stable: traffic.Blue, Weight: 2000}
	for _, c := range []struct {
		live traffic.Live
		want traffic.Weight
	}{
		{traffic.Live{Split: split, Open: true}, 2000},
		{traffic.Live{Split: split}, 0},
		{traffic.Live{Split: split, Finished: true}, traffic.Full},
		{traffic.Live{Split: traffic.Split{Stable: traffic.Blue}}, 0},
	} {
		require.Equal(t, c.want, c.live.Share(traffic.Green))
		require.Equal(t, c.want.Rest(), c.live.Share(traffic.Blue))
	}
}

// TestStateIsPlainData holds that `status --json` and the journal lose nothing of a state or an event.
func TestStateIsPlainData(t *testing.T) {
	for place := range places {
		s := newScript()
		require.NoError(t, s.walk("at "+place))
		require.Equal(t, s.state, deepCopy(t, s.state), place)
	}
	e := traffic.Event{
		Kind: traffic.Raised, At: time.Date(2026, 3, 1, 12, 0, 0, 5, time.UTC), Rollout: 17, By: ann, Why: "why", Fault: traffic.Refused,
		Color: traffic.Green, Weight: 50, Release: &traffic.Release{Tag: "v1", Images: map[string]string{"web": "sha256:7"}},
		Live: &traffic.Live{Generation: 7, Open: true, Split: traffic.Split{Rollout: 17, Stable: traffic.Blue, Weight: 50}},
	}
	require.Equal(t, e, deepCopy(t, e))
}

// TestKindsAreComplete holds that the scripts know every kind of event that the machine knows.
func TestKindsAreComplete(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	var declared []traffic.EventKind
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		require.NoError(t, err)
		declared = append(declared, traffic.EventKind(text))
		return true
	})
	require.ElementsMatch(t, declared, kinds)
	met := map[traffic.EventKind]bool{}
	eachMeeting(t, func(_, _ string, p pair, _, _ traffic.State) { met[p.kind] = true })
	for _, kind := range kinds {
		require.True(t, met[kind], "eachMeeting has no variant of %s", kind)
	}
}
