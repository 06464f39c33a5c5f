package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"cutover/traffic"
)

// lookAtLog tells whether nginx has a place to write its lines to. That they come is what the requests show.
func (d *checkup) lookAtLog() finding {
	path := d.config.accessLog()
	fault := func(hint, f string, args ...any) error {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf(f, args...), Hint: hint}
	}
	const what = "access log"
	folder, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return look(what, "", fault("nginx would not start: make the folder.", "its folder: %w", err))
	}
	if !folder.IsDir() {
		return look(what, "", fault("nginx would not start: set signals.access_log.path to another one.", "%s is no folder", filepath.Dir(path)))
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return look(what, "", fault("The judge reads it from its end: it must be a file. Move this away, then `nginx -s reopen`.", "%s is no regular file", path))
	}
	return finding{What: what, Level: fine, Says: path}
}

// largeLog is a size at which nobody can have meant to keep it all.
const largeLog = 1 << 30

// lookAtRotation tells whether logrotate, whose configuration lies below the root, turns the log.
func (d *checkup) lookAtRotation(root string) finding {
	const what = "rotation"
	path := d.config.accessLog()
	if by := rotatedBy(root, path); by != "" {
		return finding{What: what, Level: fine, Says: "by " + by}
	}
	f := finding{What: what, Level: warning, Says: fmt.Sprintf("nothing in logrotate's configuration turns %s, which has %s now", path, bytesText(uint64(sizeOf(path))))}
	if sizeOf(path) >= largeLog {
		f.Says += ": it will fill the disk"
	}
	f.Remedy = fmt.Sprintf("Write /etc/logrotate.d/cutover-%s:\n%s {\n    daily\n    rotate 14\n    missingok\n    compress\n    delaycompress\n    sharedscripts\n    postrotate\n        %s -s reopen\n    endscript\n}",
		d.config.App, path, d.config.Nginx.Binary)
	return f
}

// rotatedBy names the file below the root in which logrotate is told to turn the log; empty where there is none.
func rotatedBy(root, log string) string {
	files := []string{filepath.Join(root, "/etc/logrotate.conf")}
	for n := 0; n < len(files); n++ { // it grows by what is included
		patterns, includes := logrotated(files[n])
		for _, pattern := range patterns {
			if matched, err := filepath.Match(pattern, log); err == nil && matched {
				return strings.TrimPrefix(files[n], strings.TrimSuffix(root, "/"))
			}
		}
		for _, include := range includes {
			include = filepath.Join(root, include)
			inside, _ := filepath.Glob(filepath.Join(include, "*")) // of a file there are none
			for _, path := range append(inside, include) {
				if !slices.Contains(files, path) {
					files = append(files, path)
				}
			}
		}
	}
	return ""
}

// logName is one name of several in a line.
var logName = regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`)

// scriptNames are the words after which lines are for a shell until endscript.
var scriptNames = []string{"postrotate", "prerotate", "firstaction", "lastaction", "preremove"}

// logrotated reads the logs that one of logrotate's files turns, and what it includes. A file that cannot be read has none.
func logrotated(path string) (patterns, includes []string) {
	file, err := os.Open(path)
	if err != nil {
		return nil, nil
	}
	defer file.Close()
	inBlock, inScript := false, false
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case inScript:
			inScript = word != "endscript"
		case strings.HasPrefix(line, "#"):
		case inBlock:
			inScript = slices.Contains(scriptNames, word)
			inBlock = !strings.HasPrefix(line, "}")
		case word == "include":
			includes = append(includes, strings.Trim(strings.TrimSpace(rest), `"'`))
		case strings.HasPrefix(line, "/") || strings.HasPrefix(line, `"`) || strings.HasPrefix(line, "'") || strings.HasPrefix(line, "{"):
			names, after, opened := strings.Cut(line, "{")
			for _, name := range logName.FindAllString(names, -1) {
				patterns = append(patterns, strings.Trim(name, `"'`))
			}
			inBlock = opened && !strings.Contains(after, "}")
		}
	}
	return patterns, includes
}
