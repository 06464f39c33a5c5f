package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cutover/traffic"
)

func TestFolded(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"fits in it":              "fits in it",
		"one two three four five": "one two\nthree four\nfive",
		"  → one two three":       "  → one\n  two\n  three",
		"/a/very/long/path":       "/a/very/lo\nng/path",
		"a /very/long/path b":     "a\n/very/long\n/path b",
		"a  b\nc":                 "a  b\nc",
		"äöüß äöüß äöüß":          "äöüß äöüß\näöüß",
	} {
		require.Equal(t, want, folded(text, 10))
		require.Equal(t, text, folded(text, 0))
	}
}

// Whatever is folded fits, and loses nothing but spaces.
func TestFoldedFits(t *testing.T) {
	packed := func(text string) string { return strings.NewReplacer(" ", "", "\n", "").Replace(text) }
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`( {0,12}[a-z/é%]{0,20}\n?){0,12}`).Draw(t, "text")
		columns := rapid.IntRange(4, 50).Draw(t, "columns")
		got := folded(text, columns)
		require.Equal(t, packed(text), packed(got))
		for line := range strings.SplitSeq(got, "\n") {
			require.LessOrEqual(t, utf8.RuneCountInString(line), columns, "%q", got)
		}
	})
}

// An error reaches each kind of reader: people on standard error, programs on standard output, and never both there.
func TestFailed(t *testing.T) {
	err := &traffic.Fault{
		Kind: traffic.Refused, Err: errors.New("nginx refused generation 7"), Hint: "Mend the file.\nThen again.", Detail: []string{"emerg: x"},
	}
	const forThem = "cutover: nginx refused generation 7\n  | emerg: x\n  → Mend the file.\n    Then again.\n"
	for _, row := range []struct {
		format format
		lines  int
	}{{forPeople, 0}, {forScripts, 9}, {forFollower, 1}} {
		var stdout, stderr bytes.Buffer
		o := &output{format: row.format, stdout: &stdout, stderr: &stderr}
		o.failed(err)
		require.Equal(t, forThem, stderr.String())
		require.Equal(t, row.lines, strings.Count(stdout.String(), "\n"), stdout.String())
		if row.lines > 0 {
			var f failure
			require.NoError(t, json.Unmarshal(stdout.Bytes(), &f))
			want := failure{Error: "nginx refused generation 7", Kind: "refused", Hint: err.Hint, Detail: err.Detail, Exit: 6}
			require.Equal(t, want, f)
		}
	}
}
