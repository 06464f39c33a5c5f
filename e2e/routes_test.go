package e2e

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// A site that cutover renders whole, with two web services, which switch together.
func TestRoutes_TwoServicesSwitchTogether(t *testing.T) {
	t.Parallel()
	s := build(t, stage.Options{Name: "routes", Also: []string{"api"}, Routes: true, Config: quick})
	s.adds(`routes:
  - { listen: ` + s.URL()[len("http://"):len(s.URL())-1] + `, host: _, path: /, service: web }
  - { listen: ` + s.URL()[len("http://"):len(s.URL())-1] + `, host: _, path: /api/, service: api }
`)
	s.opens()
	for range 20 {
		require.Equal(t, first.Tag, s.asks("/"))
		require.Equal(t, first.Tag, s.asks("/api/version"))
	}
	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 100)
	for range 20 { // one generation moved both
		require.Equal(t, good.Tag, s.asks("/"))
		require.Equal(t, good.Tag, s.asks("/api/version"))
	}
	p.ends(0)
	require.Zero(t, s.load.Snapshot().Lost)
	s.types(0, "back")
	for range 20 {
		require.Equal(t, first.Tag, s.asks("/"))
		require.Equal(t, first.Tag, s.asks("/api/version"))
	}

	// one of the services is gone: the release is not ready
	s.types(0, "up", "--to", "green", "--tag", next.Tag)
	require.NoError(t, s.Compose(t.Context(), "green", next.Tag, "stop", "api"))
	require.Contains(t, s.types(5, "shift", "--to", "green", "--weight", "20").Stderr, "api")
}

// All that one app may have goes there and back in one step, and nothing that was begun is cut off: neither by a reload nor without one.
func TestRoutes_SwitchInOneStep(t *testing.T) {
	t.Parallel()
	for _, way := range switches {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s := furnished(t, stage.Options{Name: "site-" + way, Also: []string{"api", "ws", "rpc"}, Nginx: "  switch: " + way})
			worn := s.wears()
			for _, act := range []struct {
				name string
				play func(*site)
			}{
				{"page and API are of one release", (*site).pairsAreNeverMixed},
				{"WebSockets stay where they are", (*site).socketsStay},
				{"gRPC calls go on", (*site).callsGoOn},
				{"long answers end whole", (*site).streamsEndWhole},
				{"large uploads arrive", (*site).uploadsArrive},
			} {
				t.Run(act.name, func(t *testing.T) { act.play(s.on(t)) })
			}
			require.Equal(t, worn, s.wears())
			require.Zero(t, s.load.Snapshot().Lost)
			s.journalIsWhole()
		})
	}
}

// asks gives the release that answers.
func (s *scene) asks(path string) string {
	s.t.Helper()
	answer, err := http.Get(s.URL() + path[1:])
	require.NoError(s.t, err)
	defer answer.Body.Close()
	require.Equal(s.t, http.StatusOK, answer.StatusCode)
	if path != "/" {
		var said struct{ Release string }
		require.NoError(s.t, json.NewDecoder(answer.Body).Decode(&said))
		require.Equal(s.t, said.Release, answer.Header.Get("X-Release"))
	}
	return answer.Header.Get("X-Release")
}
