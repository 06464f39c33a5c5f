package e2e_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func withEngine(t *testing.T, command ...string) *exec.Cmd {
	return exec.CommandContext(t.Context(), "bash", append([]string{"with-engine.sh"}, command...)...)
}

func TestWithEngineEndsAsItsCommand(t *testing.T) {
	run := withEngine(t, "sh", "-c", "cat; exit 7")
	run.Stdin = strings.NewReader("what the command reads")
	said, err := run.Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.ExitCode())
	require.Equal(t, "what the command reads", string(said))
}

// A signal that only the script gets reaches the command, and the script waits for what the command still has to do.
func TestWithEngineHandsSignalsOn(t *testing.T) {
	run := withEngine(t, "bash", "-c", `trap 'echo cleaned up; exit 43' TERM; echo ready; while :; do sleep 0.05; done`)
	out, err := run.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, run.Start())
	lines := bufio.NewScanner(out)
	require.True(t, lines.Scan())
	require.Equal(t, "ready", lines.Text())
	require.NoError(t, run.Process.Signal(syscall.SIGTERM))
	require.True(t, lines.Scan())
	require.Equal(t, "cleaned up", lines.Text())
	require.False(t, lines.Scan())
	require.Error(t, run.Wait())
	require.Equal(t, 43, run.ProcessState.ExitCode())
}

// Where no engine answers and the daemon does not start, the command is told so, and nothing of the attempt stays.
func TestWithEngineFallsBackToLocal(t *testing.T) {
	before := engines(t) // these tests may themselves run under a daemon of with-engine.sh
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "dockerd"), []byte("#!/bin/sh\necho no such thing here >&2\nexit 1\n"), 0o755))
	run := withEngine(t, "sh", "-c", `printf '%s %s' "$CUTOVER_ENGINE" "$DOCKER_HOST"`)
	run.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "DOCKER_HOST=unix:///nonexistent/docker.sock")
	var complaint strings.Builder
	run.Stderr = &complaint
	said, err := run.Output()
	require.NoError(t, err, complaint.String())
	require.Equal(t, "local unix:///nonexistent/docker.sock", string(said))
	require.Contains(t, complaint.String(), "local processes then")
	require.Equal(t, before, engines(t))
}

func engines(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("../.tools/engine/*")
	require.NoError(t, err)
	return found
}
