package e2e

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/e2e/load"
	"cutover/e2e/stage"
)

// A release that fails nothing but one small route would drown among the requests that it answers well. Where the route is named it is
// judged on its own, nginx names it in the log, and so does the reason of the revert.
func TestJudgedRoutes_AFaultInASmallOneIsFound(t *testing.T) {
	t.Parallel()
	s := build(t, stage.Options{Name: "judged", Config: `rollout:
  steps: [{ weight: 50, soak: 10m }, { weight: 100 }]
verdict:
  warm_up: 0s
  routes: [{ name: checkout, path: /checkout/ }, { name: api, path: /api/ }]
`})
	require.NoError(t, s.Compose(t.Context(), "blue", first.Tag, "up", "-d", "--wait"))
	s.types(0, "init", "--stable", "blue", "--tag", first.Tag)
	require.NoError(t, s.StartNginx(t.Context()))
	for path, perSecond := range map[string]int{"api/version": 19 * rate / 20, "checkout/pay?card=1": rate / 20} {
		run, err := load.Start(t.Context(), load.Plan{URL: s.URL() + path, Rate: perSecond, Workers: 8})
		require.NoError(t, err)
		t.Cleanup(func() { run.Stop() })
	}
	said := s.types(8, "promote", "--tag", dead.Tag) // each of its pages fails, and nothing else
	require.Contains(t, said.Stdout+said.Stderr, "checkout")
	require.Contains(t, s.types(0, "history").Stdout, "checkout")
	require.Equal(t, first.Tag, s.asks("/api/version"))

	log := s.text(s.AccessLog())
	require.Contains(t, log, `"route":"checkout"`)
	require.Contains(t, log, `"route":"api"`)
	for line := range strings.Lines(log) {
		require.NotContains(t, line, "card", "what clients send besides stays out of the log")
	}
}
