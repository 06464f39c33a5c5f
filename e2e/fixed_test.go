package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// byName is the part of cutover.yaml for people who insist on a fixed name in their locations.
const byName = `environments:
  prod: { nginx: { pass: name } }
`

// fixed sets a stage up whose locations pass to fixed names.
func fixed(t *testing.T, o stage.Options) *scene {
	t.Helper()
	if !strings.Contains(o.Config, "environments:\n") {
		o.Config += "environments:\n"
	}
	o.Config, o.Head = strings.Replace(o.Config, "environments:\n", byName, 1), "    include conf.d/*.conf;"
	s := build(t, o)
	s.configures(func(conf string) string { return strings.ReplaceAll(conf, "http://$cutover_", "http://cutover_") })
	s.opens()
	return s
}

// configures changes nginx.conf before nginx starts.
func (s *scene) configures(change func(string) string) {
	s.t.Helper()
	text, err := os.ReadFile(s.NginxConf())
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(s.NginxConf(), []byte(change(string(text))), 0o644))
}

// Law 2, where a cutback needs a reload: up, down while a promotion runs, and down after it while the old stack is warm, without a
// lost request. nginx restarts with everything on stable, and a finished promotion gives the old release nothing.
func TestFixed_ThereAndBack(t *testing.T) {
	t.Parallel()
	s := fixed(t, stage.Options{Name: "name", Config: staged})
	s.foreign()
	require.Contains(t, s.types(0, "doctor").Stdout, "you can cut back")
	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 20)
	s.carries(good.Tag)
	s.share(good.Tag, 20)
	r := s.backs("")
	ended := time.Now()
	require.Zero(t, r.Exit, r.Stdout)
	s.narrow(r, `blue v1\.0\.0 100 %`)
	require.NotContains(t, r.Stdout, "stopped")
	s.none(ended, good.Tag)
	p.ends(10)
	require.True(t, s.answersOn("green"), "nothing had to be stopped")
	again := s.backs("")
	require.Zero(t, again.Exit)
	require.Contains(t, again.Stdout, "already back since")
	s.restarts()
	s.none(ended, good.Tag)

	began := time.Now()
	s.types(0, "promote", "--tag", good.Tag, "--again", "--why", "nothing was wrong with it")
	s.none(time.Now(), first.Tag)
	r = s.backs("")
	ended = time.Now()
	require.Zero(t, r.Exit, r.Stdout)
	s.narrow(r, `blue v1\.0\.0 100 %`)
	s.none(ended, good.Tag)
	require.Equal(t, "blue", s.status().Stable)

	s.types(0, "promote", "--tag", next.Tag)
	accepted := time.Now()
	s.types(0, "down")
	s.none(accepted, first.Tag)
	require.Zero(t, s.since(began).Lost)
	require.Equal(t, 4, s.backs("").Exit)
	s.share(next.Tag, 100)
	s.journalIsWhole()
}

// Law 2: nginx refuses every reload for somebody's broken file. Then the candidate's web containers are stopped, and nginx tries on
// stable what nobody answers any more.
func TestFixed_NobodyCanReload(t *testing.T) {
	t.Parallel()
	s := fixed(t, stage.Options{Name: "refused", Config: slow})
	foreign := s.foreign()
	s.types(0, "up", "--to", "green", "--tag", good.Tag)
	for _, weight := range []string{"20", "100"} {
		began := time.Now()
		s.types(0, "shift", "--to", "green", "--weight", weight)
		s.carries(good.Tag)
		mended := s.writes(foreign, "oops on;\n")
		r := s.backs("")
		ended := time.Now()
		require.Zero(t, r.Exit, r.Stdout)
		require.Contains(t, strings.Join(strings.Fields(r.Stdout), " "), "stopped web of "+s.Name+"-green")
		s.narrow(r, `blue v1\.0\.0 100 %`)
		s.none(ended, good.Tag)
		require.False(t, s.answersOn("green"))
		require.True(t, s.answersOn("blue"))
		require.Zero(t, s.since(began).Lost, "each request was a GET")
		require.Contains(t, s.history()[0].Why, "stopped web")

		// nothing starts where nginx would still send users
		require.Contains(t, s.types(3, "up", "--to", "green", "--tag", good.Tag).Stderr, "cutover back")
		require.Zero(t, s.backs("").Exit)
		mended()
		r = s.backs("")
		require.Zero(t, r.Exit, r.Stdout)
		require.NotContains(t, r.Stdout, "stopped")
		s.types(0, "up", "--to", "green", "--tag", good.Tag)
		s.none(ended, good.Tag)
	}

	// with the engine dead too nothing can be done, and that is said
	s.types(0, "shift", "--to", "green", "--weight", "20")
	s.carries(good.Tag)
	mended := s.writes(foreign, "oops on;\n")
	r := s.backs("DOCKER_HOST=unix:///nonexistent/docker.sock")
	require.Equal(t, 11, r.Exit, r.Stdout)
	require.True(t, strings.HasSuffix(r.Stdout, "blue v1.0.0 100 % (NOT proven)\n"), r.Stdout)
	require.Contains(t, r.Stdout, "docker stop")
	mended()
	require.Zero(t, s.backs("").Exit)
	s.none(time.Now(), good.Tag)
}

// Law 8: the guardian of a promoter that was killed goes the same way, also where nginx refuses to reload; and after a reboot nginx
// starts with everything on stable.
func TestFixed_ThePromoterIsKilled(t *testing.T) {
	t.Parallel()
	s := fixed(t, nightly("byname", night))
	foreign := s.foreign()
	for _, broken := range []bool{false, true} {
		since := s.lastLine()
		p := s.starts("promote", "--tag", good.Tag)
		p.reaches("raised", 5)
		s.carries(good.Tag)
		mended := func() {}
		if broken {
			mended = s.writes(foreign, "oops on;\n")
		}
		began := time.Now()
		p.gets(syscall.SIGKILL)
		<-p.over
		until(t, "the guardian has cut back", func() bool { return s.has(since, "cut-proven") })
		s.none(time.Now(), good.Tag)
		require.Zero(t, s.since(began).Lost)
		require.Equal(t, broken, !s.answersOn("green"))
		mended()
		require.Zero(t, s.backs("").Exit)
	}
	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 5)
	s.carries(good.Tag)
	require.Contains(t, s.reboots(p), `"rollout"`)
	s.none(time.Now(), good.Tag)
	require.Equal(t, "idle", s.status().Phase)
	s.journalIsWhole()
}

// Several server blocks on one app, on addresses and names of their own, shift and cut together, in both modes.
func TestServers_ShiftTogether(t *testing.T) {
	for _, mode := range []string{"variable", "name"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := build(t, stage.Options{Name: "servers-" + mode, Config: staged})
			pass := s.Upstream("web")
			if mode == "name" {
				s.adds(byName)
				pass = strings.Replace(pass, "$", "", 1)
			}
			doors := []door{{s.portBeside(0), "anybody.example"}, {s.portBeside(0), "shop.example"}, {s.portBeside(1), "admin.example"}}
			s.configures(func(conf string) string {
				conf = strings.ReplaceAll(conf, s.Upstream("web"), pass)
				block := "    server { listen %s%s; server_name %s; include " + filepath.Join(s.Root(), "current", "server.conf") +
					"; location / { proxy_pass " + pass + "; } }\n"
				blocks := fmt.Sprintf(block, doors[0].address, " default_server", "_") + fmt.Sprintf(block, doors[1].address, "", doors[1].host) +
					fmt.Sprintf(block, doors[2].address, "", "_")
				return conf[:strings.LastIndex(conf, "}")] + blocks + "}\n"
			})
			s.opens()
			p := s.starts("promote", "--tag", good.Tag)
			for _, weight := range []float64{20, 50, 100} {
				p.reaches("raised", weight)
				if weight < 100 {
					s.types(0, "pause")
				}
				for _, d := range doors {
					require.InDelta(t, weight, d.share(t, good.Tag), 15, "%s at %v %%", d.host, weight)
				}
				if weight < 100 {
					s.types(0, "resume")
				}
			}
			p.ends(0)
			require.Zero(t, s.backs("").Exit)
			for _, d := range doors {
				require.Zero(t, d.share(t, good.Tag), d.host)
			}
			require.Zero(t, s.load.Snapshot().Lost)
		})
	}
}

// door is one server block as users find it.
type door struct{ address, host string }

// share is the release's part in percent of some requests on connections of their own. None may fail.
func (d door) share(t *testing.T, tag string) float64 {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	const asked = 200
	answered := 0
	for range asked {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+d.address+"/", nil)
		require.NoError(t, err)
		q.Host = d.host
		answer, err := client.Do(q)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusOK, answer.StatusCode)
		if answer.Header.Get("X-Release") == tag {
			answered++
		}
	}
	return 100 * float64(answered) / asked
}
