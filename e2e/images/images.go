// Package images makes releases of the demo application: binaries and container images, one per tag, with their faults baked in.
package images

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Release is one tag of the demo application. The zero value of each other field means: nothing is wrong with it.
type Release struct {
	Tag string
	// FailShare is the share of requests for pages that is answered with 500, from 0 to 1, evenly spread.
	FailShare float64
	// Latency is how long a page takes.
	Latency time.Duration
	Health  Health
}

// Health is what a release answers to /healthz.
type Health string

// A release is well, which is the zero Health too, or sick: it never becomes healthy.
const (
	Well Health = "well"
	Sick Health = "sick"
)

// source is the demo application's package.
const source = "cutover/e2e/app"

// Compile builds the release's static binary as the file out. dir is any folder of the module.
func Compile(ctx context.Context, dir, out string, r Release) error {
	health := r.Health
	if health == "" {
		health = Well
	}
	baked := []string{
		"-s", "-w",
		"-X", "main.release=" + r.Tag,
		"-X", "main.failShare=" + strconv.FormatFloat(r.FailShare, 'g', -1, 64),
		"-X", "main.latency=" + r.Latency.String(),
		"-X", "main.health=" + string(health),
	}
	path, err := filepath.Abs(out)
	if err != nil {
		return fmt.Errorf("compile release %s: %w", r.Tag, err)
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(baked, " "), "-o", path, source)
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := quietly(build); err != nil {
		return fmt.Errorf("compile release %s: %w", r.Tag, err)
	}
	return nil
}

// Build makes the images name:tag of all releases in the engine that the docker command talks to, and asks no registry.
// dir is any folder of the module. Unchanged releases come out of the caches with the digests that they had.
func Build(ctx context.Context, dir, name string, releases []Release) error {
	scratch, err := os.MkdirTemp("", "cutover-images-")
	if err != nil {
		return fmt.Errorf("build images %s: %w", name, err)
	}
	defer os.RemoveAll(scratch)
	dockerfile, err := dockerfile(ctx, dir)
	if err != nil {
		return fmt.Errorf("build images %s: %w", name, err)
	}
	for _, r := range releases {
		if err := Compile(ctx, dir, filepath.Join(scratch, "app"), r); err != nil {
			return err
		}
		build := exec.CommandContext(ctx, "docker", "build", "--quiet", "--file", dockerfile, "--tag", name+":"+r.Tag, scratch)
		build.Env = append(os.Environ(), "DOCKER_BUILDKIT=0") // buildx is not everywhere, and FROM scratch does not need it
		if err := quietly(build); err != nil {
			return fmt.Errorf("build image %s:%s: %w", name, r.Tag, err)
		}
	}
	return nil
}

// dockerfile is the path of the one beside the application's source.
func dockerfile(ctx context.Context, dir string) (string, error) {
	list := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", source)
	list.Dir = dir
	found, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("find %s from %s: %w", source, dir, err)
	}
	return filepath.Join(strings.TrimSpace(string(found)), "Dockerfile"), nil
}

// Remove takes the images name:tag of all releases from the engine. Images that are not there are no error. The empty steps that
// all tags share stay in the build cache, because another build may stand on them at this moment.
func Remove(ctx context.Context, name string, releases []Release) error {
	args := []string{"image", "rm", "--force", "--no-prune"}
	for _, r := range releases {
		args = append(args, name+":"+r.Tag)
	}
	if err := quietly(exec.CommandContext(ctx, "docker", args...)); err != nil && !strings.Contains(err.Error(), "No such image") {
		return fmt.Errorf("remove images %s: %w", name, err)
	}
	return nil
}

// quietly runs the command and shows what it said only in its error.
func quietly(command *exec.Cmd) error {
	var said bytes.Buffer
	command.Stdout, command.Stderr = &said, &said
	if err := command.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", command.Args[0], err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}
