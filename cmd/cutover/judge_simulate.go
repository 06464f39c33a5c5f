package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cutover/traffic"
	"cutover/traffic/verdict"
)

// simulation is what `judge --simulate --json` prints: how a plan would fare with a traffic.
type simulation struct {
	Traffic verdict.Traffic `json:"traffic"`
	Seed    uint64          `json:"seed"`
	Healthy healthyCourse   `json:"healthy"`
	Faults  []faultyCourse  `json:"faults"`
}

// healthyCourse is how releases fared that fail as often as stable.
type healthyCourse struct {
	endings
	// FalseReverts is the part of them that was reverted all the same, FalseRevertLimit what the configuration promises.
	FalseReverts     float64          `json:"false_revert_rate"`
	FalseRevertLimit verdict.Fraction `json:"false_revert_limit"`
	Steps            []stepCourse     `json:"steps"`
}

// stepCourse is how one step of the plan went for those that reached it.
type stepCourse struct {
	Weight  traffic.Weight `json:"weight"`
	Reached int            `json:"reached"`
	Passed  int            `json:"passed"`
	// Proceeded is how many went on without proof, by the plan's own rule.
	Proceeded int `json:"proceeded"`
	// Took is the time at the step until it passed, the soak included.
	Took spread `json:"seconds_to_pass"`
}

// faultyCourse is how releases fared that fail a part of their requests from the first step on.
type faultyCourse struct {
	endings
	Fails verdict.Fraction `json:"fails"`
	// ToRevert counts from the first share, Hurt the requests that the candidate failed.
	ToRevert spread `json:"seconds_to_revert"`
	Hurt     spread `json:"users_hurt"`
}

// endings counts how the simulated rollouts ended.
type endings struct {
	Runs     int `json:"runs"`
	Promoted int `json:"promoted"`
	Reverted int `json:"reverted"`
	// Held wait for a person, or were taken back for lack of evidence, as the plan says.
	Held int `json:"held"`
}

// spread are the values within which half and 95 % of all rollouts got there; nil where fewer did.
type spread struct {
	Median *float64 `json:"median"`
	P95    *float64 `json:"p95"`
}

const (
	// simulatedMost bounds the effort for one kind of release, which takes a second or two; fewestRuns are played all the same.
	simulatedMost = 16e6
	fewestRuns    = 5
	busiestRate   = 20_000
)

func (i *invocation) simulate(c *cli.Context) error {
	if err := onlyOf(c, "simulate", replayFlags); err != nil {
		return err
	}
	config, _, err := i.judged(c)
	if err != nil {
		return err
	}
	rate, runs := c.Float64("rate"), c.Int("runs")
	switch {
	case !(rate > 0 && rate <= busiestRate):
		return usagef("judge: --rate %v must be above 0 and at most %d requests a second", rate, busiestRate)
	case runs < 1 || runs > 100_000:
		return usagef("judge: --runs %d must be 1 to 100000", runs)
	}
	fails, err := fractionFlag(c, "errors")
	if err != nil {
		return err
	}
	doc := simulation{Traffic: verdict.Traffic{PerSecond: rate, ErrorRate: fails}, Seed: c.Uint64("seed"), Faults: []faultyCourse{}}
	var faults []verdict.Fraction
	for _, text := range strings.Split(c.String("fault"), ",") {
		fault, err := verdict.ParseFraction(text)
		switch {
		case err != nil:
			return usagef("judge: --fault: %w", err)
		case fault <= fails:
			return usagef("judge: --fault: %v is no more than the %v that stable fails", fault, fails)
		}
		faults = append(faults, fault)
	}
	s := simulator{config: config.Verdict, plan: config.plan(), traffic: doc.Traffic, runs: runs, seed: doc.Seed}
	s.plan.Approve = nil // nobody is asked
	if !c.IsSet("runs") {
		s.most = simulatedMost
	}
	doc.Healthy = s.healthy()
	for _, fault := range faults {
		doc.Faults = append(doc.Faults, s.faulty(fault))
	}
	i.tellSimulation(doc, s.plan)
	i.out.result(doc)
	return nil
}

// simulator plays rollouts by the machine and the judge that decide in earnest.
type simulator struct {
	config  verdict.Config
	plan    traffic.Plan
	traffic verdict.Traffic
	runs    int
	most    float64 // the effort after which the runs end; zero for all of them
	seed    uint64
}

// healthy plays releases that fail as often as stable.
func (s simulator) healthy() healthyCourse {
	h := healthyCourse{FalseRevertLimit: s.config.FalseRevert, Steps: make([]stepCourse, len(s.plan.Steps))}
	took := make([][]float64, len(s.plan.Steps))
	scene := s.config.Scene(s.traffic, s.traffic.ErrorRate)
	effort := 0.0
	for run := 0; s.goesOn(run, effort); run++ {
		p := s.play(scene, run)
		r := p.rollout
		effort += p.effort
		h.count(r)
		for n, step := range r.Steps {
			at := &h.Steps[n]
			at.Reached++
			switch step.How {
			case traffic.Passed:
				at.Passed++
				took[n] = append(took[n], step.Left.Sub(step.Live).Seconds())
			case traffic.Proceeded:
				at.Proceeded++
			}
		}
	}
	h.FalseReverts = float64(h.Reverted) / float64(h.Runs)
	for n, step := range s.plan.Steps {
		h.Steps[n].Weight, h.Steps[n].Took = step.Weight, spreadOf(took[n], h.Steps[n].Reached)
	}
	return h
}

// faulty plays releases that fail more.
func (s simulator) faulty(fails verdict.Fraction) faultyCourse {
	f := faultyCourse{Fails: fails}
	scene := s.config.Scene(s.traffic, fails)
	var toRevert, hurt []float64
	effort := 0.0
	for run := 0; s.goesOn(run, effort); run++ {
		p := s.play(scene, run)
		f.count(p.rollout)
		effort += p.effort
		hurt = append(hurt, float64(p.hurt))
		if p.rollout.Ending == traffic.Reverted {
			toRevert = append(toRevert, p.lasted.Seconds())
		}
	}
	f.ToRevert, f.Hurt = spreadOf(toRevert, f.Runs), spreadOf(hurt, f.Runs)
	return f
}

// goesOn tells whether there is to be one more run.
func (s simulator) goesOn(run int, effort float64) bool {
	return run < s.runs && (run < fewestRuns || s.most == 0 || effort < s.most)
}

// count takes how a rollout stands where its simulation ended.
func (e *endings) count(r traffic.Rollout) {
	e.Runs++
	switch r.Ending {
	case traffic.Promoted:
		e.Promoted++
	case traffic.Reverted:
		e.Reverted++
	default:
		e.Held++
	}
}

// played is one simulated rollout at its end.
type played struct {
	rollout traffic.Rollout
	lasted  time.Duration // from the first share on
	hurt    int64
	effort  float64
}

// play takes one rollout from its first share to its end, or to where it holds for a person. Each run has its own numbers, so
// that it is the same whatever else is simulated.
func (s simulator) play(scene *verdict.Scene, run int) played {
	p := scene.Play(rand.New(rand.NewPCG(s.seed, uint64(run))).Float64)
	began := p.Now()
	tell := func(state traffic.State, kind traffic.EventKind) traffic.State {
		e := traffic.Event{Kind: kind, At: p.Now(), Rollout: 1}
		switch kind {
		case traffic.Opened:
			e.Opening = &traffic.Opening{Mode: traffic.Promotion, Plan: s.plan, Stable: traffic.Blue}
		case traffic.Raised:
			e.Weight = state.Open.Wanted
			p.Shift(e.Weight.Fraction())
		case traffic.Judged:
			result := p.Second()
			e.At, e.Verdict = p.Now(), &result
		}
		return traffic.Next(state, e)
	}
	state := traffic.State{}
	for _, kind := range []traffic.EventKind{traffic.Opened, traffic.Prepared, traffic.Checked} {
		state = tell(state, kind)
	}
	for {
		switch state.Phase() {
		case traffic.Shifting:
			state = tell(state, traffic.Raised)
		case traffic.Soaking, traffic.Baking:
			state = tell(state, traffic.Judged)
		}
		r := state.Open
		live := p.Now().Sub(r.Since)
		if r.Ending != "" || r.Phase != traffic.Shifting && live >= s.patience(*r) {
			return played{rollout: *r, lasted: p.Now().Sub(began), hurt: p.Hurt(), effort: p.Effort()}
		}
	}
}

// patience is when a person is asked who is not there: the plan's wait for evidence is over, and it was to hold then.
func (s simulator) patience(r traffic.Rollout) time.Duration {
	least := s.plan.Steps[r.Step].Soak
	if r.Step == len(s.plan.Steps)-1 {
		least += s.plan.Bake
	}
	return max(least, s.plan.Inconclusive.After) + time.Minute
}

// spreadOf finds the values at half and at 95 % of all, of which some may have no value.
func spreadOf(values []float64, all int) spread {
	slices.Sort(values)
	at := func(part float64) *float64 {
		i := max(1, int(math.Ceil(part*float64(all)))) - 1
		if i >= len(values) {
			return nil
		}
		return &values[i]
	}
	return spread{Median: at(0.5), P95: at(0.95)}
}

func (i *invocation) tellSimulation(doc simulation, plan traffic.Plan) {
	o, h := i.out, doc.Healthy
	o.line("traffic  %g requests/s, of which stable fails %v; seed %d", doc.Traffic.PerSecond, doc.Traffic.ErrorRate, doc.Seed)
	o.line("")
	o.line("a release as good as stable, %d times:", h.Runs)
	o.line("  reverted  %s; promised: at most %v", part(h.Reverted, h.Runs), h.FalseRevertLimit)
	o.line("  held      %s, for lack of evidence", part(h.Held, h.Runs))
	o.line("  promoted  %s", part(h.Promoted, h.Runs))
	o.line("")
	const steps = "  %-8v %8v %8v %14v %10v %10v"
	o.line(steps, "step", "reached", "passed", "without proof", "half in", "95 % in")
	for _, s := range h.Steps {
		o.line(steps, s.Weight, s.Reached, s.Passed, s.Proceeded, lasting(s.Took.Median), lasting(s.Took.P95))
	}
	o.line("")
	o.line("a worse one, from %s on; hurt: requests that it failed until then:", plan.Steps[0].Weight)
	const faults = "  %-8v %8v %8v %10v %10v %12v %12v"
	o.line(faults, "fails", "times", "reverted", "half in", "95 % in", "hurt, half", "hurt, 95 %")
	for _, f := range doc.Faults {
		o.line(faults, f.Fails, f.Runs, percentOf(f.Reverted, f.Runs), lasting(f.ToRevert.Median), lasting(f.ToRevert.P95),
			int64(*f.Hurt.Median), int64(*f.Hurt.P95))
	}
	o.line("")
	o.line("-: fewer got there")
}

// part is a number of all with its percentage: "3 of 400 (0.75%)".
func part(n, all int) string { return fmt.Sprintf("%d of %d (%s)", n, all, percentOf(n, all)) }

func percentOf(n, all int) string { return fmt.Sprintf("%.4g%%", 100*float64(n)/float64(all)) }

// lasting is a time in seconds as people read it.
func lasting(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return (time.Duration(*seconds) * time.Second).String()
}
