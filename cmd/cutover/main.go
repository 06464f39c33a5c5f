// Cutover moves live traffic between two Compose stacks behind nginx, in steps, watching real requests, and takes it back by
// itself when the new release is worse.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
)

// version is set when the binary is built.
var version = "dev"

func main() {
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	i := &invocation{
		stdin: os.Stdin, out: &output{stdout: os.Stdout, stderr: os.Stderr, now: time.Now},
		now: time.Now, environ: os.Environ(), dir: dir,
	}
	os.Exit(i.run(context.Background(), os.Args))
}

// invocation is one call of the program with everything that it takes from its surroundings.
type invocation struct {
	stdin   *os.File
	out     *output
	now     func() time.Time
	environ []string
	dir     string
	// actor is who gives the command: "ann@host".
	actor       string
	commandLine string
}

// run carries out one command and gives its exit code.
func (i *invocation) run(ctx context.Context, args []string) int {
	i.actor = i.whoami()
	i.commandLine = "cutover " + strings.Join(args[1:], " ")
	err := i.commands().RunContext(ctx, args)
	if err == nil {
		return exitDone
	}
	if _, ended := errors.AsType[*endedError](err); !ended {
		i.out.failed(err)
	}
	return exitOfError(err)
}

func (i *invocation) env(name string) string {
	for _, pair := range i.environ {
		if key, value, ok := strings.Cut(pair, "="); ok && key == name {
			return value
		}
	}
	return ""
}

// whoami names the person behind sudo or a CI job as well as can be known.
func (i *invocation) whoami() string {
	if named := i.env("CUTOVER_ACTOR"); named != "" {
		return named
	}
	name := i.env("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return name + "@" + host
}

// commands is the table of everything that can be typed. Each entry's flags and help stand in its own file.
func (i *invocation) commands() *cli.App {
	return &cli.App{
		Name:        "cutover",
		Usage:       "move live traffic between two Compose stacks behind nginx, and take it back when the new release is worse",
		Description: mainHelp,
		Version:     version,
		HideVersion: false,
		Writer:      i.out.stdout,
		ErrWriter:   i.out.stderr,
		Flags:       configFlags(),
		Commands: []*cli.Command{
			i.initCommand(), i.doctorCommand(), i.upCommand(), i.shiftCommand(), i.acceptCommand(), i.promoteCommand(),
			i.backCommand(), i.statusCommand(), i.pauseCommand(), i.resumeCommand(), i.approveCommand(), i.abortCommand(),
			i.historyCommand(), i.renderCommand(), i.configCommand(), i.downCommand(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usagef("unknown command %q; `cutover help` lists them", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		OnUsageError:           usageError,
		ExitErrHandler:         func(*cli.Context, error) {},
		UseShortOptionHandling: true,
	}
}

const mainHelp = `Start with 'cutover init' and 'cutover doctor'. A release is brought out with 'cutover promote --tag TAG'.
At any time, from any terminal: 'cutover status' shows where the traffic is, 'cutover back' returns it to stable.

The configuration is the nearest cutover.yaml from the working directory upwards.

Exit codes: 0 done · 1 unexpected · 2 usage or configuration · 3 host, nginx or folders not as they must be ·
4 refused by policy · 5 stack not ready · 6 nginx refused · 7 busy · 8 reverted by the verdict ·
9 ended for lack of evidence, all traffic on stable · 10 cut back by a person or a signal · 11 traffic could not be proven.`

func usageError(_ *cli.Context, err error, _ bool) error {
	return &traffic.Fault{Kind: traffic.Usage, Err: err, Hint: "`cutover help` and `cutover COMMAND --help` show what can be typed."}
}

func usagef(f string, args ...any) error {
	return &traffic.Fault{Kind: traffic.Usage, Err: fmt.Errorf(f, args...)}
}

func configFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "read `FILE` instead of the nearest cutover.yaml", EnvVars: []string{"CUTOVER_CONFIG"}},
		&cli.StringFlag{Name: "env", Usage: "use the overrides of `ENVIRONMENT`", EnvVars: []string{"CUTOVER_ENV"}},
	}
}

func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print one JSON document at the end; text goes to standard error"},
		&cli.BoolFlag{Name: "events", Usage: "print one JSON object a line as things happen; text goes to standard error"},
	}
}

func waitFlag() cli.Flag {
	return &cli.DurationFlag{Name: "wait", Usage: "when somebody else is at work on the app, wait up to `DURATION` instead of exit 7"}
}

// commandSpec is what differs between commands.
type commandSpec struct {
	name, usage, help string
	flags             []cli.Flag
	run               func(c *cli.Context) error
}

// command makes an entry of the table: the shared flags, no stray arguments, usage errors with exit 2.
func (i *invocation) command(spec commandSpec) *cli.Command {
	return &cli.Command{
		Name: spec.name, Usage: spec.usage, Description: strings.TrimSpace(spec.help),
		Flags:        append(append(spec.flags, outputFlags()...), configFlags()...),
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			switch {
			case c.Bool("json") && c.Bool("events"):
				return usagef("--json and --events exclude each other")
			case c.Bool("json"):
				i.out.format = forScripts
			case c.Bool("events"):
				i.out.format = forFollower
			}
			if c.NArg() > 0 {
				return usagef("%s: takes no argument %q; `cutover %s --help` shows its flags", spec.name, c.Args().First(), spec.name)
			}
			return spec.run(c)
		},
	}
}

// flagOf reads a string flag wherever on the command line it was given, before or after the command's name.
func flagOf(c *cli.Context, name string) string {
	for _, at := range c.Lineage() {
		if at.IsSet(name) {
			return at.String(name)
		}
	}
	return ""
}

// start opens the session of a command. What a crash left open is settled first, towards stable.
func (i *invocation) start(c *cli.Context) (*session, error) {
	s, err := i.open(flagOf(c, "config"), flagOf(c, "env"))
	if err != nil {
		return nil, err
	}
	return s, s.settle(c.Context)
}
