package main

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"cutover/traffic"
	"cutover/traffic/verdict"
)

// reportColumns is how wide the text is where words allow it.
const reportColumns = 80

// print tells the report to people.
func (told *report) print(o *output) {
	var text strings.Builder
	say := func(before, f string, args ...any) { text.WriteString(hung(before, fmt.Sprintf(f, args...))) }
	r := told.Rollout
	say("", "rollout %s of %s: %s", r.ID, told.App, told.Headline)
	if told.Why != "" {
		say("  ", "%s", told.Why)
	}
	say("", "")
	say("from       ", "%s", spaced(string(r.Stable), r.Previous))
	say("to         ", "%s", spaced(string(r.Candidate()), r.Release.Tag))
	say("who        ", "%s, %s", orDash(r.By), r.Mode)
	say("when       ", "%s%s", r.Opened.In(told.zone()).Format(time.DateTime+" -07:00"), told.lasted())
	for _, f := range told.figures() {
		say(fmt.Sprintf("%-11s", f.Name), "%s", f.Value)
	}
	say("", "\nwhat happened")
	for _, h := range told.Timeline {
		say(fmt.Sprintf("  %s  %-11s ", told.clock(h.At), h.About), "%s", spaced(h.Say, byWhom(h)))
	}
	for n, step := range r.Steps {
		if n == 0 {
			say("", "\nsteps, and how many of their requests failed")
		}
		say(fmt.Sprintf("  %7s  ", step.Weight), "%s: %s", told.stayed(n), orElse(step.Result.Reason, "nobody judged it"))
		for _, part := range partsOf(step.Result) {
			say("           ", "%s: candidate %s, stable %s", part.Name, failures(part.Candidate), failures(part.Baseline))
		}
	}
	told.printTraffic(say)
	for n, note := range told.Notes {
		if n == 0 {
			say("", "\nnotes")
		}
		say("  ", "%s", note)
	}
	_ = writeClean(o.text(), text.String()) // a lost reader loses text
}

func (told *report) printTraffic(say func(before, f string, args ...any)) {
	t := told.Traffic
	say("", "\nthe verdict over time, judged again by the access log")
	if t.Missing != "" {
		say("  ", "left out: %s%s", t.Missing, told.remedy())
		return
	}
	for _, e := range t.Opinions {
		say(fmt.Sprintf("  %s  %6s  %-4s  ", told.clock(time.Time(e.TS)), e.Weight, e.Decision), "%s", e.Reason)
	}
	for _, remark := range t.Remarks {
		say("  ", "%s", remark)
	}
}

// remedy says how to have a missing log read; empty where there was nothing to log.
func (told *report) remedy() string {
	if len(told.Shares) == 0 {
		return ""
	}
	return fmt.Sprintf("; `cutover report --log FILE %s` reads an older one", told.Rollout.ID)
}

// figure is a number that one looks for first.
type figure struct{ Name, Value string }

// figures are the numbers of the whole rollout: from the log where it is there.
func (told *report) figures() []figure {
	if len(told.Shares) == 0 {
		return []figure{{"reached", "0 %, no user saw it"}}
	}
	carried := "still"
	if !told.Decided.IsZero() {
		carried = "for " + told.carried().String()
	}
	figures := []figure{{"reached", fmt.Sprintf("%s, with traffic %s", told.reached(), carried)}}
	if told.Traffic.Missing == "" {
		figures = append(figures, figure{"candidate", failures(told.Traffic.Candidate.Tally) + " in all"},
			figure{"stable", failures(told.Traffic.Stable.Tally) + " meanwhile"})
	}
	return figures
}

// failures is a count as one reads it: "12 of 430 requests failed (2.8 %)".
func failures(t verdict.Tally) string {
	if t.Requests == 0 {
		return "no request"
	}
	return fmt.Sprintf("%d of %d failed (%s)", t.Errors, t.Requests, percent(float64(t.Errors)/float64(t.Requests)))
}

// percent writes a share with the digits that matter.
func percent(share float64) string {
	switch p := 100 * share; {
	case p == 0 || p >= 99.95:
		return fmt.Sprintf("%.0f %%", p)
	case p < 1:
		return fmt.Sprintf("%.2g %%", p)
	default:
		return fmt.Sprintf("%.1f %%", p)
	}
}

// odds writes evidence as the chance that it would be by chance, as the verdict's reasons do.
func odds(logM float64) string {
	return fmt.Sprintf("1:%.0f", math.Exp(min(max(logM, 0), math.Log(1e6))))
}

// lasted says how long the rollout was open.
func (told *report) lasted() string {
	if told.Decided.IsZero() {
		return ", not over"
	}
	return ", decided after " + told.Decided.Sub(told.Rollout.Opened).Round(time.Second).String()
}

// stayed says from when on and for how long a step was live, and how it was left.
func (told *report) stayed(n int) string {
	step := told.Rollout.Steps[n]
	if step.Left.IsZero() {
		return told.clock(step.Live) + ", still there"
	}
	return fmt.Sprintf("%s for %v, %s", told.clock(step.Live), step.Left.Sub(step.Live).Round(100*time.Millisecond), told.leftHow(step))
}

// leftHow is how a step was left: upwards, or by the rollout's end.
func (told *report) leftHow(step traffic.StepRecord) string {
	return orElse(string(step.How), string(told.Rollout.Ending))
}

// partsOf are the routes and counted metrics of a result.
func partsOf(r verdict.Result) []verdict.Part {
	return append(append([]verdict.Part{}, r.Routes...), r.Counted...)
}

func byWhom(h happened) string {
	if h.By == "" {
		return ""
	}
	return "(" + h.By + ")"
}

// hung writes a text behind its beginning and, where it is too long, in lines below one another.
func hung(before, text string) string {
	width := utf8.RuneCountInString(before)
	lines := folded(text, max(reportColumns-width, reportColumns/3))
	lines = strings.ReplaceAll(lines, "\n", "\n"+strings.Repeat(" ", width))
	return strings.TrimRight(before+lines, " ") + "\n"
}
