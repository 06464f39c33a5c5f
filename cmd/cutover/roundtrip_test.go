package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cutover/nginxconf"
	"cutover/stacks"
	"cutover/traffic"
	"cutover/traffic/verdict"
)

// awkward are texts that YAML could take for something else.
var awkward = []string{
	"", " ", "plain", "5", "05", "0x1f", "1e3", "1_000", ".inf", ".nan", "~", "null", "Null", "yes", "no", "on", "off", "true", "False",
	"- a", "-", "? a", "a: b", "a:", ": a", "a #b", "#b", "{a}", "{{.Tag}}", "[a]", "a, b", "&a", "*a", "!a", "!!str a", "|", ">", "%a", "@a",
	"`a`", `"a"`, `'a'`, `a"b`, `a'b`, `\d+`, `a\`, "a\nb", "a\n", "\na", "a\tb", "\ta", " a", "a ", "<<", "=", "---", "...", "2026-01-02",
	"12:30:45", "ä ö", "日本", "\u00a0", "\u2028", "\x7f", "🙂",
}

func text(t *rapid.T) string {
	parts := rapid.SliceOfN(rapid.SampledFrom(awkward), 1, 3).Draw(t, "text")
	return strings.Join(parts, rapid.SampledFrom([]string{"", " "}).Draw(t, "glue"))
}

func word(t *rapid.T) string { return rapid.StringMatching(`[a-z][a-z0-9_]{0,8}`).Draw(t, "word") }

func duration(t *rapid.T) time.Duration {
	return time.Duration(rapid.Int64Range(1, int64(100*time.Hour)).Draw(t, "duration"))
}

func some[T any](t *rapid.T, each func(*rapid.T) T) []T {
	var all []T
	for range rapid.IntRange(0, 2).Draw(t, "count") {
		all = append(all, each(t))
	}
	return all
}

func table(t *rapid.T) map[string]string {
	all := map[string]string{}
	for range rapid.IntRange(0, 3).Draw(t, "count") {
		all[text(t)] = text(t)
	}
	if len(all) == 0 {
		return nil
	}
	return all
}

func smoke(t *rapid.T) stacks.Test {
	return stacks.Test{Path: "/" + text(t), Host: text(t), Contains: text(t), Status: rapid.IntRange(0, 599).Draw(t, "status")}
}

// anyConfig draws a valid configuration with every key somewhere.
func anyConfig(t *rapid.T) Config {
	c := defaultConfig()
	c.App, c.State = word(t), "/"+text(t)
	for environment, pattern := range table(t) {
		c.Tags[environment] = regexp.QuoteMeta(pattern)
	}
	c.Stacks.Driver = rapid.SampledFrom([]string{stacks.DriverCompose, stacks.DriverExternal}).Draw(t, "driver")
	c.Stacks.Files, c.Stacks.EnvFile = append(some(t, text), text(t)), text(t)
	c.Stacks.Blue = stacks.Slot{Project: "blue", Env: table(t)}
	c.Stacks.Green = stacks.Slot{Project: "green", Env: table(t)}
	c.Stacks.Web = []stacks.Web{{Service: word(t) + "_web", PortVariable: "P", Blue: "127.0.0.1:18000", Green: "[::1]:28000",
		Ready: stacks.Test{Path: "/" + text(t), Host: text(t)}}}
	c.Stacks.Ready = stacks.Ready{Timeout: duration(t), Consecutive: rapid.IntRange(1, 9).Draw(t, "consecutive")}
	c.Stacks.Smoke = some(t, smoke)
	c.Stacks.KeepWarm, c.Stacks.KeepFailed = duration(t), duration(t)
	if c.Stacks.Driver == stacks.DriverCompose {
		c.Stacks.Workers, c.Stacks.Singletons = some(t, text), some(t, text)
		c.Stacks.Hooks.BeforeSwitch = some(t, func(t *rapid.T) stacks.Hook {
			return stacks.Hook{Service: "web", Run: append(some(t, text), text(t)), Timeout: duration(t)}
		})
	}
	c.Nginx.Dir, c.Nginx.Conf, c.Nginx.Binary = "/"+word(t), "/"+word(t), "x"+text(t)
	c.Nginx.Drain = duration(t)
	c.Routes = some(t, func(t *rapid.T) nginxconf.Route {
		return nginxconf.Route{Listen: "80", Host: word(t), Path: "/" + word(t) + "/", Service: c.Stacks.Web[0].Service}
	})
	if len(c.Routes) == 2 && c.Routes[0] == c.Routes[1] {
		c.Routes = c.Routes[:1]
	}
	first := traffic.Weight(rapid.IntRange(1, int(traffic.Full)-1).Draw(t, "weight"))
	c.Rollout = traffic.PlanConfig{
		Steps: []traffic.Step{{Weight: first, Soak: duration(t)}, {Weight: traffic.Full}}, Bake: duration(t),
		Approve: some(t, func(t *rapid.T) traffic.Approval {
			return traffic.Approval{At: rapid.SampledFrom([]string{"start", "100", "100 %"}).Draw(t, "at"), Within: duration(t), Then: verdict.Hold}
		}),
	}
	c.Verdict.Errors.Ratio = rapid.Float64Range(1, 1e6).Draw(t, "ratio")
	share, err := verdict.ParseFraction(fmt.Sprintf("%d.%03d%%", rapid.IntRange(1, 99).Draw(t, "percent"), rapid.IntRange(0, 999).Draw(t, "rest")))
	require.NoError(t, err)
	c.Verdict.FalseRevert = share
	c.Verdict.WarmUp = duration(t)
	c.Verdict.Inconclusive = verdict.Inconclusive{After: duration(t), Then: verdict.Proceed}
	c.Signals.AccessLog.Path = "/" + text(t)
	return c
}

// What `cutover config` prints is a cutover.yaml that says the same.
func TestPrintedConfigSaysTheSame(t *testing.T) {
	path := filepath.Join(t.TempDir(), configName)
	rapid.Check(t, func(t *rapid.T) {
		c := anyConfig(t)
		if len(c.mistakes()) > 0 {
			t.Skip("not a valid one")
		}
		printed := c.yaml()
		require.NoError(t, os.WriteFile(path, []byte(printed), 0o644))
		again, err := loadConfig(path, "")
		require.NoError(t, err, "%s", printed)
		require.Equal(t, c, again, "%s", printed)

		var document bytes.Buffer
		i := invocation{out: &output{format: forScripts, stdout: &document}}
		require.NoError(t, i.printConfig(c))
		var inJSON struct {
			Stacks  struct{ Blue stacks.Slot }
			Signals struct {
				Log struct{ Path string } `json:"access_log"`
			}
		}
		require.NoError(t, json.Unmarshal(document.Bytes(), &inJSON), "%s", &document)
		require.Equal(t, c.Signals.AccessLog.Path, inJSON.Signals.Log.Path)
		if len(c.Stacks.Blue.Env) > 0 {
			require.Equal(t, c.Stacks.Blue.Env, inJSON.Stacks.Blue.Env)
		}
	})
}

// Every key can be read from a file: no type of a section is beyond what a value can be.
func TestEveryKeyCanBeRead(t *testing.T) {
	samples := []string{"1", "1s", "true", "a"}
	var visit func(path string, v reflect.Value)
	visit = func(path string, v reflect.Value) {
		if v.Type() == reflect.TypeFor[ast.Node]() {
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for field, value := range v.Fields() {
				require.NotEmpty(t, yamlName(field), "%s.%s has no name in cutover.yaml", path, field.Name)
				visit(path+"."+yamlName(field), value)
			}
			return
		case reflect.Slice, reflect.Map:
			visit(path+"[]", reflect.New(v.Type().Elem()).Elem())
			return
		}
		var err error
		for _, sample := range samples {
			if err = setScalar(v, sample); err == nil {
				return
			}
		}
		require.NoError(t, err, path)
	}
	var c Config
	visit("", reflect.ValueOf(&c).Elem())
}

// Nothing that stands in a file makes the program fall over, and whatever loads can be printed and loads again.
func FuzzConfig(f *testing.F) {
	files, err := filepath.Glob("testdata/config/*.txtar")
	require.NoError(f, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		_, text = cutLine(text, "-- cutover.yaml --\n")
		text, _ = cutLine(text, "-- want --\n")
		f.Add(text, "staging")
	}
	for _, text := range []string{"\x00\xff\xfe\x01\x80", "\x7fELF\x02\x01\x01\x00\x00", "a: &a {<<: *a}", "&a *a", "? [a]: b", "- - -", "%YAML 1.2", "{"} {
		f.Add([]byte(text), "")
	}
	path := filepath.Join(f.TempDir(), configName)
	f.Fuzz(func(t *testing.T, text []byte, environment string) {
		require.NoError(t, os.WriteFile(path, text, 0o644))
		c, err := loadConfig(path, environment)
		if err != nil {
			require.Equal(t, traffic.Usage, traffic.KindOf(err))
			return
		}
		printed := c.yaml()
		require.NoError(t, os.WriteFile(path, []byte(printed), 0o644))
		_, err = loadConfig(path, "")
		require.NoError(t, err, "%s", printed)
	})
}

// cutLine is strings.Cut, but gives all where there is nothing to cut at: before, and after.
func cutLine(text []byte, at string) (before, after []byte) {
	head, tail, found := strings.Cut(string(text), at)
	if !found {
		return text, text
	}
	return []byte(head), []byte(tail)
}
