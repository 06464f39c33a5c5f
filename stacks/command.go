package stacks

import (
	"context"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"

	"cutover/traffic"
)

// progress is how Compose reports what it does, on standard error.
type progress string

const (
	progressJSON  progress = "json"
	progressQuiet progress = "quiet"
)

// compose runs one subcommand of Compose on the stack's project.
// An error means that Compose could not be run; what it answered is in the output.
func (c *Compose) compose(ctx context.Context, s stack, p progress, line func(string), args ...string) (Output, error) {
	out, err := c.Run(ctx, Command{Argv: c.argv(s, p, args...), Env: c.environment(s), Dir: c.Dir, Line: line})
	switch {
	case err == nil:
		return out, nil
	case ctx.Err() != nil:
		return out, fmt.Errorf("%s: compose %s: %w", s.color, args[0], ctx.Err())
	}
	return out, &traffic.Fault{
		Kind: traffic.Preflight,
		Err:  fmt.Errorf("%s could not be run: %w", strings.Join(c.Compose, " "), err),
		Hint: "Install Docker Compose v2 (Debian, Ubuntu: docker-compose-plugin or docker-compose-v2).",
	}
}

// argv names everything that Compose would else guess from its surroundings.
func (c *Compose) argv(s stack, p progress, args ...string) []string {
	argv := slices.Clone(c.Compose)
	argv = append(argv, "--progress", string(p), "-p", s.project, "--project-directory", c.Dir)
	for _, f := range c.Config.Files {
		argv = append(argv, "-f", c.path(f))
	}
	if c.Config.EnvFile != "" {
		argv = append(argv, "--env-file", c.path(c.Config.EnvFile))
	}
	return append(argv, args...)
}

// environment is all that Compose gets to see. Shell variables beat its --env-file, so a stray TAG or COMPOSE_FILE of the caller
// would change what runs; only what is needed to reach the engine and the registry passes.
func (c *Compose) environment(s stack) []string {
	vars := map[string]string{}
	for _, pair := range c.passing() {
		name, value, _ := strings.Cut(pair, "=")
		vars[name] = value
	}
	maps.Copy(vars, c.Config.Slot(s.color).Env)
	for _, w := range c.Config.Web {
		_, port, _ := net.SplitHostPort(w.Address(s.color)) // Validate has seen it
		vars[w.PortVariable] = port
	}
	vars[c.Config.TagVariable] = s.tag
	env := make([]string, 0, len(vars))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		env = append(env, name+"="+vars[name])
	}
	return env
}

// passing is what commands get of the caller's environment.
func (o Options) passing() []string {
	return slices.DeleteFunc(slices.Clone(o.Environ), func(pair string) bool {
		name, _, ok := strings.Cut(pair, "=")
		return !ok || !passes(name)
	})
}

func passes(name string) bool {
	switch strings.ToUpper(name) {
	case "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY":
		return true
	}
	return name == "PATH" || name == "HOME" || strings.HasPrefix(name, "DOCKER_")
}

// path hangs a relative path of the configuration on the folder of cutover.yaml.
func (c *Compose) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.Dir, p)
}
