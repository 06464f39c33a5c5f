package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"cutover/traffic"
	"cutover/traffic/signal"
	"cutover/traffic/verdict"
)

// leastProof is the least time that a pass takes, however much traffic there is: the judge wants to have seen a minute.
const leastProof = time.Minute

// forecastDocument is what `promote --plan --json` prints.
type forecastDocument struct {
	Rates    signal.Rates     `json:"rates"`
	Forecast verdict.Forecast `json:"forecast"`
}

// forecast rehearses the plan with the judge that will decide and the traffic that the log shows, as it is now. The seed is fixed:
// the same log gives the same table.
func (s *session) forecast(ctx context.Context, plan traffic.Plan) (forecastDocument, error) {
	stable := s.state.Stable
	rates, err := signal.ReadRates(ctx, s.config.judgedLog(), s.config.reading(stable), s.now())
	if err != nil {
		return forecastDocument{}, fmt.Errorf("read the traffic so far: %w", err)
	}
	doc := forecastDocument{Rates: rates}
	perSecond := rates.Now
	if perSecond == 0 {
		perSecond = rates.ByHour[s.now().Hour()].PerSecond()
	}
	if perSecond == 0 {
		return doc, nil
	}
	var steps []verdict.ForecastStep
	for _, step := range plan.Steps {
		steps = append(steps, verdict.ForecastStep{Share: step.Weight.Fraction(), Soak: step.Soak})
	}
	steps[len(steps)-1].Soak += plan.Bake
	flow := verdict.Traffic{PerSecond: perSecond, ErrorRate: verdict.Fraction(rates.ErrorRate)}
	doc.Forecast = s.config.Verdict.Forecast(flow, steps, rand.New(rand.NewPCG(1, 1)).Float64)
	return doc, nil
}

// showPlan is `promote --plan`: the forecast, and nothing else.
func (s *session) showPlan(ctx context.Context) error {
	plan := s.config.plan()
	doc, err := s.forecast(ctx, plan)
	if err != nil {
		return err
	}
	s.printForecast(doc, plan)
	s.out.result(doc)
	return nil
}

// printForecast shows what a plan is likely to take, and where it would stay without proof.
func (s *session) printForecast(doc forecastDocument, plan traffic.Plan) {
	o, rates := s.out, doc.Rates
	if len(doc.Forecast.Steps) == 0 {
		o.line("forecast  %s has no requests of the last day: nothing to tell how long a proof takes", s.config.judgedLog())
		return
	}
	o.line("traffic   %.3g requests/s now, stable fails %.2g%% (%d requests since %s)", rates.Now, rates.ErrorRate*100, rates.Requests,
		rates.From.Local().Format("01-02 15:04"))
	o.line("          by hour: %s", byHour(rates))
	o.line("  %-6s  %-16s  %-26s  %-8s  %s", "step", "requests/s to it", "proven in (half / 95 %)", "at least", "waits at most")
	for n, step := range doc.Forecast.Steps {
		least := plan.Steps[n].Soak
		if n == len(plan.Steps)-1 {
			least += plan.Bake
		}
		proven := fmt.Sprintf("%s / %s", inTime(step.Median, step.Within), inTime(step.P95, step.Within))
		o.line("  %-6s  %-16.3g  %-26s  %-8v  %v%s", plan.Steps[n].Weight, step.Requests, proven, least, step.Within, shortfall(step))
		if remedy := remedyOf(step); remedy != "" {
			o.line("          → %s", remedy)
		}
	}
	if doc.Forecast.Median > 0 {
		o.line("          the whole plan in about %s / %s, if traffic stays as it is", inTime(doc.Forecast.Median, 0), inTime(doc.Forecast.P95, 0))
	}
}

// byHour lists requests per second by hour of day; a hyphen where the log does not tell.
func byHour(rates signal.Rates) string {
	var parts []string
	for hour, h := range rates.ByHour {
		if h.Covered > 0 {
			parts = append(parts, fmt.Sprintf("%02d h %.3g", hour, h.PerSecond()))
		}
	}
	return strings.Join(parts, " · ")
}

// inTime gives a duration, or that it is longer than the limit.
func inTime(d, limit time.Duration) string {
	if d == 0 {
		return fmt.Sprintf(">%v", limit)
	}
	return d.Round(time.Second).String()
}

func shortfall(step verdict.StepForecast) string {
	if step.CanProve {
		return ""
	}
	return fmt.Sprintf("   %.0f %% of such steps are proven in time", step.Proven*100)
}

// remedyOf says which weight or margin would let a step be proven in time.
func remedyOf(step verdict.StepForecast) string {
	var would []string
	if step.WeightThatWould > 0 {
		would = append(would, fmt.Sprintf("weight %.4g", step.WeightThatWould*100))
	}
	if step.MarginThatWould > 0 {
		would = append(would, fmt.Sprintf("verdict.pass.errors_within: %s", step.MarginThatWould))
	}
	switch {
	case step.CanProve:
		return ""
	case len(would) > 0:
		return "would do: " + strings.Join(would, ", or ")
	case step.Requests > 0:
		takes := max(leastProof, time.Duration(float64(step.Needed)/step.Requests*float64(time.Second)))
		return fmt.Sprintf("no weight or margin would do: a pass takes %v at this rate, about %d requests of the candidate", takes.Round(time.Second), step.Needed)
	}
	return ""
}
