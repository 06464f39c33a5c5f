package verdict

import "time"

const (
	// totalRun bad answers in a row over totalSpan are a total failure. At a true error rate p a rollout of N requests
	// has at most N·p^8 chances of it; nothing else may be assumed of failures that come together.
	totalRun  = 8
	totalSpan = 2500 * time.Millisecond

	// The severe path's score rises by 1 with each bad answer and sinks by severeRelief with each good one.
	severeTop    = 30.0
	severeScore  = 20.0
	severeRelief = 0.5
	severeSpan   = 5 * time.Second

	// witnessBad is the part of its requests that the baseline may fail and still be called healthy.
	witnessBad = 0.2
)

// witness is what the baseline did since a moment: without a healthy one a run of failures proves nothing.
type witness struct {
	since moment
	seen  Tally
}

func (w *witness) count(s Sample) {
	w.seen.Requests++
	if s.Bad {
		w.seen.Errors++
	}
}

// healthy tells whether stable answered, and well, meanwhile. At the full share nobody can tell, and nobody is asked.
func (w *witness) healthy(share float64) bool {
	if share >= 1 {
		return true
	}
	return w.seen.Requests >= 1 && float64(w.seen.Errors) <= witnessBad*float64(w.seen.Requests)
}

// totalFailure is the run of the candidate's last answers while all of them are bad. It convicts within seconds, where
// the betting must wait because it takes failures of one second for one event.
type totalFailure struct {
	run int64
	witness
}

// observe takes one attempt at its moment and tells whether it completes a total failure.
func (f *totalFailure) observe(at moment, s Sample, share float64) bool {
	switch {
	case s.Arm == Baseline:
		f.count(s)
		return false
	case !s.Bad:
		f.run = 0
		return false
	}
	if f.run == 0 {
		f.witness = witness{since: at}
	}
	f.run++
	return f.run >= totalRun && at.since(f.since) >= totalSpan && f.healthy(share)
}

// severe is a leaking score of bad answers: it cuts a fault of 50 to 80 % at high traffic, which is no unbroken run,
// in half the time that the betting takes.
type severe struct {
	score     float64
	candidate Tally // since the score left zero
	witness
}

// observe takes one attempt at its moment and tells whether it completes a severe failure.
func (f *severe) observe(at moment, s Sample, share float64) bool {
	if s.Arm == Baseline {
		f.count(s)
		return false
	}
	if s.Bad && f.score == 0 {
		f.witness, f.candidate = witness{since: at}, Tally{}
	}
	f.candidate.Requests++
	if !s.Bad {
		f.score = max(0, f.score-severeRelief)
		return false
	}
	f.candidate.Errors++
	f.score = min(f.score+1, severeTop)
	return f.score >= severeScore && at.since(f.since) >= severeSpan && f.healthy(share)
}
