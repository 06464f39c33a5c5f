package signal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

const (
	// pageLimit, keptLimit and pageLineLimit bound a page, what is kept of it, and a line, in bytes. Only lines of the metric that is
	// asked for are kept.
	pageLimit     = 16 << 20
	keptLimit     = 2 << 20
	pageLineLimit = 64 << 10
	// processStart is the metric by which one process of an application is told from the next, or from its neighbour.
	processStart = "process_start_time_seconds"
)

// pageReader reads pages for the counters of one selector, and those that fail among them.
type pageReader struct {
	want    selector
	failing []matcher
}

// read reads a whole page, in the text format of Prometheus or in OpenMetrics.
func (p pageReader) read(r io.Reader, mediaType string) (stand, error) {
	lines, typed, err := p.sift(r, mediaType)
	if err != nil {
		return stand{}, err
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(lines))
	if err != nil {
		return stand{}, fmt.Errorf("the page: %s", plainly(err.Error()))
	}
	// A counter that is declared and has no series yet has counted nothing. One that is unknown is no zero.
	if families[p.want.name] == nil && typed == "" {
		return stand{}, fmt.Errorf("the page has no metric %s", p.want.name)
	}
	s := stand{all: counters{}, part: counters{}, process: "one process"}
	if start := families[processStart]; start != nil {
		s.process = "the process of " + strconv.FormatFloat(valueOf(start.Metric[0]), 'f', 2, 64)
	}
	for _, m := range families[p.want.name].GetMetric() {
		if err := p.count(&s, m); err != nil {
			return stand{}, err
		}
	}
	return s, nil
}

// count puts one series in.
func (p pageReader) count(s *stand, m *dto.Metric) error {
	labels := model.Metric{model.MetricNameLabel: model.LabelValue(p.want.name)}
	for _, l := range m.Label {
		labels[model.LabelName(l.GetName())] = model.LabelValue(l.GetValue())
	}
	value := func(name string) string { return string(labels[model.LabelName(name)]) }
	if !fitsAll(p.want.matchers, value) {
		return nil
	}
	text, c := plainly(labels.String()), counter{valueOf(m), s.process}
	if err := s.all.add(text, c); err != nil || !fitsAll(p.failing, value) {
		return err
	}
	return s.part.add(text, c)
}

// valueOf is a sample's value. The lines have no types, since sift keeps none.
func valueOf(m *dto.Metric) float64 { return m.GetUntyped().GetValue() }

// sift keeps the samples that are asked for, and tells the type that the page declares for them; empty where it does not.
// The rest of a page is gone as soon as it is read.
func (p pageReader) sift(r io.Reader, mediaType string) (kept []byte, typed string, err error) {
	limited := &io.LimitedReader{R: r, N: pageLimit + 1}
	lines := bufio.NewReaderSize(limited, pageLineLimit)
	ended := false
	for err == nil {
		var line []byte
		line, err = lines.ReadSlice('\n')
		switch {
		case limited.N <= 0:
			return nil, "", fmt.Errorf("the page is longer than %d MB", pageLimit>>20)
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, "", fmt.Errorf("a line of the page is longer than %d KB", pageLineLimit>>10)
		case err != nil && !errors.Is(err, io.EOF):
			return nil, "", fmt.Errorf("the page broke off: %w", err)
		}
		if len(kept) > keptLimit {
			return nil, "", fmt.Errorf("%s has too many series; choose some by their labels", p.want.name)
		}
		line = bytes.TrimSpace(line)
		ended = ended || string(line) == "# EOF"
		if declared := p.typeOf(line); declared != "" {
			typed = declared
		}
		for _, name := range []string{p.want.name, processStart} {
			if sample, ok := bareSample(line, name); ok {
				kept = append(append(kept, sample...), '\n')
			}
		}
	}
	switch {
	case typed == "gauge" || typed == "histogram" || typed == "summary" || typed == "gaugehistogram":
		return nil, "", fmt.Errorf("%s is a %s, not a counter", p.want.name, typed)
	case !ended && strings.HasSuffix(mediaType, "/openmetrics-text"):
		return nil, "", errors.New("the page broke off: it does not end in # EOF")
	}
	return kept, typed, nil
}

// typeOf is the type that a line declares for the metric; OpenMetrics leaves a counter's _total out of the name there.
func (p pageReader) typeOf(line []byte) string {
	if len(line) == 0 || line[0] != '#' {
		return ""
	}
	words := strings.Fields(string(line[:min(len(line), 1024)]))
	if len(words) < 3 || words[0] != "#" || words[1] != "TYPE" && words[1] != "HELP" {
		return ""
	}
	if words[2] != p.want.name && words[2] != strings.TrimSuffix(p.want.name, "_total") {
		return ""
	}
	if words[1] == "HELP" || len(words) < 4 {
		return "unknown"
	}
	return words[3]
}

// bareSample cuts a sample's line down to name, labels and value: what follows, a time or an exemplar, differs between the formats,
// and neither says how often something happened.
func bareSample(line []byte, name string) ([]byte, bool) {
	if len(line) <= len(name) || string(line[:len(name)]) != name {
		return nil, false
	}
	rest := line[len(name):]
	if rest[0] != '{' && rest[0] != ' ' && rest[0] != '\t' {
		return nil, false
	}
	labels := 0
	if open := bytes.TrimLeft(rest, " \t"); open[0] == '{' {
		labels = len(rest) - len(open) + closing(open)
	}
	value := bytes.Fields(rest[labels:])
	if len(value) == 0 {
		return line, true // for the parser to say what is wrong with it
	}
	bare := append([]byte(name), rest[:labels]...)
	return append(append(bare, ' '), value[0]...), true
}

// closing is how long the labels in braces at the beginning of the text are; all of it where they never end.
func closing(text []byte) int {
	inQuotes := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inQuotes && c == '\\':
			i++
		case c == '"':
			inQuotes = !inQuotes
		case c == '}' && !inQuotes:
			return i + 1
		}
	}
	return len(text)
}
