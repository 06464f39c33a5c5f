package signal

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// Subject is what a template may say of one color. In a selector all of it stands in double quotes.
type Subject struct {
	Color   string // blue or green
	Project string // the Compose project: shop-green
	Release string // the tag
	// Addresses are those of the color's web services as nginx knows them, 127.0.0.1:28000; a template gets one pattern of all.
	Addresses []string
}

// form is all that a template sees: its durations as 60s, and as a pattern of the ways to write a bucket's bound.
type form struct {
	Subject
	// Window is how far a guard's rate() should look back: never less than two looks.
	Window time.Duration
	// SlowerThan is verdict.latency.slower_than.
	SlowerThan time.Duration
	Match      string
}

// presets are ready-made selectors.
//
// Their labels are the exporters' own, and Match, by default project="{{.Project}}": Prometheus must put the name of the Compose
// project on each target, by a label in its static_configs or by
// `source_labels: [__meta_docker_container_label_com_docker_compose_project], target_label: project`.
//
//   - django is django-prometheus with both of its middlewares. It leaves out the page of the metrics; health checks whose view has
//     "health" in its name, too. Its counters need prometheus_multiproc where several workers serve.
//   - http is a histogram http_request_duration_seconds with the label code, as many libraries name it.
//   - vts is nginx-module-vts's own page, and nginx-vts-exporter what its exporter makes of it. There the colors are told apart by the
//     backend's address, so that Match is not used. They know no bounded times, only averages. stub_status, which is all that
//     nginx-prometheus-exporter reads of a free nginx, tells neither colors nor statuses.
var presets = map[string]PrometheusConfig{
	"django": {
		Requests: `django_http_responses_total_by_status_view_method_total{ {{.Match}},` + ownViews + `}`,
		Errors:   `django_http_responses_total_by_status_view_method_total{ {{.Match}},` + ownViews + `,status=~"5.."}`,
		Timed:    `django_http_requests_latency_seconds_by_view_method_count{ {{.Match}},` + ownViews + `}`,
		Fast:     `django_http_requests_latency_seconds_by_view_method_bucket{ {{.Match}},` + ownViews + `,le=~"{{.SlowerThan}}"}`,
	},
	"http": {
		Requests: `http_request_duration_seconds_count{ {{.Match}} }`,
		Errors:   `http_request_duration_seconds_count{ {{.Match}},code=~"5.."}`,
		Timed:    `http_request_duration_seconds_count{ {{.Match}} }`,
		Fast:     `http_request_duration_seconds_bucket{ {{.Match}},le=~"{{.SlowerThan}}"}`,
	},
	"vts": {
		Requests: `nginx_vts_upstream_requests_total{backend=~"{{.Addresses}}",code=~"[1-5]xx"}`,
		Errors:   `nginx_vts_upstream_requests_total{backend=~"{{.Addresses}}",code="5xx"}`,
	},
	"nginx-vts-exporter": {
		Requests: `nginx_upstream_requests{backend=~"{{.Addresses}}",code=~"[1-5]xx"}`,
		Errors:   `nginx_upstream_requests{backend=~"{{.Addresses}}",code="5xx"}`,
	},
}

// ownViews leaves out what no user asked for.
const ownViews = `view!~"prometheus-django-metrics|.*health.*"`

// Presets names the ready-made selectors.
func Presets() []string { return slices.Sorted(maps.Keys(presets)) }

// withPreset puts the preset's selectors where none is set. One that counts is never mixed with another's part of it.
func (c PrometheusConfig) withPreset() PrometheusConfig {
	p := presets[c.Preset]
	if c.Requests == "" && c.Errors == "" {
		c.Requests, c.Errors = p.Requests, p.Errors
	}
	if c.Timed == "" && c.Fast == "" {
		c.Timed, c.Fast = p.Timed, p.Fast
	}
	return c
}

// fill makes PromQL of a template.
func fill(text string, f form) (string, error) {
	t, err := template.New("promql").Parse(text)
	if err != nil {
		return "", errors.New(strings.TrimPrefix(err.Error(), "template: promql:"))
	}
	var out strings.Builder
	err = t.Execute(&out, struct{ Color, Project, Release, Addresses, Window, SlowerThan, Match string }{
		within(f.Color), within(f.Project), within(f.Release), within(anyOf(f.Addresses)),
		strconv.FormatInt(max(1, int64(f.Window/time.Second)), 10) + "s", bound(f.SlowerThan), f.Match,
	})
	if err != nil {
		return "", fmt.Errorf("%w; there are Color, Project, Release, Addresses, Window, SlowerThan and Match", err)
	}
	return strings.TrimSpace(out.String()), nil
}

// within makes text that may stand in PromQL's double quotes.
func within(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

func anyOf(addresses []string) string {
	patterns := make([]string, len(addresses))
	for i, a := range addresses {
		patterns[i] = regexp.QuoteMeta(a)
	}
	return strings.Join(patterns, "|")
}

// bound is a pattern without backslashes: 0[.]8 for 800ms, and for 1s both 1, as clients write it, and 1.0, as Prometheus 3 does.
func bound(d time.Duration) string {
	s := strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
	if !strings.Contains(s, ".") {
		return s + "([.]0)?"
	}
	return strings.ReplaceAll(s, ".", "[.]")
}
