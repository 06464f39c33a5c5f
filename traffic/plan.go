package traffic

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"cutover/traffic/verdict"
)

// PlanConfig is the section rollout of cutover.yaml.
type PlanConfig struct {
	Steps []Step `yaml:"steps"`
	// Bake is how long all of the traffic is watched on the candidate before it is accepted.
	Bake    time.Duration `yaml:"bake"`
	Approve []Approval    `yaml:"approve"`
}

// Step is one share that the candidate has to live with.
type Step struct {
	Weight Weight `yaml:"weight" json:"weight"`
	// Soak is the least time at this share, counted from when nginx was proven to serve it.
	Soak time.Duration `yaml:"soak,omitempty" json:"soak,omitempty"`
}

// Approval makes a rollout wait for a person, either before it starts or before a step.
type Approval struct {
	// At is "start", or the weight of the step that waits, such as 100.
	At string `yaml:"at" json:"at"`
	// Within bounds the wait; zero means for ever. Then says what happens after it: back (also when empty) or hold.
	Within time.Duration `yaml:"within,omitempty" json:"within,omitempty"`
	Then   verdict.Then  `yaml:"then,omitempty" json:"then,omitempty"`
}

// AtStart is the value of Approval.At that asks before anything happens.
const AtStart = "start"

// Plan is everything that decides the course of one rollout besides what happens in it. It is fixed when the rollout opens.
type Plan struct {
	Steps        []Step               `json:"steps"`
	Bake         time.Duration        `json:"bake"`
	Approve      []Approval           `json:"approve,omitempty"`
	Inconclusive verdict.Inconclusive `json:"inconclusive"`
	// Timeout bounds the rollout from its opening to its acceptance; zero means no bound.
	Timeout time.Duration `json:"timeout,omitempty"`
	// DrawsRequests tells that each request is drawn by itself, so that the log has to show the share.
	DrawsRequests bool `json:"draws_requests,omitempty"`
	// Observe makes the judge a witness: it takes nothing back, and what it fails gets no further share. People and signals still do.
	Observe bool `json:"observe,omitempty"`
	// Hooks are the points at which commands of the user's run.
	Hooks []HookPoint `json:"hooks,omitempty"`
	// KeepWarm is how long the old stack stays up after acceptance, so that a cutback remains one rename.
	KeepWarm time.Duration `json:"keep_warm"`
}

// DefaultPlanConfig is what cutover does when the section is silent.
func DefaultPlanConfig() PlanConfig {
	return PlanConfig{
		Steps: []Step{{Weight: 500, Soak: 10 * time.Minute}, {Weight: 2000, Soak: 10 * time.Minute}, {Weight: Full}},
		Bake:  20 * time.Minute,
	}
}

// Validate reports the first value that cannot be meant, by its path under rollout.
func (c PlanConfig) Validate() error {
	if len(c.Steps) == 0 || c.Steps[len(c.Steps)-1].Weight != Full {
		return fmt.Errorf("rollout.steps: the last step must be 100")
	}
	before := Weight(0)
	for i, s := range c.Steps {
		if s.Weight <= before {
			return fmt.Errorf("rollout.steps[%d].weight: %s is not above the step before (%s)", i, s.Weight, before)
		}
		if s.Soak < 0 {
			return fmt.Errorf("rollout.steps[%d].soak: %v is negative", i, s.Soak)
		}
		before = s.Weight
	}
	if c.Bake < 0 {
		return fmt.Errorf("rollout.bake: %v is negative", c.Bake)
	}
	for i, a := range c.Approve {
		if err := c.validateApproval(a); err != nil {
			return fmt.Errorf("rollout.approve[%d].%w", i, err)
		}
	}
	return nil
}

func (c PlanConfig) validateApproval(a Approval) error {
	if a.Within < 0 {
		return fmt.Errorf("within: %v is negative", a.Within)
	}
	if a.Then != "" && a.Then != verdict.Back && a.Then != verdict.Hold {
		return fmt.Errorf("then: %q is neither back nor hold; nobody's silence is a yes", a.Then)
	}
	if a.At == AtStart {
		return nil
	}
	w, err := ParseWeight(a.At)
	if err != nil {
		return fmt.Errorf("at: %q is neither start nor the weight of a step", a.At)
	}
	for _, s := range c.Steps {
		if s.Weight == w {
			return nil
		}
	}
	return fmt.Errorf("at: no step has the weight %s", w)
}

// Digest identifies the plan, so that a step index is never read against another plan.
func (p Plan) Digest() string {
	text, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("a plan is plain data: %v", err)) // unreachable: no field can refuse
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

// approvalAt finds what the plan asks before the given step, or before anything where step is below zero.
func (p Plan) approvalAt(step int) (Approval, bool) {
	for _, a := range p.Approve {
		if a.At == AtStart {
			if step < 0 {
				return a, true
			}
			continue
		}
		if w, err := ParseWeight(a.At); err == nil && step >= 0 && p.Steps[step].Weight == w {
			return a, true
		}
	}
	return Approval{}, false
}

func (p Plan) last() int { return len(p.Steps) - 1 }
