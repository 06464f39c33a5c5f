package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/load"
)

// browsers are users who keep their cookies. Each asks for a page again and again, and for the style sheet that the page names.
type browsers struct {
	s       *scene
	over    chan struct{}
	working sync.WaitGroup

	mu   sync.Mutex
	seen visits
}

// visits are what browsers saw.
type visits struct {
	// pages counts those that came, last names the release of each browser's newest.
	pages int
	last  []string
	// failed are the pages that did not come, missed the style sheets, strayed the browsers that were led back to an older release.
	failed, missed, strayed []string
}

// between two visits of one browser: a person reads.
const between = 150 * time.Millisecond

// browse lets so many browsers come in, each with no cookie yet.
func (s *scene) browse(n int) *browsers {
	var clients []*http.Client
	for range n {
		clients = append(clients, s.browser())
	}
	return s.sends(clients)
}

// regulars lets so many browsers come in whose cookies are of the release.
func (s *scene) regulars(n int, tag string) *browsers {
	s.t.Helper()
	var clients []*http.Client
	until(s.t, "there are users of "+tag, func() bool {
		if c := s.browser(); s.views(c, "").Release == tag {
			clients = append(clients, c)
		}
		return len(clients) == n
	})
	return s.sends(clients)
}

func (s *scene) browser() *http.Client {
	jar, err := cookiejar.New(nil)
	require.NoError(s.t, err)
	return &http.Client{Jar: jar, Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
}

// views gets the front page, as a tester who wants a color where one is named.
func (s *scene) views(client *http.Client, color string) load.Outcome {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodGet, s.URL(), nil)
	require.NoError(s.t, err)
	if color != "" {
		request.Header.Set("X-Release", color)
	}
	answer, err := client.Do(request)
	require.NoError(s.t, err)
	_, err = io.Copy(io.Discard, answer.Body)
	require.NoError(s.t, err)
	require.NoError(s.t, answer.Body.Close())
	return load.Outcome{Status: answer.StatusCode, Release: answer.Header.Get(load.ReleaseHeader)}
}

func (s *scene) sends(clients []*http.Client) *browsers {
	b := &browsers{s: s, over: make(chan struct{}), seen: visits{last: make([]string, len(clients))}}
	for n, client := range clients {
		b.working.Go(func() {
			defer client.CloseIdleConnections()
			pause := time.NewTicker(between)
			defer pause.Stop()
			for {
				b.visit(n, client)
				select {
				case <-pause.C:
				case <-b.over:
					return
				}
			}
		})
	}
	s.t.Cleanup(func() { b.closes() })
	return b
}

var stylesheet = regexp.MustCompile(`href=/(static/\S+\.css)>`)

// visit asks for the page, and for what it names.
func (b *browsers) visit(n int, client *http.Client) {
	tag, page, err := fetch(client, b.s.URL())
	var missed error
	if named := stylesheet.FindStringSubmatch(page); err == nil && named != nil {
		_, _, missed = fetch(client, b.s.URL()+named[1])
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.seen.failed = append(b.seen.failed, err.Error())
		return
	}
	if missed != nil {
		b.seen.missed = append(b.seen.missed, fmt.Sprintf("of %s: %v", tag, missed))
	}
	if last := b.seen.last[n]; tag < last {
		b.seen.strayed = append(b.seen.strayed, fmt.Sprintf("browser %d: %s, then %s", n, last, tag))
	}
	b.seen.last[n] = tag
	b.seen.pages++
}

// fetch gets a whole answer, and the release that it names.
func fetch(client *http.Client, url string) (tag, body string, err error) {
	answer, err := client.Get(url)
	if err != nil {
		return "", "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, answer.Status)
	}
	return answer.Header.Get(load.ReleaseHeader), string(text), err
}

func (b *browsers) snapshot() visits {
	b.mu.Lock()
	defer b.mu.Unlock()
	seen := b.seen
	seen.last = slices.Clone(seen.last)
	return seen
}

// more waits until so many more pages have come, or have not.
func (b *browsers) more(pages int) {
	b.s.t.Helper()
	count := func() int { seen := b.snapshot(); return seen.pages + len(seen.failed) }
	goal := count() + pages
	until(b.s.t, "pages are visited", func() bool { return count() >= goal })
}

// allSee waits until each browser's newest page is of the release.
func (b *browsers) allSee(tag string) {
	b.s.t.Helper()
	until(b.s.t, "all see "+tag, func() bool {
		return !slices.ContainsFunc(b.snapshot().last, func(last string) bool { return last != tag })
	})
}

// closes ends the visits, and tells what was seen. It may be called again.
func (b *browsers) closes() visits {
	b.mu.Lock()
	select {
	case <-b.over:
	default:
		close(b.over)
	}
	b.mu.Unlock()
	b.working.Wait()
	return b.snapshot()
}
