package stacks

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

func TestHookFails(t *testing.T) {
	b := newBench(t, 10)
	b.Config.Hooks.BeforeSwitch = []Hook{{Service: "backend", Run: []string{"fail"}}}
	_, err := NewCompose(b.Options).Prepare(b.ctx(), traffic.Green, "v1")
	f := fault(t, err, traffic.NotReady)
	require.EqualError(t, f, "green/backend: hook before_switch[0]: fail: exited 7")
	require.ErrorContains(t, err, "nothing was started")
	require.Equal(t, []string{"applying 0002_orders shop prod green v1", "column is missing"}, f.Detail)
	require.Empty(t, b.states(traffic.Green))
}

func TestHookIsStoppedInTime(t *testing.T) {
	b := newBench(t, 11)
	b.Config.Hooks.BeforeSwitch = []Hook{{Service: "backend", Run: []string{"idle"}, Timeout: 2 * time.Second}}
	c := NewCompose(b.Options)
	_, err := c.Prepare(b.ctx(), traffic.Green, "v1")
	f := fault(t, err, traffic.NotReady)
	require.ErrorContains(t, f, "hook before_switch[0]: idle: did not pass within 2s; it was stopped")
	require.Empty(t, b.states(traffic.Green))
	left, err := c.hookBoxes(b.ctx(), c.stack(traffic.Green, "v1"), "before_switch[0]")
	require.NoError(t, err)
	for _, one := range left {
		require.False(t, one.running(), "%s", one.facts())
	}
}

// A promoter that was killed leaves its migration running; a second one must not start beside it.
func TestHookOfAnEarlierAttempt(t *testing.T) {
	b := newBench(t, 12)
	b.byHand(traffic.Green, "v1", "run", "-d", "--rm", "--no-deps", "--label", labelHook+"=before_switch[0]", "backend", "idle")
	b.Config.Hooks.BeforeSwitch = []Hook{{Service: "backend", Run: []string{"migrate"}}}
	_, err := NewCompose(b.Options).Prepare(b.ctx(), traffic.Green, "v1")
	f := fault(t, err, traffic.NotReady)
	require.ErrorContains(t, f, "a hook of an earlier attempt is still running")
	require.Empty(t, b.states(traffic.Green))
}

// scripted are options with host hooks that are shell scripts; kept collects what is kept of their output.
func scripted(t *testing.T, driver string, hooks ...Hook) (o Options, said, kept *[]string) {
	said, kept = new([]string), new([]string)
	o = Options{
		Config: Config{Driver: driver, Hooks: Hooks{AfterStep: hooks}}, Dir: t.TempDir(), App: "shop", Env: "prod",
		Environ: []string{"PATH=" + os.Getenv("PATH"), "SECRET=1"}, Run: runReal, Now: time.Now,
		Say:  func(line string) { *said = append(*said, line) },
		Keep: func(name string, output []byte) error { *kept = append(*kept, name+"\n"+string(output)); return nil },
	}
	return o, said, kept
}

func sh(script string) Hook {
	return Hook{Run: []string{"sh", "-c", script}, Timeout: 20 * time.Second}
}

var atTwenty = traffic.HookCall{
	Point: traffic.AfterStep, Rollout: 17, Color: traffic.Green, Tag: "v1.4.0", Weight: 2000, Phase: traffic.Soaking, Reason: "a; $(reason)",
}

// A hook of the host knows the rollout and nothing of who called, runs beside cutover.yaml, and its output is kept.
func TestHookOnTheHost(t *testing.T) {
	o, _, kept := scripted(t, DriverExternal, sh(`env | grep -v ^_= | grep -v ^PATH= | sort; pwd`), sh("echo second >&2"))
	require.NoError(t, NewExternal(o).Hook(t.Context(), atTwenty))
	require.Equal(t, []string{
		"000017-after_step[0]-v1.4.0\n" + `CUTOVER_APP=shop
CUTOVER_COLOR=green
CUTOVER_ENV=prod
CUTOVER_HOOK=after_step
CUTOVER_PHASE=soaking
CUTOVER_REASON=a; $(reason)
CUTOVER_RELEASE=v1.4.0
CUTOVER_ROLLOUT=000017
CUTOVER_TAG=v1.4.0
CUTOVER_WEIGHT=20
PWD=` + o.Dir + "\n" + o.Dir + "\n",
		"000017-after_step[1]-v1.4.0\nsecond\n",
	}, *kept)
}

func TestHookAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		hooks []Hook
		want  string
	}{
		"fails, and the next is not run": {[]Hook{sh("echo no; exit 3"), sh("touch ran")}, `host: hook after_step[0]: sh -c echo no; exit 3: exited 3`},
		"not yet, and then passes":       {[]Hook{sh("test -e asked || { touch asked; exit 75; }")}, ""},
		"never":                          {[]Hook{{Run: []string{"sh", "-c", "exit 75"}, Timeout: time.Second}}, "did not pass within 1s; it was stopped"},
		"hangs":                          {[]Hook{{Run: []string{"sh", "-c", "sleep 60 & wait"}, Timeout: time.Second}}, "did not pass within 1s; it was stopped"},
		"is not there":                   {[]Hook{{Run: []string{"./no-such-program"}}}, "./no-such-program could not be run"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, said, _ := scripted(t, DriverExternal, c.hooks...)
			err := NewExternal(o).Hook(t.Context(), atTwenty)
			require.NoFileExists(t, filepath.Join(o.Dir, "ran"))
			if c.want == "" {
				require.NoError(t, err)
				require.Contains(t, strings.Join(*said, "\n"), "not yet (exit 75)")
				return
			}
			require.ErrorContains(t, err, c.want)
			fault(t, err, traffic.NotReady)
		})
	}
}

// What is asked of a hook ends with the rollout's need for it.
func TestHookIsCalledOff(t *testing.T) {
	o, _, _ := scripted(t, DriverExternal, sh("exec sleep 60"))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	require.ErrorIs(t, NewExternal(o).Hook(ctx, atTwenty), context.DeadlineExceeded)
	require.Less(t, time.Since(began), 15*time.Second)
}
