package verdict

import "math"

// The parts of the total evidence. An average of e-processes is one under any dependence between them, and loses less
// than splitting alpha. A metric that is off counts as 1: no evidence.
const (
	errorsPart  = 0.5
	slowPart    = 0.3
	ceilingPart = 0.2
)

// tuning is all that the evidence is measured with, fixed before the candidate gets traffic: who changed it after a
// look would need a new alpha.
type tuning struct {
	falseRevert float64 // alpha, or the whole's share of it: the FAIL threshold is 1/falseRevert
	falsePass   float64 // per step: the PASS threshold is 1/falsePass
	errors      margin
	passErrors  margin
	ceiling     float64
	slow        *slowTuning // nil while the metric is off
	patient     bool        // the second test of errors stands in for it
	betting     betting
	passCap     float64
	passSeconds float64 // least evidence at a step before it passes, in seconds of closed buckets
	passSample  float64 // and in candidate requests
	suspicion   float64 // no pass while the evidence against the candidate is this strong
}

// slowTuning holds the margins of the slow-request metric.
type slowTuning struct{ excess, pass margin }

// The ratios of the PASS margins, of errors and of slow answers. They are wider than the FAIL margins on purpose: between them
// the judge stays silent.
const (
	passRatio     = 1.5
	passSlowRatio = 2
)

// newTuning derives the tuning from the configuration.
func newTuning(cfg Config) tuning {
	t := tuning{
		falseRevert: float64(cfg.FalseRevert),
		falsePass:   0.05,
		errors:      margin{ratio: cfg.Errors.Ratio, worseBy: float64(cfg.Errors.WorseBy)},
		passErrors:  margin{ratio: passRatio, worseBy: float64(cfg.Pass.ErrorsWithin)},
		ceiling:     float64(cfg.Errors.NeverAbove),
		betting:     standardBetting,
		passCap:     passCap,
		passSeconds: 60,
		passSample:  50,
		suspicion:   10,
	}
	if t.patient = cfg.Latency.SlowerThan == 0; !t.patient {
		t.slow = &slowTuning{
			excess: margin{ratio: cfg.Latency.Ratio, worseBy: float64(cfg.Latency.WorseBy)},
			pass:   margin{ratio: passSlowRatio, worseBy: float64(cfg.Pass.SlowWithin)},
		}
	}
	return t
}

// bucket is the outcomes of both arms while it was open.
type bucket struct {
	errors, slow exposure // Invariant: both count the same requests
	seconds      float64
}

// add counts one attempt.
func (b *bucket) add(s *Sample) {
	b.errors.ask(s.Arm)
	b.slow.ask(s.Arm)
	if s.Bad {
		b.errors.blame(s.Arm)
	}
	if s.Slow {
		b.slow.blame(s.Arm)
	}
}

// metric is the evidence on one kind of bad request, both ways.
type metric struct {
	excess
	pass assurance
}

func newMetric(t tuning, fail, pass margin) metric {
	return metric{excess: newExcess(fail, t.betting), pass: assurance{margin: pass, cap: t.passCap}}
}

// evidence is all e-processes of one rollout. It knows buckets and steps, and neither clocks nor single requests.
type evidence struct {
	tuning  tuning
	errors  metric
	slow    *metric // nil while the metric is off
	patient *excess // has its part of the total then; nil while it is on
	ceiling ceiling
	alone   bool // at the full share: no baseline to compare with
	stood   bool // the ceiling was lowered for the full share; it is done once
	failed  bool // latched
	step    struct{ buckets, seconds, candidates float64 }
}

func newEvidence(t tuning) evidence {
	e := evidence{tuning: t, errors: newMetric(t, t.errors, t.passErrors), ceiling: newCeiling(t.ceiling, t.betting)}
	if t.slow != nil {
		slow := newMetric(t, t.slow.excess, t.slow.pass)
		e.slow = &slow
	} else if t.patient {
		patient := newPatient(t.errors)
		e.patient = &patient
	}
	return e
}

// enter starts a step at the given share: evidence for a pass starts anew, evidence against goes on.
// stable is what the baseline did in this rollout so far.
func (e *evidence) enter(share float64, stable Tally) {
	e.resetPass()
	e.step.buckets, e.step.seconds, e.step.candidates = 0, 0, 0
	e.alone = share >= 1
	if e.alone && !e.stood {
		e.ceiling.standAlone(stable)
		e.stood = true
	}
}

func (e *evidence) resetPass() {
	e.errors.pass.reset()
	if e.slow != nil {
		e.slow.pass.reset()
	}
}

// fold takes one closed bucket.
func (e *evidence) fold(b bucket) {
	e.step.buckets++
	e.step.seconds += b.seconds
	e.step.candidates += b.errors.nc
	e.errors.fold(b.errors, b.seconds)
	absolute := b.errors
	if e.alone { // a straggler of stable, failing while it drains, must not silence the only guard that is left
		absolute.nb, absolute.kb = 0, 0
		e.errors.pass.foldAlone(b.errors, e.ceiling.limit)
	} else {
		e.errors.pass.fold(b.errors)
	}
	e.ceiling.fold(absolute, b.seconds)
	if e.slow != nil {
		e.slow.fold(b.slow, b.seconds)
		e.slow.pass.fold(b.slow)
	}
	if e.patient != nil {
		e.patient.fold(b.errors, b.seconds)
	}
	e.failed = e.failed || e.logM() >= -math.Log(e.tuning.falseRevert)
}

// logParts gives the three summands of the total evidence; the second is of errors where the slow metric is off.
func (e *evidence) logParts() (errors, second, ceiling float64) {
	switch {
	case e.slow != nil:
		second = e.slow.logM()
	case e.patient != nil:
		second = e.patient.logM()
	}
	return math.Log(errorsPart) + e.errors.logM(), math.Log(slowPart) + second, math.Log(ceilingPart) + e.ceiling.logM()
}

// logM is the logarithm of the evidence against the candidate over the whole rollout.
func (e *evidence) logM() float64 {
	if e.errors.buckets == 0 {
		return 0
	}
	errors, second, ceiling := e.logParts()
	return logAddExp(logAddExp(errors, second), ceiling)
}

// logPass is the logarithm of the evidence for the candidate at this step: every metric must pass, so the weakest counts.
// Of slowness nobody can tell at the full share: there is no baseline to compare with, and no ceiling.
func (e *evidence) logPass() float64 {
	if e.slow != nil && !e.alone {
		return min(e.errors.pass.log(), e.slow.pass.log())
	}
	return e.errors.pass.log()
}

// logGoal is what logPass must reach.
func (e *evidence) logGoal() float64 { return -math.Log(e.tuning.falsePass) }

// suspicious tells whether the evidence against the candidate is too strong for a pass and too weak for a failure.
func (e *evidence) suspicious() bool { return e.logM() >= math.Log(e.tuning.suspicion) }

// assured tells whether the evidence alone suffices for a pass.
func (e *evidence) assured() bool {
	return e.logPass() >= e.logGoal() && e.step.candidates >= e.tuning.passSample
}

// decide is the decision of the evidence alone, before any reason to hold.
func (e *evidence) decide() Decision {
	switch {
	case e.failed:
		return Failed
	case e.assured() && e.step.seconds >= e.tuning.passSeconds && !e.suspicious():
		return Passed
	}
	return Undecided
}

// needed estimates how many candidate requests a pass of this step takes in all, if all further ones are clean, the
// baseline stays clean too and answers perCandidate requests for each of them.
//
// From the formula: a clean request adds worseBy·(1-a) to a bet, with 1-a = (1-m)·nb/(ratio·m·nc + nb), and no more than
// the cap in one bucket; the bets' mean must grow from where it stands to 1/falsePass. From a fresh start that is about
// 4/worseBy requests. Errors of the baseline shorten it, and those of the candidate are in where it stands.
func (e *evidence) needed(perCandidate float64) int64 {
	gain := e.errors.pass.cleanGain(perCandidate)
	if e.alone {
		gain = e.errors.pass.cleanGainAlone(e.ceiling.limit)
	}
	perBucket := 1.0
	if e.step.buckets > 0 {
		perBucket = max(1, e.step.candidates/e.step.buckets)
	}
	missing := e.errors.pass.missing(e.logGoal(), gain, perBucket)
	return max(int64(e.tuning.passSample), int64(e.step.candidates)+missing)
}

// heaviest names the rule that carries most of the evidence against the candidate.
func (e *evidence) heaviest() string {
	errors, second, ceiling := e.logParts()
	switch {
	case e.slow == nil:
		errors = max(errors, second)
	case second > max(errors, ceiling):
		return RuleSlow
	}
	if ceiling > errors {
		return RuleCeiling
	}
	return RuleErrors
}
