package main

import (
	"errors"
	"fmt"

	"cutover/traffic"
	"cutover/traffic/journal"
)

// The exit codes. They are documented and only ever grow.
const (
	exitDone       = 0
	exitUnexpected = 1
	exitUsage      = 2
	exitPreflight  = 3
	exitPolicy     = 4
	exitNotReady   = 5
	exitRefused    = 6
	exitBusy       = 7
	exitReverted   = 8
	exitHeld       = 9
	exitAborted    = 10
	exitUnproven   = 11
)

// exitOfError finds the code for an error that ended a command.
func exitOfError(err error) int {
	if err == nil {
		return exitDone
	}
	if told, ok := errors.AsType[*toldError](err); ok {
		return told.exit
	}
	if _, ok := errors.AsType[*journal.BusyError](err); ok {
		return exitBusy
	}
	switch traffic.KindOf(err) {
	case traffic.Usage:
		return exitUsage
	case traffic.Preflight:
		return exitPreflight
	case traffic.Policy:
		return exitPolicy
	case traffic.NotReady:
		return exitNotReady
	case traffic.Refused:
		return exitRefused
	case traffic.Busy:
		return exitBusy
	case traffic.Unproven:
		return exitUnproven
	}
	if errors.Is(err, traffic.ErrCut) {
		return exitAborted
	}
	return exitUnexpected
}

// exitOfEnding finds the code for a rollout that is over.
func exitOfEnding(r traffic.Rollout) int {
	if r.Unproven != "" {
		return exitUnproven
	}
	switch r.Ending {
	case traffic.Promoted:
		return exitDone
	case traffic.Reverted:
		return exitReverted
	case traffic.Held:
		return exitHeld
	case traffic.Aborted:
		return exitAborted
	case traffic.Declined:
		return exitRefused
	case traffic.Failed:
		return exitNotReady
	}
	return exitUnexpected
}

// toldError ends a command that has told everybody already what it came to; only its exit code is left to be given.
type toldError struct{ exit int }

func (e *toldError) Error() string { return fmt.Sprintf("exit code %d", e.exit) }
