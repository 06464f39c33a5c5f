package stacks

import (
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
	require.EqualError(t, f, "green/backend: hook fail exited 7; nothing was started")
	require.Equal(t, []string{"applying 0002_orders shop prod green v1", "column is missing"}, f.Detail)
	require.Empty(t, b.states(traffic.Green))
}

func TestHookIsStoppedInTime(t *testing.T) {
	b := newBench(t, 11)
	b.Config.Hooks.BeforeSwitch = []Hook{{Service: "backend", Run: []string{"idle"}, Timeout: 2 * time.Second}}
	c := NewCompose(b.Options)
	_, err := c.Prepare(b.ctx(), traffic.Green, "v1")
	f := fault(t, err, traffic.NotReady)
	require.ErrorContains(t, f, "hook idle did not end within 2s")
	require.Empty(t, b.states(traffic.Green))
	left, err := c.hookBoxes(b.ctx(), c.stack(traffic.Green, "v1"))
	require.NoError(t, err)
	for _, one := range left {
		require.False(t, one.running(), "%s", one.facts())
	}
}

// A promoter that was killed leaves its migration running; a second one must not start beside it.
func TestHookOfAnEarlierAttempt(t *testing.T) {
	b := newBench(t, 12)
	b.byHand(traffic.Green, "v1", "run", "-d", "--rm", "--no-deps", "--label", labelHook+"=0", "backend", "idle")
	b.Config.Hooks.BeforeSwitch = []Hook{{Service: "backend", Run: []string{"migrate"}}}
	_, err := NewCompose(b.Options).Prepare(b.ctx(), traffic.Green, "v1")
	f := fault(t, err, traffic.NotReady)
	require.ErrorContains(t, f, "a hook of an earlier attempt is still running")
	require.Empty(t, b.states(traffic.Green))
}
