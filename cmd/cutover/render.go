package main

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/urfave/cli/v2"

	"cutover/nginxconf"
	"cutover/traffic"
)

const renderHelp = `
Prints the nginx files that cutover would write: for the traffic as it is now or, with --to and --weight, for another share. Nothing is
written, tested or reloaded. --diff shows only what differs from the files that nginx reads now.

EXAMPLES
   cutover render
   cutover render --to green --weight 20 --diff`

func (i *invocation) renderCommand() *cli.Command {
	return i.command(commandSpec{
		name: "render", usage: "what would be written to nginx", help: renderHelp,
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "diff", Usage: "show the difference to what nginx reads now"},
			&cli.StringFlag{Name: "to", Usage: "render a share of this `COLOR`"},
			&cli.StringFlag{Name: "weight", Usage: "its share in `PERCENT`"},
		},
		run: func(c *cli.Context) error {
			if c.IsSet("to") != c.IsSet("weight") {
				return usagef("render: --to and --weight belong together")
			}
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			split, err := s.wantedSplit(c)
			if err != nil {
				return err
			}
			return s.render(split, c.Bool("diff"))
		},
	})
}

// wantedSplit is the traffic as the journal has it, or as the flags ask.
func (s *session) wantedSplit(c *cli.Context) (traffic.Split, error) {
	stable := s.state.Stable
	if stable == "" {
		stable = traffic.Blue
	}
	split := traffic.Split{Stable: stable, Releases: map[traffic.Color]string{}}
	if r := s.state.Open; r != nil {
		split.Rollout, split.Stable, split.Weight = r.ID, r.Stable, r.Actual
	}
	for _, color := range []traffic.Color{traffic.Blue, traffic.Green} {
		if tag := s.state.Tag(color); tag != "" {
			split.Releases[color] = tag
		}
	}
	if !c.IsSet("to") {
		return split, nil
	}
	color, err := colorFlag(c, "to")
	if err != nil {
		return split, err
	}
	weight, err := traffic.ParseWeight(c.String("weight"))
	if err != nil {
		return split, usagef("render: %w", err)
	}
	if color == split.Stable {
		weight = weight.Rest()
	}
	split.Weight = weight
	if split.Rollout == 0 && weight > 0 {
		split.Rollout = s.state.LastID + 1
	}
	return split, nil
}

func (s *session) render(split traffic.Split, differ bool) error {
	current, generation, err := s.proxy.Current()
	if err != nil && differ {
		return &traffic.Fault{
			Kind: traffic.Preflight, Err: fmt.Errorf("nothing to compare with: %w", err), Hint: "`cutover init --stable COLOR` writes the first tree.",
		}
	}
	if !differ {
		generation++
	}
	files, err := s.proxy.Render(split, generation)
	if err != nil {
		return err
	}
	if differ {
		_, err := s.out.stdout.Write(difference(current, files))
		return err
	}
	for _, f := range files {
		if _, err := fmt.Fprintf(s.out.stdout, "# ---- %s\n%s", f.Name, f.Data); err != nil {
			return err
		}
	}
	return nil
}

func difference(old, fresh []nginxconf.RenderedFile) []byte {
	before := map[string][]byte{}
	for _, f := range old {
		before[f.Name] = f.Data
	}
	var all []byte
	for _, f := range fresh {
		all = append(all, diff.Diff("current/"+f.Name, before[f.Name], "rendered/"+f.Name, f.Data)...)
	}
	return all
}

const configHelp = `
Prints the merged configuration with every default, after the overrides of the environment. What it prints is a valid cutover.yaml.

EXAMPLES
   cutover config
   cutover config --env staging`

func (i *invocation) configCommand() *cli.Command {
	return i.command(commandSpec{
		name: "config", usage: "the merged configuration with every default", help: configHelp,
		run: func(c *cli.Context) error {
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			return s.printConfig()
		},
	})
}

func (s *session) printConfig() error {
	merged := s.config
	merged.Environments = nil
	merged.Signals.AccessLog.Path = s.config.accessLog()
	text, err := yaml.MarshalWithOptions(merged, yaml.Indent(2), yaml.IndentSequence(true))
	if err != nil {
		return fmt.Errorf("print configuration: %w", err)
	}
	if s.out.format != forPeople {
		if text, err = yaml.YAMLToJSON(text); err != nil {
			return fmt.Errorf("print configuration: %w", err)
		}
	}
	_, err = fmt.Fprintln(s.out.stdout, strings.TrimSpace(string(text)))
	return err
}
