package load

import (
	"maps"
	"slices"
	"time"
)

// ReleaseHeader is the header by which an answer names its release.
const ReleaseHeader = "X-Release"

// Outcome is how one request ended, by the client's clock.
type Outcome struct {
	Start, End time.Time
	// Status is that of the answer; 0 when there was none.
	Status int
	// Release is what the answer named as its release; empty when nginx itself answered.
	Release string
	// Err is why the request is lost: no answer came, or not all of it. Nil for each whole answer, whatever its status.
	Err error
}

// Lost says that the client has no whole answer.
func (o Outcome) Lost() bool { return o.Err != nil }

// Failed says that the answer was the server's failure.
func (o Outcome) Failed() bool { return o.Err == nil && o.Status >= 500 }

// Tally counts the answers of one release. Its times are when answers were complete; zero when there was none.
type Tally struct {
	Answers, Failed         int
	First, Last             time.Time
	FirstFailed, LastFailed time.Time
}

// Summary is a run in numbers.
type Summary struct {
	// Requests are those that ended: Lost ones and whole answers, of which Failed are 500 and above.
	Requests, Lost, Failed int
	// Skipped were due while all workers were busy, and never sent.
	Skipped int
	// Releases has the answers of each release, and under "" those that name none.
	Releases map[string]Tally
}

func (s *Summary) add(o Outcome) {
	s.Requests++
	if o.Lost() {
		s.Lost++
		return
	}
	if s.Releases == nil {
		s.Releases = map[string]Tally{}
	}
	t := s.Releases[o.Release]
	t.Answers++
	t.First, t.Last = earlier(t.First, o.End), later(t.Last, o.End)
	if o.Failed() {
		s.Failed++
		t.Failed++
		t.FirstFailed, t.LastFailed = earlier(t.FirstFailed, o.End), later(t.LastFailed, o.End)
	}
	s.Releases[o.Release] = t
}

func (s Summary) clone() Summary {
	s.Releases = maps.Clone(s.Releases)
	return s
}

// Report is a run, or a part of one, request by request.
type Report struct {
	// Outcomes are in the order of their starts.
	Outcomes []Outcome
	// Skipped are the times of the requests that were due while all workers were busy.
	Skipped []time.Time
}

// Summary counts the report.
func (r Report) Summary() Summary {
	s := Summary{Skipped: len(r.Skipped)}
	for _, o := range r.Outcomes {
		s.add(o)
	}
	return s
}

// Between is the part of the report that started at from or later, and before to.
func (r Report) Between(from, to time.Time) Report {
	return Report{
		Outcomes: between(r.Outcomes, func(o Outcome) time.Time { return o.Start }, from, to),
		Skipped:  between(r.Skipped, func(at time.Time) time.Time { return at }, from, to),
	}
}

// between cuts [from, to) out of a list in the order of time.
func between[T any](list []T, at func(T) time.Time, from, to time.Time) []T {
	position := func(t time.Time) int {
		i, _ := slices.BinarySearchFunc(list, t, func(e T, t time.Time) int { return at(e).Compare(t) })
		return i
	}
	return list[position(from):max(position(from), position(to))]
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
