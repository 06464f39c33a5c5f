package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"cutover/e2e/load"
)

const (
	shiftRounds     = 31
	lossRounds      = 100
	promotionRounds = 10
	// lossRate is that of the clients that send nothing again; with lossWorkers connections each is idle for some milliseconds between
	// two requests, as people's are.
	lossRate    = 500
	lossWorkers = 16
)

// shiftReload times a proven shift of everything, where it takes a reload of nginx, beside the bare reload until its last old answer.
func (b *bench) shiftReload(ctx context.Context) ([]row, error) {
	site, script := b.yard.reload, &b.yard.script
	var ours, theirs []float64
	for range shiftRounds {
		took, err := shifted(ctx, site.URL(), func() error {
			return typed(ctx, site, "shift", "--to", "green", "--weight", "100", "--no-guard")
		})
		if err == nil {
			err = typed(ctx, site, "back")
		}
		if err != nil {
			return nil, fmt.Errorf("cutover shift: %w", err)
		}
		ours = append(ours, milliseconds(took))
		took, err = shifted(ctx, script.url(), func() error { return script.to(ctx, "green") })
		if err == nil {
			err = script.to(ctx, "blue")
		}
		if err == nil {
			err = script.proven(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("the script: %w", err)
		}
		theirs = append(theirs, milliseconds(took))
	}
	const versus = "sed, nginx -t && nginx -s reload, until its last old answer"
	return []row{alone("shift_reload", "ms", median(ours), shiftRounds).against(versus, median(theirs))}, nil
}

// shifted has everything given to the candidate under load. It took until the command's end, or until the last answer of stable where
// that was later.
func shifted(ctx context.Context, url string, up func() error) (time.Duration, error) {
	users, err := load.Start(ctx, at(url))
	if err != nil {
		return 0, err
	}
	defer users.Stop()
	tally := func() load.Tally { return users.Snapshot().Releases[stable.Tag] }
	if err := until(ctx, "stable answered", func() bool { return tally().Answers >= enough }); err != nil {
		return 0, err
	}
	began := time.Now()
	if err := up(); err != nil {
		return 0, err
	}
	ended := time.Now()
	silent := func() bool { return time.Since(ended) > quiet && time.Since(tally().Last) > quiet }
	if err := until(ctx, "stable was silent", silent); err != nil {
		return 0, err
	}
	return max(ended.Sub(began), tally().Last.Sub(began)), nil
}

// lostInShifts counts the requests that plain sockets lose while the candidate gets half and loses it again, over and over; then in
// whole promotions, from one color to the other and back, with what finishes them.
func (b *bench) lostInShifts(ctx context.Context) ([]row, error) {
	ways := b.yard.ways()
	ours, script := ways[0], ways[len(ways)-1]
	var lost []float64
	for _, w := range []way{ours, script} {
		n, err := losses(ctx, w.url, func() error {
			for range lossRounds {
				if err := w.up(ctx); err != nil {
					return err
				}
				if err := w.down(ctx); err != nil {
					return err
				}
				if w.proven == nil {
					continue
				}
				if err := w.proven(ctx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		lost = append(lost, n)
	}
	promoted, err := losses(ctx, ours.url, func() error { return b.promotions(ctx) })
	return []row{
		alone("lost_in_100_shifts", "requests", lost[0], lossRounds).against(script.name, lost[1]),
		alone("lost_in_10_promotions", "requests", promoted, promotionRounds),
	}, err
}

// promotions are finished one by the next, which finds keep_warm over, and the last by whoever asks for its status.
func (b *bench) promotions(ctx context.Context) error {
	site := b.yard.live
	for n := range promotionRounds {
		release := releases[(n+1)%len(releases)]
		// the candidate was cut back a hundred times before
		if err := typed(ctx, site, "promote", "--tag", release.Tag, "--yes", "--wait", "30s", "--again", "--why", "measured"); err != nil {
			return err
		}
	}
	return until(ctx, "the last promotion was finished", func() bool {
		var now struct{ Phase string }
		said, err := site.Cutover(ctx, "status", "--json")
		return err == nil && json.Unmarshal([]byte(said.Stdout), &now) == nil && now.Phase == "idle"
	})
}

// losses counts what clients lost that send nothing again, while the work was done.
func losses(ctx context.Context, url string, work func() error) (float64, error) {
	sockets, err := load.StartSockets(ctx, load.Plan{URL: url, Rate: lossRate, Workers: lossWorkers})
	if err != nil {
		return 0, err
	}
	err = work()
	report := sockets.Stop()
	return float64(len(report.Outcomes) - report.Count(load.Answered)), err
}
