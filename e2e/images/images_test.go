package images

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// engine skips the test where no engine answers, unless the real thing is demanded.
func engine(t *testing.T) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput()
	if err == nil {
		return
	}
	if os.Getenv("CUTOVER_REQUIRE_REAL") != "" {
		t.Fatalf("no docker engine answers: %v: %s", err, out)
	}
	t.Skipf("no docker engine answers: %v: %s", err, out)
}

func TestCompile(t *testing.T) {
	out := filepath.Join(t.TempDir(), "app")
	require.NoError(t, Compile(t.Context(), ".", out, Release{Tag: "v1.1.0", FailShare: 0.2, Latency: time.Millisecond, Health: Sick}))
	said, err := exec.CommandContext(t.Context(), out, "-version").Output()
	require.NoError(t, err)
	require.Equal(t, "v1.1.0\n", string(said))

	err = Compile(t.Context(), t.TempDir(), out, Release{Tag: "v1.1.0"})
	require.ErrorContains(t, err, "compile release v1.1.0", "a folder outside of the module")
}

// Two tags are two images; the same tag again is the same image; each is what its release says.
func TestBuild(t *testing.T) {
	engine(t)
	const name = "cutover-images-test"
	good, bad := Release{Tag: "v1.0.0"}, Release{Tag: "v1.1.0", FailShare: 1}
	t.Cleanup(func() { _ = Remove(context.Background(), name, []Release{good, bad}) })
	require.NoError(t, Build(t.Context(), ".", name, []Release{good, bad}))
	first := inspect(t, name+":v1.0.0")
	require.NotEqual(t, first.ID, inspect(t, name+":v1.1.0").ID)
	require.Contains(t, strings.Join(first.Config.Healthcheck.Test, " "), "/app -healthcheck http://")

	require.NoError(t, Build(t.Context(), ".", name, []Release{good}))
	require.Equal(t, first.ID, inspect(t, name+":v1.0.0").ID)

	said, err := exec.CommandContext(t.Context(), "docker", "run", "--rm", "--network=none", name+":v1.1.0", "-version").Output()
	require.NoError(t, err)
	require.Equal(t, "v1.1.0\n", string(said))

	require.NoError(t, Remove(t.Context(), name, []Release{good, bad}))
	require.NoError(t, Remove(t.Context(), name, []Release{good, bad}), "twice is no error")
}

type image struct {
	ID     string `json:"Id"`
	Config struct{ Healthcheck struct{ Test []string } }
}

func inspect(t *testing.T, ref string) image {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", "image", "inspect", ref).Output()
	require.NoError(t, err)
	var found []image
	require.NoError(t, json.Unmarshal(out, &found))
	require.Len(t, found, 1)
	return found[0]
}
