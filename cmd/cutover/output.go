package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

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
	// columns is where lines for people are broken, between words; zero means nowhere.
	columns int
}

// loosen lets nothing that is said from now on wait for a reader.
func (o *output) loosen() {
	aside := func(lines int) string { return fmt.Sprintf("(%d lines were dropped: nobody read them)\n", lines) }
	lost := map[format]func(int) string{
		forPeople:   aside,
		forScripts:  func(int) string { return "" }, // there is only the one document
		forFollower: func(lines int) string { return fmt.Sprintf("{\"event\":\"lines-dropped\",\"lines\":%d}\n", lines) },
	}
	if s, ok := o.stdout.(*stream); ok {
		s.loosen(lost[o.format])
	}
	if s, ok := o.stderr.(*stream); ok {
		s.loosen(aside)
	}
}

// end hands the readers what they have not taken yet.
func (o *output) end() {
	var waiting sync.WaitGroup
	for _, to := range []io.Writer{o.stdout, o.stderr} {
		if s, ok := to.(*stream); ok {
			waiting.Go(func() { s.end(readerPatience) })
		}
	}
	waiting.Wait()
}

// text is where lines for people go.
func (o *output) text() io.Writer {
	if o.format == forPeople {
		return o.stdout
	}
	return o.stderr
}

// line writes one line for people.
func (o *output) line(f string, args ...any) { o.tell(o.text(), fmt.Sprintf(f, args...)) }

// aside writes one line for people to standard error.
func (o *output) aside(f string, args ...any) { o.tell(o.stderr, fmt.Sprintf(f, args...)) }

func (o *output) tell(to io.Writer, text string) { _, _ = fmt.Fprintln(to, folded(text, o.columns)) }

// stamped writes one line with the time of day and a word for what it is about.
func (o *output) stamped(at time.Time, about, f string, args ...any) {
	o.line("%s  %-11s %s", at.Local().Format(time.TimeOnly), about, fmt.Sprintf(f, args...))
}

// result hands programs what a command came to: the one document of --json, or the last line of --events.
func (o *output) result(v any) {
	switch o.format {
	case forScripts:
		text, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			text = fmt.Appendf(nil, `{"error": %q}`, err)
		}
		_, _ = fmt.Fprintf(o.stdout, "%s\n", text)
	case forFollower:
		o.event(v)
	}
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
	o.explain(err)
	o.result(failureOf(err))
}

// explain tells an error to people.
func (o *output) explain(err error) {
	f := failureOf(err)
	o.aside("cutover: %s", strings.ReplaceAll(f.Error, "\n", "\n  "))
	for _, line := range f.Detail {
		o.aside("  | %s", line)
	}
	if f.Hint != "" {
		o.aside("  → %s", strings.ReplaceAll(f.Hint, "\n", "\n    "))
	}
}

// folded breaks the lines of a text between words so that they fit the columns, and a word that is longer anywhere.
func folded(text string, columns int) string {
	if columns == 0 {
		return text
	}
	var lines []string
	for line := range strings.SplitSeq(strings.ToValidUTF8(text, string(utf8.RuneError)), "\n") { // its parts are measured in letters
		indent := line[:min(len(line)-len(strings.TrimLeft(line, " ")), columns/2)]
		for utf8.RuneCountInString(line) > columns {
			runes := []rune(line)
			end := strings.LastIndexByte(string(runes[:columns+1]), ' ')
			if end < 0 || strings.TrimSpace(line[:end]) == "" {
				end = len(string(runes[:columns]))
			}
			lines = append(lines, line[:end])
			line = indent + strings.TrimLeft(line[end:], " ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
