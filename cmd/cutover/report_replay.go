package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"cutover/traffic"
	"cutover/traffic/signal"
	"cutover/traffic/verdict"
)

// recordedTraffic is what the access log tells of a rollout, as far as it is still there.
type recordedTraffic struct {
	Log string `json:"log"`
	// Missing says why the log tells nothing; everything below is empty then.
	Missing string `json:"missing,omitempty"`
	// Remarks are whole sentences on what the log does not tell, or tells otherwise than the journal.
	Remarks []string `json:"remarks,omitempty"`
	// Candidate and Stable count the attempts from the first share to the end.
	Candidate verdict.Count `json:"candidate"`
	Stable    verdict.Count `json:"stable"`
	// Opinions are the changes of the verdict.
	Opinions []replayEvent `json:"opinions,omitempty"`
	Series   series        `json:"series"`
}

// series is what happened over time, in stretches of one length.
type series struct {
	From unixTime `json:"from"`
	// Every is the length of a stretch in seconds.
	Every   int64     `json:"every"`
	Points  []stretch `json:"points,omitempty"`
	RevertM float64   `json:"revert_log_m"` // the evidence at which it reverts, as LogM
}

// stretch is a part of the series.
type stretch struct {
	Candidate verdict.Tally `json:"candidate"`
	Stable    verdict.Tally `json:"stable"`
	// LogM is the most evidence there was against the candidate, as verdict.Result has it; nil where there was none to look at.
	LogM *float64 `json:"log_m"`
	// Partly tells that the log does not hold the whole of it, so that its counts make no rate.
	Partly bool `json:"partly,omitempty"`
}

const (
	// mostStretches is how many points a chart can show to an eye.
	mostStretches = 90
	// besides is the least time that a chart shows before the first share and after the end.
	besides = 5 * time.Second
)

// lengths are the stretches that people can reckon with; longer ones are whole hours.
var lengths = []time.Duration{
	time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
}

// replayed judges the rollout's requests once more. A log that was named must be readable; of the configured one it is only said
// when it is gone, or no longer reaches back.
func (s *session) replayed(told report, ran course, named string) (recordedTraffic, error) {
	t := recordedTraffic{Log: s.config.judgedLog()}
	if named != "" {
		t.Log = absolute(named, s.invocation.dir) // the session's own is the journal's
	}
	if len(ran.shifts) == 0 {
		t.Missing = "the candidate never had a share of the traffic"
		return t, nil
	}
	known := s.config.reading(ran.candidate.Other())
	recording, err := signal.OpenRecording(t.Log, signal.Wanted{
		App: ran.app, Candidate: string(ran.candidate), Stable: string(ran.candidate.Other()), SlowerThan: known.SlowerThan,
		Known: known.Arms, Routes: known.Routes, Format: known.Format,
	})
	switch {
	case err != nil && named != "":
		return t, unreadable(err)
	case err != nil:
		t.Missing = fmt.Sprintf("the access log cannot be read: %v", err)
		if errors.Is(err, fs.ErrNotExist) {
			t.Missing = fmt.Sprintf("the access log %s is gone", t.Log)
		}
		return t, nil
	}
	if t.Missing = told.beyond(recording, ran); t.Missing != "" {
		return t, nil
	}
	metrics := verdict.ErrorsOnly
	if known.SlowerThan > 0 {
		metrics = verdict.ErrorsAndSlowness
	}
	r := verdict.NewReplay(s.config.judged(), metrics, ran.shifts, ran.until)
	t.Series = seriesOf(recording, ran)
	t.Series.RevertM = -math.Log(float64(s.config.Verdict.FalseRevert))
	if err := recording.Play(t.Series.watching(r, ran.until)); err != nil {
		return t, err
	}
	last, _ := r.End()
	t.Series.hear(r) // what it came to
	t.Candidate, t.Stable = r.Counted(verdict.Candidate), r.Counted(verdict.Baseline)
	t.Opinions = eventsOf(r.Opinions())
	t.remark(told, recording, ran, last.Result)
	return t, nil
}

// beyond says how a log has nothing of the rollout; empty where it has.
func (told *report) beyond(recording *signal.Recording, ran course) string {
	span := fmt.Sprintf("%s to %s", told.clock(recording.First), told.clock(recording.Last))
	switch {
	case !ran.until.IsZero() && recording.First.After(ran.until):
		return fmt.Sprintf("the access log only goes from %s: its older part was rotated away", span)
	case recording.Last.Before(ran.shifts[0].At):
		return fmt.Sprintf("the access log only goes from %s, before the first share", span)
	}
	return ""
}

// remark says what the log does not tell, and where it tells otherwise than the journal.
func (t *recordedTraffic) remark(told report, recording *signal.Recording, ran course, last verdict.Result) {
	if first := ran.shifts[0].At; recording.First.After(first) {
		t.Remarks = append(t.Remarks, fmt.Sprintf("The log begins at %s, after the first share at %s: the requests between, if any, are not in it.",
			told.clock(recording.First), told.clock(first)))
	}
	if recording.Foreign > 0 {
		t.Remarks = append(t.Remarks, fmt.Sprintf("%d of the log's %d lines are another app's, or of no known format.", recording.Foreign, recording.Lines))
	}
	failed, reverted := last.Decision == verdict.Failed, told.Rollout.Ending == traffic.Reverted
	switch {
	case reverted && !failed:
		t.Remarks = append(t.Remarks, "The requests alone, by the margins that cutover.yaml has now, would not have reverted it. "+
			"The verdict then stands in the journal: the reason above.")
	case failed && !reverted && told.Rollout.Would == nil && told.Rollout.HasJudge():
		t.Remarks = append(t.Remarks, "By the margins that cutover.yaml has now the requests would have reverted it: "+last.Reason+".")
	}
}

// eventsOf are the opinions as `judge --replay` gives them.
func eventsOf(opinions []verdict.Opinion) (events []replayEvent) {
	for _, o := range opinions {
		events = append(events, replayEvent{
			TS: unixTime(o.At), Weight: traffic.Weight(math.Round(o.Share * float64(traffic.Full))), Decision: decided(o.Result),
			Rule: o.Result.Rule, Reason: o.Result.Reason, LogM: o.Log, Candidate: o.Result.Candidate, Stable: o.Result.Baseline,
		})
	}
	return events
}

// seriesOf makes the empty series: from a little before the first share to a little after the end, as far as the log goes.
func seriesOf(recording *signal.Recording, ran course) series {
	from, until := ran.shifts[0].At, recording.Last
	if !ran.until.IsZero() {
		until = ran.until
	}
	lead := max(besides, until.Sub(from)/12)
	if from = from.Add(-lead); from.Before(recording.First) {
		from = recording.First
	}
	if until = until.Add(lead); until.After(recording.Last) {
		until = recording.Last
	}
	if until.Before(ran.until) { // nginx keeps its last lines for a moment
		until = ran.until
	}
	from = from.Truncate(time.Second)
	every := lengthFor(until.Sub(from))
	s := series{From: unixTime(from), Every: int64(every / time.Second), Points: make([]stretch, int(until.Sub(from)/every)+1)}
	for n := range s.Points {
		begins := from.Add(time.Duration(n) * every)
		s.Points[n].Partly = begins.Before(recording.First) || begins.Add(every).After(recording.Last)
	}
	return s
}

// lengthFor is the shortest stretch by which the time has no more than an eye can see.
func lengthFor(whole time.Duration) time.Duration {
	for _, every := range lengths {
		if whole < mostStretches*every {
			return every
		}
	}
	return (whole/mostStretches + time.Hour).Truncate(time.Hour)
}

// watching plays each sample to the replay and notes it; before the first sample of a second, too, what the judge thinks. Until
// is when the judge's ear closes, zero for never.
func (s *series) watching(r *verdict.Replay, until time.Time) func(verdict.Sample) {
	second := int64(0)
	return func(sample verdict.Sample) {
		if p := s.at(sample.At); p != nil {
			p.count(sample)
		}
		r.Play(sample)
		if now := sample.At.Unix(); now > second && (until.IsZero() || sample.At.Before(until)) {
			second = now
			s.hear(r)
		}
	}
}

// hear notes the evidence that stands.
func (s *series) hear(r *verdict.Replay) {
	o, judged := r.Stands()
	if p := s.at(o.At); judged && p != nil && (p.LogM == nil || *p.LogM < o.Result.LogM) {
		p.LogM = &o.Result.LogM
	}
}

// at is the stretch of that time; nil outside of the series.
func (s *series) at(t time.Time) *stretch {
	since := t.Sub(time.Time(s.From))
	if n := int64(since / time.Second / time.Duration(s.Every)); since >= 0 && n < int64(len(s.Points)) {
		return &s.Points[n]
	}
	return nil
}

func (p *stretch) count(s verdict.Sample) {
	of := &p.Stable
	if s.Arm == verdict.Candidate {
		of = &p.Candidate
	}
	of.Requests++
	if s.Bad {
		of.Errors++
	}
}
