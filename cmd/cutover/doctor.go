package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"cutover/nginxconf"
	"cutover/traffic"
)

const doctorHelp = `
Looks at everything that a rollout and a cutback stand on, and ends with
"you can cut back: yes", or why not, for the user who asks. Each finding has
its remedy:

  host     configuration, journal, clock, disk; the engine and Compose; which
           ports other machines reach past nginx; both stacks
  nginx    its program, its includes and what stands around them, the folders
           that its workers must enter, names that clash, the probe
  log      one request to each server and location of the app, by its own
           name, looked for in the access log; whether that log is rotated
  cutback  a real one, on a rollout of weight 0: nobody is on it at any time

The rehearsal renders a tree with what cutover.yaml says now, and reloads
nginx. Below nginx 1.27.4 a reload closes idle connections. It is left out by
--no-rehearsal, while a rollout is open or somebody is at work, and where
nginx or stable are not well; the cutback is judged by the probe then, and by
whether you may rename.

Exit 3 when something is bad; a warning alone is none.

EXAMPLES
   cutover doctor
   cutover doctor --no-rehearsal      # look only, change nothing
   cutover doctor --json | jq .can_cut_back`

func (i *invocation) doctorCommand() *cli.Command {
	return i.command(commandSpec{
		name: "doctor", usage: "what stands in the way, each with its remedy", help: doctorHelp,
		flags: []cli.Flag{&cli.BoolFlag{Name: "no-rehearsal", Usage: "look only: render nothing, reload nothing", DisableDefaultText: true}},
		run: func(c *cli.Context) error {
			s, err := i.open(i.configOf(c), i.environmentOf(c))
			if s == nil {
				return err
			}
			defer s.close()
			d := &checkup{session: s, unread: err, lookOnly: c.Bool("no-rehearsal")}
			if err == nil {
				i.afterwards = s.leave
				d.unsettled = s.settle(c.Context)
			}
			return d.run(c.Context)
		},
	})
}

// level says what a finding means.
type level string

const (
	fine    level = "ok"
	warning level = "warning" // it works, but not in every case
	bad     level = "bad"     // a rollout or a cutback is in danger, or refused
)

// finding is one thing that doctor looked at.
type finding struct {
	What  string `json:"what"`
	Level level  `json:"level"`
	// Says is what was found; Remedy, where it is not well, what to do.
	Says   string   `json:"says"`
	Remedy string   `json:"remedy,omitempty"`
	Detail []string `json:"detail,omitempty"`
}

// look makes a finding of an error, or of there being none.
func look(what, well string, err error) finding {
	if err == nil {
		return finding{What: what, Level: fine, Says: well}
	}
	f := failureOf(err)
	return finding{What: what, Level: bad, Says: strings.ReplaceAll(f.Error, "\n", "; "), Remedy: f.Hint, Detail: f.Detail}
}

// lookPatience bounds each look: an engine that hangs must not make doctor hang.
const lookPatience = 5 * time.Second

// checkup is one call of doctor, with what it has seen so far.
type checkup struct {
	*session
	// unread says why the journal could not be read, unsettled why something that a crash left open could not be settled.
	unread, unsettled error
	lookOnly          bool

	nginx nginxconf.Examination
	// unheard says why nginx did not answer the probe.
	live    traffic.Live
	unheard error
	// release and unready are what each color serves, or why it does not.
	release map[traffic.Color]traffic.Release
	unready map[traffic.Color]error
	// outOfReach says why nginx's container does not reach a color that answers to us; one that does not was not asked for.
	outOfReach map[traffic.Color]error
	disks      []finding
	visits
	rehearsal
}

// doctorDocument is what `doctor --json` prints.
type doctorDocument struct {
	// CanCutBack tells whether whoever asked could cut back now, and have it proven; Why says why not.
	CanCutBack bool   `json:"can_cut_back"`
	Why        string `json:"why,omitempty"`
	// Rehearsed is how many milliseconds the rehearsed cutback took until it was proven; left out where none was rehearsed.
	Rehearsed float64   `json:"rehearsed_ms,omitempty"`
	Findings  []finding `json:"findings"`
	Exit      int       `json:"exit"`
}

func (d *checkup) run(ctx context.Context) error {
	var engine []finding
	var blue, green serving
	bounded, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	together(
		func() { d.nginx = d.proxy.Examine(bounded) },
		func() { d.live, d.unheard = d.proxy.Live(bounded) },
		func() { engine = d.lookAtEngine(bounded) },
		func() { blue = d.asks(bounded, traffic.Blue) },
		func() { green = d.asks(bounded, traffic.Green) },
		func() { d.disks = d.lookAtDisks() },
	)
	d.release = map[traffic.Color]traffic.Release{traffic.Blue: blue.release, traffic.Green: green.release}
	d.unready = map[traffic.Color]error{traffic.Blue: blue.err, traffic.Green: green.err}
	d.outOfReach = map[traffic.Color]error{}
	for color, err := range d.unready {
		if err == nil {
			d.outOfReach[color] = d.proxy.Reaches(bounded, color)
		}
	}
	d.rehearses(ctx)

	all := []finding{{What: "configuration", Level: fine, Says: d.path}, d.lookAtJournal()}
	all = append(all, d.lookAtClock())
	all = append(all, d.disks...)
	all = append(all, engine...)
	all = append(all, d.lookAtStacks()...)
	all = append(all, d.lookAtNginx()...)
	all = append(all, d.lookAtLog(), d.lookAtRotation("/"))
	all = append(all, d.lookAtVisits()...)
	all = append(all, d.lookAtRehearsal())
	return d.tells(all)
}

// together does independent things at the same time.
func together(all ...func()) {
	var running sync.WaitGroup
	for _, one := range all {
		running.Go(one)
	}
	running.Wait()
}

// tells says everything that was found, the most important last.
func (d *checkup) tells(all []finding) error {
	cutback := look("cutback", "to "+orElse(string(d.refuge()), "stable")+", by whoever may rename in "+d.renamers(), d.inTheWay())
	doc := doctorDocument{CanCutBack: cutback.Level == fine, Findings: append(all, cutback), Rehearsed: d.took.Seconds() * 1000}
	for _, f := range doc.Findings {
		if f.Level == bad {
			doc.Exit = exitPreflight
		}
		d.printFinding(f)
	}
	last := "yes"
	if !doc.CanCutBack {
		doc.Why = cutback.Says
		last = "no: " + doc.Why
	}
	d.out.result(doc)
	d.out.line("you can cut back: %s", last)
	if doc.Exit != exitDone {
		return &toldError{doc.Exit}
	}
	return nil
}

func (d *checkup) printFinding(f finding) {
	mark := map[level]string{fine: "ok", warning: "warn", bad: "BAD"}[f.Level]
	d.out.line("%-4s %-16s %s", mark, f.What, f.Says)
	for _, line := range f.Detail {
		d.out.line("       | %s", line)
	}
	if f.Remedy != "" {
		d.out.line("       → %s", strings.ReplaceAll(f.Remedy, "\n", "\n         "))
	}
	d.out.event(f)
}

// lookAtJournal tells whether the journal is whole and nothing is left open by it.
func (d *checkup) lookAtJournal() finding {
	switch {
	case d.unread != nil:
		f := look("journal", "", d.unread)
		f.Remedy = orElse(f.Remedy, "Make "+d.dir+" readable for you: join the group that owns it, or use sudo.")
		return f
	case d.damage != nil:
		f := look("journal", "", d.damage)
		f.Remedy = "Nothing is raised on it; `back` and `status` still work. Keep a copy of the file, then move it away; `cutover init --stable COLOR` begins a new one."
		return f
	case d.unsettled != nil:
		return look("journal", "", fmt.Errorf("what a crash left open could not be settled: %w", d.unsettled))
	}
	return finding{What: "journal", Level: fine, Says: fmt.Sprintf("%s, %s", d.dir, traffic.Headline(d.state))}
}
