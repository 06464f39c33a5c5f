package traffic_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

var update = flag.Bool("update", false, "write what the machine does into the scripts and golden files")

// pair is an event that meets a phase.
type pair struct {
	phase traffic.Phase
	kind  traffic.EventKind
}

// places are the shortest good ways to each place that a rollout can be in; scripts begin there by "at".
var places = map[string]string{
	"nowhere":          "asking start",
	"idle":             "stable-set blue v1.3.2",
	"preparing":        "at idle; opened promotion v1.4.0",
	"ready":            "at preparing; prepared",
	"shifting(0)":      "at ready; checked",
	"soaking(0)":       "at shifting(0); +5s raised 5",
	"shifting(1)":      "at soaking(0); +10m judged pass",
	"soaking(1)":       "at shifting(1); +5s raised 20",
	"shifting(2)":      "at soaking(1); +10m judged pass",
	"baking":           "at shifting(2); +5s raised 100",
	"accepted":         "at baking; +20m judged pass",
	"warm":             "at accepted; handed-over",
	"finishing":        "at warm; finish-now",
	"served":           "at finishing; finished",
	"cutting-back":     "at soaking(0); abort-asked stopped: terminated",
	"taking-back":      "at warm; cut-seen ann took it back",
	"workers-back":     "at taking-back; cut-proven",
	"ended":            "at cutting-back; cut-proven",
	"waiting(start)":   "asking start; at preparing",
	"waiting(0)":       "asking 5; at ready; checked",
	"waiting(1)":       "asking 20; at soaking(0); +10m judged pass",
	"asked in time":    "asking 20/2h/back; at soaking(0); +10m judged pass",
	"hand-made":        "at idle; opened hand-made v1.4.0 20",
	"shifting by hand": "at hand-made; checked",
	"20 by hand":       "at shifting by hand; raised 20",
	"100 by hand":      "at 20 by hand; retargeted 100; raised 100",
	"guarded":          "at idle; opened hand-made v1.4.0 20 guarded; checked; raised 20",
}

// TestMachine holds the machine's behaviour as text, and that each event which means something in a phase is in that text.
func TestMachine(t *testing.T) {
	files, err := filepath.Glob("testdata/machine/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	shown := map[pair]bool{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runScript(t, file, shown) })
	}
	t.Run("every pair is shown", func(t *testing.T) {
		missing := map[string]bool{}
		eachMeeting(t, func(place, line string, met pair, before, after traffic.State) {
			if !shown[met] && !reflect.DeepEqual(before, after) {
				missing[fmt.Sprintf("%s meets %s: seen at %q with %q", met.phase, met.kind, place, line)] = true
			}
		})
		require.Empty(t, slices.Sorted(maps.Keys(missing)), "no script shows what these do")
	})
}

// runScript compares each line's right side with what the machine does, or writes it there.
func runScript(t *testing.T, file string, shown map[pair]bool) {
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	s := newScript()
	s.met = func(p traffic.Phase, k traffic.EventKind) { shown[pair{p, k}] = true }
	var left, right []string
	for n, line := range strings.Split(strings.TrimRight(string(text), "\n"), "\n") {
		said, _, _ := strings.Cut(line, "->")
		said = strings.TrimSpace(said)
		left, right = append(left, said), append(right, "")
		if said == "" || strings.HasPrefix(line, "#") {
			left[n] = line
			continue
		}
		right[n], err = s.run(said)
		require.NoError(t, err, "%s:%d", file, n+1)
	}
	got := columns(left, right)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
		return
	}
	require.Equal(t, string(text), got, "go test ./traffic -run TestMachine -update rewrites the right side; read the diff")
}

// columns joins both sides, the arrows one below the other.
func columns(left, right []string) string {
	width := 0
	for i := range left {
		if right[i] != "" {
			width = max(width, len(left[i]))
		}
	}
	var text strings.Builder
	for i := range left {
		if right[i] == "" {
			text.WriteString(left[i] + "\n")
			continue
		}
		fmt.Fprintf(&text, "%-*s -> %s\n", width, left[i], right[i])
	}
	return text.String()
}

// eachMeeting lets every place of every rollout meet every event in all its variants.
func eachMeeting(t *testing.T, each func(place, line string, met pair, before, after traffic.State)) {
	variants := []string{
		"stable-set green v9", "stack-up green v9", "stack-down blue",
		"opened promotion v9", "opened hand-made v9 20", "retargeted 50", "retargeted 0",
		"prepare-failed worker died", "checked", "raised 5", "raised 20", "raised 100", "raise-failed refused",
		"cut-proven", "cut-unproven nobody answers", "handed-over", "handed-over worker died", "finished",
		"finish-failed old workers", "retired", "retired it runs still", "hooked after_step",
		"judged", "judged pass", "judged fail/errors 4 % against 0.2 %", "judged blind/silence no line",
		"judged undecided/evidence 300 more", "judged undecided/suspicion maybe",
		"+1h judged", "+1h judged pass", "+1h judged undecided/evidence 300 more", "+1h judged undecided/baseline-unhealthy both",
		"paused", "resumed", "approved", "abort-asked stop", "cut-seen back", "accepted-by-hand", "finish-now",
		"journal-failed disk full", "recovered standing", "recovered gone", "recovered finished", "recovered unknown",
	}
	for place := range places {
		for _, before := range []string{"again", "paused", "+1s judged blind/silence no line", "finish-failed old workers", "approved"} {
			for _, line := range append(variants, "prepared") {
				s := newScript()
				require.NoError(t, s.walk("at "+place+";"+before))
				if line == "prepared" && s.state.Open == nil {
					continue
				}
				was := s.state
				_, err := s.run(line)
				require.NoError(t, err, line)
				each(place, line, pair{was.Phase(), s.last.Kind}, was, s.state)
			}
		}
	}
}

// TestNextLeavesItsArgument holds that a state which somebody kept is not changed by what comes after it.
func TestNextLeavesItsArgument(t *testing.T) {
	eachMeeting(t, func(place, line string, _ pair, before, after traffic.State) {
		again := newScript()
		again.state = before
		copied := deepCopy(t, before)
		_, err := again.run(line)
		require.NoError(t, err)
		require.Equal(t, copied, deepCopy(t, before), "%s: %s", place, line)
	})
}

// TestUnknownEventMeansNothing holds that a newer cutover's word in the journal leaves the state as it is.
func TestUnknownEventMeansNothing(t *testing.T) {
	for place := range places {
		s := newScript()
		require.NoError(t, s.walk("at "+place))
		require.Equal(t, s.state, traffic.Next(s.state, traffic.Event{Kind: "from-the-future"}), place)
	}
}
