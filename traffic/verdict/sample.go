package verdict

import "time"

// Arm tells which side of the comparison a request belongs to.
type Arm uint8

// The two sides: the stable release and the candidate.
const (
	Baseline Arm = iota
	Candidate
)

// Sample is one attempt to have a request answered by one color; a request that nginx tried on both colors gives two.
type Sample struct {
	// At is when the answer was logged, by the log's clock.
	At  time.Time
	Arm Arm
	// Bad means that the attempt failed: an answer of 500 or above, or no answer at all.
	Bad bool
	// Slow means that the answer took longer than somebody wants; false where that is not measured.
	Slow bool
	// Route is the place in Config.Routes, counted from 1, of the route that it was asked of; 0 for none that is judged on its own.
	Route uint8
}

// Batch is what a source of evidence read in one go.
type Batch struct {
	Samples []Sample
	// Now is the source's clock when it had read everything there was; it is what closes a bucket in silence.
	Now time.Time
	// Gap tells that lines may be missing before this batch (rotation, truncation); the open bucket is then dropped.
	Gap bool
	// Behind is how far the reading lags behind the writing; zero when everything was read.
	Behind time.Duration
	// Fault says why there is no evidence at all, such as a log file that cannot be opened. Empty when reading works.
	Fault string
	// Intervals, Readings and Probes come from the sources beside the request log. A batch that has any holds nothing else: it is Aside.
	Intervals []Interval
	Readings  []Reading
	Probes    []Probe
}

// Aside tells that the batch is of a source beside the request log: it says nothing about how far that log was read.
func (b Batch) Aside() bool { return len(b.Intervals)+len(b.Readings)+len(b.Probes) > 0 }
