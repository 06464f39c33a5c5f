package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
)

func helpCommand() *cli.Command {
	return &cli.Command{
		Name: "help", Aliases: []string{"h"}, Usage: "this list, or the help of one command", ArgsUsage: "[COMMAND]",
		Description: "Shows what can be typed.\n\nEXAMPLES\n   cutover help\n   cutover help promote",
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return cli.ShowAppHelp(c.Lineage()[1])
			}
			if c.App.Command(c.Args().First()) == nil {
				return unknownCommand(c)
			}
			return cli.ShowCommandHelp(c.Lineage()[1], c.Args().First()) // that of the app
		},
	}
}

// laterCommands are decided upon and not in this version; each with what is there instead.
var laterCommands = map[string]string{
	"wait":    "`cutover status` shows whether a rollout is running.",
	"recover": "`cutover status` settles first what a crash left open.",
	"serve":   "",
}

func unknownCommand(c *cli.Context) error {
	typed := c.Args().First()
	if instead, later := laterCommands[typed]; later {
		return &traffic.Fault{Kind: traffic.Usage, Err: fmt.Errorf("this version of cutover does not know the command %q yet", typed), Hint: instead}
	}
	var names []string
	for _, known := range c.App.Commands {
		names = append(names, known.Name)
	}
	hint := "`cutover help` lists the commands."
	if near := nearest(typed, names); near != "" {
		hint = fmt.Sprintf("Did you mean `cutover %s`? ", near) + hint
	}
	return &traffic.Fault{Kind: traffic.Usage, Err: fmt.Errorf("unknown command %q", typed), Hint: hint}
}
