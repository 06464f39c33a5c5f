package e2e

import (
	"encoding/json"
	"math"
	"os/exec"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"cutover/e2e/load"
	"cutover/e2e/stage"
)

// status is what the scenes read of `status --json`.
type status struct {
	Result string  `json:"result"`
	Exit   int     `json:"exit"`
	Truth  string  `json:"truth"`
	Stable string  `json:"stable"`
	Weight float64 `json:"weight"`
	Phase  string  `json:"phase"`
	Why    string  `json:"why"`
	Guard  struct {
		PID int `json:"pid"`
	} `json:"guard"`
	Rollout struct {
		ID      string `json:"id"`
		Holding string `json:"holding"`
	} `json:"rollout"`
	Colors []struct {
		Color    string  `json:"color"`
		Release  string  `json:"release"`
		Role     string  `json:"role"`
		Weight   float64 `json:"weight"`
		Services []struct {
			Service string `json:"service"`
			State   string `json:"state"`
		} `json:"services"`
	} `json:"colors"`
	Warnings []string `json:"warnings"`
}

func (s *scene) status() status {
	s.t.Helper()
	var found status
	s.reads(s.types(0, "status", "--json").Stdout, &found)
	return found
}

// past is one rollout of `history --json`.
type past struct {
	Rollout string `json:"rollout"`
	Mode    string `json:"mode"`
	Release string `json:"release"`
	Result  string `json:"result"`
	Why     string `json:"why"`
	Would   struct {
		Weight float64 `json:"weight"`
		Why    string  `json:"why"`
	} `json:"would"`
	Steps []struct {
		Weight float64 `json:"weight"`
		How    string  `json:"how"`
	} `json:"steps"`
}

// history gives all rollouts, the newest first.
func (s *scene) history() []past {
	s.t.Helper()
	var all []past
	s.reads(s.types(0, "history", "--json").Stdout, &all)
	return all
}

func (s *scene) reads(text string, into any) {
	s.t.Helper()
	require.NoError(s.t, json.Unmarshal([]byte(text), into), text)
}

// runs tells whether the container of a color's service runs, by the status that everybody sees.
func (st status) runs(color, service string) bool {
	for _, c := range st.Colors {
		for _, sv := range c.Services {
			if c.Color == color && sv.Service == service {
				return sv.State == "running"
			}
		}
	}
	return false
}

// containers are the running containers of a color by service, as id and time of start.
func (s *scene) containers(color string) map[string]string {
	s.t.Helper()
	list := exec.CommandContext(s.t.Context(), "docker", "ps", "--quiet", "--filter", "label=com.docker.compose.project="+s.Name+"-"+color)
	said, err := list.Output()
	require.NoError(s.t, err)
	ids := strings.Fields(string(said))
	found := map[string]string{}
	if len(ids) == 0 {
		return found
	}
	look := exec.CommandContext(s.t.Context(), "docker", append([]string{"inspect", "--format",
		`{{index .Config.Labels "com.docker.compose.service"}} {{.Id}} {{.State.StartedAt}}`}, ids...)...)
	said, err = look.Output()
	require.NoError(s.t, err)
	for line := range strings.Lines(string(said)) {
		service, which, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[service] = which
	}
	return found
}

// serves waits until users had so many more answers, or losses.
func (s *scene) serves(requests int) {
	s.t.Helper()
	goal := s.load.Snapshot().Requests + requests
	until(s.t, "requests come in", func() bool { return s.load.Snapshot().Requests >= goal })
}

// since is what users got whose requests started at from or later.
func (s *scene) since(from time.Time) load.Summary {
	return s.load.Report().Between(from, time.Now()).Summary()
}

// none wants that no request that started at from or later was answered by the release, over a good many of them.
func (s *scene) none(from time.Time, tag string) {
	s.t.Helper()
	s.serves(150)
	seen := s.since(from)
	require.Positive(s.t, seen.Requests)
	require.Zero(s.t, seen.Releases[tag].Answers, "%s answered requests that started after it was cut back: %+v", tag, seen)
}

// share wants the release to have so many percent of the requests from now on, within chance.
func (s *scene) share(tag string, percent float64) {
	s.t.Helper()
	from := time.Now()
	s.serves(500)
	seen := s.since(from)
	p, n := percent/100, float64(seen.Requests)
	most := 5*math.Sqrt(n*p*(1-p)) + 0.5 // five sigma: once in a million and a half runs by chance alone
	require.InDelta(s.t, n*p, seen.Releases[tag].Answers, most, "%s at %v %%: %+v", tag, percent, seen)
}

// narrow wants text that fits on a phone, 40 columns, with the truth as its last line.
func (s *scene) narrow(r stage.Result, truth string) {
	s.t.Helper()
	text := strings.TrimSuffix(r.Stdout, "\n")
	lines := strings.Split(text, "\n")
	for _, line := range lines {
		require.LessOrEqual(s.t, utf8.RuneCountInString(line), 40, "too wide: %q in\n%s", line, text)
	}
	require.Regexp(s.t, `^`+truth+` \(proven \d\d:\d\d:\d\d\)$`, lines[len(lines)-1])
}
