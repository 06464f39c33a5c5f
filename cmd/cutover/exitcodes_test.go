package main

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
	"cutover/traffic/journal"
)

// The codes are promised to scripts: they only ever grow.
func TestExitOfError(t *testing.T) {
	fault := func(k traffic.Kind) error { return &traffic.Fault{Kind: k, Err: errors.New("x")} }
	for _, row := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing", nil, 0},
		{"anything else", errors.New("x"), 1},
		{"a fault of no kind", fault(""), 1},
		{"usage", fault(traffic.Usage), 2},
		{"preflight", fault(traffic.Preflight), 3},
		{"policy", fault(traffic.Policy), 4},
		{"not ready", fault(traffic.NotReady), 5},
		{"refused", fault(traffic.Refused), 6},
		{"busy", fault(traffic.Busy), 7},
		{"unproven", fault(traffic.Unproven), 11},
		{"wrapped", fmt.Errorf("stack: %w", fault(traffic.NotReady)), 5},
		{"joined", errors.Join(errors.New("y"), fault(traffic.Refused)), 6},
		{"the first of two faults", errors.Join(fault(traffic.Unproven), fault(traffic.Preflight)), 11},
		{"a held lock", fmt.Errorf("up: %w", &journal.BusyError{}), 7},
		{"cut back before it began", fmt.Errorf("open rollout 000017: %w", traffic.ErrCut), 10},
		{"told already", &toldError{exitReverted}, 8},
	} {
		require.Equal(t, row.want, exitOfError(row.err), row.name)
	}
}

func TestExitOfEnding(t *testing.T) {
	for ending, want := range map[traffic.Ending]int{
		traffic.Promoted: 0, traffic.Failed: 5, traffic.Declined: 6, traffic.Reverted: 8, traffic.Held: 9, traffic.Aborted: 10, "": 1,
	} {
		require.Equal(t, want, exitOfEnding(traffic.Rollout{Ending: ending}), ending)
		unproven := traffic.Rollout{Ending: ending, Unproven: "nginx does not answer"}
		require.Equal(t, 11, exitOfEnding(unproven), "%s, and nobody knows who has the traffic", ending)
	}
}
