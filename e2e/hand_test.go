package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// A share by hand, without any promotion before, and after one.
func TestShift_ByHand(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "hand"})
	before := time.Now()
	r := s.types(5, "shift", "--to", "green", "--weight", "20")
	require.Contains(t, r.Stderr, "green is not ready")
	require.Contains(t, r.Stderr, "cutover up --to green")
	s.types(0, "up", "--to", "green", "--tag", good.Tag)
	s.none(before, good.Tag) // up gives no traffic

	for _, c := range []struct {
		to, weight string
		share      float64
	}{{"green", "20", 20}, {"green", "50", 50}, {"green", "10", 10}, {"blue", "70", 30}, {"green", "0.5", 0.5}, {"green", "20", 20}} {
		s.types(0, "shift", "--to", c.to, "--weight", c.weight)
		s.share(good.Tag, c.share)
		require.Equal(t, c.share, s.status().Weight)
	}
	require.Contains(t, s.types(7, "promote", "--tag", next.Tag).Stderr, "by hand")
	require.Contains(t, s.types(4, "accept").Stderr, "no color has 100 % by hand")
	require.Contains(t, s.types(2, "up", "--to", "blue", "--tag", next.Tag).Stderr, "blue is stable")

	s.types(0, "shift", "--to", "green", "--weight", "100")
	s.share(good.Tag, 100)
	require.Equal(t, "blue", s.status().Stable, "nobody has accepted it")
	s.types(0, "accept")
	require.Equal(t, "green", s.status().Stable)
	for _, step := range s.history()[0].Steps {
		require.Equal(t, "by hand", step.How)
	}
	s.types(0, "back")
	s.none(time.Now(), good.Tag)
	require.Equal(t, "blue", s.status().Stable)
	require.Zero(t, s.since(before).Lost)

	s.types(0, "promote", "--tag", next.Tag)
	s.types(0, "up", "--to", "blue", "--tag", good.Tag) // what was warm is over
	s.types(0, "shift", "--to", "blue", "--weight", "20")
	s.share(good.Tag, 20)
	s.types(0, "shift", "--to", "blue", "--weight", "0")
	s.none(time.Now(), good.Tag)
	now := s.status()
	require.Equal(t, "green", now.Stable)
	require.Equal(t, "idle", now.Phase)
	s.journalIsWhole()
}
