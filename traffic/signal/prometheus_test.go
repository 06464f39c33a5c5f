package signal

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"cutover/traffic/verdict"
)

// blue is a baseline as templates see it.
var blue = Subject{Color: "blue", Project: "shop-blue", Release: "v1.0.0", Addresses: []string{"127.0.0.1:18000"}}

func compares() Comparison { return Comparison{Arms: [2]Subject{blue, green}, First: 2, Now: time.Now} }

// asking is a section for a server of the test, with counters of its own.
func asking(url string) PrometheusConfig {
	c := DefaultConfig().Prometheus
	c.URL, c.Every, c.Timeout = url, time.Minute, time.Minute // a busy machine is no slow server
	c.Requests, c.Errors = `x{color="{{.Color}}"}`, `x{color="{{.Color}}",code="500"}`
	return c
}

func opens(t testing.TB, c PrometheusConfig, with Comparison) *Prometheus {
	require.NoError(t, c.Validate())
	p, err := OpenPrometheus(c, with)
	require.NoError(t, err)
	t.Cleanup(p.client.transport.CloseIdleConnections)
	return p
}

// answers serves one answer to all.
func answers(t testing.TB, kind, body string) *httptest.Server {
	return serves(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		_, _ = io.WriteString(w, body)
	})
}

func serves(t testing.TB, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// vectorOf is the answer with some series, as text of labels and value.
func vectorOf(series ...string) string {
	return `{"status":"success","data":{"resultType":"vector","result":[` + strings.Join(series, ",") + `]}}`
}

// sample is one series of the query's part; parts are blue's requests 1 and errors 2, green's 3 and 4.
func sample(part int, code string, value float64) string {
	return fmt.Sprintf(`{"metric":{"__name__":"x","instance":"i","job":"j","code":%q,%q:"%d"},"value":[1800000000,"%v"]}`, code, partLabel, part, value)
}

func TestPrometheusMalformedAnswersAreMissing(t *testing.T) {
	const jsonType = "application/json; charset=utf-8"
	for name, c := range map[string]struct{ kind, body, says string }{
		"empty body":      {jsonType, ``, "not the JSON of a query"},
		"random bytes":    {jsonType, "\x00\xff\x1b[2J", "not the JSON of a query"},
		"half an answer":  {jsonType, vectorOf(sample(1, "200", 5))[:60], "not the JSON of a query"},
		"a list":          {jsonType, `[]`, "not the JSON of a query"},
		"no status":       {jsonType, `{}`, `with the status ""`},
		"an error":        {jsonType, `{"status":"error","errorType":"bad_data","error":"parse \u001b[31m error"}`, "refuses the query: bad_data: parse [31m error"},
		"no data":         {jsonType, `{"status":"success"}`, `unknown type ""`},
		"a matrix":        {jsonType, `{"status":"success","data":{"resultType":"matrix","result":[]}}`, "gives a matrix"},
		"a string":        {jsonType, `{"status":"success","data":{"resultType":"string","result":[1,"x"]}}`, "gives a string"},
		"a broken vector": {jsonType, `{"status":"success","data":{"resultType":"vector","result":{}}}`, "vector that cannot be read"},
		"an empty sample": {jsonType, vectorOf("null"), "empty sample"},
		"a scalar":        {jsonType, `{"status":"success","data":{"resultType":"scalar","result":[1,"5"]}}`, "no value for blue"},
		"a broken scalar": {jsonType, `{"status":"success","data":{"resultType":"scalar","result":"5"}}`, "scalar that cannot be read"},
		"warnings":        {jsonType, strings.Replace(vectorOf(sample(1, "200", 5), sample(3, "200", 5)), `{`, `{"warnings":["store a is down"],`, 1), "may lack something: store a is down"},
		"a part":          {jsonType, strings.Replace(vectorOf(), `{`, `{"isPartial":true,`, 1), "a part of the data"},
		"nothing":         {jsonType, vectorOf(), "no value for blue"},
		"one color":       {jsonType, vectorOf(sample(1, "200", 5)), "no value for green"},
		"errors only":     {jsonType, vectorOf(sample(2, "500", 5), sample(4, "500", 5)), "no value for blue"},
		"NaN":             {jsonType, strings.Replace(vectorOf(sample(1, "200", 5), sample(3, "200", 6)), `"6"`, `"NaN"`, 1), "NaN, which is no count"},
		"infinity":        {jsonType, strings.Replace(vectorOf(sample(1, "200", 5), sample(3, "200", 6)), `"6"`, `"+Inf"`, 1), "+Inf, which is no count"},
		"a rate":          {jsonType, vectorOf(sample(1, "200", 5.25), sample(3, "200", 6)), "not a whole number"},
		"a sum":           {jsonType, strings.ReplaceAll(vectorOf(sample(1, "200", 5), sample(3, "200", 6)), `"__name__":"x",`, ""), "has no name"},
		"a rule":          {jsonType, strings.ReplaceAll(vectorOf(sample(1, "200", 5), sample(3, "200", 6)), `"x"`, `"job:x:sum"`), "recording rule"},
		"twice":           {jsonType, vectorOf(sample(1, "200", 5), sample(1, "200", 5), sample(3, "200", 6)), "there twice"},
		"a histogram": {jsonType, vectorOf(sample(1, "200", 5), `{"metric":{"__name__":"x","cutover_part":"3"},"histogram":[1,{"count":"5","sum":"2"}]}`),
			"a native histogram, not a counter"},
		"a page":           {"text/html", "<html>login", `answered 200 with "text/html", not JSON`},
		"no type":          {"", "\x00", "not JSON"},
		"more than it may": {jsonType, strings.Repeat(" ", answerLimit+1), "longer than 8 MB"},
	} {
		t.Run(name, func(t *testing.T) {
			p := opens(t, asking(answers(t, c.kind, c.body).URL), compares())
			b := p.look(t.Context())
			require.Len(t, b.Intervals, 1)
			require.Contains(t, b.Intervals[0].Missing, c.says)
			require.True(t, strings.HasPrefix(b.Intervals[0].Missing, "prometheus: "), b.Intervals[0].Missing)
			require.Equal(t, verdict.Interval{Metric: 2, At: b.Now, Missing: b.Intervals[0].Missing}, b.Intervals[0])
		})
	}
}

func TestPrometheusFailingServersAreMissing(t *testing.T) {
	elsewhere := answers(t, "application/json", vectorOf(sample(1, "200", 5), sample(3, "200", 5)))
	stuck := make(chan struct{})
	defer close(stuck)
	bomb := zipped(t, strings.Repeat(" ", answerLimit+1))
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"refused": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, "answered 401: it wants to know who asks; see header_file"},
		"broken":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "answered 502"},
		"a redirect": {func(w http.ResponseWriter, q *http.Request) {
			http.Redirect(w, q, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "answered 307, a redirect"},
		"hangs up":    {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"never comes": {func(_ http.ResponseWriter, q *http.Request) { waits(q, stuck) }, "no answer within 500ms"},
		"is slow": {func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{")
			w.(http.Flusher).Flush()
			waits(q, stuck)
		}, "no answer within 500ms"},
		"its own error": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"status":"error","errorType":"execution","error":"too many samples"}`)
		}, "refuses the query: execution: too many samples"},
		"success by 500": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, vectorOf())
		}, "answered 404"},
		"a bomb": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb)
		}, "longer than 8 MB"},
	} {
		t.Run(name, func(t *testing.T) {
			config := asking(serves(t, c.handler).URL)
			if strings.HasPrefix(c.says, "no answer") {
				config.Timeout = 500 * time.Millisecond
			}
			b := opens(t, config, compares()).look(t.Context())
			require.Len(t, b.Intervals, 1)
			require.Contains(t, b.Intervals[0].Missing, c.says)
		})
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	b := opens(t, asking(closed.URL), compares()).look(t.Context())
	require.Contains(t, b.Intervals[0].Missing, "connection refused")
}

// waits holds a request back until the client or the test goes away.
func waits(q *http.Request, stuck <-chan struct{}) {
	_, _ = io.Copy(io.Discard, q.Body) // only then does the server see that the client hangs up
	select {
	case <-q.Context().Done():
	case <-stuck:
	}
}

func TestPrometheusCountsBetweenTwoLooks(t *testing.T) {
	looks := []string{
		vectorOf(sample(1, "200", 1000), sample(1, "500", 10), sample(2, "500", 10), sample(3, "200", 50)),
		vectorOf(sample(1, "200", 1090), sample(1, "500", 12), sample(2, "500", 12), sample(3, "200", 53), sample(3, "500", 4), sample(4, "500", 4)),
	}
	var asked atomic.Int64
	var form map[string][]string
	s := serves(t, func(w http.ResponseWriter, q *http.Request) {
		if q.ParseForm() == nil {
			form = q.Form
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, looks[asked.Add(1)-1])
	})
	clock := epoch
	with := compares()
	with.Now = func() time.Time { return clock }
	p := opens(t, asking(s.URL+"/prom"), with)
	require.False(t, p.look(t.Context()).Aside())
	require.Equal(t, []string{"1800000000.000"}, form["time"])
	require.Equal(t, []string{"60000ms"}, form["timeout"])
	for _, part := range []string{"label_replace(\nx{color=\"blue\"}\n, \"cutover_part\", \"1\", \"\", \"\")", "x{color=\"green\",code=\"500\"}\n, \"cutover_part\", \"4\""} {
		require.Contains(t, form["query"][0], part)
	}
	clock = clock.Add(15 * time.Second)
	require.Equal(t, verdict.Batch{Now: clock, Intervals: []verdict.Interval{{
		Metric: 2, At: clock, Length: 15 * time.Second,
		Baseline: verdict.Tally{Requests: 92, Errors: 2}, Candidate: verdict.Tally{Requests: 7, Errors: 4},
	}}}, p.look(t.Context()))
}

// histogram is a native histogram of one part, with the bounds and counts of its buckets.
func histogram(part int, buckets ...[3]float64) string {
	h := model.SampleHistogram{}
	for _, b := range buckets {
		h.Count += model.FloatString(b[2])
		h.Buckets = append(h.Buckets, &model.HistogramBucket{Lower: model.FloatString(b[0]), Upper: model.FloatString(b[1]), Count: model.FloatString(b[2])})
	}
	text, err := json.Marshal(h)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"metric":{"__name__":"h","instance":"i","job":"j",%q:"%d"},"histogram":[1800000000,%s]}`, partLabel, part, text)
}

// TestPrometheusCountsSlowAnswers reads both kinds of histograms. Of a native one there is a part for each arm, of a classic one two.
func TestPrometheusCountsSlowAnswers(t *testing.T) {
	native := func(c *PrometheusConfig) { c.Requests, c.Errors, c.Timed = "", "", "h" }
	classic := func(c *PrometheusConfig) { native(c); c.Fast = `h_bucket{le=~"{{.SlowerThan}}"}` }
	for name, c := range map[string]struct {
		set           func(*PrometheusConfig)
		first, second string
		slow          [2]verdict.Tally
		missing       string
	}{
		"native": {native,
			vectorOf(histogram(1, [3]float64{0.5, 0.7, 10}, [3]float64{0.7, 1, 5}, [3]float64{1, 1.4, 2}), histogram(2, [3]float64{0.7, 1, 1})),
			vectorOf(histogram(1, [3]float64{0.5, 0.7, 20}, [3]float64{0.7, 1, 8}, [3]float64{1, 1.4, 3}, [3]float64{1.4, 2, 1}), histogram(2, [3]float64{0.7, 1, 3}, [3]float64{2, 4, 7})),
			[2]verdict.Tally{{Requests: 15, Errors: 2}, {Requests: 9, Errors: 7}}, ""},
		"buckets of two widths": {native, vectorOf(histogram(1, [3]float64{0.7, 1, 1}), histogram(2, [3]float64{0.5, 1, 1})),
			vectorOf(histogram(1, [3]float64{0.7, 1, 1}), histogram(2, [3]float64{0.5, 2, 1})), [2]verdict.Tally{}, "buckets of another width"},
		"buckets that became wider": {native, vectorOf(histogram(1, [3]float64{0.7, 1, 1}), histogram(2, [3]float64{0.7, 1, 1})),
			vectorOf(histogram(1, [3]float64{0.5, 2, 9}), histogram(2, [3]float64{0.5, 2, 9})), [2]verdict.Tally{}, "began to count anew"},
		"not native": {native, vectorOf(), vectorOf(sample(1, "", 5), sample(2, "", 5)), [2]verdict.Tally{}, "is no native histogram, so that signals.prometheus.fast"},
		"classic": {classic, vectorOf(sample(1, "", 5), sample(2, "", 4), sample(3, "", 5), sample(4, "", 4)),
			vectorOf(sample(1, "", 25), sample(2, "", 23), sample(3, "", 15), sample(4, "", 4)), [2]verdict.Tally{{Requests: 20, Errors: 1}, {Requests: 10, Errors: 10}}, ""},
		"no such bucket": {classic, vectorOf(), vectorOf(sample(1, "", 5), sample(3, "", 5)), [2]verdict.Tally{}, "no bucket ends at 800ms"},
	} {
		t.Run(name, func(t *testing.T) {
			var asked atomic.Int64
			s := serves(t, func(w http.ResponseWriter, q *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, []string{c.first, c.second}[asked.Add(1)-1])
			})
			config, with := asking(s.URL), compares()
			c.set(&config)
			with.SlowerThan = 800 * time.Millisecond
			p := opens(t, config, with)
			p.look(t.Context())
			i := p.look(t.Context()).Intervals[0]
			require.Contains(t, i.Missing, c.missing)
			require.Equal(t, c.missing == "", i.Missing == "")
			require.Equal(t, c.slow, [2]verdict.Tally{i.Baseline, i.Candidate})
		})
	}
}

func TestPrometheusValue(t *testing.T) {
	one := `{"metric":{},"value":[1,"412"]}`
	for body, want := range map[string]any{
		vectorOf(one): 412.0,
		`{"status":"success","data":{"resultType":"scalar","result":[1,"7"]}}`: 7.0,
		vectorOf():         ErrNoValue,
		vectorOf(one, one): "gives 2 values",
		strings.Replace(vectorOf(one), "412", "NaN", 1):                        ErrNoValue,
		strings.Replace(vectorOf(one), "412", "-Inf", 1):                       ErrNoValue,
		vectorOf(histogram(1)):                                                 "gives a histogram",
		`{"status":"success","data":{"resultType":"matrix","result":[]}}`:      "gives a matrix",
		`{"status":"success","data":{"resultType":"string","result":[1,"x"]}}`: "gives a string",
	} {
		config := asking(answers(t, "application/json", body).URL)
		config.Requests, config.Errors = "", ""
		p := opens(t, config, compares())
		got, err := p.Value(t.Context(), "x")
		switch want := want.(type) {
		case float64:
			require.NoError(t, err)
			require.Equal(t, want, got)
		case error:
			require.ErrorIs(t, err, want)
		case string:
			require.ErrorContains(t, err, want)
		}
	}
	p := opens(t, asking("http://127.0.0.1:1"), compares())
	expression, err := p.Expression(verdict.Candidate, `max(rate(x{ {{.Match}} }[{{.Window}}]))`)
	require.NoError(t, err)
	require.Equal(t, `max(rate(x{ project="shop-green" }[240s]))`, expression)
}

func TestPrometheusHeaderFileAndTLS(t *testing.T) {
	var host atomic.Value
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		host.Store(q.Host)
		if q.Header.Get("Authorization") != "Bearer s3cret" || q.Header.Get("X-Scope-OrgID") != "shop" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, vectorOf(sample(1, "200", 5), sample(3, "200", 5)))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // a client that does not trust it is wanted here
	s.StartTLS()
	defer s.Close()
	dir := t.TempDir()
	config := asking(s.URL)
	config.HeaderFile, config.CAFile = filepath.Join(dir, "header"), filepath.Join(dir, "ca.pem")
	header := func(text string, mode os.FileMode) {
		_ = os.Remove(config.HeaderFile)
		require.NoError(t, os.WriteFile(config.HeaderFile, []byte(text), 0o600))
		require.NoError(t, os.Chmod(config.HeaderFile, mode))
	}
	cannot := func(says string) {
		_, err := OpenPrometheus(config, compares())
		require.ErrorContains(t, err, says)
		require.NotContains(t, err.Error(), "s3cret")
	}
	cannot("signals.prometheus.header_file: open ")
	header("Authorization: Bearer s3cret\n", 0o644)
	cannot("everybody may read ")
	header("s3cret\n", 0o600)
	cannot("holds no lines such as")
	header("", 0o600)
	cannot("holds no lines such as")
	header("Authorization: Bearer s3cret\r\nX-Scope-OrgID: shop\nHost: metrics.example", 0o640)
	cannot("ca_file: open ")
	require.NoError(t, os.WriteFile(config.CAFile, []byte("none"), 0o600))
	cannot("holds no certificate in PEM")
	require.NoError(t, os.WriteFile(config.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))

	p := opens(t, config, compares())
	require.Empty(t, p.look(t.Context()).Intervals)
	require.Equal(t, "metrics.example", host.Load())
	header("Authorization: Bearer another s3cret", 0o600)
	said := p.look(t.Context()).Intervals[0].Missing
	require.Contains(t, said, "answered 403")
	require.NotContains(t, said, "s3cret")
	header("Authorization: Bearer s3cret\n", 0o604)
	require.Contains(t, p.look(t.Context()).Intervals[0].Missing, "everybody may read")

	config.HeaderFile, config.CAFile = "", ""
	require.Contains(t, opens(t, config, compares()).look(t.Context()).Intervals[0].Missing, "certificate")
}

// TestPrometheusFollowEndsAtOnce holds that a server that never answers does not hold up the end.
func TestPrometheusFollowEndsAtOnce(t *testing.T) {
	stuck, asked := make(chan struct{}), make(chan struct{}, 9)
	defer close(stuck)
	s := serves(t, func(_ http.ResponseWriter, q *http.Request) { asked <- struct{}{}; waits(q, stuck) })
	config := asking(s.URL)
	config.Timeout, config.Every = time.Hour, time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- opens(t, config, compares()).Follow(ctx, func(verdict.Batch) { t.Error("what was cut off tells nothing") })
	}()
	<-asked
	cancel()
	require.NoError(t, <-done)
}

// FuzzPrometheusAnswer holds that no answer gives what is no count, or a panic.
func FuzzPrometheusAnswer(f *testing.F) {
	for _, seed := range []string{
		vectorOf(sample(1, "200", 5), sample(3, "200", 5)), vectorOf(histogram(1, [3]float64{0.7, 1, 1})), vectorOf("null"),
		`{"status":"success","data":{"resultType":"scalar","result":[1,"5"]}}`, `{"status":"success","data":{"resultType":"vector","result":[{"histogram":[1,null]}]}}`,
		`{"status":"success","data":{"resultType":"vector","result":[{"metric":null,"histogram":[1,{"buckets":[null]}]}]}}`, `{}`, `null`,
	} {
		f.Add([]byte(seed))
	}
	p, err := OpenPrometheus(asking("http://127.0.0.1:1"), compares())
	require.NoError(f, err)
	slow := counting{arms: [2]string{"blue", "green"}, of: theGood}
	f.Fuzz(func(t *testing.T, body []byte) {
		v, err := parseAnswer(body)
		if err != nil {
			return
		}
		if n, err := oneValue(v); err == nil {
			require.False(t, n != n)
		}
		for _, metric := range []*promMetric{{counting: p.metrics[0].counting, all: p.metrics[0].all, part: p.metrics[0].part}, {counting: slow, all: [2]string{"1", "2"}}} {
			for n := range 2 {
				i, ok := metric.read(partsOf(v), epoch.Add(time.Duration(n)*time.Second), time.Second)
				if ok && i.Missing == "" {
					require.Zero(t, i.Baseline.Requests+i.Candidate.Requests, "the same answer twice")
				}
			}
		}
	})
}
