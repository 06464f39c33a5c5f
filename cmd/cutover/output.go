package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"cutover/traffic"
)

// format is who reads the output.
type format int

const (
	forPeople   format = iota // lines of text on standard output
	forScripts                // --json: one document on standard output at the end, lines of text on standard error
	forFollower               // --events: one JSON object a line on standard output as things happen, text on standard error
)

// output writes what a command has to say. A lost reader (a closed terminal, `| head`) loses text, never a rollout: errors of
// writing are dropped on purpose.
type output struct {
	format format
	stdout io.Writer
	stderr io.Writer
	now    func() time.Time
}

// text is where lines for people go.
func (o *output) text() io.Writer {
	if o.format == forPeople {
		return o.stdout
	}
	return o.stderr
}

// line writes one line for people.
func (o *output) line(f string, args ...any) { _, _ = fmt.Fprintf(o.text(), f+"\n", args...) }

// stamped writes one line with the time of day and a word for what it is about.
func (o *output) stamped(at time.Time, about, f string, args ...any) {
	o.line("%s  %-11s %s", at.Local().Format(time.TimeOnly), about, fmt.Sprintf(f, args...))
}

// document writes the one JSON document of --json.
func (o *output) document(v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		text = fmt.Appendf(nil, `{"error": %q}`, err)
	}
	_, _ = fmt.Fprintf(o.stdout, "%s\n", text)
}

// event writes one line of --events.
func (o *output) event(v any) {
	if text, err := json.Marshal(v); err == nil && o.format == forFollower {
		_, _ = fmt.Fprintf(o.stdout, "%s\n", text)
	}
}

// failure is an error as --json and --events give it.
type failure struct {
	Error  string   `json:"error"`
	Kind   string   `json:"kind,omitempty"`
	Hint   string   `json:"hint,omitempty"`
	Detail []string `json:"detail,omitempty"`
	Exit   int      `json:"exit"`
}

func failureOf(err error) failure {
	f := failure{Error: err.Error(), Exit: exitOfError(err)}
	if fault, ok := errors.AsType[*traffic.Fault](err); ok {
		f.Kind, f.Hint, f.Detail = string(fault.Kind), fault.Hint, fault.Detail
	}
	return f
}

// failed tells an error to every kind of reader.
func (o *output) failed(err error) {
	f := failureOf(err)
	_, _ = fmt.Fprintf(o.stderr, "cutover: %s\n", f.Error)
	for _, line := range f.Detail {
		_, _ = fmt.Fprintf(o.stderr, "  | %s\n", line)
	}
	if f.Hint != "" {
		_, _ = fmt.Fprintf(o.stderr, "  → %s\n", strings.ReplaceAll(f.Hint, "\n", "\n    "))
	}
	switch o.format {
	case forScripts:
		o.document(f)
	case forFollower:
		o.event(f)
	}
}
