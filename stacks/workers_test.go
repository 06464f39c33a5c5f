package stacks

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

func handOverBench(t *testing.T, n int) *bench {
	b := newBench(t, n)
	b.Config.Workers, b.Config.Singletons = []string{"worker"}, []string{"beat"}
	return b
}

func moment(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text)
	require.NoError(t, err)
	return at
}

func TestHandOver(t *testing.T) {
	b := handOverBench(t, 13)
	c := NewCompose(b.Options)
	require.NoError(t, c.HandOver(b.ctx(), traffic.Blue, "v1"))
	require.Equal(t, map[string]string{"worker": "running", "beat": "running"}, b.states(traffic.Blue))

	require.NoError(t, c.HandOver(b.ctx(), traffic.Green, "v2"))
	require.Equal(t, map[string]string{"worker": "exited", "beat": "exited"}, b.states(traffic.Blue))
	require.Equal(t, map[string]string{"worker": "running", "beat": "running"}, b.states(traffic.Green))
	oldBeat, newBeat := b.inspect(traffic.Blue, "beat").State, b.inspect(traffic.Green, "beat").State
	require.False(t, moment(t, newBeat.StartedAt).Before(moment(t, oldBeat.FinishedAt)), "never two of a singleton")
	oldWorker, newWorker := b.inspect(traffic.Blue, "worker").State, b.inspect(traffic.Green, "worker").State
	require.True(t, moment(t, newWorker.StartedAt).Before(moment(t, oldWorker.FinishedAt)), "somebody always works")
	require.True(t, moment(t, newWorker.StartedAt).Before(moment(t, oldBeat.FinishedAt)), "the old singleton works on while workers start")

	require.NoError(t, c.HandOver(b.ctx(), traffic.Green, "v2"), "the same again")
	require.Equal(t, newBeat.StartedAt, b.inspect(traffic.Green, "beat").State.StartedAt)
}

func TestHandOverFails(t *testing.T) {
	b := handOverBench(t, 14)
	require.NoError(t, NewCompose(b.Options).HandOver(b.ctx(), traffic.Blue, "v1"))
	b.write("green.yml", "services: { beat: { command: [fail] } }")
	b.Config.Files = append(b.Config.Files, "green.yml")
	err := NewCompose(b.Options).HandOver(b.ctx(), traffic.Green, "v2")
	f := fault(t, err, traffic.NotReady)
	require.ErrorContains(t, f, "green/beat: ")
	require.ErrorContains(t, f, "has ended with exit code 7")
	require.Equal(t, map[string]string{"worker": "running", "beat": "running"}, b.states(traffic.Blue), "the old singleton runs again")
	require.NotEqual(t, "running", b.states(traffic.Green)["beat"])
}

// A new worker that does not come up is no reason to stop the old singleton, not even for a moment.
func TestHandOverWorkerFails(t *testing.T) {
	b := handOverBench(t, 16)
	require.NoError(t, NewCompose(b.Options).HandOver(b.ctx(), traffic.Blue, "v1"))
	began := b.inspect(traffic.Blue, "beat").State.StartedAt
	b.write("green.yml", "services: { worker: { command: [fail] } }")
	b.Config.Files = append(b.Config.Files, "green.yml")
	err := NewCompose(b.Options).HandOver(b.ctx(), traffic.Green, "v2")
	require.ErrorContains(t, fault(t, err, traffic.NotReady), "green/worker: ")
	require.Equal(t, map[string]string{"worker": "running", "beat": "running"}, b.states(traffic.Blue))
	require.Equal(t, began, b.inspect(traffic.Blue, "beat").State.StartedAt)
	require.Empty(t, b.states(traffic.Green)["beat"])
}

// After a cutback the workers of stable are asked for again, by files that may already be the next release's.
func TestHandOverLeavesAloneWhatRuns(t *testing.T) {
	b := handOverBench(t, 17)
	require.NoError(t, NewCompose(b.Options).HandOver(b.ctx(), traffic.Blue, "v1"))
	worker, beat := b.inspect(traffic.Blue, "worker").ID, b.inspect(traffic.Blue, "beat").ID
	b.write("next.yml", "services: { worker: { environment: { NEXT: 1 } }, beat: { environment: { NEXT: 1 } } }")
	b.Config.Files = append(b.Config.Files, "next.yml")
	require.NoError(t, NewCompose(b.Options).HandOver(b.ctx(), traffic.Blue, "v1"))
	require.Equal(t, worker, b.inspect(traffic.Blue, "worker").ID)
	require.Equal(t, beat, b.inspect(traffic.Blue, "beat").ID)
}

func TestHandOverOfNothing(t *testing.T) {
	require.NoError(t, NewCompose(Options{Config: DefaultConfig()}).HandOver(t.Context(), traffic.Green, "v1"))
}

// Blue is the user's old project, and holds the database too.
func TestRetireLeavesTheDatabase(t *testing.T) {
	b := handOverBench(t, 15)
	b.byHand(traffic.Blue, "v1", "--profile", "jobs", "up", "-d")
	require.Len(t, b.states(traffic.Blue), 4)
	c := NewCompose(b.Options)
	b.write("compose.yml", "services: [broken") // retiring needs no file
	for range 2 {
		require.NoError(t, c.Retire(b.ctx(), traffic.Blue))
		require.Equal(t, map[string]string{"backend": "exited", "worker": "exited", "beat": "exited", "db": "running"}, b.states(traffic.Blue))
	}
	require.NoError(t, c.Retire(b.ctx(), traffic.Green), "there is nothing")
}
