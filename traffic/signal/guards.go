package signal

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cutover/traffic/verdict"
)

const (
	// guardEvery is how often a guard is read where cutover.yaml does not say.
	guardEvery = 5 * time.Second
	// leastPatience is how long a reading may take at least: an engine needs a second for what containers use.
	leastPatience = 5 * time.Second
	// rarestGuard keeps a guard from seeming silent to the judge, which waits a minute, when one reading fails.
	rarestGuard = 20 * time.Second
	// mostGuards bounds what one rollout asks of others all the time.
	mostGuards = 32
)

// GuardConfig is one of signals.guards: a limit on something that cannot be counted by requests. Exactly one of Containers, Redis
// and Prometheus says what is read.
type GuardConfig struct {
	// Name stands in reasons.
	Name string `yaml:"name"`
	// Containers is one of restarts, oom and unhealthy, counted since the candidate's first share, or memory or cpu: what the candidate's
	// web services use, as a part of the most that the old stack's were seen to use since then.
	Containers string `yaml:"containers,omitempty"`
	// Redis is a server with the number of a database, as 127.0.0.1:6379/0, and List the key of a list whose length is read. A list
	// that is not there is an empty one to Redis, so that a misspelt key is never over.
	Redis string `yaml:"redis,omitempty"`
	List  string `yaml:"list,omitempty"`
	// PasswordFile holds the server's password. It is read anew each time and must not be readable by everybody.
	PasswordFile string `yaml:"password_file,omitempty"`
	// Prometheus is an expression that signals.prometheus is asked for, a template as there, filled in for the candidate.
	Prometheus string `yaml:"prometheus,omitempty"`
	// Above is the limit: a number, and of memory and cpu a percentage. Empty means 0 where something is counted.
	Above string `yaml:"above"`
	// For is how long it must be above at each reading.
	For time.Duration `yaml:"for"`
	// Every is how often it is read; zero means 5s.
	Every time.Duration `yaml:"every,omitempty"`
	// Then is what it does: observe, also where it is empty, or revert.
	Then verdict.GuardThen `yaml:"then,omitempty"`
}

// Gauge reads what a guard limits.
type Gauge interface {
	// Read gives the value now, and in words for a person: "412 wait in celery". An error says why there is none.
	Read(ctx context.Context) (value float64, text string, err error)
}

// Guarded gives the guards as the judge knows them, in the order that readings point into.
func (c Config) Guarded() []verdict.Guard {
	guards := make([]verdict.Guard, len(c.Guards))
	for i, g := range c.Guards {
		guards[i] = verdict.Guard{Name: g.Name, For: g.For, Then: g.then()}
	}
	return guards
}

// Guarding gives a source for each guard, in their order. The configuration must be valid. Containers makes the gauge of what a
// guard has under that key; it is not called where no guard has any.
func (c Config) Guarding(with Comparison, containers func(measure string) Gauge) (sources []Beside) {
	for i, g := range c.Guards {
		w := &watch{guard: i, config: g, now: with.Now}
		switch {
		case g.Containers != "":
			w.gauge = containers(g.Containers)
		case g.Redis != "":
			w.gauge = redisLength{g}
		default:
			w.gauge = promGauge{c.Prometheus, with, g.Prometheus}
		}
		sources = append(sources, w)
	}
	return sources
}

func (g GuardConfig) then() verdict.GuardThen {
	if g.Then == "" {
		return verdict.GuardObserve
	}
	return g.Then
}

func (g GuardConfig) every() time.Duration {
	if g.Every == 0 {
		return guardEvery
	}
	return g.Every
}

// patience is how long a reading may take.
func (g GuardConfig) patience() time.Duration { return max(g.every(), leastPatience) }

// limit reads Above, as a part of 1 where it is written in percent.
func (g GuardConfig) limit() (float64, error) {
	if g.Above == "" && g.counts() {
		return 0, nil
	}
	number, percent := strings.CutSuffix(strings.TrimSpace(g.Above), "%")
	limit, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	switch compares := g.compares(); {
	case g.Above == "":
		return 0, errors.New("is missing: above what does it speak?")
	case err != nil || math.IsNaN(limit) || math.IsInf(limit, 0):
		return 0, fmt.Errorf("%q is not a number", g.Above)
	case compares && !percent:
		return 0, fmt.Errorf("%q must be a percentage of what the old stack uses, such as 150%%", g.Above)
	case !compares && percent:
		return 0, fmt.Errorf("%q must be a bare number: there is nothing that it could be a percentage of", g.Above)
	case limit < 0 && g.Prometheus == "":
		return 0, fmt.Errorf("%q is negative, which it is always above", g.Above)
	case percent:
		limit /= 100
	}
	return limit, nil
}

var (
	// countedMeasures and comparedMeasures are what may stand under containers.
	countedMeasures  = []string{"restarts", "oom", "unhealthy"}
	comparedMeasures = []string{"memory", "cpu"}
)

func (g GuardConfig) counts() bool   { return slices.Contains(countedMeasures, g.Containers) }
func (g GuardConfig) compares() bool { return slices.Contains(comparedMeasures, g.Containers) }

// limits is Above as it was written, with its default.
func (g GuardConfig) limits() string {
	if g.Above == "" {
		return "0"
	}
	return strings.TrimSpace(g.Above)
}

func (c Config) validateGuards() error {
	if len(c.Guards) > mostGuards {
		return fmt.Errorf("signals.guards: %d of them; at most %d are read all the time", len(c.Guards), mostGuards)
	}
	names := map[string]bool{}
	for i, g := range c.Guards {
		err := g.validate(c.Prometheus)
		if err == nil && names[g.Name] {
			err = fmt.Errorf("name: %q is there twice", g.Name)
		}
		if err != nil {
			return fmt.Errorf("signals.guards[%d].%w", i, err)
		}
		names[g.Name] = true
	}
	return nil
}

func (g GuardConfig) validate(p PrometheusConfig) error {
	switch {
	case !isGuardName(g.Name):
		return fmt.Errorf("name: %q must be a short name for reasons, such as queue", g.Name)
	case g.For < 0:
		return fmt.Errorf("for: %v is negative", g.For)
	case g.Every != 0 && (g.Every < leastEvery || g.Every > rarestGuard):
		return fmt.Errorf("every: %v must be between %v and %v", g.Every, leastEvery, rarestGuard)
	case g.then() != verdict.GuardObserve && g.then() != verdict.GuardRevert:
		return fmt.Errorf("then: %q is neither observe nor revert", g.Then)
	}
	if err := g.validateKind(p); err != nil {
		return err
	}
	if _, err := g.limit(); err != nil {
		return fmt.Errorf("above: %w", err)
	}
	return nil
}

func (g GuardConfig) validateKind(p PrometheusConfig) error {
	var kinds []string
	for _, kind := range []struct{ key, value string }{{"containers", g.Containers}, {"redis", g.Redis}, {"prometheus", g.Prometheus}} {
		if kind.value != "" {
			kinds = append(kinds, kind.key)
		}
	}
	switch {
	case len(kinds) == 0:
		return fmt.Errorf("name: guard %s reads nothing; it needs containers, redis or prometheus", g.Name)
	case len(kinds) > 1:
		return fmt.Errorf("%s: guard %s has %s too; each guard reads one thing", kinds[1], g.Name, kinds[0])
	case g.Redis == "" && g.List != "":
		return errors.New("list: is a key of a Redis, which redis must name")
	case g.Redis == "" && g.PasswordFile != "":
		return errors.New("password_file: is for a Redis, which redis must name")
	}
	switch kinds[0] {
	case "containers":
		if !g.counts() && !g.compares() {
			return fmt.Errorf("containers: %q is none of %s", g.Containers, strings.Join(slices.Concat(countedMeasures, comparedMeasures), ", "))
		}
		return nil
	case "redis":
		return g.validateRedis()
	}
	if !p.On() {
		return errors.New("prometheus: signals.prometheus.url must say which Prometheus to ask")
	}
	if _, err := fill(g.Prometheus, form{}); err != nil {
		return fmt.Errorf("prometheus: %w", err)
	}
	return nil
}

func (g GuardConfig) validateRedis() error {
	address, _, err := g.redisAt()
	if host, port, wrong := net.SplitHostPort(address); err != nil || wrong != nil || host == "" || port == "" {
		return fmt.Errorf("redis: is no server with a database such as 127.0.0.1:6379/0") // not repeated: there may be a password in it
	}
	switch {
	case g.List == "":
		return errors.New("list: is missing: the key of the list whose length is read, such as celery")
	case g.PasswordFile != "" && !filepath.IsAbs(g.PasswordFile):
		return fmt.Errorf("password_file: %q must be absolute", g.PasswordFile)
	}
	return nil
}

// isGuardName is one word or a few, fit for the middle of a sentence.
func isGuardName(s string) bool {
	fits, _ := regexp.MatchString(`^[\pL\pN][\pL\pN ._-]{0,39}$`, s) // compiled when it is needed: each start would pay for it
	return fits
}

// watch reads one guard's gauge again and again.
type watch struct {
	guard  int // its place in verdict.Beside.Guards
	config GuardConfig
	gauge  Gauge
	now    func() time.Time
}

// Follow hands over a reading at each look, until the context ends; nil then. A gauge that fails is no error: it is missing.
func (w *watch) Follow(ctx context.Context, fold func(verdict.Batch)) error {
	tick := time.NewTicker(w.config.every())
	defer tick.Stop()
	for ctx.Err() == nil {
		b := w.look(ctx)
		if ctx.Err() != nil {
			break
		}
		fold(b)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// Missing says why there is no reading.
func (w *watch) Missing(at time.Time, why string) verdict.Batch {
	return verdict.Batch{Now: at, Readings: []verdict.Reading{{Guard: w.guard, At: at, Missing: plainly(why)}}}
}

// look reads once. The reading is of the moment before it was asked for: what is seen later may belong to a later share.
func (w *watch) look(ctx context.Context) verdict.Batch {
	at := w.now()
	ctx, cancel := context.WithTimeout(ctx, w.config.patience())
	defer cancel()
	value, text, err := w.gauge.Read(ctx)
	limit, wrong := w.config.limit()
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return w.Missing(at, fmt.Sprintf("no answer within %v", w.config.patience()))
	case err != nil:
		return w.Missing(at, err.Error())
	case wrong != nil:
		return w.Missing(at, wrong.Error())
	case math.IsNaN(value) || math.IsInf(value, 0):
		return w.Missing(at, fmt.Sprintf("%v is no number", value))
	}
	r := verdict.Reading{Guard: w.guard, At: at, Over: value > limit}
	r.Text = fmt.Sprintf("%s, not above %s", plainly(text), w.config.limits())
	if r.Over {
		r.Text = fmt.Sprintf("%s, above %s", plainly(text), w.config.limits())
	}
	return verdict.Batch{Now: at, Readings: []verdict.Reading{r}}
}

// promGauge is what an expression gives. It opens the client for each reading: a file of the section may be mended meanwhile.
type promGauge struct {
	config     PrometheusConfig
	compare    Comparison
	expression string
}

// Read asks Prometheus.
func (g promGauge) Read(ctx context.Context) (value float64, text string, err error) {
	p, err := OpenPrometheus(g.config, g.compare)
	if err != nil {
		return 0, "", err
	}
	defer p.client.transport.CloseIdleConnections()
	expression, err := p.Expression(verdict.Candidate, g.expression)
	if err != nil {
		return 0, "", fmt.Errorf("prometheus: %w", err)
	}
	if value, err = p.Value(ctx, expression); err != nil {
		return 0, "", err
	}
	return value, strconv.FormatFloat(value, 'g', 6, 64) + " by Prometheus", nil
}
