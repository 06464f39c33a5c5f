package verdict

import (
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

func TestParseFraction(t *testing.T) {
	for in, want := range map[string]Fraction{"0.1%": 0.001, " 10 % ": 0.1, "0.001": 0.001, "0": 0, "100%": 1, "1": 1} {
		got, err := ParseFraction(in)
		require.NoError(t, err, in)
		require.InDelta(t, float64(want), float64(got), 1e-15, in)
	}
	for _, in := range []string{"", "%", "many", "101%", "-1%", "1.5", "NaN", "0.1%%"} {
		_, err := ParseFraction(in)
		require.Error(t, err, in)
	}
}

func TestConfigInYAML(t *testing.T) {
	want := DefaultConfig()
	want.Routes = []Route{{Name: "checkout", Path: "/api/checkout/"}}
	written, err := yaml.Marshal(want)
	require.NoError(t, err)
	for _, line := range []string{"ratio: 1.25", "worse_by: 0.1%", "never_above: 10%", "errors_within: 0.5%", "false_revert: 1%", "warm_up: 10s", "after: 30m0s", "then: hold", "path: /api/checkout/"} {
		require.Contains(t, string(written), line)
	}
	var read Config
	require.NoError(t, yaml.Unmarshal(written, &read))
	require.Equal(t, want, read)
}

func TestValidateNamesTheField(t *testing.T) {
	require.NoError(t, DefaultConfig().Validate())
	for field, spoil := range map[string]func(*Config){
		"verdict.errors.ratio":       func(c *Config) { c.Errors.Ratio = 0.9 },
		"verdict.errors.never_above": func(c *Config) { c.Errors.NeverAbove = 0 },
		"verdict.pass.errors_within": func(c *Config) { c.Pass.ErrorsWithin = 0 },
		"verdict.false_revert":       func(c *Config) { c.FalseRevert = 1 },
		"verdict.warm_up":            func(c *Config) { c.WarmUp = -time.Second },
		"verdict.inconclusive.after": func(c *Config) { c.Inconclusive.After = 0 },
		"verdict.inconclusive.then":  func(c *Config) { c.Inconclusive.Then = "guess" },
		"verdict.routes[0].name":     func(c *Config) { c.Routes = []Route{{Path: "/a"}} },
		"verdict.routes[1].name":     func(c *Config) { c.Routes = []Route{{Name: "a", Path: "/a"}, {Name: "a", Path: "/b"}} },
		"verdict.routes[0].path":     func(c *Config) { c.Routes = []Route{{Name: "a", Path: "a"}} },
		"verdict.routes[1].path":     func(c *Config) { c.Routes = []Route{{Name: "a", Path: "/a"}, {Name: "b", Path: "/a"}} },
		"verdict.routes":             func(c *Config) { c.Routes = make([]Route, mostRoutes+1) },
	} {
		c := DefaultConfig()
		c.Routes = []Route{{Name: "web"}, {Name: "api"}, {Name: "checkout", Path: "/checkout"}}
		require.NoError(t, c.Validate(), "two services without a path are two routes")
		spoil(&c)
		require.ErrorContains(t, c.Validate(), field+":")
	}
}
