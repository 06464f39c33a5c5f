package main

import (
	"context"
	"fmt"
	"time"

	"cutover/e2e/load"
)

// cutbackProcess times each way down from its start to its end, and on to its proof where its end is none. Nobody is a user meanwhile.
func (b *bench) cutbackProcess(ctx context.Context) ([]row, error) {
	ways := b.yard.ways()
	took := make([][]float64, len(ways))
	for range yardRounds {
		for n, w := range ways {
			if err := w.up(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			began := time.Now()
			err := w.down(ctx)
			if err == nil && w.proven != nil {
				err = w.proven(ctx)
			}
			took[n] = append(took[n], milliseconds(time.Since(began)))
			if err == nil && w.settled != nil {
				err = w.settled(ctx)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	return beside("cutback_process", "ms", ways, took), nil
}

// cutbackEffect times each way down from its start to the candidate's last answer.
func (b *bench) cutbackEffect(ctx context.Context) ([]row, error) {
	ways := b.yard.ways()
	took := make([][]float64, len(ways))
	for range yardRounds {
		for n, w := range ways {
			if err := w.up(ctx); err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			plan := load.Plan{URL: w.url, Rate: yardRate, Workers: workers}
			seen, err := cut(ctx, plan, func() error { return w.down(ctx) })
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			took[n] = append(took[n], milliseconds(seen.last))
		}
	}
	return beside("cutback_effect", "ms", ways, took), nil
}

// beside sets cutover's median, which is the first way's, beside each rival's: a row for each.
func beside(name, unit string, ways []way, took [][]float64) []row {
	var rows []row
	for n, w := range ways[1:] {
		r := alone(name+w.suffix, unit, median(took[0]), len(took[0]))
		rows = append(rows, r.against(w.name, median(took[n+1])))
	}
	return rows
}
