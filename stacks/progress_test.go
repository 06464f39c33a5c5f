package stacks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGoldenProgress shows what people are told of real output of Compose, and what it says was the cause.
func TestGoldenProgress(t *testing.T) {
	files, err := filepath.Glob("testdata/compose/up-*.jsonl")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			var got strings.Builder
			told := map[string]bool{}
			for line := range bytes.Lines(data) {
				r, ok := parseReport(string(line))
				require.True(t, ok, "%s", line)
				if news := r.news(); news != "" && !told[news] {
					told[news] = true
					fmt.Fprintln(&got, news)
				}
			}
			fmt.Fprintf(&got, "cause: %s\n", cause(data))
			golden(t, strings.TrimSuffix(file, ".jsonl")+".golden", got.String())
		})
	}
}

func TestGoldenListing(t *testing.T) {
	for _, name := range []string{"ps", "ps-unhealthy"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata/compose", name)
			data, err := os.ReadFile(file + ".jsonl")
			require.NoError(t, err)
			all, err := parseListing(data)
			require.NoError(t, err)
			var got strings.Builder
			for _, l := range all {
				fmt.Fprintf(&got, "%s %s %s %s %q %d\n", l.ID, l.Name, l.Service, l.State, l.Health, l.ExitCode)
			}
			golden(t, file+".golden", got.String())

			lines := bytes.Split(bytes.TrimSpace(data), []byte{'\n'})
			array, err := parseListing(append(append([]byte{'['}, bytes.Join(lines, []byte{','})...), ']'))
			require.NoError(t, err)
			require.Equal(t, all, array, "an older Compose writes one array")
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

func TestCauseInPlainText(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		`time="2026-11-23T17:07:40Z" level=warning msg="The \"TAG\" variable is not set. Defaulting to a blank string."` + "\n": "",
		"time=\"x\" level=warning msg=\"y\"\nnetwork nope declared as external, but could not be found\n":                       "network nope declared as external, but could not be found",
		`{"level":"warning","msg":"orphans","time":"x"}` + "\n" + `{"error":true,"message":"no such service: x"}`:               "no such service: x",
		`{"id":"Container a","status":"Error","text":"Error","details":"unhealthy"}`:                                            "Container a: unhealthy",
		"failed to read /srv/.env: line 2: unexpected character \"!\" in variable name \"DB!PASSWORD=hunter2\"":                 "failed to read /srv/.env: line 2 cannot be read",
	} {
		require.Equal(t, want, cause([]byte(text)), text)
	}
	require.Equal(t, []string{`The "TAG" variable is not set.`}, warnings([]byte(strings.Repeat(`time="x" level=warning msg="The \"TAG\" variable is not set."`+"\n", 2))))
}

func seed(f *testing.F, pattern string) {
	files, err := filepath.Glob(pattern)
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
}

func FuzzProgress(f *testing.F) {
	seed(f, "testdata/compose/up-*.jsonl")
	f.Fuzz(func(t *testing.T, data []byte) {
		require.NotContains(t, cause(data), "\n", "one line, or nothing")
		for line := range bytes.Lines(data) {
			r, ok := parseReport(string(line))
			require.True(t, ok || r == report{} || r.news() == "", "%s", line)
		}
		require.LessOrEqual(t, len(tail(data, 3)), 3)
	})
}

func FuzzListing(f *testing.F) {
	seed(f, "testdata/compose/ps*.jsonl")
	f.Add([]byte("[]"))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, err := parseListing(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(append([]listed{}, all...))
		require.NoError(t, err)
		same, err := parseListing(again)
		require.NoError(t, err)
		require.ElementsMatch(t, all, same)
	})
}
