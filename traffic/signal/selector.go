package signal

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// selector tells which series of a page count: those of a metric whose labels fit all matchers.
type selector struct {
	name     string
	matchers []matcher
}

// matcher is a demand on one label, as PromQL writes it. A label that is not there is empty.
type matcher struct {
	label string
	fits  func(value string) bool
}

// fitsAll tells whether the labels meet all demands.
func fitsAll(matchers []matcher, label func(name string) string) bool {
	for _, m := range matchers {
		if !m.fits(label(m.label)) {
			return false
		}
	}
	return true
}

// parseSelector reads name or name{label="value",…}.
func parseSelector(text string) (selector, error) {
	name, rest, braced := strings.Cut(strings.TrimSpace(text), "{")
	s := selector{name: strings.TrimSpace(name)}
	if !isName(s.name, ":") {
		return s, fmt.Errorf("%q does not begin with the name of a metric", text)
	}
	if !braced {
		return s, nil
	}
	inside, closed := strings.CutSuffix(rest, "}")
	if !closed {
		return s, fmt.Errorf("%q has no } at its end", text)
	}
	if strings.TrimSpace(inside) == "" {
		return s, nil
	}
	var err error
	s.matchers, err = parseMatchers(inside)
	return s, err
}

// parseMatchers reads label="value" and its kin with !=, =~ and !~, at least one, separated by commas.
func parseMatchers(text string) (matchers []matcher, err error) {
	for rest := strings.TrimSpace(text); ; {
		var m matcher
		if m, rest, err = parseMatcher(rest); err != nil {
			return nil, fmt.Errorf("%q: %w", text, err)
		}
		matchers = append(matchers, m)
		if rest == "" || rest == "," {
			return matchers, nil
		}
		if rest[0] != ',' {
			return nil, fmt.Errorf("%q: a comma is missing before %s", text, rest)
		}
		rest = strings.TrimSpace(rest[1:])
	}
}

func parseMatcher(text string) (m matcher, rest string, err error) {
	end := strings.IndexAny(text, "=!")
	if end < 0 || !isName(strings.TrimSpace(text[:end]), "") {
		return m, "", errors.New(`write it as status=~"5.."`)
	}
	m.label = strings.TrimSpace(text[:end])
	operator := ""
	for _, o := range []string{"=~", "!~", "!=", "="} {
		if strings.HasPrefix(text[end:], o) {
			operator = o
			break
		}
	}
	rest = strings.TrimSpace(text[end+len(operator):])
	literal, err := strconv.QuotedPrefix(rest)
	if operator == "" || err != nil || literal[0] == '\'' {
		return m, "", errors.New(`write it as status=~"5.."`)
	}
	value, err := strconv.Unquote(literal)
	if err != nil {
		return m, "", fmt.Errorf("the value of %s: %w", m.label, err)
	}
	m.fits, err = demand(operator, value)
	return m, strings.TrimSpace(rest[len(literal):]), err
}

func demand(operator, value string) (func(string) bool, error) {
	switch operator {
	case "=":
		return func(s string) bool { return s == value }, nil
	case "!=":
		return func(s string) bool { return s != value }, nil
	}
	pattern, err := regexp.Compile("^(?s:" + value + ")$")
	if err != nil {
		return nil, err
	}
	if operator == "!~" {
		return func(s string) bool { return !pattern.MatchString(s) }, nil
	}
	return pattern.MatchString, nil
}

// isName tells whether the text is a name of a label or, with a colon for more, of a metric.
func isName(s, more string) bool {
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' || strings.ContainsRune(more, r)
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
