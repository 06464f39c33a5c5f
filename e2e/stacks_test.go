package e2e

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/images"
	"cutover/e2e/stage"
)

// background is what runs beside the web service in a user's project.
const background = `  worker: { image: "` + image + `:${TAG}", pull_policy: never, stop_grace_period: 2s, healthcheck: { disable: true } }
  beat: { image: "` + image + `:${TAG}", pull_policy: never, stop_grace_period: 2s, healthcheck: { disable: true } }
  db: { image: "` + image + `:` + "v1.0.0" + `", pull_policy: never, stop_grace_period: 2s, healthcheck: { disable: true } }
`

// Law 7: the web service of stable is the same container from before the rollout until it is finished, and of its project only
// what is listed is ever stopped. The workers follow the release that is stable.
func TestLaw7_StableIsNotTouched(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "stable", Services: background, Stacks: "  workers: [worker]\n  singletons: [beat]\n"})
	before := s.containers("blue")
	require.Len(t, before, 4)
	p := s.starts("promote", "--tag", good.Tag)
	for _, weight := range []float64{5, 20, 100} {
		p.reaches("raised", weight)
		if weight == 100 {
			s.types(0, "pause") // nothing is accepted while we look
		}
		require.Equal(t, before, s.containers("blue"), "at %v %%", weight)
		require.ElementsMatch(t, []string{"web"}, services(s.containers("green")), "at %v %%", weight)
	}
	s.types(0, "resume")
	p.ends(0)
	require.ElementsMatch(t, []string{"web", "worker", "beat"}, services(s.containers("green")))
	after := s.containers("blue")
	require.ElementsMatch(t, []string{"web", "db"}, services(after))
	require.Equal(t, before["web"], after["web"])
	require.Equal(t, before["db"], after["db"])

	s.types(0, "back")
	until(t, "the workers go back", func() bool { return len(s.containers("blue")) == 4 })
	after = s.containers("blue")
	require.Equal(t, before["web"], after["web"])
	require.Equal(t, before["db"], after["db"])
	require.ElementsMatch(t, []string{"web"}, services(s.containers("green")))

	s.types(0, "promote", "--tag", next.Tag)
	s.types(0, "down")
	after = s.containers("blue")
	require.Equal(t, map[string]string{"db": before["db"]}, after, "the database is nobody's to stop")
	require.False(t, s.status().runs("blue", "web"))
	require.Contains(t, s.types(2, "down", "--color", "green").Stderr, "green is stable")
}

// A release whose stack does not come up never gets a request, and the one who asked is told why.
func TestStack_NotReady(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "sick", Config: quick + `environments:
  hooked: { stacks: { hooks: { before_switch: [{ service: web, run: [-version] }] } } }
  broken: { stacks: { hooks: { before_switch: [{ service: web, run: [-version] }, { service: web, run: [-healthcheck, "http://127.0.0.1:1/"] }] } } }
  hasty: { stacks: { ready: { timeout: 3s, consecutive: 1 } } }
`})
	before := time.Now()
	blue := s.containers("blue")

	r := s.types(5, "promote", "--env", "broken", "--tag", good.Tag)
	require.Contains(t, r.Stdout, "before_switch[0]: -version")
	require.Contains(t, r.Stdout, "before_switch[1]: -healthcheck")
	require.Empty(t, s.containers("green"), "nothing is started")
	s.failed("hook")
	require.Contains(t, r.Stdout+r.Stderr, "connection refused", "what the hook said")

	r = s.types(5, "promote", "--env", "hasty", "--tag", sick.Tag)
	s.failed("/healthz")
	require.Contains(t, r.Stdout+r.Stderr, "500")
	require.Contains(t, r.Stdout+r.Stderr, "release v1.4.0 (stack "+s.Name+"-green) answers on", "the container's last words")

	s.types(5, "up", "--to", "green", "--env", "hasty", "--tag", sick.Tag)
	s.none(before, sick.Tag)
	s.none(before, good.Tag)
	require.Equal(t, blue, s.containers("blue"))
	require.Zero(t, s.since(before).Lost)

	s.types(0, "promote", "--env", "hooked", "--tag", good.Tag)
	s.journalIsWhole()
}

// failed wants that the last rollout has ended before any traffic, and why.
func (s *scene) failed(why string) {
	s.t.Helper()
	last := s.history()[0]
	require.Equal(s.t, "failed", last.Result)
	require.Contains(s.t, last.Why, why)
	require.Empty(s.t, last.Steps)
	require.Equal(s.t, "idle", s.status().Phase)
}

func services(containers map[string]string) []string {
	var names []string
	for name := range containers {
		names = append(names, name)
	}
	return names
}

// Stacks that somebody else runs: cutover moves the traffic, and neither starts nor stops them.
func TestStack_External(t *testing.T) {
	t.Parallel()
	s := build(t, stage.Options{Name: "external", External: true, Config: quick + `environments:
  hasty: { stacks: { ready: { timeout: 3s, consecutive: 1 } } }
`})
	s.comes("blue", first)
	s.types(0, "init", "--stable", "blue", "--tag", first.Tag)
	require.NoError(t, s.StartNginx(t.Context()))
	s.welcomes(rate)
	require.Contains(t, s.types(5, "promote", "--env", "hasty", "--tag", good.Tag).Stdout, "green")
	s.comes("green", good)
	before := time.Now()
	s.types(0, "promote", "--tag", good.Tag)
	s.none(time.Now(), first.Tag)
	require.Zero(t, s.since(before).Lost)
	s.types(0, "back")
	s.none(time.Now(), good.Tag)
	require.True(t, s.answersOn("green"), "it is not ours to stop")
}

// comes starts a release as a process, as its owner would.
func (s *scene) comes(color string, r images.Release) {
	s.t.Helper()
	program := filepath.Join(s.Dir, "app-"+r.Tag)
	require.NoError(s.t, images.Compile(s.t.Context(), ".", program, r))
	p, err := s.Run(s.t.Context(), color, program)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, p.Stop()) })
}
