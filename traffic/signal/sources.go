package signal

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// leastEvery is the shortest pause between two looks at a source beside the request log.
const leastEvery = time.Second

// PrometheusConfig is signals.prometheus: counters and guards out of a Prometheus, or what answers its HTTP API.
//
// Requests, Errors, Timed and Fast are selectors of counters, such as http_requests_total{project="{{.Project}}"}, asked for each
// color. They are templates over Subject, Window, SlowerThan and Match. No sum() and no rate() is wanted: cutover reads each series
// as it stands and adds up the differences itself, since what rate() and increase() give is stretched to the whole window and no
// count, and in a sum nobody sees that a process began anew.
type PrometheusConfig struct {
	// URL is where the API begins, without /api/v1. Empty turns the source off.
	URL string `yaml:"url"`
	// HeaderFile holds lines such as "Authorization: Bearer …" that each request carries. It is read anew for each request and
	// must not be readable by everybody.
	HeaderFile string `yaml:"header_file"`
	// CAFile holds the certificates, in PEM, that the server's is checked against; empty means those of the host.
	CAFile string `yaml:"ca_file"`
	// Every is how often it is asked. Less than the scrape interval of Prometheus gains nothing.
	Every time.Duration `yaml:"every"`
	// Timeout is how long an answer may take, at most Every.
	Timeout time.Duration `yaml:"timeout"`
	// Preset names ready-made selectors; see Presets. Requests with Errors, and Timed with Fast, take the place of its own.
	Preset string `yaml:"preset"`
	// Match is the part of a preset that tells the colors apart by labels.
	Match string `yaml:"match"`
	// Requests counts the requests of a color, Errors the failing ones among them. A color that has requests and no series of
	// Errors has none; one without Requests has no value.
	Requests string `yaml:"requests"`
	Errors   string `yaml:"errors"`
	// Timed counts the requests whose time was taken, Fast those that took no longer than verdict.latency.slower_than: a
	// histogram's _count, and its _bucket{le=~"{{.SlowerThan}}"}. Where Timed is a native histogram Fast stays empty.
	Timed string `yaml:"timed"`
	Fast  string `yaml:"fast"`
}

// ScrapeConfig is signals.scrape: counters out of the /metrics page of both colors, without a Prometheus.
type ScrapeConfig struct {
	// Path is the page's, at the address of the web service. Empty turns the source off.
	Path string `yaml:"path"`
	// Service is the web service whose addresses are asked; empty means the first.
	Service string `yaml:"service"`
	// Requests is the counter of all requests: its name, with labels in braces where only some of its series count.
	Requests string `yaml:"requests"`
	// ErrorWhen are the labels of those series of Requests that count failing ones.
	ErrorWhen string        `yaml:"error_when"`
	Every     time.Duration `yaml:"every"`
}

// DefaultConfig is the section's values where cutover.yaml is silent: the request log alone.
func DefaultConfig() Config {
	return Config{
		Prometheus: PrometheusConfig{Every: 15 * time.Second, Timeout: 5 * time.Second, Match: `project="{{.Project}}"`},
		Scrape: ScrapeConfig{
			Requests: "django_http_responses_total_by_status_total", ErrorWhen: `status=~"5.."`, Every: 5 * time.Second,
		},
	}
}

// On tells whether there is a Prometheus to ask.
func (c PrometheusConfig) On() bool { return c.URL != "" }

// On tells whether pages are read.
func (c ScrapeConfig) On() bool { return c.Path != "" }

// Counted names the metrics that the source counts, in their order.
func (c PrometheusConfig) Counted(slowerThan time.Duration) (names []string) {
	for _, m := range c.metrics(slowerThan) {
		names = append(names, m.name)
	}
	return names
}

// Counted names the metrics that the source counts, in their order.
func (c ScrapeConfig) Counted() []string {
	if !c.On() {
		return nil
	}
	return []string{"errors by /metrics"}
}

// Counted names all metrics that are counted beside the request log, in the order of verdict.Beside.Counted.
func (c Config) Counted(slowerThan time.Duration) []string {
	return slices.Concat(c.Prometheus.Counted(slowerThan), c.Scrape.Counted())
}

// Beside gives the sources beside the request log that count, their metrics in the order of Counted, from with.First on. The pages
// of signals.scrape are at the two addresses, by verdict.Arm. What is wrong with a file of theirs comes as Missing; CheckFiles says
// it beforehand.
func (c Config) Beside(with Comparison, addresses [2]string) (sources []Beside) {
	if n := len(c.Prometheus.Counted(with.SlowerThan)); n > 0 {
		at := with
		sources = append(sources, unopened{at.First, n, func() (Source, error) { return OpenPrometheus(c.Prometheus, at) }})
		with.First += n
	}
	if n := len(c.Scrape.Counted()); n > 0 {
		sources = append(sources, unopened{with.First, n, func() (Source, error) { return OpenScrape(c.Scrape, addresses, with) }})
	}
	return sources
}

// CheckFiles tells what is wrong with the files that the section names.
func (c Config) CheckFiles() error {
	if c.Prometheus.On() {
		if _, err := OpenPrometheus(c.Prometheus, Comparison{}); err != nil {
			return err
		}
	}
	for i, g := range c.Guards {
		if _, err := (redisLength{g}).password(); err != nil {
			return fmt.Errorf("signals.guards[%d].%w", i, err)
		}
	}
	return nil
}

// countedMetric is a metric of a Prometheus, with the templates of its selectors.
type countedMetric struct {
	name      string
	of        meaning
	all, part string // part is empty where it is in all: a native histogram
}

func (c PrometheusConfig) metrics(slowerThan time.Duration) (all []countedMetric) {
	if !c.On() {
		return nil
	}
	c = c.withPreset()
	if c.Requests != "" {
		all = append(all, countedMetric{"errors by Prometheus", theBad, c.Requests, c.Errors})
	}
	if c.Timed != "" && slowerThan > 0 {
		all = append(all, countedMetric{"slow by Prometheus", theGood, c.Timed, c.Fast})
	}
	return all
}

// Validate reports the first value that cannot be meant, by its path.
func (c PrometheusConfig) Validate() error {
	if err := c.validate(); err != nil {
		return fmt.Errorf("signals.prometheus.%w", err)
	}
	return nil
}

func (c PrometheusConfig) validate() error {
	if !c.On() {
		if c.Preset+c.Requests+c.Errors+c.Timed+c.Fast+c.HeaderFile+c.CAFile != "" {
			return errors.New("url: is empty, so that nothing of this section would be asked")
		}
		return nil
	}
	if err := validateURL(c.URL); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	switch _, known := presets[c.Preset]; {
	case c.HeaderFile != "" && !filepath.IsAbs(c.HeaderFile):
		return fmt.Errorf("header_file: %q must be absolute", c.HeaderFile)
	case c.CAFile != "" && !filepath.IsAbs(c.CAFile):
		return fmt.Errorf("ca_file: %q must be absolute", c.CAFile)
	case c.Every < leastEvery:
		return fmt.Errorf("every: %v is below %v", c.Every, leastEvery)
	case c.Timeout <= 0 || c.Timeout > c.Every:
		return fmt.Errorf("timeout: %v must be above 0s and at most every, %v", c.Timeout, c.Every)
	case c.Preset != "" && !known:
		return fmt.Errorf("preset: %q is none of %s", c.Preset, strings.Join(Presets(), ", "))
	case c.Requests == "" && c.Errors != "":
		return errors.New("requests: is missing: errors alone are no share of anything")
	case c.Requests != "" && c.Errors == "":
		return errors.New("errors: is missing: requests alone tell nothing")
	case c.Timed == "" && c.Fast != "":
		return errors.New("timed: is missing: fast requests alone are no share of anything")
	}
	return c.validateSelectors()
}

func (c PrometheusConfig) validateSelectors() error {
	for _, s := range []struct{ key, text string }{
		{"match", c.Match}, {"requests", c.Requests}, {"errors", c.Errors}, {"timed", c.Timed}, {"fast", c.Fast},
	} {
		if _, err := fill(s.text, form{Subject: Subject{Addresses: []string{"127.0.0.1:1"}}}); err != nil {
			return fmt.Errorf("%s: %w", s.key, err)
		}
		if called := estimates().FindStringSubmatch(quoted().ReplaceAllString(s.text, "")); called != nil && s.key != "match" {
			return fmt.Errorf("%s: %s() gives no counts; write the counters' selector alone, cutover adds up the differences itself",
				s.key, called[1])
		}
	}
	return nil
}

// The patterns are compiled when they are asked for: each start of cutover would pay for them, that of a cutback too.
var (
	estimates = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`\b(rate|irate|increase|delta|idelta|deriv|sum|avg|min|max|count|group|quantile|topk|bottomk` +
			`|(?:sum|avg|min|max|count|quantile|last)_over_time|histogram_[a-z]+)\s*(?:\(|by\b|without\b)`)
	})
	quoted = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'`) })
)

func validateURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return errors.New("is no address such as http://127.0.0.1:9090") // not repeated: there may be a password in it
	case u.User != nil:
		return errors.New("must hold no user and password; header_file can hold an Authorization line")
	case u.RawQuery != "" || u.Fragment != "":
		return errors.New("must hold neither ? nor #")
	}
	return nil
}

// Validate reports the first value that cannot be meant, by its path.
func (c ScrapeConfig) Validate() error {
	if !c.On() {
		if c.Service != "" {
			return errors.New("signals.scrape.path: is empty, so that no page would be read")
		}
		return nil
	}
	if u, err := url.Parse(c.Path); err != nil || !strings.HasPrefix(c.Path, "/") || u.Host != "" || u.Fragment != "" {
		return fmt.Errorf("signals.scrape.path: %q must be the path of a page, such as /metrics", c.Path)
	}
	if _, err := parseSelector(c.Requests); err != nil {
		return fmt.Errorf("signals.scrape.requests: %w", err)
	}
	if _, err := parseMatchers(c.ErrorWhen); err != nil {
		return fmt.Errorf("signals.scrape.error_when: %w", err)
	}
	if c.Every < leastEvery {
		return fmt.Errorf("signals.scrape.every: %v is below %v", c.Every, leastEvery)
	}
	return nil
}
