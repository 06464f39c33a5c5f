package verdict

import "time"

// Metrics says what the samples of a recording tell about a request.
type Metrics int

// ErrorsAndSlowness also judges by the margins for slow answers; at the full share, where nothing can be compared, only
// errors count.
const (
	ErrorsOnly Metrics = iota
	ErrorsAndSlowness
)

// Shift is a share of the candidate, from 0 to 1, and when it was live.
type Shift struct {
	At    time.Time
	Share float64
}

// Opinion is the first moment of a decision in a replay, by the recording's clock.
type Opinion struct {
	At     time.Time
	Share  float64
	Result Result
	// Log are the logarithms of the evidence against the candidate, metric by metric.
	Log LogEvidence
}

// LogEvidence are natural logarithms of e-processes; 0 is no evidence, and what a metric that is off gives.
type LogEvidence struct {
	Errors  float64 `json:"errors"`
	Slow    float64 `json:"slow"`
	Ceiling float64 `json:"ceiling"`
}

// Count is what one arm did in a recording.
type Count struct {
	Tally
	Slow int64 `json:"slow"`
}

// Replay plays a recording to a Judge: each sample at the moment when it was logged, the shifts at theirs, and a tick for
// each second in which nothing was logged. Nothing depends on how the recording was cut into batches, and nothing on a
// clock, so that a recording gives the same opinions each time.
//
// Of a Judge that followed the same log live it differs by what that one could not know: a line reaches it up to a few
// tenths of a second after it was logged, and may fall into the next bucket.
type Replay struct {
	judge    *Judge
	shifts   []Shift // those that are still to come
	until    time.Time
	now      time.Time // of the last sample, shift or tick
	sample   [1]Sample
	known    Decision // of the last opinion, undecided and blind being one
	opinions []Opinion
	counts   [2]Count // by Arm
}

// NewReplay begins a replay. The shifts are in order of their times. At until it ends, whatever is logged afterwards; zero
// ends it with the recording. The configuration must be valid.
func NewReplay(cfg Config, m Metrics, shifts []Shift, until time.Time) *Replay {
	if m == ErrorsOnly {
		cfg = cfg.errorsOnly()
	} else if cfg.Latency.SlowerThan == 0 {
		cfg.Latency.SlowerThan = time.Nanosecond // the samples say which ones are slow
	}
	return &Replay{judge: NewJudge(cfg), shifts: shifts, until: until}
}

// Play takes the next sample of the recording.
func (r *Replay) Play(s Sample) {
	if !r.until.IsZero() && !s.At.Before(r.until) {
		return
	}
	r.shiftUpTo(s.At)
	if len(r.opinions) == 0 {
		return // before the first share
	}
	count := &r.counts[s.Arm]
	count.Requests++
	if s.Bad {
		count.Errors++
	}
	if s.Slow {
		count.Slow++
	}
	r.tickUpTo(s.At)
	if back := r.now.Sub(s.At); back < 0 || back > clockSetBack { // else it is out of order by a moment
		r.now = s.At
	}
	r.sample[0] = s
	r.judge.Fold(Batch{Samples: r.sample[:], Now: s.At})
	r.look()
}

// End plays what is left: the shifts and the time until the end. It answers the last opinion, renewed; false where there
// was no share to judge.
func (r *Replay) End() (Opinion, bool) {
	if !r.until.IsZero() {
		r.shiftUpTo(r.until)
		r.tickUpTo(r.until)
		r.judge.Advance(r.until)
		if r.now = r.until; len(r.opinions) > 0 {
			r.look()
		}
	}
	return r.Stands()
}

// Stands is the opinion at the moment that was played last, changed or not; false before the first share.
func (r *Replay) Stands() (Opinion, bool) {
	if len(r.opinions) == 0 {
		return Opinion{}, false
	}
	return r.opinion(), true
}

// Opinions are the moments at which the decision changed, the first share's being the first; undecided and blind are one:
// to hold. Nothing follows a failure.
func (r *Replay) Opinions() []Opinion { return r.opinions }

// Counted is what an arm did from the first share to the end, the warm-up and what followed a failure included.
func (r *Replay) Counted(a Arm) Count { return r.counts[a] }

// shiftUpTo makes the shifts that are due.
func (r *Replay) shiftUpTo(at time.Time) {
	for len(r.shifts) > 0 && !at.Before(r.shifts[0].At) {
		s := r.shifts[0]
		r.shifts = r.shifts[1:]
		if len(r.opinions) > 0 {
			r.tickUpTo(s.At)
		}
		r.now = s.At
		r.judge.Shift(s.At, s.Share)
		r.look()
	}
}

// tickUpTo lets the time pass as a controller does, so that what only time brings is seen: a pass at the end of its
// minute, or silence. In a silence that has blinded the judge nothing more can come.
func (r *Replay) tickUpTo(at time.Time) {
	for next := r.now.Add(time.Second); next.Before(at); next = next.Add(time.Second) {
		if decision, _ := r.judge.standing(); decision == Blind || r.judge.convicted() {
			return
		}
		r.now = next
		r.judge.Advance(next)
		r.look()
	}
}

// look notes a change of the decision.
func (r *Replay) look() {
	if r.known == Failed {
		return
	}
	decision := Failed
	if !r.judge.convicted() {
		decision, _ = r.judge.standing()
	}
	if decision == Blind {
		decision = Undecided
	}
	if decision != r.known {
		r.known = decision
		r.opinions = append(r.opinions, r.opinion())
	}
}

func (r *Replay) opinion() Opinion {
	e := &r.judge.evidence
	log := LogEvidence{Errors: e.errors.logM(), Ceiling: e.ceiling.logM()}
	if e.slow != nil {
		log.Slow = e.slow.logM()
	}
	return Opinion{At: r.now, Share: r.judge.share, Result: r.judge.Result(), Log: log}
}
