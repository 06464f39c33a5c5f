package main

import (
	"bytes"
	"strings"
)

// hint is what `back` takes from a cutover.yaml.
type hint struct {
	app string
	// dir is nginx.dir; empty where the file leaves it to the default.
	dir string
}

// hintIn reads the hint from a file that is written as people and `init` write it, line by line, without a parser: its keys one below
// another, each once, both values plain. It tells false, and knows nothing, wherever that could differ from what the whole file says:
// with overrides, anchors, quotes, values in braces, tabs.
func hintIn(text []byte) (hint, bool) {
	var h hint
	seen := map[string]bool{}
	section, indent := "", 0
	for line := range bytes.Lines(text) {
		content := strings.TrimLeft(string(line), " ")
		depth := len(line) - len(content)
		content = strings.TrimRight(content, "\n")
		if strings.Trim(content, " ") == "" || content[0] == '#' {
			continue
		}
		if depth > 0 && (section != "nginx" || indent > 0 && depth > indent) {
			continue // of another section, or deeper than nginx's keys
		}
		key, value, ok := plainPair(content)
		path := key
		if depth == 0 {
			section, indent = key, 0
		} else {
			ok = ok && (indent == 0 || depth == indent)
			path, indent = section+"."+key, depth
		}
		if !ok || seen[path] || path == "environments" || path == "nginx" && value != "" {
			return hint{}, false
		}
		seen[path] = true
		switch path {
		case "app":
			h.app, ok = value, appName.MatchString(value)
		case "nginx.dir":
			h.dir, ok = value, strings.HasPrefix(value, "/") && !strings.ContainsFunc(value, unplain)
		}
		if !ok {
			return hint{}, false
		}
	}
	if h.app == "" {
		return hint{}, false
	}
	return h, true
}

// plainPair splits a line that says `key: value`, or only `key:`.
func plainPair(line string) (key, value string, ok bool) {
	key, value, ok = strings.Cut(line, ":")
	if !ok || key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") != "" || value != "" && value[0] != ' ' {
		return "", "", false
	}
	if before, _, commented := strings.Cut(value, " #"); commented {
		value = before
	}
	return key, strings.Trim(value, " "), true
}

// unplain tells a letter that may mean something else to YAML than itself.
func unplain(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-", r))
}
