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
	RuleGuard             = "guard"  // failed, or no pass, because a guard is over its limit
	RuleSource            = "source" // no pass because a source beside the request log is silent
)

// Result is a decision with its numbers.
type Result struct {
	Decision Decision `json:"decision"`
	// Rule names what decided or, for undecided and blind, what is missing: one of the Rule constants.
	Rule string `json:"rule"`
	// Reason is the decision in one sentence with its numbers, for a tired person.
	Reason string `json:"reason"`
	// Of names the route, the counted metric or the guard that Rule speaks of; empty where it speaks of all requests.
	Of string `json:"of,omitempty"`
	// Candidate and Baseline count since the last raise; the warm-up is left out.
	Candidate Tally `json:"candidate"`
	Baseline  Tally `json:"baseline"`
	// LogM is the natural logarithm of the evidence against the candidate; it fails at log(1/false_revert). Where the error budget
	// is shared with routes and counted metrics it is that of the one which is nearest to its limit, weighed by its share.
	LogM float64 `json:"log_m"`
	// LogPass is the same for the candidate at this step; it passes at log 20.
	LogPass float64 `json:"log_pass"`
	// Needed estimates how many candidate requests of this step, as clean as they should be, a pass takes in all.
	Needed int64 `json:"needed"`
	// Rate is how many requests a second the candidate has had at this step: what is missing comes at this rate. Zero where it is unknown.
	Rate float64 `json:"rate,omitempty"`
	// Routes and Counted are what is judged on its own, in the order of the configuration.
	Routes  []Part `json:"routes,omitempty"`
	Counted []Part `json:"counted,omitempty"`
	// Notes are whole sentences on what does not decide but should be known, such as a guard that only observes.
	Notes []string `json:"notes,omitempty"`
}

// Part is what is known of a route or a counted metric.
type Part struct {
	Name string `json:"name"`
	// Candidate and Baseline count since the last raise; the warm-up is left out.
	Candidate Tally `json:"candidate"`
	Baseline  Tally `json:"baseline"`
	// LogM is the natural logarithm of the evidence against the candidate in this part alone; it fails at LogLimit.
	LogM     float64 `json:"log_m"`
	LogLimit float64 `json:"log_limit"`
}
