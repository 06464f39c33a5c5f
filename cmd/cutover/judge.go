package main

import (
	"github.com/urfave/cli/v2"

	"cutover/traffic/verdict"
)

const judgeHelp = `
Asks the judge of 'cutover promote' about traffic that was, or that could be.
It needs no root and no network. The same input gives the same output to the
byte.

--replay reads recorded requests and prints each change of the verdict, by
the recording's own clock. FILE is cutover's access log or a trace, plain or
gzipped; it is read twice. A line of a trace names the color, the status and
the seconds of one answer:
   {"ts":1700000000.123,"pool":"blue","status":200,"rt":0.012}
--schedule says from when on the candidate had which share, in seconds since
1970 or as 2023-11-14T22:13:20Z; a share of 0 ends it. --rollout takes color,
shares and end from the journal instead. The verdict is pass, fail or hold; a
failure stands, whatever comes later. With --slower-than slow answers count
too; at 100 %, beside no stable, they prove nothing. Exit code 0 means that
there is a verdict, whichever.
--format reads a log of your own: it is what stands behind log_format, with
$upstream_addr, $upstream_status, $status and $msec in it. 'combined' in
front stands for nginx's own. The addresses in cutover.yaml tell the colors.

--simulate plays the plan second by second with made-up traffic. It prints
how often a healthy release would be reverted, how long its steps take to
pass, and for each --fault (the share of its requests that a release fails,
from the first step on) how soon it is reverted and how many requests it
fails until then. A rollout that holds for a person ends there, and
approvals are not waited for. Without --runs there are fewer than 400 where
they would take long.

Plan and margins are those of the nearest cutover.yaml, else the defaults,
with no warm-up in a replay; flags go before both.

EXAMPLES
   cutover judge --replay access.log.gz --rollout 17
   cutover judge --replay t.gz --candidate green --schedule 1700000000=5
   cutover judge --simulate --rate 50 --errors 0.1% --fault 2%,20%,100%
   cutover judge --simulate --rate 50 --false-revert 5% --json`

// The flags that only one of the two modes of judge has.
var (
	replayFlags   = []string{"candidate", "schedule", "rollout", "slower-than", "format"}
	simulateFlags = []string{"rate", "errors", "fault", "runs", "seed"}
)

func (i *invocation) judgeCommand() *cli.Command {
	return i.command(commandSpec{
		name: "judge", usage: "the verdict over recorded or made-up traffic", help: judgeHelp,
		flags: append([]cli.Flag{
			&cli.StringFlag{Name: "replay", Usage: "judge the requests in `FILE`"},
			&cli.StringFlag{Name: "candidate", Usage: "the `COLOR` that was tried: blue or green"},
			&cli.StringFlag{Name: "schedule", Usage: "its shares, a `LIST` of TIME=PERCENT,…"},
			&cli.StringFlag{Name: "rollout", Usage: "color and shares of rollout `ID`"},
			&cli.DurationFlag{Name: "slower-than", Usage: "call answers above `DURATION` slow", DefaultText: "none"},
			&cli.StringFlag{Name: "format", Usage: "the log is your own, of this `PATTERN`"},
			&cli.BoolFlag{Name: "simulate", Usage: "judge made-up traffic by the plan", DisableDefaultText: true},
			&cli.Float64Flag{Name: "rate", Usage: "`REQUESTS` a second to both colors", Value: 50},
			&cli.StringFlag{Name: "errors", Usage: "the `SHARE` that stable fails", Value: "0.1%", DefaultText: "0.1%"},
			&cli.StringFlag{Name: "fault", Usage: "`SHARES` that bad ones fail", Value: "2%,5%,20%,100%", DefaultText: "2%,5%,20%,100%"},
			&cli.IntFlag{Name: "runs", Usage: "simulate `N` rollouts of each kind", Value: 400},
			&cli.Uint64Flag{Name: "seed", Usage: "begin the random numbers at `N`", Value: 1},
		}, marginFlags()...),
		run: func(c *cli.Context) error {
			replays, simulates := c.String("replay") != "", c.Bool("simulate")
			switch {
			case replays == simulates:
				return usagef("judge: give either --replay FILE or --simulate")
			case replays:
				return i.replay(c)
			}
			return i.simulate(c)
		},
	})
}

// marginFlags are those keys of the section verdict that one may want to try out.
func marginFlags() []cli.Flag {
	return []cli.Flag{
		&cli.Float64Flag{Name: "ratio", Usage: "`TIMES` for verdict.errors.ratio", DefaultText: "configured"},
		&cli.StringFlag{Name: "worse-by", Usage: "`SHARE` for verdict.errors.worse_by"},
		&cli.StringFlag{Name: "never-above", Usage: "`SHARE` for verdict.errors.never_above"},
		&cli.StringFlag{Name: "errors-within", Usage: "`SHARE` for verdict.pass.errors_within"},
		&cli.StringFlag{Name: "false-revert", Usage: "`SHARE` for verdict.false_revert"},
		&cli.DurationFlag{Name: "warm-up", Usage: "`DURATION` for verdict.warm_up", DefaultText: "configured"},
	}
}

// onlyOf refuses the flags of the other mode: whoever gives them expects something of them.
func onlyOf(c *cli.Context, mode string, others []string) error {
	for _, name := range others {
		if c.IsSet(name) {
			return usagef("judge: --%s does not go with --%s", name, mode)
		}
	}
	return nil
}

// judged is the configuration to judge by: cutover.yaml's where there is one, else the defaults; and the flags before both.
// path is empty where there is none.
func (i *invocation) judged(c *cli.Context) (config Config, path string, err error) {
	path, err = findConfig(i.configOf(c), i.dir)
	if err == nil {
		if config, err = loadConfig(path, i.environmentOf(c)); err != nil {
			return config, path, err
		}
		i.settleBeside(c, config)
	} else { // none was named and none is near
		config = defaultConfig()
		if c.String("replay") != "" {
			config.Verdict.WarmUp = 0 // nobody said that the release started cold
		}
	}
	if err := tryMargins(c, &config.Verdict); err != nil {
		return config, path, err
	}
	if err := config.Verdict.Validate(); err != nil {
		return config, path, usagef("judge: %w", err)
	}
	return config, path, nil
}

// tryMargins lays the flags over the section verdict.
func tryMargins(c *cli.Context, v *verdict.Config) (err error) {
	for _, margin := range []struct {
		flag string
		of   *verdict.Fraction
	}{
		{"worse-by", &v.Errors.WorseBy}, {"never-above", &v.Errors.NeverAbove},
		{"errors-within", &v.Pass.ErrorsWithin}, {"false-revert", &v.FalseRevert},
	} {
		if !c.IsSet(margin.flag) {
			continue
		}
		if *margin.of, err = fractionFlag(c, margin.flag); err != nil {
			return err
		}
	}
	if c.IsSet("ratio") {
		v.Errors.Ratio = c.Float64("ratio")
	}
	if c.IsSet("warm-up") {
		v.WarmUp = c.Duration("warm-up")
	}
	return nil
}

func fractionFlag(c *cli.Context, name string) (verdict.Fraction, error) {
	f, err := verdict.ParseFraction(c.String(name))
	if err != nil {
		return 0, usagef("judge: --%s: %w", name, err)
	}
	return f, nil
}
