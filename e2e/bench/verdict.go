package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// characteristics has the judge hear thousands of made-up rollouts beside the rules of others. It leaves all tables in verdict.txt, and
// gives the rows that its own test writes: nothing of e2e imports an inner package.
func (b *bench) characteristics(ctx context.Context) ([]row, error) {
	binary, file := filepath.Join(b.Dir, "verdict.test"), filepath.Join(b.Dir, "verdict.json")
	if said, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "cutover/traffic/verdict").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the simulation: %w: %s", err, said)
	}
	c := exec.CommandContext(ctx, binary, "-test.run", "^$", "-test.bench", "^BenchmarkCharacteristics$", "-test.benchtime", "1x",
		"-characteristics", file)
	c.Dir = b.Dir
	said, err := c.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run the simulation: %w: %s", err, said)
	}
	if err := os.WriteFile(filepath.Join(b.Dir, "verdict.txt"), said, 0o644); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var rows []row
	if err := json.Unmarshal(text, &rows); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for i := range rows {
		rows[i].Ours, rows[i].Theirs, rows[i].Ratio = rounded(rows[i].Ours), rounded(rows[i].Theirs), rounded(rows[i].Ratio)
	}
	return rows, nil
}
