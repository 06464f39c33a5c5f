// Cutover moves live traffic between two Compose stacks behind nginx, in steps, watching real requests, and takes it back by
// itself when the new release is worse.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"os/user"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
)

// version is set when the binary is built.
var version = "dev"

func main() {
	signal.Ignore(syscall.SIGPIPE) // a reader who goes away loses text; output drops what cannot be written
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	i := &invocation{
		stdin: os.Stdin, out: &output{stdout: &stream{to: os.Stdout}, stderr: &stream{to: os.Stderr}, now: time.Now},
		now: time.Now, environ: os.Environ(), dir: dir,
	}
	code := i.run(context.Background(), os.Args)
	i.out.end()
	os.Exit(code)
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
	// afterwards is what the command leaves to be done when it has said everything; nil for nothing.
	afterwards func(context.Context)
}

// run carries out one command and gives its exit code.
func (i *invocation) run(ctx context.Context, args []string) int {
	i.actor = i.whoami()
	i.commandLine = "cutover " + strings.Join(args[1:], " ")
	i.out.format = wantedFormat(args)
	var err error
	if typed, ok := i.typedBack(args); ok {
		err = i.back(ctx, typed)
	} else {
		err = i.commands().RunContext(ctx, args)
	}
	if i.afterwards != nil {
		defer i.afterwards(ctx)
	}
	if err == nil {
		return exitDone
	}
	if _, told := errors.AsType[*toldError](err); !told {
		i.out.failed(err)
	}
	return exitOfError(err)
}

// wantedFormat looks for the output's format before anything else, so that a mistake in the flags is told in it too.
func wantedFormat(args []string) format {
	switch {
	case slices.Contains(args, "--json") || slices.Contains(args, "-json"):
		return forScripts
	case slices.Contains(args, "--events") || slices.Contains(args, "-events"):
		return forFollower
	}
	return forPeople
}

// env is a variable of the environment; empty where it is not set.
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
		Name:            "cutover",
		Usage:           "move live traffic between two Compose stacks behind nginx",
		Description:     strings.TrimSpace(mainHelp),
		Version:         version,
		Writer:          i.out.stdout,
		ErrWriter:       i.out.stderr,
		Flags:           append(configFlags(), cli.HelpFlag), // which the library leaves out beside a help command of our own
		HideHelpCommand: true,
		Commands: []*cli.Command{
			i.initCommand(), i.doctorCommand(), i.upCommand(), i.shiftCommand(), i.acceptCommand(), i.promoteCommand(),
			i.backCommand(), i.rollbackCommand(), i.statusCommand(), i.pauseCommand(), i.resumeCommand(), i.approveCommand(), i.abortCommand(), i.waitCommand(), i.recoverCommand(),
			i.historyCommand(), i.reportCommand(), i.judgeCommand(), i.renderCommand(), i.configCommand(), i.downCommand(), i.guardianCommand(), i.guardCommand(), i.concludeCommand(), helpCommand(),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return unknownCommand(c)
			}
			return cli.ShowAppHelp(c)
		},
		OnUsageError:   usageError,
		ExitErrHandler: func(*cli.Context, error) {},
	}
}

const mainHelp = `
Brings a new release up beside the one that serves, gives it the traffic step
by step while it judges real requests, and takes it back by itself when the
new release is worse.

Begin with 'cutover init' and 'cutover doctor'. Bring a release out with
'cutover promote --tag TAG'. At any time, from any terminal, 'cutover status'
shows where the traffic is, and 'cutover back' returns it to stable.

EXAMPLES
   cutover promote --tag v1.4.0
   cutover status
   cutover back

FILES
   cutover.yaml         the nearest one from the working directory upwards
   nginx.dir/APP        what nginx reads of cutover; /etc/nginx/cutover/APP
   state/APP            the journal; /var/lib/cutover/APP

ENVIRONMENT
   CUTOVER_CONFIG       as --config
   CUTOVER_ENV          as --env
   CUTOVER_ACTOR        who the journal shall name instead of user@host
   CUTOVER_COMPOSE      the program to call instead of 'docker compose'

EXIT CODES
    0  done
    1  unexpected
    2  usage or configuration
    3  preflight: host, nginx, includes, folders or log not as they must be
    4  refused by policy, or nothing warm to go back to
    5  stack not ready, traffic untouched
    6  nginx refused
    7  busy: somebody else is at work on the app
    8  reverted by the verdict
    9  ended for lack of evidence, all traffic on stable
   10  cut back or aborted by a person or a signal
   11  what nginx serves could not be proven`

func configFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Usage: "read `FILE`, not the nearest cutover.yaml"},
		&cli.StringFlag{Name: "env", Usage: "use the overrides of `ENVIRONMENT`"},
	}
}

func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print one JSON document, text to stderr", DisableDefaultText: true},
		&cli.BoolFlag{Name: "events", Usage: "print a JSON object a line, text to stderr", DisableDefaultText: true},
	}
}

func waitFlag() cli.Flag {
	return &cli.DurationFlag{Name: "wait", Usage: "where busy wait up to `DURATION`", DefaultText: "0s"}
}

// commandSpec is what differs between commands.
type commandSpec struct {
	name, usage, help string
	// argument names the one word that may follow the flags; empty where none may.
	argument string
	flags    []cli.Flag
	run      func(c *cli.Context) error
}

// command makes an entry of the table: the shared flags, no stray arguments, usage errors with exit 2.
func (i *invocation) command(spec commandSpec) *cli.Command {
	return &cli.Command{
		ArgsUsage: spec.argument,
		Name:      spec.name, Usage: spec.usage, Description: strings.TrimSpace(spec.help),
		Flags:        append(append(spec.flags, outputFlags()...), configFlags()...),
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			switch {
			case c.Bool("json") && c.Bool("events"):
				return usagef("%s: --json and --events exclude each other", spec.name)
			case c.NArg() > 1 && spec.argument != "":
				return usagef("%s: one %s is taken, and the flags go before it; %q is too much", spec.name, spec.argument, c.Args().Get(1))
			case c.NArg() > 0 && spec.argument == "":
				return usagef("%s: takes no argument %q; `cutover %s --help` shows its flags", spec.name, c.Args().First(), spec.name)
			case c.Duration("wait") < 0:
				return usagef("%s: --wait %v is negative", spec.name, c.Duration("wait"))
			}
			return spec.run(c)
		},
	}
}

// configOf and environmentOf read a flag wherever on the command line it was given, after the command's name or before it, and
// else its variable.
func (i *invocation) configOf(c *cli.Context) string {
	return orElse(flagOf(c, "config"), i.env("CUTOVER_CONFIG"))
}

func (i *invocation) environmentOf(c *cli.Context) string {
	return orElse(flagOf(c, "env"), i.env("CUTOVER_ENV"))
}

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
	s, err := i.open(i.configOf(c), i.environmentOf(c))
	if err != nil {
		return nil, err
	}
	i.afterwards = s.leave
	return s, s.settle(c.Context)
}

func usageError(c *cli.Context, err error, _ bool) error {
	hint := "`cutover help` shows what can be typed."
	if name := c.Command.Name; name != "" && name != "cutover" {
		hint = fmt.Sprintf("`cutover %s --help` shows its flags.", name)
	}
	return &traffic.Fault{Kind: traffic.Usage, Err: err, Hint: hint}
}

func usagef(f string, args ...any) error {
	return &traffic.Fault{Kind: traffic.Usage, Err: fmt.Errorf(f, args...)}
}
