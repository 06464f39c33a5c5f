package main

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/urfave/cli/v2"
)

// tabled is what the table of commands makes of a command line; false where it does not come to cutting back.
func tabled(t *testing.T, i *invocation, args []string) (f backFlags, ok bool) {
	app := i.commands()
	app.Writer, app.ErrWriter = io.Discard, io.Discard
	back := app.Command("back")
	require.NotNil(t, back)
	checks := back.Action
	back.Action = func(c *cli.Context) error {
		ok = c.NArg() == 0 && !(c.Bool("json") && c.Bool("events"))
		f = i.backFlags(c)
		if !ok {
			return checks(c) // tells the mistake
		}
		return nil
	}
	if err := app.RunContext(context.Background(), args); err != nil {
		return backFlags{}, false
	}
	return f, ok
}

var backLines = []struct {
	line string
	// quick tells that the line is read without the table.
	quick bool
}{
	{"back", true},
	{"back --json", true},
	{"back --events --why x", true},
	{"back --app shop --dir /srv/nginx --why slow", true},
	{"back -app=shop -dir=/srv/nginx", true},
	{"--config a.yaml --env=staging back", true},
	{"back --config a.yaml --env staging", true},
	{"back --config= --env=", true},
	{"back --why=--json", true},
	{"back --why a=b", true},
	{"--config a.yaml back --config b.yaml", false},
	{"back --app a --app b", false},
	{"back --json --events", false},
	{"back --json=true", false},
	{"back -json", false},
	{"back --why --json", false},
	{"back --why", false},
	{"back --help", false},
	{"back -h", false},
	{"back --", false},
	{"back now", false},
	{"back back", false},
	{"back --weight 20", false},
	{"--app shop back", false},
	{"--json back", false},
	{"status", false},
	{"help back", false},
	{"", false},
}

// The short way into `back` reads a command line as the table does, or not at all.
func TestBackIsReadAsByTheTable(t *testing.T) {
	for _, c := range backLines {
		for _, environ := range [][]string{nil, {"CUTOVER_CONFIG=/etc/shop.yaml", "CUTOVER_ENV=prod"}} {
			args := append([]string{"cutover"}, strings.Fields(c.line)...)
			i := &invocation{out: &output{stdout: io.Discard, stderr: io.Discard}, environ: environ}
			got, quick := i.typedBack(args)
			require.Equal(t, c.quick, quick, c.line)
			if !quick {
				continue
			}
			want, ok := tabled(t, i, args)
			require.True(t, ok, c.line)
			require.Equal(t, want, got, c.line)
		}
	}
}

func FuzzBackIsReadAsByTheTable(f *testing.F) {
	for _, c := range backLines {
		f.Add(strings.ReplaceAll(c.line, " ", "\n"))
	}
	f.Fuzz(func(t *testing.T, lines string) {
		args := append([]string{"cutover"}, strings.Split(lines, "\n")...)
		i := &invocation{out: &output{stdout: io.Discard, stderr: io.Discard}}
		got, quick := i.typedBack(args)
		if !quick {
			return
		}
		want, ok := tabled(t, i, args)
		require.True(t, ok, "%q", args)
		require.Equal(t, want, got, "%q", args)
	})
}
