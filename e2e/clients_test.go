package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/load"
	"cutover/e2e/stage"
)

// switches are the ways in which a share changes.
var switches = []string{"reload", "live"}

// drawn is the part of section nginx for clients that keep their color.
func drawn(way string) string { return "  split: client\n  switch: " + way }

// apart are locations of which the one for assets asks the other color for what one does not have.
func apart(name string) string {
	return fmt.Sprintf(`        location / { proxy_pass %[1]s; }
        location /static/ {
            proxy_pass %[1]s_assets;
            proxy_next_upstream error timeout http_404;
        }`, webOf(name))
}

// With split: client nobody who has seen the new release sees the old one again while the share grows, and nobody loses a request, nor
// a file of the page that came right before a raise.
func TestClients_KeepTheirReleaseThroughAPromotion(t *testing.T) {
	t.Parallel()
	for _, way := range switches {
		t.Run(way, func(t *testing.T) {
			name := "clients-" + way
			s := set(t, stage.Options{Name: name, Nginx: drawn(way), Server: apart(name)})
			b := s.browse(60)
			p := s.starts("promote", "--tag", good.Tag)
			began := time.Now()
			for _, weight := range []float64{5, 20} {
				p.reaches("raised", weight)
				s.carries(good.Tag)
			}
			p.ends(0)
			b.allSee(good.Tag)
			seen := b.closes()
			require.Empty(t, seen.failed)
			require.Empty(t, seen.missed)
			require.Empty(t, seen.strayed)
			require.Zero(t, s.since(began).Lost)
			require.Zero(t, s.since(began).Failed)
			s.none(time.Now(), first.Tag)
		})
	}
}

// Testers who ask for the candidate get it whatever its share, and what they find counts for nothing: only users do.
func TestClients_TestersAreNotCounted(t *testing.T) {
	t.Parallel()
	for _, way := range switches {
		t.Run(way, func(t *testing.T) {
			s := set(t, stage.Options{Name: "testers-" + way, Nginx: drawn(way), Config: slow})
			s.load.Stop()
			s.types(0, "up", "--to", "green", "--tag", dead.Tag)
			since := s.lastLine()
			s.types(0, "shift", "--to", "green", "--weight", "1")
			users := s.regulars(30, first.Tag)
			tester := s.browser()
			asked, over := 0, time.Now().Add(8*time.Second) // three times what the verdict takes where users see the same
			until(t, "testers have seen enough", func() bool {
				require.Equal(t, load.Outcome{Status: http.StatusInternalServerError, Release: dead.Tag}, s.views(tester, "green"))
				asked++
				return asked >= 200 && time.Now().After(over)
			})
			require.Equal(t, first.Tag, s.views(tester, "blue").Release)
			require.Empty(t, users.closes().failed)
			require.False(t, s.has(since, "cut-proven"))
			require.Equal(t, 1.0, s.status().Weight)

			s.types(0, "shift", "--to", "green", "--weight", "20")
			s.welcomes(rate)
			s.isTakenBack(since, "judged", "")
			require.Equal(t, first.Tag, s.views(tester, "green").Release, "who asks for what was taken back gets stable")
		})
	}
}

// A candidate whose container is killed hurts nobody who only reads: stable answers what it does not. It is taken back all the same.
func TestClients_AKilledCandidateIsRescuedAndTakenBack(t *testing.T) {
	t.Parallel()
	for _, way := range switches {
		t.Run(way, func(t *testing.T) {
			s := set(t, stage.Options{Name: "rescue-" + way, Nginx: drawn(way), Config: `rollout:
  steps: [{ weight: 20, soak: 10m }, { weight: 100 }]
  bake: 10m
verdict:
  warm_up: 0s
`})
			b := s.browse(20)
			began := time.Now()
			p := s.starts("promote", "--tag", good.Tag)
			p.reaches("raised", 20)
			s.carries(good.Tag)
			id, _, _ := strings.Cut(s.containers("green")["web"], " ")
			said, err := exec.CommandContext(t.Context(), "docker", "kill", id).CombinedOutput()
			require.NoError(t, err, string(said))
			p.ends(8)
			s.none(time.Now(), good.Tag)
			require.Empty(t, b.closes().failed)
			seen := s.since(began)
			require.Zero(t, seen.Lost, "%+v", seen)
			require.Zero(t, seen.Failed, "%+v", seen)
			require.Equal(t, "reverted", s.history()[0].Result)
		})
	}
}

// Both releases answer, each request is drawn by itself, and each page names a file that only its own release has: nobody misses one.
func TestClients_EachPageFindsItsAssets(t *testing.T) {
	t.Parallel()
	for _, way := range switches {
		t.Run(way, func(t *testing.T) {
			name := "assets-" + way
			s := set(t, stage.Options{Name: name, Nginx: "  switch: " + way, Config: slow, Server: apart(name)})
			require.Contains(t, s.types(0, "doctor").Stdout, "the include chain is whole")
			s.types(0, "up", "--to", "green", "--tag", good.Tag)
			b := s.browse(20)
			for _, weight := range []string{"5", "50", "100"} {
				s.types(0, "shift", "--to", "green", "--weight", weight)
				s.carries(good.Tag)
				b.more(400)
			}
			seen := b.closes()
			require.Empty(t, seen.failed)
			require.Empty(t, seen.missed)
			require.Contains(t, s.text(s.AccessLog()), `"us":"404, 200"`, "nobody's file was asked of the wrong release first")
		})
	}
}
