package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	source = "e2e/django"
	image  = "cutover-django"
	cache  = ".tools/django" // the base layer's files, so that an engine which forgets its images needs no download
)

// release is one tag: the application with the files of some folders of releases/ laid over it, in order.
type release struct {
	Tag  string
	Over []string
	// made is the image's second name, by what it is made of.
	made string
}

// The releases. The ones that fail branch off from v1.1.0's tables, so that they can stand beside it; v1.2.0 cannot, and a task of
// v1.3.0 is unknown to the workers of all others.
var (
	first       = release{Tag: "v1.0.0"}
	good        = release{Tag: "v1.1.0", Over: []string{"additive"}}
	next        = release{Tag: "v1.1.1", Over: []string{"additive"}}
	destructive = release{Tag: "v1.2.0", Over: []string{"additive", "destructive"}}
	signature   = release{Tag: "v1.3.0", Over: []string{"additive", "signature"}}
	bad         = release{Tag: "v1.4.0", Over: []string{"additive", "errors"}}
	slow        = release{Tag: "v1.5.0", Over: []string{"additive", "slow"}}
)

// buildImages makes the base image and one image for each release, and gives the base's name. What is there already is not made again.
func buildImages(ctx context.Context) (base string, err error) {
	if base, err = buildBase(ctx); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "cutover-django-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	var missing []release
	for _, r := range []release{first, good, next, destructive, signature, bad, slow} {
		sum, err := r.lay(ctx, dir)
		if err != nil {
			return "", fmt.Errorf("release %s: %w", r.Tag, err)
		}
		r.made = image + ":made-" + digest([]byte(base), sum)
		if id := imageID(ctx, r.name()); id == "" || id != imageID(ctx, r.made) {
			missing = append(missing, r)
		}
	}
	if len(missing) == 0 {
		return base, nil
	}
	say("making the images %s, one layer each over the base", image)
	if err := finish(ctx, base, dir); err != nil {
		return "", err
	}
	for _, r := range missing {
		if err := dockerBuild(ctx, filepath.Join(dir, r.Tag), "BASE="+base, r.name(), r.made); err != nil {
			return "", err
		}
	}
	return base, nil
}

// buildBase makes the layer under all images, tagged by what it is made of.
func buildBase(ctx context.Context) (string, error) {
	from := filepath.Join(source, "base")
	sum, err := treeSum(from)
	if err != nil {
		return "", err
	}
	hash := digest(sum)
	base := image + "-base:" + hash
	if imageID(ctx, base) != "" {
		return base, nil
	}
	tar, err := filepath.Abs(filepath.Join(cache, hash+".tar"))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(tar); err != nil {
		say("fetching Debian's Django, Celery, gunicorn, Redis and MariaDB into %s", cache)
		if err := os.RemoveAll(cache); err != nil { // what earlier ones were made of
			return "", err
		}
		if err := quietly(exec.CommandContext(ctx, "sh", filepath.Join(from, "rootfs.sh"), tar)); err != nil {
			return "", fmt.Errorf("base layer: %w", err)
		}
	}
	say("making the image %s of them", base)
	rootfs := image + "-rootfs:" + hash
	if err := quietly(exec.CommandContext(ctx, "docker", "import", "--change", "WORKDIR /srv/app", tar, rootfs)); err != nil {
		return "", err
	}
	return base, dockerBuild(ctx, from, "ROOTFS="+rootfs, base)
}

// lay puts the release's files into the folder dir/TAG, and gives their sum.
func (r release) lay(ctx context.Context, dir string) ([]byte, error) {
	to := filepath.Join(dir, r.Tag)
	folders := []string{"app"}
	for _, over := range r.Over {
		folders = append(folders, filepath.Join("releases", over))
	}
	if err := os.Mkdir(to, 0o755); err != nil {
		return nil, err
	}
	for _, from := range folders { // os.CopyFS replaces no file
		if err := quietly(exec.CommandContext(ctx, "cp", "-R", filepath.Join(source, from)+"/.", to)); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(to, "RELEASE"), []byte(r.Tag+"\n"), 0o644); err != nil {
		return nil, err
	}
	return treeSum(to)
}

// finish collects the static files of each release under their hashed names and compiles its code, in one container for all.
func finish(ctx context.Context, base, dir string) error {
	each := `for release in /releases/*; do cd "$release" && python3 manage.py collectstatic --noinput --verbosity 0 && python3 -m compileall -q . || exit 1; done`
	return quietly(exec.CommandContext(ctx, "docker", "run", "--rm", "--network", "none", "--volume", dir+":/releases", base, "sh", "-c", each))
}

func (r release) name() string { return image + ":" + r.Tag }

// imageID is empty where there is no such image.
func imageID(ctx context.Context, name string) string {
	id, err := output(exec.CommandContext(ctx, "docker", "image", "inspect", "--format", "{{.Id}}", name))
	if err != nil {
		return ""
	}
	return id
}

// treeSum is over the names and contents of all files in the folder.
func treeSum(dir string) ([]byte, error) {
	sum := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintf(sum, "%s %d\n", strings.TrimPrefix(path, dir), len(text))
		sum.Write(text)
		return err
	})
	return sum.Sum(nil), err
}

// digest is a short name for what the parts are.
func digest(parts ...[]byte) string {
	return fmt.Sprintf("%.6x", sha256.Sum256(bytes.Join(parts, nil)))
}

// dockerBuild makes one image with all the names.
func dockerBuild(ctx context.Context, dir, argument string, names ...string) error {
	args := []string{"build", "--quiet", "--build-arg", argument}
	for _, n := range names {
		args = append(args, "--tag", n)
	}
	build := exec.CommandContext(ctx, "docker", append(args, dir)...)
	build.Env = append(os.Environ(), "DOCKER_BUILDKIT=0") // buildx is not everywhere
	if err := quietly(build); err != nil {
		return fmt.Errorf("build image %s: %w", names[0], err)
	}
	return nil
}

// quietly runs the command and shows what it said only in its error.
func quietly(command *exec.Cmd) error {
	_, err := output(command)
	return err
}

// output is what the command printed; its error holds what it complained of.
func output(command *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", command.Args[0], err, bytes.TrimSpace(append(stderr.Bytes(), stdout.Bytes()...)))
	}
	return stdout.String(), nil
}
