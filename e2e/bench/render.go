package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"cutover/e2e/stage"
)

const (
	routes       = 1000
	renderRounds = 31
)

// render1000 has the first tree of a site with many routes rendered, tested and made current, beside a test of that tree by nginx alone.
func (b *bench) render1000(ctx context.Context) ([]row, error) {
	const front = yardPort + 10
	var config strings.Builder
	config.WriteString("routes:\n")
	for n := range routes {
		fmt.Fprintf(&config, "  - { listen: 127.0.0.1:%d, host: shop.example, path: /p%03d/, service: web }\n", front, n)
	}
	s, err := stage.Build(stage.Options{
		Dir: b.Dir + "/render", Name: "render", Binary: b.Binary, External: true, Routes: true, Config: config.String(),
		Ports: stage.Ports{Front: front, Blue: yardPort, Green: yardPort + 1, Probe: front + 1},
	})
	if err != nil {
		return nil, err
	}
	var ours, theirs []float64
	for range renderRounds {
		if err := errors.Join(os.RemoveAll(s.Root()), os.RemoveAll(s.StateDir())); err != nil {
			return nil, err
		}
		began := time.Now()
		if err := typed(ctx, s, "init", "--stable", "blue", "--tag", stable.Tag); err != nil {
			return nil, err
		}
		ours = append(ours, milliseconds(time.Since(began)))
		began = time.Now()
		if err := quietly(exec.CommandContext(ctx, "nginx", "-q", "-p", s.NginxPrefix(), "-c", s.NginxConf(), "-t")); err != nil {
			return nil, err
		}
		theirs = append(theirs, milliseconds(time.Since(began)))
	}
	return []row{alone("render_1000", "ms", median(ours), renderRounds).against("nginx -t of the same tree", median(theirs))}, nil
}
