package e2e

import (
	"context"
	"errors"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// asked is one round of a user's requests.
type asked struct {
	start    time.Time
	releases []string // that answered
	err      error
}

// crowd is users who ask the same again and again.
type crowd struct {
	s       *site
	stop    context.CancelFunc
	working sync.WaitGroup

	mu   sync.Mutex
	seen []asked
}

// crowd lets so many users come in. Half of them keep their connections, and the others open new ones for each round.
func (s *site) crowd(users int, ask func(*http.Client) (releases []string, err error)) *crowd {
	ctx, stop := context.WithCancel(context.Background())
	c := &crowd{s: s, stop: stop}
	for n := range users {
		client := s.client()
		client.Transport.(*http.Transport).DisableKeepAlives = n%2 == 1
		c.working.Go(func() {
			pause := time.NewTicker(20 * time.Millisecond)
			defer pause.Stop()
			for ctx.Err() == nil {
				round := asked{start: time.Now()}
				round.releases, round.err = ask(client)
				c.mu.Lock()
				c.seen = append(c.seen, round)
				c.mu.Unlock()
				<-pause.C
			}
		})
	}
	s.t.Cleanup(func() { c.closes() })
	return c
}

// closes ends the asking, and gives what was seen. It may be called again.
func (c *crowd) closes() []asked {
	c.stop()
	c.working.Wait()
	return c.seen
}

// areAll wants whatever was asked at from or later to be answered by the release, over a good many rounds.
func (c *crowd) areAll(from time.Time, tag string) {
	c.s.t.Helper()
	const many = 60
	after := func() (seen []asked) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, round := range c.seen {
			if !round.start.Before(from) {
				seen = append(seen, round)
			}
		}
		return seen
	}
	until(c.s.t, "users ask", func() bool { return len(after()) >= many })
	for _, round := range after() {
		require.NoError(c.s.t, round.err)
		for _, release := range round.releases {
			require.Equal(c.s.t, tag, release, "%v, asked %v after", round.releases, round.start.Sub(from))
		}
	}
}

// pair asks for a page and the API at the same time. A reload of this nginx refuses a connection that is just being opened to a worker
// that goes: as a browser does, the user asks once more then. Where nothing is reloaded nobody has to.
func (s *site) pair(client *http.Client) (releases []string, err error) {
	releases = make([]string, 2)
	var failed error
	var both sync.WaitGroup
	ask := func(path string) (release string, err error) {
		release, _, err = fetch(client, s.secure(path))
		if err != nil && strings.Contains(s.Nginx, "reload") {
			release, _, err = fetch(client, s.secure(path))
		}
		return release, err
	}
	both.Go(func() { releases[0], err = ask("/") })
	both.Go(func() { releases[1], failed = ask("/api/version") })
	both.Wait()
	return releases, errors.Join(err, failed)
}

// Whoever asks for a page and the API at once gets both of the release that the switch left, from the moment at which it has returned.
// Nobody loses a request meanwhile.
func (s *site) pairsAreNeverMixed() {
	users := s.crowd(6, s.pair)
	users.areAll(time.Now(), first.Tag)
	for range 3 {
		s.shifts(100)
		users.areAll(time.Now(), good.Tag)
		s.types(0, "back")
		users.areAll(time.Now(), first.Tag)
	}
	for _, round := range users.closes() {
		require.NoError(s.t, round.err)
	}
}

// With split: client each user has page and API of one release at any share, whatever else is asked for at the same time.
func TestRoutes_AClientHasOneReleaseAtAnyShare(t *testing.T) {
	t.Parallel()
	for _, way := range switches {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			s := furnished(t, stage.Options{Name: "one-" + way, Also: []string{"api"}, Nginx: drawn(way)})
			last := make([]string, 150)
			clients := make([]*http.Client, len(last))
			for n := range clients {
				jar, err := cookiejar.New(nil)
				require.NoError(t, err)
				clients[n] = s.client()
				clients[n].Jar = jar
			}
			for _, weight := range []int{1, 20, 50, 100} {
				s.shifts(weight)
				counts := map[string]int{}
				for n, client := range clients {
					if last[n] == "" { // it comes for a page, which gives it its cookie
						_, _, err := fetch(client, s.secure("/"))
						require.NoError(t, err)
					}
					releases, err := s.pair(client)
					require.NoError(t, err)
					require.Equal(t, releases[0], releases[1], "client %d at %d %%", n, weight)
					require.GreaterOrEqual(t, releases[0], last[n], "client %d at %d %%", n, weight)
					last[n] = releases[0]
					counts[last[n]]++
				}
				if weight == 20 || weight == 50 {
					require.Len(t, counts, 2, "nobody is split")
				}
			}
			s.types(0, "back")
			for n, client := range clients {
				releases, err := s.pair(client)
				require.NoError(t, err)
				require.Equal(t, []string{first.Tag, first.Tag}, releases, "client %d", n)
			}
		})
	}
}
