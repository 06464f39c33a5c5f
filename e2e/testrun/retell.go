package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// long is the number of seconds from which on a passed test is told of, so that a long run shows where it is.
const long = 5

// event is a line of go test -json.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds
}

// narrator turns events into what a person wants to read.
type narrator struct {
	out     io.Writer
	said    map[string]map[string]*strings.Builder // by package and test, of the tests that have not ended
	skipped []string
}

// retell reads events to the end and returns the tests that were skipped. Lines that are no events are passed on.
func retell(events io.Reader, out io.Writer) (skipped []string, err error) {
	n := narrator{out: out, said: map[string]map[string]*strings.Builder{}}
	in := bufio.NewReader(events)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			n.line(line)
		}
		switch {
		case errors.Is(err, io.EOF):
			return n.skipped, nil
		case err != nil:
			return n.skipped, fmt.Errorf("read the events of go test: %w", err)
		}
	}
}

func (n *narrator) line(line []byte) {
	var e event
	if !bytes.HasPrefix(line, []byte("{")) || json.Unmarshal(line, &e) != nil {
		n.out.Write(line)
		return
	}
	switch {
	case e.Action == "build-output":
		io.WriteString(n.out, e.Output)
	case e.Action == "output":
		n.output(e)
	case e.Action == "pass" || e.Action == "fail" || e.Action == "skip":
		n.ended(e)
	}
}

// output is told at once when it is a package's own, and kept until the test has ended when it is a test's.
func (n *narrator) output(e event) {
	switch {
	case strings.HasPrefix(e.Output, "=== "):
	case e.Test != "":
		n.kept(e.Package, e.Test).WriteString(e.Output)
	case e.Output != "PASS\n":
		io.WriteString(n.out, e.Output)
	}
}

func (n *narrator) ended(e event) {
	if e.Test == "" {
		if e.Action == "fail" { // a panic or a timeout ends tests without a word
			for _, test := range slices.Sorted(maps.Keys(n.said[e.Package])) {
				io.WriteString(n.out, n.kept(e.Package, test).String())
			}
		}
		delete(n.said, e.Package)
		return
	}
	switch {
	case e.Action == "skip":
		n.skipped = append(n.skipped, e.Package+"."+e.Test)
		fallthrough
	case e.Action == "fail":
		io.WriteString(n.out, n.kept(e.Package, e.Test).String())
	case e.Elapsed >= long && !strings.Contains(e.Test, "/"):
		fmt.Fprintf(n.out, "--- PASS: %s (%.2fs)\n", e.Test, e.Elapsed)
	}
	delete(n.said[e.Package], e.Test)
}

func (n *narrator) kept(pkg, test string) *strings.Builder {
	if n.said[pkg] == nil {
		n.said[pkg] = map[string]*strings.Builder{}
	}
	if n.said[pkg][test] == nil {
		n.said[pkg][test] = &strings.Builder{}
	}
	return n.said[pkg][test]
}
