package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"cutover/e2e/images"
)

const (
	// image is the name of the releases' images.
	image = "cutover-e2e"
	// together is how many scenes are played at the same time. Most of a scene is waiting, and a third of two cores is what one
	// needs; much more than that on a larger machine, and the engine would have no network left to give.
	together = 3
)

// The releases of all scenes. Each stage begins with first on blue.
var (
	first = images.Release{Tag: "v1.0.0"}
	good  = images.Release{Tag: "v1.1.0"}
	bad   = images.Release{Tag: "v1.2.0", FailShare: 0.2}
	dead  = images.Release{Tag: "v1.3.0", FailShare: 1} // healthy to each probe, and fails each page
	sick  = images.Release{Tag: "v1.4.0", Health: images.Sick}
	next  = images.Release{Tag: "v1.5.0"}
	late  = images.Release{Tag: "v1.6.0", Latency: 300 * time.Millisecond}
)

var (
	// lane tells apart the runs that one machine plays at the same time, by CUTOVER_E2E_LANE from 1 to 8: each has its own ports and
	// names, and leaves the images to the others. Zero is the run that is alone.
	lane int
	// binary is the built cutover.
	binary string
	// lacking says why no scene can be played on this machine; empty where all that they need is there.
	lacking string
)

func TestMain(m *testing.M) {
	joinLeash()
	code, err := play(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

// play builds the binary and the images, runs the scenes, and removes both.
func play(ctx context.Context, m *testing.M) (code int, err error) {
	if wanted := os.Getenv("CUTOVER_E2E_LANE"); wanted != "" {
		if lane, err = strconv.Atoi(wanted); err != nil || lane < 0 || lane > 8 {
			return 1, fmt.Errorf("CUTOVER_E2E_LANE=%s: a number from 0 to 8 is wanted", wanted)
		}
	}
	version, err := surroundings(ctx)
	if err != nil {
		if os.Getenv("CUTOVER_REQUIRE_REAL") != "" {
			return 1, err
		}
		lacking = err.Error()
		return m.Run(), nil
	}
	fmt.Println("engine: docker", version)
	dir, err := os.MkdirTemp("", "cutover-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "cutover")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-o", binary, "cutover/cmd/cutover")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build cutover: %w: %s", err, said)
	}
	releases := []images.Release{first, good, bad, dead, sick, next, late}
	if err := images.Build(ctx, ".", image, releases); err != nil {
		return 1, err
	}
	if lane == 0 {
		defer func() { _ = images.Remove(ctx, image, releases) }()
	}
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(together)); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// firstPort is where the lane's addresses begin: a thousand ports each, below those that the kernel gives to clients.
func firstPort() int {
	if lane == 0 {
		return 26000
	}
	return 9500 + 1000*lane
}

// surroundings gives the version of the engine, or says what is missing here.
func surroundings(ctx context.Context) (version string, err error) {
	said, err := exec.CommandContext(ctx, "docker", "version", "--format", "{{.Server.Version}}").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("no docker engine answers: %w: %s", err, said)
	}
	for _, needed := range [][]string{{"docker", "compose", "version"}, {"nginx", "-v"}} {
		if said, err := exec.CommandContext(ctx, needed[0], needed[1:]...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w: %s (make setup installs it, e2e/with-engine.sh finds it)", strings.Join(needed, " "), err, said)
		}
	}
	return strings.TrimSpace(string(said)), nil
}
