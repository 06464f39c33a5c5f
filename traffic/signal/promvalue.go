package signal

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/prometheus/common/model"
)

// ErrNoValue says that an expression was answered with nothing at all, which is neither zero nor failure.
var ErrNoValue = errors.New("no value")

// apiAnswer is what /api/v1/query says. isPartial is VictoriaMetrics' word for what Prometheus puts into warnings.
type apiAnswer struct {
	Status    string   `json:"status"`
	ErrorType string   `json:"errorType"`
	Error     string   `json:"error"`
	Warnings  []string `json:"warnings"`
	IsPartial bool     `json:"isPartial"`
	Data      struct {
		Type   string          `json:"resultType"`
		Result json.RawMessage `json:"result"`
	} `json:"data"`
}

// parseAnswer reads an answer to an instant query: a vector, in which a scalar is one sample without labels.
// An answer that may lack a part is an error: half the instances look like half the errors.
func parseAnswer(body []byte) (model.Vector, error) {
	var a apiAnswer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("answered what is not the JSON of a query: %s", plainly(err.Error()))
	}
	switch {
	case a.Status == "error":
		return nil, fmt.Errorf("refuses the query: %s: %s", plainly(a.ErrorType), plainly(a.Error))
	case a.Status != "success":
		return nil, fmt.Errorf("answered with the status %q", plainly(a.Status))
	case len(a.Warnings) > 0:
		return nil, fmt.Errorf("warns that its answer may lack something: %s", plainly(a.Warnings[0]))
	case a.IsPartial:
		return nil, errors.New("answered with a part of the data")
	}
	switch a.Data.Type {
	case "vector":
		var v model.Vector
		if err := json.Unmarshal(a.Data.Result, &v); err != nil {
			return nil, fmt.Errorf("answered a vector that cannot be read: %s", plainly(err.Error()))
		}
		for _, sample := range v {
			if sample == nil {
				return nil, errors.New("answered a vector with an empty sample")
			}
		}
		return v, nil
	case "scalar":
		var s model.Scalar
		if err := json.Unmarshal(a.Data.Result, &s); err != nil {
			return nil, fmt.Errorf("answered a scalar that cannot be read: %s", plainly(err.Error()))
		}
		return model.Vector{{Value: s.Value, Timestamp: s.Timestamp}}, nil
	case "matrix":
		return nil, errors.New("the expression gives a matrix, a range of values; leave out the [range], or put a function around it")
	case "string":
		return nil, errors.New("the expression gives a string, not a number")
	}
	return nil, fmt.Errorf("answered a result of the unknown type %q", plainly(a.Data.Type))
}

// oneValue is the number that a guard's expression gives.
func oneValue(v model.Vector) (float64, error) {
	switch {
	case len(v) == 0:
		return 0, ErrNoValue
	case len(v) > 1:
		return 0, fmt.Errorf("the expression gives %d values; put max() or sum() around it", len(v))
	case v[0].Histogram != nil:
		return 0, errors.New("the expression gives a histogram; put histogram_quantile() around it")
	}
	if f := float64(v[0].Value); !math.IsNaN(f) && !math.IsInf(f, 0) {
		return f, nil
	}
	return 0, fmt.Errorf("%w: the expression gives %v", ErrNoValue, v[0].Value)
}

// seriesOf tells a sample's series by its labels, and the target that counts it.
func seriesOf(m model.Metric) (labels, origin string, err error) {
	name := m[model.MetricNameLabel]
	switch {
	case name == "":
		return "", "", fmt.Errorf("%s has no name, so that it is no counter of its own; "+
			"write the counters' selector alone, without functions, cutover adds them up itself", plainly(m.String()))
	case strings.Contains(string(name), ":"):
		return "", "", fmt.Errorf("%s is of a recording rule, which is no counter; ask for the counters themselves", plainly(m.String()))
	}
	if instance, ok := m[model.InstanceLabel]; ok {
		origin = string(m[model.JobLabel]) + " " + string(instance)
	}
	return m.String(), origin, nil
}

// split reads a native histogram: how many it holds, and how many of them are no slower than the limit. Inside of the one bucket that
// holds the limit nobody can tell, so that the limit moves up to its end; zero where no bucket with anything in it does.
func split(h *model.SampleHistogram, limit time.Duration) (all, fast, end float64) {
	for _, b := range h.Buckets {
		if b == nil {
			continue
		}
		switch lower, upper := float64(b.Lower), float64(b.Upper); {
		case upper <= limit.Seconds():
			fast += float64(b.Count)
		case lower < limit.Seconds():
			fast += float64(b.Count)
			end = upper
		}
	}
	return float64(h.Count), fast, end
}

// addSplit puts a native histogram into a stand.
func (s *stand) addSplit(sample *model.Sample, limit time.Duration, ends map[float64]bool) error {
	labels, origin, err := seriesOf(sample.Metric)
	if err != nil {
		return err
	}
	all, fast, end := split(sample.Histogram, limit)
	if end > 0 {
		ends[end] = true
	}
	if len(ends) > 1 {
		return fmt.Errorf("%s has buckets of another width than others at %v, so that slow ones cannot be compared", labels, limit)
	}
	origin += " to " + strconv.FormatFloat(end, 'g', -1, 64)
	if err := s.all.add(labels, counter{all, origin}); err != nil {
		return err
	}
	return s.part.add(labels, counter{fast, origin})
}

// plainly makes what a server said fit for one line of a terminal.
func plainly(s string) string {
	const most = 300
	clean := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(strings.Join(strings.Fields(clean), " ")); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return strings.Join(strings.Fields(clean), " ")
}
