package signal

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"cutover/traffic/verdict"
)

// partLabel marks, in the one query that asks for everything, what each series was asked for.
const partLabel = "cutover_part"

// Comparison is what a source beside the request log needs to know about a rollout.
type Comparison struct {
	// Arms are the two sides, by verdict.Arm.
	Arms [2]Subject
	// SlowerThan is verdict.latency.slower_than; zero where nobody wants to know.
	SlowerThan time.Duration
	// First is the place of the source's first metric in verdict.Beside.Counted; the others follow in the order of its Counted.
	First int
	// Now is the clock, which must be the request log's.
	Now func() time.Time
}

// names are what texts call the arms.
func (c Comparison) names() [2]string {
	return [2]string{verdict.Baseline: c.Arms[verdict.Baseline].Color, verdict.Candidate: c.Arms[verdict.Candidate].Color}
}

// Prometheus counts by counters that a Prometheus has scraped from both colors.
//
// All of it is read by one query at one instant: Prometheus answers that from one state of its data, so that no scrape can come
// between two counters of one page. It is as old as the last scrape of each target.
type Prometheus struct {
	client  *promClient
	every   time.Duration
	match   string
	compare Comparison
	metrics []*promMetric
	query   string
}

// promMetric is one counted metric with what it was asked for in the query.
type promMetric struct {
	counting
	all, part [2]string // values of partLabel, by verdict.Arm; part is empty where all is a native histogram
}

// OpenPrometheus prepares the section's queries for one rollout. The configuration must be valid. Errors name the field.
func OpenPrometheus(cfg PrometheusConfig, c Comparison) (*Prometheus, error) {
	client, err := newPromClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("signals.prometheus.%w", err)
	}
	p := &Prometheus{client: client, every: cfg.Every, match: cfg.Match, compare: c}
	var parts []string
	ask := func(arm verdict.Arm, selector string) (string, error) {
		expression, err := p.Expression(arm, selector)
		if err != nil || expression == "" {
			return "", err
		}
		mark := strconv.Itoa(len(parts) + 1)
		// The line breaks end a comment that the expression may end in.
		parts = append(parts, fmt.Sprintf("label_replace(\n%s\n, %q, %q, \"\", \"\")", expression, partLabel, mark))
		return mark, nil
	}
	for i, m := range cfg.metrics(c.SlowerThan) {
		metric := &promMetric{counting: counting{metric: c.First + i, of: m.of, arms: c.names()}}
		for _, arm := range []verdict.Arm{verdict.Baseline, verdict.Candidate} {
			if metric.all[arm], err = ask(arm, m.all); err == nil {
				metric.part[arm], err = ask(arm, m.part)
			}
			if err != nil {
				return nil, fmt.Errorf("signals.prometheus: the selectors of %s: %w", m.name, err)
			}
		}
		p.metrics = append(p.metrics, metric)
	}
	p.query = strings.Join(parts, "\nor\n")
	return p, nil
}

// Expression fills a template of PromQL in for one arm, as a guard's may be.
func (p *Prometheus) Expression(arm verdict.Arm, text string) (string, error) {
	f := form{Subject: p.compare.Arms[arm], Window: max(time.Minute, 4*p.every), SlowerThan: p.compare.SlowerThan}
	match, err := fill(p.match, f)
	if err != nil {
		return "", fmt.Errorf("match: %w", err)
	}
	f.Match = match
	return fill(text, f)
}

// Value asks what a guard's expression gives now: one number, be it a scalar or a vector of one sample. ErrNoValue where it is
// answered with nothing, or with NaN or an infinity.
func (p *Prometheus) Value(ctx context.Context, expression string) (float64, error) {
	v, err := p.client.query(ctx, expression, p.compare.Now())
	if err == nil {
		var value float64
		if value, err = oneValue(v); err == nil {
			return value, nil
		}
	}
	return 0, fmt.Errorf("prometheus: %w", err)
}

// Follow hands over a batch at each look, with counts or with what is missing, until the context ends; nil then.
// A server that does not answer is no error: it may come back.
func (p *Prometheus) Follow(ctx context.Context, fold func(verdict.Batch)) error {
	defer p.client.transport.CloseIdleConnections()
	if len(p.metrics) == 0 {
		<-ctx.Done()
		return nil
	}
	for _, m := range p.metrics { // the time since an earlier Follow is nobody's
		m.base = snapshot{}
	}
	lookEvery(ctx, p.every, p.look, fold)
	return nil
}

// Missing says of each metric why there are no counts.
func (p *Prometheus) Missing(at time.Time, why string) verdict.Batch {
	b := verdict.Batch{Now: at}
	for _, m := range p.metrics {
		b.Intervals = append(b.Intervals, m.missing(at, "prometheus: "+why))
	}
	return b
}

// look asks once. The batch is empty at the first answer, where the counting begins.
func (p *Prometheus) look(ctx context.Context) verdict.Batch {
	at := p.compare.Now()
	answer, err := p.client.query(ctx, p.query, at)
	if err != nil {
		return p.Missing(at, err.Error())
	}
	b, parts := verdict.Batch{Now: at}, partsOf(answer)
	for _, m := range p.metrics {
		if i, ok := m.read(parts, at, p.compare.SlowerThan); ok {
			b.Intervals = append(b.Intervals, i)
		}
	}
	return b
}

// partsOf sorts an answer by what was asked for, with the labels that the series have of their own.
func partsOf(answer model.Vector) map[string]model.Vector {
	parts := map[string]model.Vector{}
	for _, sample := range answer {
		own := *sample
		own.Metric = maps.Clone(sample.Metric)
		delete(own.Metric, partLabel)
		part := string(sample.Metric[partLabel])
		parts[part] = append(parts[part], &own)
	}
	return parts
}

// read ends the metric's open stretch with what was answered.
func (m *promMetric) read(answer map[string]model.Vector, at time.Time, slowerThan time.Duration) (verdict.Interval, bool) {
	s, ends := snapshot{at: at}, map[float64]bool{}
	for arm := range s.arms {
		if len(answer[m.all[arm]]) == 0 {
			continue
		}
		stand := stand{all: counters{}, part: counters{}}
		if err := m.fillStand(&stand, answer, arm, slowerThan, ends); err != nil {
			return m.missing(at, fmt.Sprintf("prometheus: %s: %v", m.arms[arm], err)), true
		}
		s.arms[arm] = stand
	}
	i, ok := m.take(s)
	if i.Missing != "" {
		i.Missing = "prometheus: " + i.Missing
	}
	return i, ok
}

func (m *promMetric) fillStand(s *stand, answer map[string]model.Vector, arm int, slowerThan time.Duration, ends map[float64]bool) error {
	for _, sample := range answer[m.all[arm]] {
		if m.part[arm] == "" && sample.Histogram != nil {
			if err := s.addSplit(sample, slowerThan, ends); err != nil {
				return err
			}
			continue
		}
		if m.part[arm] == "" {
			return fmt.Errorf("%s is no native histogram, so that signals.prometheus.fast must name its bucket", plainly(sample.Metric.String()))
		}
		if err := s.all.addSample(sample); err != nil {
			return err
		}
	}
	for _, sample := range answer[m.part[arm]] {
		if err := s.part.addSample(sample); err != nil {
			return err
		}
	}
	if m.of == theGood && len(s.part) == 0 {
		return fmt.Errorf("no bucket ends at %v; verdict.latency.slower_than must be one of the histogram's bounds", slowerThan)
	}
	return nil
}

// addSample puts one series of an answer in.
func (c counters) addSample(s *model.Sample) error {
	labels, origin, err := seriesOf(s.Metric)
	if err != nil {
		return err
	}
	if s.Histogram != nil {
		return fmt.Errorf("%s is a native histogram, not a counter", labels)
	}
	return c.add(labels, counter{float64(s.Value), origin})
}
