package e2e

import (
	"bufio"
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// Law 8: a promoter that is told to end leaves everything on stable, however often it is told. Whoever comes meanwhile is told
// who is busy, or waits.
func TestLaw8_ToldToEnd(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "told", Config: quick + `environments:
  patient: { rollout: { steps: [{ weight: 20, soak: 10m }, { weight: 100 }] } }
`})
	p := s.starts("promote", "--env", "patient", "--tag", good.Tag)
	p.reaches("raised", 20)

	r := s.types(7, "promote", "--tag", next.Tag)
	require.Regexp(t, `busy: demo@localhost since \d{4}-\d\d-\d\d .*cutover promote --env patient --tag v1\.1\.0 \(rollout 000001, process \d+\)`, r.Stderr)
	s.types(7, "shift", "--to", "green", "--weight", "30")
	s.types(7, "down")
	s.share(good.Tag, 20)
	waiting := s.starts("promote", "--wait", "2m", "--tag", next.Tag)
	waiting.says("busy")

	p.gets(syscall.SIGTERM)
	p.gets(syscall.SIGTERM)
	require.Contains(t, p.ends(10), "blue v1.0.0 100 %")
	waiting.ends(0)
	require.Equal(t, "promoted", s.history()[0].Result)
	require.Equal(t, "aborted", s.history()[1].Result)
	require.Contains(t, s.history()[1].Why, "signal terminated")
	s.none(time.Now(), good.Tag)
	s.journalIsWhole()
}

// Law 8: a lost terminal ends nothing: neither the hang-up nor a reader who has gone.
func TestLaw8_ALostTerminal(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "lost"})
	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 5)
	p.gets(syscall.SIGHUP)
	p.gets(syscall.SIGHUP)
	p.ends(0)
	require.Equal(t, "promoted", s.history()[0].Result)

	// promote … | head -1
	c := s.Command(context.WithoutCancel(t.Context()), "promote", "--tag", next.Tag)
	out, err := c.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, c.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.NotEmpty(t, line)
	require.NoError(t, out.Close())
	require.NoError(t, c.Wait(), "it goes on, and well")
	require.Equal(t, "promoted", s.history()[0].Result)
	require.Equal(t, next.Tag, s.history()[0].Release)
}
