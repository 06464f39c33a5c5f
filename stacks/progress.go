package stacks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// report is one line of Compose's `--progress json`. Three shapes come in one stream: a resource's progress (ID), the error that
// ended the command (Error), a line of its log (Level). Lines repeat, one for each that waits.
type report struct {
	ID      string `json:"id"`
	Status  string `json:"status"`
	Text    string `json:"text"`
	Details string `json:"details"`

	Error   bool   `json:"error"`
	Message string `json:"message"`

	Level string `json:"level"`
	Msg   string `json:"msg"`
}

// parseReport reads one line; false for anything that is not such an object.
func parseReport(line string) (report, bool) {
	var r report
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		return report{}, false
	}
	return r, r.ID != "" || r.Error || r.Level != ""
}

// news is what the line tells people, and "" where it tells nothing that is over.
func (r report) news() string {
	switch {
	case r.Level == "warning":
		return "warning: " + veil(r.Msg)
	case r.ID != "" && r.Status == "Done":
		return r.ID + ": " + strings.ToLower(r.Text)
	case r.ID != "" && r.Status == "Warning":
		return strings.TrimSpace(r.ID + ": " + r.Text + " " + r.Details)
	}
	return ""
}

// warning finds the message in a line of Compose's own log as it is written without --progress json.
var warning = regexp.MustCompile(`^time="[^"]*" level=(warning|info|debug) msg="(.*)"$`)

// cause finds in Compose's standard error why it failed: its last word in JSON, else what it said of a container, else the last plain
// line that is not a warning. Empty where it said nothing.
func cause(stderr []byte) string {
	var last, resource, plain string
	for line := range bytes.Lines(stderr) {
		text := strings.TrimSpace(string(line))
		r, ok := parseReport(text)
		switch {
		case ok && r.Error:
			last = r.Message
		case ok && r.Status == "Error" && r.Details != "":
			resource = r.ID + ": " + r.Details
		case !ok && text != "" && !warning.MatchString(text):
			plain = text
		}
	}
	for _, found := range []string{last, resource, plain} {
		if found != "" {
			return veil(found)
		}
	}
	return ""
}

// warnings gives the distinct warnings of a plain log, in order.
func warnings(stderr []byte) []string {
	var all []string
	seen := map[string]bool{}
	for line := range bytes.Lines(stderr) {
		m := warning.FindStringSubmatch(strings.TrimSpace(string(line)))
		if m == nil || m[1] != "warning" || seen[m[2]] {
			continue
		}
		seen[m[2]] = true
		all = append(all, veil(strings.ReplaceAll(m[2], `\"`, `"`)))
	}
	return all
}

// unreadable is how Compose complains about a line of an env file: it quotes the line.
var unreadable = regexp.MustCompile(`(failed to read [^:]+: line \d+): .*`)

// veil takes the quoted line of an env file out of a message: it may be a password.
func veil(message string) string { return unreadable.ReplaceAllString(message, "$1 cannot be read") }

// listed is one container as `ps --format json` tells it. Its labels are left out: they are joined by commas that also stand
// inside their values.
type listed struct {
	ID      string `json:"ID"`
	Name    string `json:"Name"`
	Service string `json:"Service"`
	State   string `json:"State"`
	// Health is empty without a health check.
	Health   string `json:"Health"`
	ExitCode int    `json:"ExitCode"`
}

// parseListing reads `ps --format json`: one object a line, or one array, as Compose wrote it before 2.21.
func parseListing(stdout []byte) ([]listed, error) {
	decoder := json.NewDecoder(bytes.NewReader(stdout))
	var all []listed
	for n := 1; ; n++ {
		var raw json.RawMessage
		err := decoder.Decode(&raw)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("compose ps: container %d: %w", n, err)
		}
		var some []listed
		if raw[0] != '[' {
			raw = bytes.Join([][]byte{{'['}, raw, {']'}}, nil)
		}
		if err := json.Unmarshal(raw, &some); err != nil {
			return nil, fmt.Errorf("compose ps: container %d: %w", n, err)
		}
		for _, l := range some {
			if l.ID == "" {
				return nil, fmt.Errorf("compose ps: container %d has no ID", n)
			}
		}
		all = append(all, some...)
	}
}

// tail is the last n lines of a program's output that say something.
func tail(output []byte, n int) []string {
	var lines []string
	for line := range bytes.Lines(output) {
		if text := strings.TrimRight(string(line), "\r\n \t"); text != "" {
			lines = append(lines, veil(text))
		}
	}
	return lines[max(0, len(lines)-n):]
}
