package verdict

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Fraction is a number from 0 to 1 that people write in percent: "0.1%". A bare number is the fraction itself.
type Fraction float64

// ParseFraction reads "0.1%" or "0.001".
func ParseFraction(s string) (Fraction, error) {
	number, percent := strings.CutSuffix(strings.TrimSpace(s), "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || math.IsNaN(f) {
		return 0, fmt.Errorf("%q is not a share such as 0.1%%", s)
	}
	if percent {
		f /= 100
	}
	if f < 0 || f > 1 {
		return 0, fmt.Errorf("%s is outside 0%% to 100%%", s)
	}
	return Fraction(f), nil
}

// String gives the share in percent: "0.1%".
func (f Fraction) String() string {
	return strconv.FormatFloat(math.Round(float64(f)*1e10)/1e8, 'f', -1, 64) + "%"
}

// MarshalYAML writes the share in percent.
func (f Fraction) MarshalYAML() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalYAML reads a share in percent, or a bare fraction.
func (f *Fraction) UnmarshalYAML(b []byte) error {
	parsed, err := ParseFraction(strings.Trim(string(b), "\"' \n"))
	if err != nil {
		return err
	}
	*f = parsed
	return nil
}

// Config is the section verdict of cutover.yaml: what counts as worse, and what is done while nobody can tell.
type Config struct {
	Errors  Errors  `yaml:"errors"`
	Latency Latency `yaml:"latency"`
	Pass    Pass    `yaml:"pass"`
	// FalseRevert bounds the probability that a rollout whose release is no worse than the margins is reverted,
	// however often the judge looks. Above 0, below 1.
	FalseRevert Fraction `yaml:"false_revert"`
	// WarmUp is how long after a raise nothing is counted, for a release that starts cold.
	WarmUp       time.Duration `yaml:"warm_up"`
	Inconclusive Inconclusive  `yaml:"inconclusive"`
	// Routes are judged on their own as well, so that a fault in a small one does not drown in the rest. At most 32.
	Routes []Route `yaml:"routes"`
}

// Route is a part of the application that is judged on its own too: the requests whose path begins with Path. Of several that fit
// the longest counts. One without a Path is a web service as a whole, in so far as no other route fits.
type Route struct {
	Name string `yaml:"name" json:"name"`
	Path string `yaml:"path" json:"path"`
}

// Errors sets how much worse the candidate's error rate must be before it is reverted: above Ratio times the baseline's
// plus WorseBy, or above NeverAbove whatever the baseline does.
type Errors struct {
	Ratio      float64  `yaml:"ratio"`
	WorseBy    Fraction `yaml:"worse_by"`
	NeverAbove Fraction `yaml:"never_above"`
}

// Latency sets how much more often the candidate may be slow before it is reverted: above Ratio times the share of the baseline's
// answers that took longer than SlowerThan, plus WorseBy. At the full share nothing is compared, and only errors count.
type Latency struct {
	// SlowerThan is above the usual time of an answer, as nginx waits for it; zero, the default, leaves slowness out.
	SlowerThan time.Duration `yaml:"slower_than"`
	Ratio      float64       `yaml:"ratio"`
	WorseBy    Fraction      `yaml:"worse_by"`
}

// Pass sets what must be excluded before a step passes: an error rate above 1.5 times the baseline's plus ErrorsWithin, and slow
// answers above twice the baseline's share plus SlowWithin.
type Pass struct {
	ErrorsWithin Fraction `yaml:"errors_within"`
	SlowWithin   Fraction `yaml:"slow_within"`
}

// Then is what a plan does when a step could not be decided in time.
type Then string

// Hold stays for a person, Back cuts back, Proceed goes on without proof.
const (
	Hold    Then = "hold"
	Back    Then = "back"
	Proceed Then = "proceed"
)

// Inconclusive says what happens to a step that is still undecided so long after its share was proven live.
type Inconclusive struct {
	After time.Duration `yaml:"after" json:"after"`
	Then  Then          `yaml:"then" json:"then"`
}

// DefaultConfig is what cutover does when the section is silent.
func DefaultConfig() Config {
	return Config{
		Errors:       Errors{Ratio: 1.25, WorseBy: 0.001, NeverAbove: 0.10},
		Latency:      Latency{Ratio: 1.5, WorseBy: 0.01},
		Pass:         Pass{ErrorsWithin: 0.005, SlowWithin: 0.02},
		FalseRevert:  0.01,
		WarmUp:       10 * time.Second,
		Inconclusive: Inconclusive{After: 30 * time.Minute, Then: Hold},
	}
}

// errorsOnly leaves slow answers out, for who invents requests and knows nothing of how long they take.
func (c Config) errorsOnly() Config {
	c.Latency.SlowerThan = 0
	return c
}

// Validate reports the first value that cannot be meant, by its path under verdict.
func (c Config) Validate() error {
	switch {
	case c.Errors.Ratio < 1:
		return fmt.Errorf("verdict.errors.ratio: %v is below 1: a candidate may always be as bad as stable", c.Errors.Ratio)
	case c.Errors.NeverAbove <= 0:
		return fmt.Errorf("verdict.errors.never_above: must be above 0%%")
	case c.Pass.ErrorsWithin <= 0:
		return fmt.Errorf("verdict.pass.errors_within: must be above 0%%: no amount of traffic proves two rates equal")
	case c.Latency.SlowerThan < 0:
		return fmt.Errorf("verdict.latency.slower_than: %v is negative; 0s leaves slow answers out", c.Latency.SlowerThan)
	case c.Latency.Ratio < 1:
		return fmt.Errorf("verdict.latency.ratio: %v is below 1: a candidate may always be as slow as stable", c.Latency.Ratio)
	case c.Pass.SlowWithin <= 0:
		return fmt.Errorf("verdict.pass.slow_within: must be above 0%%: no amount of traffic proves two rates equal")
	case c.FalseRevert <= 0 || c.FalseRevert >= 1:
		return fmt.Errorf("verdict.false_revert: %v must lie between 0%% and 100%%", c.FalseRevert)
	case c.WarmUp < 0:
		return fmt.Errorf("verdict.warm_up: %v is negative", c.WarmUp)
	case c.Inconclusive.After <= 0:
		return fmt.Errorf("verdict.inconclusive.after: must be above 0s")
	}
	switch c.Inconclusive.Then {
	case Hold, Back, Proceed:
		return c.validateRoutes()
	}
	return fmt.Errorf("verdict.inconclusive.then: %q is none of hold, back, proceed", c.Inconclusive.Then)
}

// mostRoutes keeps a route's share of the error budget, and the cost of a request, within reason.
const mostRoutes = 32

func (c Config) validateRoutes() error {
	if len(c.Routes) > mostRoutes {
		return fmt.Errorf("verdict.routes: %d of them, at most %d can be judged on their own", len(c.Routes), mostRoutes)
	}
	names, paths := map[string]bool{}, map[string]bool{}
	for i, r := range c.Routes {
		switch {
		case r.Name == "":
			return fmt.Errorf("verdict.routes[%d].name: every route needs one", i)
		case names[r.Name]:
			return fmt.Errorf("verdict.routes[%d].name: %q is there twice", i, r.Name)
		case r.Path != "" && !strings.HasPrefix(r.Path, "/"):
			return fmt.Errorf("verdict.routes[%d].path: %q must begin with /", i, r.Path)
		case r.Path != "" && paths[r.Path]:
			return fmt.Errorf("verdict.routes[%d].path: %q is there twice", i, r.Path)
		}
		names[r.Name], paths[r.Path] = true, true
	}
	return nil
}
