package e2e

import (
	"context"
	"testing"
	"time"
)

const (
	// patience bounds every wait: far above what anything takes on a machine that has something else to do.
	patience = 3 * time.Minute
	// lookEvery is the pause between two looks at what is waited for.
	lookEvery = 10 * time.Millisecond
)

// until looks again and again whether something has come about, and fails the scene when it does not.
func until(t *testing.T, what string, come func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for !come() {
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// pass lets time go by that the scene itself is about: a stack that was kept warm for long enough, a log that stays silent.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	over := time.Now().Add(d)
	until(t, "time", func() bool { return time.Now().After(over) })
}
