package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
	"cutover/traffic/journal"
	"cutover/traffic/verdict"
)

// hostile is what somebody may have put into a tag, a reason or a name.
const hostile = `</p><script>alert(1)</script>" onload="x' {{.}} ` + "\x1b[2J\u202e"

// reverted are the lines of a rollout with such words in all of its places.
func reverted(t testing.TB, words string) []journal.Entry {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	result := verdict.Result{Decision: verdict.Failed, Rule: verdict.RuleErrors, Reason: words, Candidate: verdict.Tally{Requests: 50, Errors: 9},
		Notes: []string{words}, Routes: []verdict.Part{{Name: words, LogM: 3, LogLimit: 6}}}
	plan := traffic.Plan{Steps: []traffic.Step{{Weight: 500, Soak: time.Minute}, {Weight: traffic.Full}}}
	var entries []journal.Entry
	for n, e := range []traffic.Event{
		{Kind: traffic.StableSet, Color: traffic.Blue, Release: &traffic.Release{Tag: words}},
		{Kind: traffic.Opened, Rollout: 1, By: "ann\n" + words, Opening: &traffic.Opening{Mode: traffic.Promotion, Plan: plan, Stable: traffic.Blue, Tag: words, Previous: words}},
		{Kind: traffic.Prepared, Rollout: 1}, {Kind: traffic.Checked, Rollout: 1}, {Kind: traffic.Raised, Rollout: 1, Weight: 500},
		{Kind: traffic.Judged, Rollout: 1, Verdict: &result},
		{Kind: traffic.CutUnproven, Rollout: 1, Why: words},
	} {
		e.At = at.Add(time.Duration(n) * time.Second)
		text, err := json.Marshal(e)
		require.NoError(t, err)
		entries = append(entries, journal.Entry{Seq: uint64(n + 1), Time: e.At, Event: text})
	}
	return entries
}

// charted is the traffic of such a rollout, with such words in it.
func charted(words string) recordedTraffic {
	logM := 5.0
	return recordedTraffic{
		Log: words, Remarks: []string{words}, Opinions: []replayEvent{{Decision: "fail", Reason: words}},
		Series: series{From: unixTime(time.Date(2026, 3, 1, 12, 0, 3, 0, time.UTC)), Every: 1, Points: make([]stretch, 4, 5), RevertM: 4.6},
	}.ending(stretch{Candidate: verdict.Tally{Requests: 50, Errors: 9}, LogM: &logM})
}

func (t recordedTraffic) ending(p stretch) recordedTraffic {
	t.Series.Points = append(t.Series.Points, p)
	return t
}

// pages gives the report of such a rollout as a page without a chart, as one with a chart, and as text.
func pages(t testing.TB, words string) (bare, chart, text string) {
	told, found := remembered(1, reverted(t, words))
	require.True(t, found)
	told.App, told.Traffic.Missing = words, words
	var out [3]bytes.Buffer
	require.NoError(t, told.page(&out[0]))
	told.Traffic = charted(words)
	require.NoError(t, told.page(&out[1]))
	told.print(&output{stdout: &out[2]})
	return out[0].String(), out[1].String(), out[2].String()
}

// elements are the page's elements in order, with the names of their attributes: the page is XML too, which admits no mistake.
func elements(t testing.TB, page string) (found []string) {
	d := xml.NewDecoder(strings.NewReader(page))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(t, err, page)
		if e, is := token.(xml.StartElement); is {
			name := e.Name.Local
			for _, a := range e.Attr {
				name += " " + a.Name.Local
			}
			found = append(found, name)
		}
	}
}

// Nothing from outside becomes a part of the page or steers a terminal.
func TestReport_WordsFromOutsideStayWords(t *testing.T) {
	bare, chart, text := pages(t, hostile)
	for _, page := range []string{bare, chart} {
		require.Contains(t, page, "&lt;script&gt;alert(1)&lt;/script&gt;")
		for _, bad := range []string{"<script", `" onload`, "\x1b", "\u202e"} {
			require.NotContains(t, page, bad)
		}
	}
	require.Contains(t, text, "was reverted by")
	require.NotContains(t, text, "\x1b")
}

func FuzzReport(f *testing.F) {
	f.Add(hostile)
	f.Add("v1.2.0")
	f.Add("\xff\x00\n\t]]>")
	f.Fuzz(func(t *testing.T, words string) {
		words = "v" + words // without words a part is left out
		bare, chart, text := pages(t, words)
		plainBare, plainChart, _ := pages(t, "v1.2.0")
		require.Equal(t, elements(t, plainBare), elements(t, bare))
		require.Equal(t, elements(t, plainChart), elements(t, chart))
		require.NotContains(t, text+bare+chart, "\x1b")
		require.NotContains(t, strings.ToLower(bare+chart), "<script")
	})
}

// replayedSite is a site on whose journal and log a report is made, and how its rollout went: a healthy step, and one that fails.
type replayedSite struct {
	t   *testing.T
	dir string
	now time.Time
	j   *journal.Journal
	log bytes.Buffer
}

const toldConfig = `app: shop
state: DIR/state
stacks:
  driver: external
  web: [{ service: web, blue: 127.0.0.1:18000, green: 127.0.0.1:28000 }]
signals: { access_log: { path: DIR/access.log } }
`

func (w *replayedSite) happens(e traffic.Event) {
	e.At = w.now
	if e.Kind != traffic.StableSet {
		e.Rollout = 1
	}
	_, err := w.j.Append(w.t.Context(), "000001", "ann@host", e)
	require.NoError(w.t, err)
}

// asks lets one request come in, and gives it to the judge.
func (w *replayedSite) asks(random *rand.Rand, judge *verdict.Judge, share float64, fails [2]float64) verdict.Result {
	w.now = w.now.Add(5 * time.Millisecond)
	s, color, status := verdict.Sample{At: w.now}, traffic.Blue, 200
	if random.Float64() < share {
		s.Arm, color = verdict.Candidate, traffic.Green
	}
	if s.Bad = random.Float64() < fails[s.Arm]; s.Bad {
		status = 502
	}
	fmt.Fprintf(&w.log, `{"ts":%d.%03d,"pool":"%s","status":%d,"rt":0.012}`+"\n", w.now.Unix(), w.now.Nanosecond()/1e6, color, status)
	judge.Fold(verdict.Batch{Samples: []verdict.Sample{s}, Now: w.now})
	return judge.Result()
}

// goes plays the rollout, with a real judge, and writes its log.
func (w *replayedSite) goes(judge *verdict.Judge) {
	random := rand.New(rand.NewPCG(1, 2))
	plan := traffic.Plan{Steps: []traffic.Step{{Weight: 500, Soak: time.Minute}, {Weight: 2000, Soak: time.Minute}, {Weight: traffic.Full}}}
	w.happens(traffic.Event{Kind: traffic.StableSet, Color: traffic.Blue, Release: &traffic.Release{Tag: "v1.3.2"}})
	w.happens(traffic.Event{Kind: traffic.Opened, By: "ann@host", Opening: &traffic.Opening{
		Mode: traffic.Promotion, Plan: plan, Stable: traffic.Blue, Tag: "v1.4.0", Previous: "v1.3.2"}})
	for range 20 * 200 {
		w.asks(random, judge, 0, [2]float64{0.001, 0})
	}
	w.happens(traffic.Event{Kind: traffic.Prepared})
	w.happens(traffic.Event{Kind: traffic.Checked})
	for _, step := range []struct {
		weight traffic.Weight
		fails  float64
	}{{500, 0.001}, {2000, 0.03}} {
		w.happens(traffic.Event{Kind: traffic.Raised, Weight: step.weight})
		judge.Shift(w.now, step.weight.Fraction())
		for began, r := w.now, judge.Result(); ; {
			r = w.asks(random, judge, step.weight.Fraction(), [2]float64{0.001, step.fails})
			if r.Decision == verdict.Failed || r.Decision == verdict.Passed && w.now.Sub(began) >= time.Minute {
				w.happens(traffic.Event{Kind: traffic.Judged, Verdict: &r})
				for range 40 { // nginx takes a moment
					w.asks(random, judge, step.weight.Fraction(), [2]float64{0.001, step.fails})
				}
				break
			}
			require.Less(w.t, w.now.Sub(began), 10*time.Minute, "the judge comes to nothing: %s", r.Reason)
		}
	}
	w.happens(traffic.Event{Kind: traffic.CutProven})
	w.happens(traffic.Event{Kind: traffic.HandedOver})
	for range 15 * 200 {
		w.asks(random, judge, 0, [2]float64{0.001, 0})
	}
}

// types gives what a report prints, wherever the site stands.
func (w *replayedSite) types(args ...string) string {
	var stdout, stderr bytes.Buffer
	i := &invocation{out: &output{stdout: &stdout, stderr: &stderr, now: time.Now}, now: func() time.Time { return w.now }, dir: w.dir}
	require.Zero(w.t, i.run(w.t.Context(), append([]string{"cutover", "report"}, args...)), stderr.String())
	return strings.ReplaceAll(stdout.String(), w.dir, "/site")
}

// One rollout in each of its forms, to be read: go test ./cmd/cutover -run TestReport_Golden -update.
func TestReport_Golden(t *testing.T) {
	w := &replayedSite{t: t, dir: t.TempDir(), now: time.Date(2026, 3, 1, 23, 57, 0, 0, time.FixedZone("", 2*60*60))}
	config := filepath.Join(w.dir, configName)
	require.NoError(t, os.WriteFile(config, []byte(strings.ReplaceAll(toldConfig, "DIR", w.dir)), 0o644))
	c, err := loadConfig(config, "")
	require.NoError(t, err)
	w.j, err = journal.Open(filepath.Join(w.dir, "state", "shop"), func() time.Time { return w.now })
	require.NoError(t, err)
	w.goes(verdict.NewJudge(c.judged()))
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "access.log"), w.log.Bytes(), 0o644))

	for file, args := range map[string][]string{"reverted.txt": nil, "reverted.html": {"--html", "-", "1"}} {
		got := w.types(args...)
		require.Equal(t, got, w.types(args...), "twice the same")
		compareGolden(t, file, got)
	}
	require.NoError(t, os.Remove(filepath.Join(w.dir, "access.log")))
	require.Regexp(t, `left out: the access log\s+/site/access.log\s+is\s+gone;`, w.types())
	require.Contains(t, w.types("--html", "-"), "There is no chart: the access log /site/access.log is gone; ")
}

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", "report", file)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}
