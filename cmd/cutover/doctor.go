package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"cutover/stacks"
	"cutover/traffic"
)

// finding is one thing that doctor looked at.
type finding struct {
	What string `json:"what"`
	// Says is what was found; Remedy, where it is bad, what to do.
	Says   string   `json:"says"`
	Good   bool     `json:"good"`
	Remedy string   `json:"remedy,omitempty"`
	Detail []string `json:"detail,omitempty"`
}

const doctorHelp = `
Looks at everything that a rollout and a cutback stand on, and changes
nothing: the configuration, the journal, the engine and Compose, nginx with
its includes and lints, the access log's folder, the probe, both stacks. Each
finding comes with its remedy. It ends with "you can cut back: yes", or why
not; exit 3 when something is wrong.

EXAMPLES
   cutover doctor
   cutover doctor --json | jq .can_cut_back`

func (i *invocation) doctorCommand() *cli.Command {
	return i.command(commandSpec{
		name: "doctor", usage: "what stands in the way, each with its remedy", help: doctorHelp,
		run: func(c *cli.Context) error {
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			return s.doctor(c.Context)
		},
	})
}

// doctorDocument is what `doctor --json` prints.
type doctorDocument struct {
	// CanCutBack tells whether whoever asked could cut back now, and have it proven.
	CanCutBack bool      `json:"can_cut_back"`
	Findings   []finding `json:"findings"`
	Exit       int       `json:"exit"`
}

func (s *session) doctor(ctx context.Context) error {
	live, probe := s.proxy.Live(ctx)
	findings := []finding{
		{What: "configuration", Says: s.path, Good: true},
		look("journal", s.dir, s.damage),
		s.lookAtEngine(ctx),
		look("nginx", "includes, lints, reach and `nginx -t` are well", s.proxy.Preflight(ctx)),
		look("access log", s.config.accessLog(), s.lookAtLog()),
		look("probe", fmt.Sprintf("generation %d answers", live.Generation), probe),
		s.lookAtStack(ctx, traffic.Blue),
		s.lookAtStack(ctx, traffic.Green),
		look("you can cut back", "yes", s.lookAtCutback(probe)),
	}
	doc := doctorDocument{Findings: findings, CanCutBack: findings[len(findings)-1].Good}
	for _, f := range findings {
		if !f.Good {
			doc.Exit = exitPreflight
		}
		s.printFinding(f)
	}
	s.out.result(doc)
	if doc.Exit != exitDone {
		return &toldError{doc.Exit}
	}
	return nil
}

// look makes a finding of an error, or of there being none.
func look(what, well string, err error) finding {
	if err == nil {
		return finding{What: what, Says: well, Good: true}
	}
	f := failureOf(err)
	return finding{What: what, Says: strings.ReplaceAll(f.Error, "\n", "; "), Remedy: f.Hint, Detail: f.Detail}
}

func (s *session) printFinding(f finding) {
	mark := "ok "
	if !f.Good {
		mark = "BAD"
	}
	s.out.line("%s  %-16s %s", mark, f.What, f.Says)
	for _, line := range f.Detail {
		s.out.line("       | %s", line)
	}
	if f.Remedy != "" {
		s.out.line("       → %s", f.Remedy)
	}
	s.out.event(f)
}

func (s *session) lookAtEngine(ctx context.Context) finding {
	if s.config.Stacks.Driver == stacks.DriverExternal {
		return finding{What: "engine", Says: "not needed: the stacks are external", Good: true}
	}
	engine, err := stacks.NewEngine()
	if err != nil {
		return look("engine", "", err)
	}
	version, err := engine.Ping(ctx)
	if err != nil {
		return look("engine", "", err)
	}
	out, err := command(ctx, append(s.compose(), "version", "--short")).Output()
	if err != nil {
		return look("engine", "", &traffic.Fault{
			Kind: traffic.Preflight, Err: fmt.Errorf("engine %s answers, but `docker compose version` does not: %w", version, err),
			Hint: "Install the Compose v2 plugin (docker-compose-plugin or docker-compose-v2).",
		})
	}
	return finding{What: "engine", Says: fmt.Sprintf("docker %s, compose %s", version, trimLine(out)), Good: true}
}

func (s *session) lookAtLog() error {
	folder := filepath.Dir(s.config.accessLog())
	if _, err := os.Stat(folder); err != nil {
		return &traffic.Fault{
			Kind: traffic.Preflight, Err: fmt.Errorf("folder of the access log: %w", err), Hint: "nginx would not start: make the folder.",
		}
	}
	return nil
}

func (s *session) lookAtStack(ctx context.Context, color traffic.Color) finding {
	what := string(color)
	release, err := s.stacks.Serving(ctx, color)
	if err != nil {
		if color == s.state.Stable {
			return look(what, "", err)
		}
		return finding{What: what, Says: "does not answer; it is not stable", Good: true}
	}
	return finding{What: what, Says: fmt.Sprintf("runs %s", orDash(release.Tag)), Good: true}
}

// lookAtCutback tells whether this user could take a rollout's folder away and have it proven.
func (s *session) lookAtCutback(probe error) error {
	if probe != nil {
		return errors.New("no: nginx could not prove it")
	}
	if err := s.proxy.Fence().Rehearse(); err != nil {
		return &traffic.Fault{
			Kind: traffic.Preflight, Err: fmt.Errorf("no: %w", err),
			Hint: "You may not rename in the rollouts folder: join its group, or use sudo.",
		}
	}
	return nil
}
