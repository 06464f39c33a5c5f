package signal

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"cutover/traffic/verdict"
)

var queueGuard = GuardConfig{Name: "queue", Redis: "127.0.0.1:6379/0", List: "celery", Above: "1000"}

func TestGuardsConfig(t *testing.T) {
	queue := func(set func(*GuardConfig)) GuardConfig {
		g := queueGuard
		set(&g)
		return g
	}
	for name, c := range map[string]struct {
		guards []GuardConfig
		fails  string
	}{
		"none":              {},
		"restarts":          {guards: []GuardConfig{{Name: "crashes", Containers: "restarts", Then: verdict.GuardRevert}}},
		"a few flaps":       {guards: []GuardConfig{{Name: "flaps", Containers: "unhealthy", Above: "2"}}},
		"memory":            {guards: []GuardConfig{{Name: "memory", Containers: "memory", Above: "150%", For: time.Minute}}},
		"a queue":           {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Every = time.Second; g.PasswordFile = "/etc/p" })}},
		"two":               {guards: []GuardConfig{queueGuard, {Name: "long queue", Redis: "[::1]:6379/15", List: "x", Above: "2.5"}}},
		"connections":       {guards: []GuardConfig{{Name: "connections", Prometheus: `max(a{project="{{.Project}}"})`, Above: "150"}}},
		"below zero":        {guards: []GuardConfig{{Name: "free", Prometheus: "-min(x)", Above: "-5"}}},
		"no name":           {guards: []GuardConfig{{Containers: "oom"}}, fails: `signals.guards[0].name: "" must be`},
		"a strange name":    {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Name = "a\nb" })}, fails: `signals.guards[0].name: "a\nb" must be`},
		"twice":             {guards: []GuardConfig{queueGuard, queueGuard}, fails: `signals.guards[1].name: "queue" is there twice`},
		"nothing":           {guards: []GuardConfig{{Name: "x", Above: "1"}}, fails: "signals.guards[0].name: guard x reads nothing"},
		"two kinds":         {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Containers = "oom" })}, fails: "signals.guards[0].redis: guard queue has containers too"},
		"another measure":   {guards: []GuardConfig{{Name: "x", Containers: "disk"}}, fails: `signals.guards[0].containers: "disk" is none of restarts, oom, unhealthy, memory, cpu`},
		"a list alone":      {guards: []GuardConfig{{Name: "x", Containers: "oom", List: "celery"}}, fails: "signals.guards[0].list: "},
		"a password alone":  {guards: []GuardConfig{{Name: "x", Containers: "oom", PasswordFile: "/p"}}, fails: "signals.guards[0].password_file: "},
		"no database":       {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Redis = "127.0.0.1:6379" })}, fails: "signals.guards[0].redis: is no server"},
		"a URL":             {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Redis = "redis://:secret@host:1/0" })}, fails: "signals.guards[0].redis: is no server"},
		"no host":           {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Redis = ":6379/0" })}, fails: "signals.guards[0].redis: is no server"},
		"a negative base":   {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Redis = "h:6379/-1" })}, fails: "signals.guards[0].redis: is no server"},
		"no list":           {guards: []GuardConfig{queue(func(g *GuardConfig) { g.List = "" })}, fails: "signals.guards[0].list: is missing"},
		"relative password": {guards: []GuardConfig{queue(func(g *GuardConfig) { g.PasswordFile = "p" })}, fails: `signals.guards[0].password_file: "p" must be absolute`},
		"no Prometheus":     {guards: []GuardConfig{{Name: "x", Prometheus: "y", Above: "1"}}, fails: "signals.guards[0].prometheus: signals.prometheus.url"},
		"a broken template": {guards: []GuardConfig{{Name: "x", Prometheus: "{{.Colour}}", Above: "1"}}, fails: "signals.guards[0].prometheus: "},
		"no limit":          {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Above = "" })}, fails: "signals.guards[0].above: is missing"},
		"no limit of use":   {guards: []GuardConfig{{Name: "x", Containers: "cpu"}}, fails: "signals.guards[0].above: is missing"},
		"a word":            {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Above = "many" })}, fails: `signals.guards[0].above: "many" is not a number`},
		"not a number":      {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Above = "nan" })}, fails: `signals.guards[0].above: "nan" is not a number`},
		"a queue's percent": {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Above = "5%" })}, fails: `signals.guards[0].above: "5%" must be a bare number`},
		"a bare memory":     {guards: []GuardConfig{{Name: "x", Containers: "memory", Above: "1.5"}}, fails: `signals.guards[0].above: "1.5" must be a percentage`},
		"negative":          {guards: []GuardConfig{{Name: "x", Containers: "oom", Above: "-1"}}, fails: `signals.guards[0].above: "-1" is negative`},
		"negative for":      {guards: []GuardConfig{queue(func(g *GuardConfig) { g.For = -1 })}, fails: "signals.guards[0].for: -1ns is negative"},
		"too often":         {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Every = time.Millisecond })}, fails: "signals.guards[0].every: 1ms must be between"},
		"too rarely":        {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Every = time.Minute })}, fails: "signals.guards[0].every: 1m0s must be between"},
		"another end":       {guards: []GuardConfig{queue(func(g *GuardConfig) { g.Then = "panic" })}, fails: `signals.guards[0].then: "panic" is neither`},
		"too many":          {guards: make([]GuardConfig, 33), fails: "signals.guards: 33 of them"},
	} {
		t.Run(name, func(t *testing.T) {
			config := DefaultConfig()
			if name == "connections" || name == "below zero" || name == "a broken template" {
				config.Prometheus.URL = "http://127.0.0.1:9090"
			}
			config.Guards = c.guards
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

func TestGuardsAreWhatTheJudgeKnows(t *testing.T) {
	c := Config{Guards: []GuardConfig{queueGuard, {Name: "crashes", Containers: "restarts", For: time.Minute, Then: verdict.GuardRevert}}}
	require.Equal(t, []verdict.Guard{
		{Name: "queue", Then: verdict.GuardObserve}, {Name: "crashes", For: time.Minute, Then: verdict.GuardRevert},
	}, c.Guarded())
	var asked []string
	sources := c.Guarding(Comparison{Now: time.Now}, func(measure string) Gauge {
		asked = append(asked, measure)
		return gaugeFunc(nil)
	})
	require.Len(t, sources, 2)
	require.Equal(t, []string{"restarts"}, asked)
	for n, s := range sources {
		require.Equal(t, n, s.Missing(time.Time{}, "x").Readings[0].Guard)
		require.True(t, s.Missing(time.Time{}, "x").Aside())
	}
}

type gaugeFunc func(ctx context.Context) (float64, string, error)

func (f gaugeFunc) Read(ctx context.Context) (float64, string, error) { return f(ctx) }

func TestGuardIsReadAgainAndAgain(t *testing.T) {
	defer goleak.VerifyNone(t)
	seen := []struct {
		value float64
		err   error
		hangs bool
		want  verdict.Reading
	}{
		{value: 3, want: verdict.Reading{Text: "so many wait, not above 1000"}},
		{value: 1000, want: verdict.Reading{Text: "so many wait, not above 1000"}},
		{value: 1001, want: verdict.Reading{Over: true, Text: "so many wait, above 1000"}},
		{value: 1001, err: errors.New("it is\nlost"), want: verdict.Reading{Missing: "it is lost"}},
		{value: 1001, hangs: true, want: verdict.Reading{Missing: "no answer within 5s"}},
		{value: math.NaN(), want: verdict.Reading{Missing: "NaN is no number"}},
		{value: math.Inf(1), want: verdict.Reading{Missing: "+Inf is no number"}},
		{value: 0, want: verdict.Reading{Text: "so many wait, not above 1000"}},
	}
	synctest.Test(t, func(t *testing.T) {
		began, reads := time.Now(), 0
		gauge := gaugeFunc(func(ctx context.Context) (float64, string, error) {
			now := seen[min(reads, len(seen)-1)]
			reads++
			if now.hangs {
				<-ctx.Done()
				return now.value, "", ctx.Err()
			}
			time.Sleep(time.Second) // an answer takes a while, and its reading is of the time before
			return now.value, "so many wait", now.err
		})
		ctx, cancel := context.WithTimeout(t.Context(), 36500*time.Millisecond)
		defer cancel()
		w := &watch{guard: 4, config: queueGuard, gauge: gauge, now: time.Now}
		var got []verdict.Reading
		require.NoError(t, w.Follow(ctx, func(b verdict.Batch) {
			require.True(t, b.Aside())
			got = append(got, b.Readings...)
		}))
		require.Len(t, got, len(seen))
		for n, r := range got {
			want := seen[n].want
			want.Guard, want.At = 4, began.Add(time.Duration(n)*5*time.Second)
			require.Equal(t, want, r, "reading %d", n)
		}
	})
}

// An end in the middle of a reading is neither a value nor a missing one.
func TestGuardEndsWithItsRollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		w := &watch{config: queueGuard, now: time.Now, gauge: gaugeFunc(func(ctx context.Context) (float64, string, error) {
			<-ctx.Done()
			return 0, "", ctx.Err()
		})}
		require.NoError(t, w.Follow(ctx, func(b verdict.Batch) { t.Errorf("told %+v", b) }))
	})
}

// What a gauge tells reaches the judge through the sources' common stream, and decides by its guard.
func TestGuardsReachTheJudge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c := Config{Guards: []GuardConfig{
			{Name: "flaps", Containers: "unhealthy"}, {Name: "crashes", Containers: "restarts", For: 8 * time.Second, Then: verdict.GuardRevert},
		}}
		began := time.Now()
		beside := c.Guarding(Comparison{Now: time.Now}, func(measure string) Gauge {
			return gaugeFunc(func(context.Context) (float64, string, error) {
				if measure == "restarts" && time.Since(began) < 7*time.Second {
					return 0, "no restarts", nil
				}
				return 2, "2 " + measure, nil
			})
		})
		judge := verdict.NewJudgeBeside(verdict.DefaultConfig(), verdict.Beside{Guards: c.Guarded()})
		judge.Shift(began, 0.05)
		var failed time.Duration
		silent := func(int) verdict.Batch { return verdict.Batch{Now: time.Now()} }
		require.NoError(t, Join(time.Now, counts(silent, time.Second), beside...).Follow(ctx, func(b verdict.Batch) {
			if judge.Fold(b); judge.Result().Decision == verdict.Failed {
				failed = time.Since(began)
				cancel()
			}
		}))
		require.Equal(t, 20*time.Second, failed)
		require.Regexp(t, `2 restarts, above 0, for (9|10|11)s, .*guard crashes`, judge.Result().Reason)
	})
}

// A Prometheus guard has no value where the server is not there or the files of its section are wrong, and says so.
func TestGuardByPrometheusMissing(t *testing.T) {
	defer goleak.VerifyNone(t)
	c := DefaultConfig()
	c.Prometheus.URL = "http://127.0.0.1:1"
	c.Guards = []GuardConfig{{Name: "connections", Prometheus: `x{color="{{.Color}}"}`, Above: "1"}}
	require.NoError(t, c.Validate())
	look := func() string {
		w := c.Guarding(Comparison{Now: time.Now, Arms: [2]Subject{verdict.Candidate: green}}, nil)[0].(*watch)
		return w.look(t.Context()).Readings[0].Missing
	}
	require.Contains(t, look(), "connection refused")
	c.Prometheus.HeaderFile = filepath.Join(t.TempDir(), "header")
	require.Contains(t, look(), "header_file: ")
	require.NoError(t, os.WriteFile(c.Prometheus.HeaderFile, []byte("Authorization: Bearer x\n"), 0o600))
	require.Contains(t, look(), "connection refused")
}

// What a real Prometheus answers is a value, or says why there is none.
func TestGuardByARealPrometheus(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte("global: {}\n"), 0o600))
	p := startPrometheus(t, dir)
	defer func() { _ = p.Process.Kill(); _ = p.Wait() }()
	c := DefaultConfig()
	c.Prometheus.URL = fmt.Sprintf("http://127.0.0.1:%d", prometheusPort)
	look := func(expression string) verdict.Reading {
		c.Guards = []GuardConfig{{Name: "connections", Prometheus: expression, Above: "150"}}
		require.NoError(t, c.Validate())
		w := c.Guarding(Comparison{Now: time.Now, Arms: [2]Subject{verdict.Candidate: green}}, nil)[0].(*watch)
		return w.look(t.Context()).Readings[0]
	}
	require.Eventually(t, func() bool { return look("vector(1)").Missing == "" }, 30*time.Second, 100*time.Millisecond)
	r := look(`label_replace(vector(163.5), "color", "{{.Color}}", "", "")`)
	require.True(t, r.Over)
	require.Equal(t, "163.5 by Prometheus, above 150", r.Text)
	require.False(t, look("vector(150)").Over)
	require.Contains(t, look(`mysql_global_status_threads_connected{project="{{.Project}}"}`).Missing, ErrNoValue.Error())
	require.Contains(t, look("vector(0)/0").Missing, "NaN")
	require.Contains(t, look("sum(").Missing, "refuses the query")
}
