package main

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

// page is what the command line prints, typed in a folder where nothing is.
func page(t *testing.T, args ...string) string {
	var stdout, stderr bytes.Buffer
	i := &invocation{out: &output{stdout: &stdout, stderr: &stderr, now: time.Now}, now: time.Now, dir: t.TempDir()}
	require.Zero(t, i.run(t.Context(), append([]string{"cutover"}, args...)), stderr.String())
	require.Empty(t, stderr.String())
	return stdout.String()
}

// Each page says in whole sentences what the command does, shows examples that can be typed, and fits a terminal.
func TestHelp(t *testing.T) {
	app := (&invocation{out: &output{}}).commands()
	known := map[string]*cli.Command{}
	for _, c := range app.Commands {
		known[c.Name] = c
	}
	for name, c := range known {
		if c.Hidden {
			continue // nobody types it
		}
		t.Run(name, func(t *testing.T) {
			for line := range strings.Lines(page(t, "help", name)) {
				require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 80, line)
			}
			require.Regexp(t, `^[a-z].*[^.]$`, c.Usage, "a phrase, not a sentence")
			about, examples, found := strings.Cut(c.Description, "\n\nEXAMPLES\n")
			require.True(t, found, "it has no examples")
			require.Regexp(t, `^[A-Z](?s:.*)[.]$`, about, "it says in sentences what it does")
			examples, _, _ = strings.Cut(examples, "\n\n")
			for line := range strings.Lines(examples) {
				canBeTyped(t, known, line)
			}
			for _, f := range c.Flags {
				require.NotContains(t, f.String(), "value", "%s: the placeholder says what is wanted", f)
			}
		})
	}
}

// canBeTyped wants that an example names only commands and flags that there are.
func canBeTyped(t *testing.T, known map[string]*cli.Command, example string) {
	example, _, _ = strings.Cut(example, "  #")
	for _, part := range strings.FieldsFunc(example, func(r rune) bool { return r == '&' || r == '|' }) {
		words := strings.Fields(part)
		if words[0] == "jq" {
			continue
		}
		require.Equal(t, "cutover", words[0])
		c := known[words[1]]
		require.NotNil(t, c, "there is no %s", words[1])
		for _, word := range words[2:] {
			flag, is := strings.CutPrefix(word, "--")
			var names []string
			for _, f := range c.Flags {
				names = append(names, f.Names()...)
			}
			require.True(t, !is || strings.Contains(" "+strings.Join(names, " ")+" ", " "+flag+" "), "%s has no flag --%s", c.Name, flag)
		}
	}
}

// The front page names every command, and every exit code.
func TestHelpFront(t *testing.T) {
	front := page(t, "help")
	for _, c := range (&invocation{out: &output{}}).commands().Commands {
		if c.Hidden {
			continue
		}
		require.Regexp(t, `(?m)^   `+c.Name+`(, h)? +`+c.Usage[:4], front)
	}
	for code := exitDone; code <= exitUnproven; code++ {
		require.Regexp(t, `(?m)^ +`+strconv.Itoa(code)+`  [a-z]`, front)
	}
}
