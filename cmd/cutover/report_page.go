package main

import (
	"fmt"
	"html/template"
	"io"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"cutover/templates"
	"cutover/traffic"
	"cutover/traffic/verdict"
)

// pageModel is what templates/report/page.html.tmpl is filled with.
type pageModel struct {
	Title, Headline, Mood, Why string
	// Color is the candidate's.
	Color              string
	Facts, Figures     []figure
	Timeline           []pageEvent
	Steps              []pageStep
	Panels             []panel
	Ticks              []tick
	End                *tick
	Verdicts           []pageVerdict
	Missing, Log, Zone string
	Keys               []key
	Remarks, Notes     []string
}

type pageEvent struct{ Clock, About, Say, By string }

type pageStep struct {
	Weight, Stayed, How, Candidate, Stable, Reason string
	Parts                                          []pagePart
}

type pagePart struct{ Name, Candidate, Stable, Odds string }

type pageVerdict struct{ Clock, Weight, Decision, Reason string }

// key names a line of the chart.
type key struct{ Class, Name string }

// reportPage is parsed when it is asked for: every other start would pay for it, that of a cutback too.
var reportPage = sync.OnceValue(func() *template.Template {
	return template.Must(template.ParseFS(templates.Files, "report/page.html.tmpl"))
})

// page writes the report as one HTML file.
func (told *report) page(w io.Writer) error {
	var text strings.Builder
	if err := reportPage().Execute(&text, told.model()); err != nil {
		return fmt.Errorf("write the page of rollout %s: %w", told.Rollout.ID, err)
	}
	return writeClean(w, text.String())
}

func (told *report) model() pageModel {
	r := told.Rollout
	m := pageModel{
		Title: fmt.Sprintf("rollout %s of %s", r.ID, told.App), Headline: told.Headline, Mood: moodOf(r), Why: told.Why, Color: string(r.Candidate()),
		Facts: []figure{
			{"from", spaced(string(r.Stable), r.Previous)}, {"to", spaced(string(r.Candidate()), r.Release.Tag)},
			{"who", spaced(orDash(r.By)+",", string(r.Mode))}, {"when", r.Opened.In(told.zone()).Format(time.DateTime) + told.lasted()},
		},
		Figures: told.figures(), Log: told.Traffic.Log, Zone: r.Opened.In(told.zone()).Format("UTC-07:00"),
		Remarks: told.Traffic.Remarks, Notes: told.Notes,
	}
	for _, h := range told.Timeline {
		m.Timeline = append(m.Timeline, pageEvent{told.clock(h.At), h.About, strings.TrimPrefix(h.Say, h.About+" "), h.By})
	}
	for n := range r.Steps {
		m.Steps = append(m.Steps, told.pageStep(n))
	}
	if told.Traffic.Missing != "" {
		m.Missing = told.Traffic.Missing + told.remedy()
		return m
	}
	for _, e := range told.Traffic.Opinions {
		m.Verdicts = append(m.Verdicts, pageVerdict{told.clock(time.Time(e.TS)), e.Weight.String(), e.Decision, e.Reason})
	}
	m.Keys = []key{
		{string(r.Candidate()) + " candidate", spaced(string(r.Candidate()), r.Release.Tag, "(candidate)")},
		{string(r.Stable) + " stable", spaced(string(r.Stable), r.Previous, "(stable)")},
	}
	told.draw(&m)
	return m
}

// moodOf is the color in which the page speaks of an end.
func moodOf(r traffic.Rollout) string {
	switch r.Ending {
	case traffic.Promoted:
		return "good"
	case traffic.Reverted, traffic.Declined, traffic.Failed:
		return "bad"
	case traffic.Held, traffic.Aborted:
		return "warn"
	}
	return "open"
}

func (told *report) pageStep(n int) pageStep {
	step := told.Rollout.Steps[n]
	p := pageStep{
		Weight: step.Weight.String(), Stayed: told.clock(step.Live), How: "still there", Reason: orElse(step.Result.Reason, "nobody judged it"),
		Candidate: failures(step.Result.Candidate), Stable: failures(step.Result.Baseline),
	}
	if !step.Left.IsZero() {
		p.Stayed += fmt.Sprintf(" for %v", step.Left.Sub(step.Live).Round(100*time.Millisecond))
		p.How = told.leftHow(step)
	}
	for _, part := range partsOf(step.Result) {
		p.Parts = append(p.Parts, pagePart{
			part.Name, failures(part.Candidate), failures(part.Baseline), fmt.Sprintf("%s of %s", odds(part.LogM), odds(part.LogLimit)),
		})
	}
	return p
}

// panel is one plot of the chart. All share the axis of time; its plane goes from 0 to 1000 and, downwards, from 0 to 100.
type panel struct {
	Title string
	// Top and Bottom label the axis.
	Top, Bottom string
	Area        string // the path below a line, filled
	Lines       []curve
	Limit       *limit
}

type curve struct{ Class, D string }

// limit is a line across, with what it means.
type limit struct{ Y, Name string }

// tick is a place on the axis of time, in percent.
type tick struct{ X, Name, Class string }

const (
	planeWidth  = 1000.0
	planeHeight = 100.0
)

// draw fills in the panels and the axis of time.
func (told *report) draw(m *pageModel) {
	s := told.Traffic.Series
	from, whole := time.Time(s.From), s.whole()
	for n := range 5 {
		part := float64(n) / 4
		class := []string{"", "quarter", "", "quarter", "last"}[n]
		m.Ticks = append(m.Ticks, tick{decimal(100 * part), told.clock(from.Add(time.Duration(part * float64(whole)))), class})
	}
	if at := told.Decided.Sub(from); !told.Decided.IsZero() && at <= whole {
		m.End = &tick{X: decimal(100 * float64(at) / float64(whole)), Name: fmt.Sprintf("%s %s", told.Rollout.Ending, told.clock(told.Decided))}
	}
	m.Panels = []panel{told.sharePanel(), told.ratePanel(), told.errorPanel()}
	if told.Rollout.HasJudge() {
		m.Panels = append(m.Panels, told.evidencePanel())
	}
}

func (s *series) whole() time.Duration {
	return time.Duration(len(s.Points)) * time.Duration(s.Every) * time.Second
}

func (told *report) sharePanel() panel {
	s := told.Traffic.Series
	from, whole := time.Time(s.From), s.whole()
	top := niceAbove(100 * told.reached().Fraction())
	d, weight := strings.Builder{}, 0.0
	d.WriteString("M0 100")
	for _, share := range told.Shares {
		x := planeWidth * float64(share.At.Sub(from)) / float64(whole)
		if x > planeWidth {
			break
		}
		weight = 100 * share.Weight.Fraction()
		fmt.Fprintf(&d, "H%sV%s", decimal(max(0, x)), decimal(planeHeight*(1-weight/top)))
	}
	line := d.String() + "H1000"
	class := string(told.Rollout.Candidate()) + " candidate"
	return panel{
		Title: "the candidate's share", Top: percentLabel(top), Bottom: "0 %", Area: line + "V100Z", Lines: []curve{{class, line}},
	}
}

func (told *report) ratePanel() panel {
	s := told.Traffic.Series
	rate := func(of func(stretch) verdict.Tally) func(stretch) (float64, bool) {
		return func(p stretch) (float64, bool) { return float64(of(p).Requests) / float64(s.Every), !p.Partly }
	}
	candidate, stable := rate(ofCandidate), rate(ofStable)
	top := niceAbove(max(s.most(candidate), s.most(stable)))
	return panel{
		Title: "requests a second", Top: decimal(top), Bottom: "0", Lines: told.lines(candidate, stable, linear(top)),
	}
}

func (told *report) errorPanel() panel {
	s := told.Traffic.Series
	candidate, stable := failing(ofCandidate), failing(ofStable)
	top := niceAbove(max(1, s.most(candidate), s.most(stable)))
	return panel{
		Title: "requests that failed", Top: percentLabel(top), Bottom: "0 %", Lines: told.lines(candidate, stable, linear(top)),
	}
}

// evidencePanel shows the evidence by its logarithm, from 1:1, which is none, to a little above the limit.
func (told *report) evidencePanel() panel {
	s := told.Traffic.Series
	evidence := func(p stretch) (float64, bool) {
		if p.LogM == nil {
			return 0, false
		}
		return max(0, *p.LogM), true
	}
	height := linear(s.RevertM * 1.25)
	line := s.line(evidence, height)
	return panel{
		Title: "evidence against the candidate, logarithmic", Bottom: "1:1",
		Lines: []curve{{string(told.Rollout.Candidate()) + " candidate", line}},
		Limit: &limit{decimal(height(s.RevertM)), "reverts at " + odds(s.RevertM)},
	}
}

func ofCandidate(p stretch) verdict.Tally { return p.Candidate }

func ofStable(p stretch) verdict.Tally { return p.Stable }

// failing is how many percent failed; nothing where nobody asked.
func failing(of func(stretch) verdict.Tally) func(stretch) (float64, bool) {
	return func(p stretch) (float64, bool) {
		t := of(p)
		return 100 * float64(t.Errors) / float64(max(1, t.Requests)), t.Requests > 0
	}
}

// lines are those of both colors, stable below.
func (told *report) lines(candidate, stable func(stretch) (float64, bool), height func(float64) float64) []curve {
	s, r := told.Traffic.Series, told.Rollout
	return []curve{
		{string(r.Stable) + " stable", s.line(stable, height)},
		{string(r.Candidate()) + " candidate", s.line(candidate, height)},
	}
}

// line goes through the middles of the stretches, and leaves out those without a value. One that stands alone is a dot.
func (s *series) line(value func(stretch) (float64, bool), height func(float64) float64) string {
	var d strings.Builder
	drawn, next := 0, "M"
	for n, p := range s.Points {
		v, known := value(p)
		if !known {
			if drawn == 1 {
				d.WriteString("h0")
			}
			drawn, next = 0, "M"
			continue
		}
		fmt.Fprintf(&d, "%s%s %s", next, decimal(planeWidth*(float64(n)+0.5)/float64(len(s.Points))), decimal(height(v)))
		drawn, next = drawn+1, "L"
	}
	if drawn == 1 {
		d.WriteString("h0")
	}
	return d.String()
}

func (s *series) most(value func(stretch) (float64, bool)) (most float64) {
	for _, p := range s.Points {
		if v, known := value(p); known {
			most = max(most, v)
		}
	}
	return most
}

// linear gives the height of a value in the plane; what is above the top is at the top.
func linear(top float64) func(float64) float64 {
	return func(v float64) float64 { return planeHeight * (1 - min(1, v/top)) }
}

// niceAbove is the next round number: 1, 2 or 5 with zeros.
func niceAbove(v float64) float64 {
	if v <= 0 {
		return 1
	}
	scale := math.Pow(10, math.Floor(math.Log10(v)))
	for _, nice := range []float64{1, 2, 5, 10} {
		if v <= nice*scale*(1+1e-9) {
			return nice * scale
		}
	}
	return v
}

func percentLabel(v float64) string { return decimal(v) + " %" }

// decimal writes at most two decimals, the same on every machine.
func decimal(v float64) string { return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64) }
