package e2e

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// limits has guards of containers: one that reverts, and one that only observes.
const limits = slow + `environments:
  guarded: { signals: { guards: [{ name: crashes, containers: restarts, every: 1s, then: revert }] } }
  watched: { signals: { guards: [{ name: crashes, containers: restarts, every: 1s }, { name: memory, containers: memory, above: 900% }] } }
`

// A candidate whose container crashes is taken back by its guard, though the engine starts it again at once and its users are
// rescued. A guard that observes only says so, and what is within its limit is not mentioned.
func TestGuards_OfContainers(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "guards", Config: limits, Web: promptly + "\n    restart: unless-stopped"})
	began := time.Now()

	p := s.starts("promote", "--env", "watched", "--tag", good.Tag)
	p.reaches("raised", 5)
	s.carries(good.Tag)
	require.NotContains(t, s.types(0, "status").Stdout, "restart")
	s.crashes("green")
	until(t, "the crash is observed", func() bool {
		return strings.Contains(s.types(0, "status").Stdout, "observed: 1 restart in green ("+s.Name+"-green-web-1 1), above 0")
	})
	require.NotContains(t, s.types(0, "status").Stdout, "memory")
	s.carries(good.Tag)
	require.False(t, p.hasEnded())
	require.Zero(t, s.backs("").Exit)
	p.ends(10)

	p = s.starts("promote", "--env", "guarded", "--tag", next.Tag)
	p.reaches("raised", 5)
	s.carries(next.Tag)
	s.crashes("green")
	require.Contains(t, p.ends(8), "1 restart in green ("+s.Name+"-green-web-1 1), above 0")
	s.none(time.Now(), next.Tag)
	last := s.history()[0]
	require.Equal(t, "reverted", last.Result)
	require.Contains(t, last.Why, "(guard crashes)")
	require.Zero(t, s.since(began).Lost)
	s.journalIsWhole()
}

// crashes ends the process of the color's web service as a fault of its own would: `docker kill` is a person's wish, and the restart policy
// does nothing about that.
func (s *scene) crashes(color string) {
	s.t.Helper()
	said, err := exec.CommandContext(s.t.Context(), "docker", "inspect", "--format", "{{.State.Pid}}", s.Name+"-"+color+"-web-1").Output()
	require.NoError(s.t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(said)))
	require.NoError(s.t, err)
	require.Positive(s.t, pid)
	require.NoError(s.t, syscall.Kill(pid, syscall.SIGKILL))
}
