package main

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/stacks"
)

func shell(script string) stacks.Command {
	return stacks.Command{Argv: []string{"sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}, Dir: "/"}
}

func TestProgramsAreHeard(t *testing.T) {
	var heard []string
	c := shell(`printf 'one\r\ntwo\nhalf' >&2; echo out; exit 7`)
	c.Line = func(line string) { heard = append(heard, line) }
	out, err := runProgram(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, stacks.Output{Stdout: []byte("out\n"), Stderr: []byte("one\r\ntwo\nhalf"), Exit: 7}, out)
	require.Equal(t, []string{"one", "two"}, heard)
}

// A program that leaves a child behind which holds its output has ended when it has ended, and one that never stops talking costs
// no more memory than is kept.
func TestProgramsDoNotHoldTheirCaller(t *testing.T) {
	t.Parallel()
	out, err := runProgram(t.Context(), shell(`sleep 25 & echo done`))
	require.NoError(t, err)
	require.Equal(t, "done\n", string(out.Stdout))

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	out, err = runProgram(ctx, shell(`yes`))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Len(t, out.Stdout, keptOutput)
}
