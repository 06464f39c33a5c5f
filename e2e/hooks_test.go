package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// hooking writes a line for each hook that runs, asks cutover itself from within one, and has answers of its own in some environments.
const hooking = quick + `environments:
  refuses: { stacks: { hooks: { after_step: [{ run: [sh, -c, "echo no place for it; exit 3"] }] } } }
  hangs:   { stacks: { hooks: { after_step: [{ run: [sh, -c, "sleep 300 & wait"] }] } } }
  later:   { stacks: { hooks: { before_promote: [{ run: [sh, -c, "test -e asked || { touch asked; exit 75; }"] }] } } }
  hasty:   { stacks: { ready: { timeout: 3s, consecutive: 1 } } }
`

// Hooks run at every transition, on the host or in a container of the release, and know of the rollout. What they answer decides on the
// way up, and keeps nobody from stable on the way down.
func TestHooks_AtEveryTransition(t *testing.T) {
	t.Parallel()
	var hooks strings.Builder
	hooks.WriteString("  hooks:\n")
	for _, point := range []string{"before_up", "after_step", "before_promote", "after_promote", "on_revert", "on_fail", "before_retire"} {
		fmt.Fprintf(&hooks, "    %s: [{ run: [sh, -c, 'echo $CUTOVER_HOOK $CUTOVER_COLOR $CUTOVER_RELEASE $CUTOVER_WEIGHT $CUTOVER_ROLLOUT >>told'] }", point)
		if point == "after_step" { // in the release's own container, and with cutover called from within
			fmt.Fprintf(&hooks, ", { service: web, run: [-version] }, { run: [%s, status] }", binary)
		}
		hooks.WriteString("]\n")
	}
	s := set(t, stage.Options{Name: "hooks", Config: hooking, Stacks: hooks.String() + "  keep_warm: 0s\n"})

	s.types(0, "promote", "--tag", good.Tag)
	s.tells("before_up green v1.1.0 0",
		"after_step green v1.1.0 5 000001", "after_step green v1.1.0 20 000001", "before_promote green v1.1.0 20 000001",
		"after_step green v1.1.0 100 000001", "after_promote green v1.1.0 100 000001", "before_retire blue v1.0.0 100 000001")
	kept, err := filepath.Glob(filepath.Join(s.Dir, "state", s.Name, "hooks", "*-000001-after_step-2-v1.1.0.log"))
	require.NoError(t, err)
	require.Len(t, kept, 3)
	said, err := os.ReadFile(kept[0])
	require.NoError(t, err)
	require.Contains(t, string(said), "5 %", "what status said from within the hook")

	began := time.Now()
	s.types(8, "promote", "--env", "refuses", "--tag", next.Tag)
	require.Contains(t, s.history()[0].Why, "exited 3")
	require.Equal(t, []float64{5}, s.history()[0].steps())
	s.tells("before_up blue v1.5.0 0", "on_revert blue v1.5.0 0 000002")
	s.none(time.Now(), next.Tag)

	s.types(5, "promote", "--tag", sick.Tag, "--env", "hasty")
	s.tells("before_up blue v1.4.0 0", "on_fail blue v1.4.0 0 000003")

	p := s.starts("promote", "--env", "hangs", "--again", "--why", "played again", "--tag", next.Tag)
	p.reaches("raised", 5)
	s.types(0, "back")
	p.ends(10)
	s.tells("before_up blue v1.5.0 0", "on_revert blue v1.5.0 0 000004")

	s.types(0, "promote", "--env", "later", "--again", "--why", "played again", "--tag", next.Tag)
	require.Zero(t, s.since(began).Lost)
	s.journalIsWhole()
}

// tells wants these lines of the hooks since it was asked last.
func (s *scene) tells(lines ...string) {
	s.t.Helper()
	path := filepath.Join(filepath.Dir(s.ConfigFile()), "told")
	text, err := os.ReadFile(path)
	require.NoError(s.t, err)
	for i, line := range lines {
		lines[i] = strings.TrimSpace(line)
	}
	var told []string
	for line := range strings.Lines(string(text)) {
		told = append(told, strings.TrimSpace(line))
	}
	require.Equal(s.t, lines, told)
	require.NoError(s.t, os.Remove(path))
}
