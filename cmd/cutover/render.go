package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/urfave/cli/v2"

	"cutover/nginxconf"
	"cutover/traffic"
)

const renderHelp = `
Prints the nginx files that cutover would write: for the traffic as it is now
or, with --to and --weight, for another share. Nothing is written, tested or
reloaded. --diff shows only what differs from the files that nginx reads now.

EXAMPLES
   cutover render
   cutover render --to green --weight 20 --diff`

func (i *invocation) renderCommand() *cli.Command {
	return i.command(commandSpec{
		name: "render", usage: "what would be written to nginx", help: renderHelp,
		flags: []cli.Flag{
			&cli.BoolFlag{Name: "diff", Usage: "only what differs from what nginx reads now", DisableDefaultText: true},
			&cli.StringFlag{Name: "to", Usage: "render a share of this `COLOR`"},
			&cli.StringFlag{Name: "weight", Usage: "its share in `PERCENT`"},
		},
		run: func(c *cli.Context) error {
			var to traffic.Color
			var weight traffic.Weight
			var err error
			if c.IsSet("to") != c.IsSet("weight") {
				return usagef("render: --to and --weight belong together")
			}
			if c.IsSet("to") {
				if to, weight, err = shareFlags(c); err != nil {
					return err
				}
			}
			s, err := i.start(c)
			if err != nil {
				return err
			}
			defer s.close()
			split := s.wantedSplit(to, weight)
			if c.Bool("diff") {
				return s.renderDiff(c.Context, split)
			}
			return s.render(c.Context, split)
		},
	})
}

// wantedSplit is the traffic as the journal has it, or, where a color is named, with the weight for that color.
func (s *session) wantedSplit(to traffic.Color, weight traffic.Weight) traffic.Split {
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
	switch to {
	case "":
		return split
	case split.Stable:
		split.Weight = weight.Rest()
	default:
		split.Weight = weight
	}
	if split.Rollout == 0 && split.Weight > 0 {
		split.Rollout = s.state.LastID + 1
	}
	return split
}

// renderDocument is what `render --json` prints.
type renderDocument struct {
	Generation traffic.Generation `json:"generation"`
	Split      traffic.Split      `json:"split"`
	// Files has the text of each file by its name; Diff is there instead with --diff, and empty where nothing differs.
	Files map[string]string `json:"files,omitempty"`
	Diff  *string           `json:"diff,omitempty"`
}

func (s *session) render(ctx context.Context, split traffic.Split) error {
	_, generation, err := s.proxy.Current()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	doc := renderDocument{Generation: generation + 1, Split: split, Files: map[string]string{}}
	files, err := s.proxy.Render(split, doc.Generation, s.proxy.ServerLines(ctx))
	if err != nil {
		return err
	}
	for _, f := range files {
		doc.Files[f.Name] = string(f.Data)
		s.printFile("# ---- " + f.Name + "\n" + string(f.Data))
	}
	s.out.result(doc)
	return nil
}

// renderDiff keeps the generation's number: that it grows with each tree is no difference.
func (s *session) renderDiff(ctx context.Context, split traffic.Split) error {
	current, generation, err := s.proxy.Current()
	if err != nil {
		return &traffic.Fault{
			Kind: traffic.Preflight, Err: fmt.Errorf("nothing to compare with: %w", err), Hint: "`cutover init --stable COLOR` writes the first tree.",
		}
	}
	files, err := s.proxy.Render(split, generation, s.proxy.ServerLines(ctx))
	if err != nil {
		return err
	}
	text := difference(current, files)
	s.printFile(text)
	s.out.result(renderDocument{Generation: generation, Split: split, Diff: &text})
	return nil
}

// printFile writes a file's text as it is.
func (s *session) printFile(text string) {
	if s.out.format == forPeople {
		_, _ = io.WriteString(s.out.stdout, text)
	}
}

func difference(old, fresh []nginxconf.RenderedFile) string {
	before := map[string][]byte{}
	for _, f := range old {
		before[f.Name] = f.Data
	}
	var all []byte
	for _, f := range fresh {
		all = append(all, diff.Diff("current/"+f.Name, before[f.Name], "rendered/"+f.Name, f.Data)...)
	}
	return string(all)
}
