package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// brief keeps the old stack warm for no longer than a scene can wait.
const brief = `rollout:
  steps: [{ weight: 5, soak: 1s }, { weight: 100 }]
  bake: 1s
verdict:
  warm_up: 0s
  inconclusive: { after: 1s, then: proceed }
`

// When the old stack was kept warm for long enough, the next command of any kind finishes and retires it, and no request that the
// old release still answers is cut off.
func TestFinish_TheNextCommandRetires(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{
		Name: "retire", Config: brief, Stacks: "  keep_warm: 1s\n", Shutdown: "1m",
		Server: "        location / { proxy_pass " + webOf("retire") + "; proxy_read_timeout 60s; }",
	})
	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 5)
	var slow []<-chan string
	for range 6 {
		from, _ := s.slow(20 * time.Second)
		slow = append(slow, from)
	}
	p.ends(0)
	require.True(t, s.answersOn("blue"))
	pass(t, time.Second)
	until(t, "it is being finished", func() bool { return s.status().Phase == "finishing" })
	require.True(t, s.answersOn("blue"), "old answers are still awaited")
	until(t, "a command retires", func() bool { return s.status().Phase == "idle" })
	now := s.status()
	require.False(t, now.runs("blue", "web"))
	require.Equal(t, "green", now.Stable)
	old := 0
	for _, from := range slow {
		release := <-from
		require.Contains(t, []string{first.Tag, good.Tag}, release)
		if release == first.Tag {
			old++
		}
	}
	require.Positive(t, old)
	require.Zero(t, s.load.Snapshot().Lost)
	s.types(4, "back")
}

// A connection that never ends keeps the old stack up, and nobody waiting. When it has ended the next command retires.
func TestFinish_AnEndlessConnection(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{
		Name: "endless", Config: brief, Stacks: "  keep_warm: 1s\n", Shutdown: "0",
		Server: "        location / { proxy_pass " + webOf("endless") + "; proxy_read_timeout 10m; }",
	})
	from, hangUp := s.slow(10 * time.Minute)
	s.serves(rate)
	s.types(0, "promote", "--tag", good.Tag)
	pass(t, time.Second)
	until(t, "status says why it is not finished", func() bool {
		return strings.Contains(s.status().Why, "nginx has not let go of the old release")
	})
	require.Contains(t, s.types(7, "promote", "--tag", next.Tag).Stderr, "cannot be finished yet")
	require.True(t, s.answersOn("blue"), "its answer is still awaited")
	require.Empty(t, from)
	s.share(good.Tag, 100)

	hangUp()
	require.Equal(t, "lost", <-from)
	until(t, "a command retires", func() bool { return s.status().Phase == "idle" })
	require.False(t, s.answersOn("blue"))
	s.types(0, "promote", "--tag", next.Tag)
}

// slow asks for an answer that takes so long, and gives the release that it came from, or "lost".
func (s *scene) slow(d time.Duration) (from chan string, hangUp context.CancelFunc) {
	from = make(chan string, 1)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	s.t.Cleanup(cancel)
	url := fmt.Sprintf("%sslow?ms=%d", s.URL(), d.Milliseconds())
	go func() {
		q, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			from <- err.Error()
			return
		}
		answer, err := http.DefaultClient.Do(q)
		if err != nil {
			from <- "lost"
			return
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			from <- "lost"
			return
		}
		from <- answer.Header.Get("X-Release")
	}()
	return from, cancel
}

// answersOn tells whether the color's web service answers on its own address.
func (s *scene) answersOn(color string) bool {
	answer, err := http.Get("http://" + s.Address(color) + "/healthz")
	if err != nil {
		return false
	}
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}
