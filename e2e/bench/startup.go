package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	startupRounds = 50
	parseRounds   = 5
)

// backStartup times `cutover back` where there is nothing left to cut, by turns with a start of the same binary that does nothing,
// and with the smallest program that there is.
func (b *bench) backStartup(ctx context.Context) ([]row, error) {
	commands := []func() *exec.Cmd{
		func() *exec.Cmd { return b.Command(ctx, "back") },
		func() *exec.Cmd { return b.Command(ctx, "--version") },
		func() *exec.Cmd { return exec.CommandContext(ctx, "/bin/true") },
	}
	took := make([][]float64, len(commands))
	for range startupRounds {
		for n, command := range commands {
			c := command()
			began := time.Now()
			if err := c.Run(); err != nil {
				return nil, fmt.Errorf("%v: %w", c.Args, err)
			}
			took[n] = append(took[n], milliseconds(time.Since(began)))
		}
	}
	ours := alone("back_startup", "ms", median(took[0]), startupRounds)
	beside := ours
	beside.Name += "_beside_version"
	return []row{ours.against("/bin/true", median(took[2])), beside.against("cutover --version", median(took[1]))}, nil
}

// logLines runs the benchmark of what a line costs from the file to the judge's opinion, by turns with decoding it alone: nothing of
// e2e imports an inner package, so their own test binary does.
func (b *bench) logLines(ctx context.Context) ([]row, error) {
	const ours, theirs = "BenchmarkParseAndFold", "BenchmarkEncodingJSON"
	binary := filepath.Join(b.Dir, "signal.test")
	if said, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "cutover/traffic/signal").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the benchmarks: %w: %s", err, said)
	}
	speed := map[string][]float64{}
	for range parseRounds {
		c := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.bench", "^("+ours+"|"+theirs+")$",
			"-test.cpu", "1", "-test.benchtime", "500ms")
		c.Dir = b.Dir
		said, err := c.CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("run the benchmarks: %w: %s", err, said)
		}
		for name, lines := range linesPerSecond(said) {
			speed[name] = append(speed[name], lines)
		}
	}
	if len(speed[ours]) != parseRounds || len(speed[theirs]) != parseRounds {
		return nil, fmt.Errorf("run the benchmarks: not %d results of %s and of %s: %v", parseRounds, ours, theirs, speed)
	}
	r := alone("log_lines", "lines/s", median(speed[ours]), parseRounds)
	return []row{r.against("encoding/json", median(speed[theirs]))}, nil
}

// linesPerSecond reads what benchmarks print, by name. An operation of each is one line of a log.
func linesPerSecond(said []byte) map[string]float64 {
	speed := map[string]float64{}
	for line := range strings.Lines(string(said)) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != "ns/op" {
			continue
		}
		name, _, _ := strings.Cut(fields[0], "-") // the number of cores, where it is not 1
		if each, err := strconv.ParseFloat(fields[2], 64); err == nil && each > 0 {
			speed[name] = 1e9 / each
		}
	}
	return speed
}
