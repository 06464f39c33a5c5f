package signal

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic/verdict"
)

// green is a candidate as templates see it.
var green = Subject{Color: "green", Project: "shop-green", Release: "v1.1.0", Addresses: []string{"127.0.0.1:28000", "[::1]:28080"}}

func TestSourcesConfig(t *testing.T) {
	counted := func(c *Config) {
		c.Prometheus.Requests, c.Prometheus.Errors = `a{b="{{.Color}}"}`, `a{b="{{.Color}}",c="5"}`
	}
	for name, c := range map[string]struct {
		set   func(*Config)
		fails string
	}{
		"silent":                {set: func(*Config) {}},
		"guards alone":          {set: func(c *Config) { c.Prometheus.URL = "https://prometheus.example:9090/prom/" }},
		"counted":               {set: func(c *Config) { c.Prometheus.URL = "http://p"; counted(c) }},
		"a word in quotes":      {set: func(c *Config) { c.Prometheus.URL = "http://p"; counted(c); c.Prometheus.Errors = `a{c="rate(x)"}` }},
		"a name like a word":    {set: func(c *Config) { c.Prometheus.URL = "http://p"; counted(c); c.Prometheus.Errors = `sum_of_rate{c="5"}` }},
		"a preset":              {set: func(c *Config) { c.Prometheus.URL, c.Prometheus.Preset = "http://p", "django" }},
		"pages":                 {set: func(c *Config) { c.Scrape.Path = "/metrics?a=b" }},
		"off and yet set":       {set: counted, fails: "signals.prometheus.url: is empty"},
		"no address":            {set: func(c *Config) { c.Prometheus.URL = "localhost:9090" }, fails: "signals.prometheus.url: is no address"},
		"a password":            {set: func(c *Config) { c.Prometheus.URL = "http://u:secret@p" }, fails: "signals.prometheus.url: must hold no user"},
		"a query":               {set: func(c *Config) { c.Prometheus.URL = "http://p?x=y" }, fails: "signals.prometheus.url: must hold neither"},
		"relative headers":      {set: func(c *Config) { c.Prometheus.URL, c.Prometheus.HeaderFile = "http://p", "h" }, fails: "header_file: \"h\" must be absolute"},
		"relative ca":           {set: func(c *Config) { c.Prometheus.URL, c.Prometheus.CAFile = "http://p", "h" }, fails: "ca_file: \"h\" must be absolute"},
		"too often":             {set: func(c *Config) { c.Prometheus.URL, c.Prometheus.Every = "http://p", time.Millisecond }, fails: "every: 1ms is below 1s"},
		"no patience":           {set: func(c *Config) { c.Prometheus.URL, c.Prometheus.Timeout = "http://p", 0 }, fails: "timeout: 0s must be above"},
		"too much patience":     {set: func(c *Config) { c.Prometheus.URL, c.Prometheus.Timeout = "http://p", time.Minute }, fails: "timeout: 1m0s must be"},
		"unknown preset":        {set: func(c *Config) { c.Prometheus.URL, c.Prometheus.Preset = "http://p", "rails" }, fails: `preset: "rails" is none of django, http,`},
		"errors alone":          {set: func(c *Config) { c.Prometheus.URL, c.Prometheus.Errors = "http://p", "x" }, fails: "prometheus.requests: is missing"},
		"requests alone":        {set: func(c *Config) { c.Prometheus.URL, c.Prometheus.Requests = "http://p", "x" }, fails: "prometheus.errors: is missing"},
		"fast alone":            {set: func(c *Config) { c.Prometheus.URL, c.Prometheus.Fast = "http://p", "x" }, fails: "prometheus.timed: is missing"},
		"a broken template":     {set: func(c *Config) { c.Prometheus.URL = "http://p"; counted(c); c.Prometheus.Errors = "x{{" }, fails: "prometheus.errors: "},
		"an unknown word":       {set: func(c *Config) { c.Prometheus.URL = "http://p"; counted(c); c.Prometheus.Errors = "{{.Colour}}" }, fails: "there are Color, Project"},
		"an increase":           {set: func(c *Config) { c.Prometheus.URL = "http://p"; counted(c); c.Prometheus.Requests = "increase(x[1m])" }, fails: "prometheus.requests: increase() gives no counts"},
		"a sum":                 {set: func(c *Config) { c.Prometheus.URL = "http://p"; counted(c); c.Prometheus.Requests = "sum by (a) (x)" }, fails: "prometheus.requests: sum() gives no counts"},
		"a service and no page": {set: func(c *Config) { c.Scrape.Service = "api" }, fails: "signals.scrape.path: is empty"},
		"a page elsewhere":      {set: func(c *Config) { c.Scrape.Path = "http://p/metrics" }, fails: "signals.scrape.path: "},
		"a page on a host":      {set: func(c *Config) { c.Scrape.Path = "//p/metrics" }, fails: "signals.scrape.path: "},
		"no metric":             {set: func(c *Config) { c.Scrape.Path, c.Scrape.Requests = "/m", "{}" }, fails: "signals.scrape.requests: "},
		"no failures":           {set: func(c *Config) { c.Scrape.Path, c.Scrape.ErrorWhen = "/m", "" }, fails: "signals.scrape.error_when: "},
		"pages too often":       {set: func(c *Config) { c.Scrape.Path, c.Scrape.Every = "/m", 0 }, fails: "signals.scrape.every: 0s is below 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			config := DefaultConfig()
			c.set(&config)
			err := config.Validate()
			if c.fails == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.fails)
			require.NotContains(t, err.Error(), "secret")
		})
	}
}

func TestSourcesNameWhatTheyCount(t *testing.T) {
	c := DefaultConfig()
	require.Empty(t, c.Prometheus.Counted(time.Second))
	require.Empty(t, c.Scrape.Counted())
	c.Prometheus.URL, c.Prometheus.Preset, c.Scrape.Path = "http://p", "django", "/metrics"
	require.Equal(t, []string{"errors by Prometheus", "slow by Prometheus"}, c.Prometheus.Counted(time.Second))
	require.Equal(t, []string{"errors by Prometheus"}, c.Prometheus.Counted(0))
	require.Equal(t, []string{"errors by /metrics"}, c.Scrape.Counted())
	c.Prometheus.Requests, c.Prometheus.Errors = "own", "failed"
	require.Equal(t, "own", c.Prometheus.withPreset().Requests)
	require.Equal(t, "failed", c.Prometheus.withPreset().Errors)
	require.Contains(t, c.Prometheus.withPreset().Timed, "django")
}

func TestPresetsFilledIn(t *testing.T) {
	f := form{Subject: green, Window: time.Minute, SlowerThan: 750 * time.Millisecond}
	match, err := fill(DefaultConfig().Prometheus.Match, f)
	require.NoError(t, err)
	f.Match = match
	for name, want := range map[string]string{
		"django": `django_http_requests_latency_seconds_by_view_method_bucket{ project="shop-green",` +
			`view!~"prometheus-django-metrics|.*health.*",le=~"0[.]75"}`,
		"http":               `http_request_duration_seconds_count{ project="shop-green",code=~"5.."}`,
		"vts":                `nginx_vts_upstream_requests_total{backend=~"127\\.0\\.0\\.1:28000|\\[::1\\]:28080",code="5xx"}`,
		"nginx-vts-exporter": `nginx_upstream_requests{backend=~"127\\.0\\.0\\.1:28000|\\[::1\\]:28080",code="5xx"}`,
	} {
		text := presets[name].Errors
		if name == "django" {
			text = presets[name].Fast
		}
		got, err := fill(text, f)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.Len(t, presets, 4)
	for preset := range maps.Keys(presets) {
		c := DefaultConfig()
		c.Prometheus.URL, c.Prometheus.Preset = "http://p", preset
		p := c.Prometheus.withPreset() // as if somebody had written it out
		p.Preset = ""
		require.NoError(t, p.Validate(), preset)
	}
}

func TestTemplatesCannotLeaveTheirQuotes(t *testing.T) {
	got, err := fill(`x{release="{{.Release}}"}[{{.Window}}]`, form{Subject: Subject{Release: "v1\"} or vector(0) # \\\n"}, Window: 90 * time.Second})
	require.NoError(t, err)
	require.Equal(t, `x{release="v1\"} or vector(0) # \\\n"}[90s]`, got)
	require.Equal(t, "1([.]0)?", bound(time.Second))
	require.Equal(t, "0[.]8", bound(800*time.Millisecond))
}

func TestSourcesBesideTheLogInOrder(t *testing.T) {
	c := DefaultConfig()
	require.Empty(t, c.Beside(compares(), [2]string{}))
	require.NoError(t, c.CheckFiles())
	c.Prometheus.URL, c.Prometheus.Preset, c.Scrape.Path = "http://127.0.0.1:1", "http", "/metrics"
	require.NoError(t, c.CheckFiles())
	with := compares()
	with.SlowerThan = time.Second
	sources := c.Beside(with, [2]string{"127.0.0.1:1", "127.0.0.1:2"})
	var places []int
	for _, s := range sources {
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, s.Follow(ctx, func(b verdict.Batch) { // what nobody listens to is missing, at the source's own places
			for _, i := range b.Intervals {
				places = append(places, i.Metric-with.First)
				require.Contains(t, i.Missing, "connection refused")
			}
			require.Equal(t, len(b.Intervals), len(s.Missing(epoch, "why").Intervals))
			for n, i := range s.Missing(epoch, "why").Intervals {
				require.Equal(t, verdict.Interval{Metric: b.Intervals[n].Metric, At: epoch, Missing: "why"}, i)
			}
			cancel()
		}))
	}
	require.Equal(t, []int{0, 1, 2}, places)
	require.Len(t, c.Counted(with.SlowerThan), len(places))

	c.Prometheus.HeaderFile = "/nonexistent/header"
	require.ErrorContains(t, c.CheckFiles(), "signals.prometheus.header_file: ")
	require.ErrorContains(t, c.Beside(with, [2]string{})[0].Follow(t.Context(), nil), "signals.prometheus.header_file: ")
}
