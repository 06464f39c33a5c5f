package verdict

// Decision is what the evidence says about the candidate.
type Decision string

// Undecided means that there is too little evidence, Blind that none comes. Neither is health.
const (
	Passed    Decision = "pass"
	Failed    Decision = "fail"
	Undecided Decision = "undecided"
	Blind     Decision = "blind"
)

// Tally counts the attempts of one arm.
type Tally struct {
	Requests int64 `json:"requests"`
	Errors   int64 `json:"errors"`
}

// Rules that decide, and what is missing where nothing is decided.
const (
	RuleErrors            = "errors"
	RuleSlow              = "slow"
	RuleCeiling           = "ceiling"
	RuleTotalFailure      = "total-failure"
	RuleSevere            = "severe"
	RuleNothing           = "nothing"  // undecided because not one request of the candidate was counted at this step
	RuleEvidence          = "evidence" // undecided only for lack of requests
	RuleSoak              = "soak"     // undecided only for lack of time
	RuleBaselineUnhealthy = "baseline-unhealthy"
	RuleSuspicion         = "suspicion"
	RuleCandidateSilent   = "candidate-silent"
	RuleLag               = "lag"
	RuleSilence           = "silence"
	RuleFault             = "fault"
)

// Result is a decision with its numbers.
type Result struct {
	Decision Decision `json:"decision"`
	// Rule names what decided or, for undecided and blind, what is missing: one of the Rule constants.
	Rule string `json:"rule"`
	// Reason is the decision in one sentence with its numbers, for a tired person.
	Reason string `json:"reason"`
	// Candidate and Baseline count since the last raise; the warm-up is left out.
	Candidate Tally `json:"candidate"`
	Baseline  Tally `json:"baseline"`
	// LogM is the natural logarithm of the evidence against the candidate; it fails at log(1/false_revert).
	LogM float64 `json:"log_m"`
	// LogPass is the same for the candidate at this step; it passes at log 20.
	LogPass float64 `json:"log_pass"`
	// Needed estimates how many candidate requests of this step, as clean as they should be, a pass takes in all.
	Needed int64 `json:"needed"`
}
