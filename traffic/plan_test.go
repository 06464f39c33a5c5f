package traffic_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
	"cutover/traffic/verdict"
)

func TestPlanConfigValidate(t *testing.T) {
	full := traffic.Step{Weight: traffic.Full}
	five := traffic.Step{Weight: 500, Soak: time.Minute}
	good := []traffic.PlanConfig{
		traffic.DefaultPlanConfig(),
		{Steps: []traffic.Step{full}},
		{Steps: []traffic.Step{five, full}, Approve: []traffic.Approval{{At: "start"}, {At: "5"}, {At: "100%", Within: time.Hour, Then: verdict.Hold}}},
	}
	for i, c := range good {
		require.NoError(t, c.Validate(), "good plan %d", i)
	}
	approve := func(a traffic.Approval) traffic.PlanConfig {
		return traffic.PlanConfig{Steps: []traffic.Step{five, full}, Approve: []traffic.Approval{{At: "start"}, a}}
	}
	for _, bad := range []struct {
		config    traffic.PlanConfig
		complaint string
	}{
		{traffic.PlanConfig{}, "rollout.steps: the last step must be 100"},
		{traffic.PlanConfig{Steps: []traffic.Step{five}}, "rollout.steps: the last step must be 100"},
		{traffic.PlanConfig{Steps: []traffic.Step{full, full}}, "rollout.steps[1].weight: 100 % is not above the step before (100 %)"},
		{traffic.PlanConfig{Steps: []traffic.Step{{Weight: 0}, full}}, "rollout.steps[0].weight: 0 % is not above the step before (0 %)"},
		{traffic.PlanConfig{Steps: []traffic.Step{{Weight: 2000}, five, full}}, "rollout.steps[1].weight: 5 % is not above"},
		{traffic.PlanConfig{Steps: []traffic.Step{{Weight: 500, Soak: -1}, full}}, "rollout.steps[0].soak: -1ns is negative"},
		{traffic.PlanConfig{Steps: []traffic.Step{full}, Bake: -time.Second}, "rollout.bake: -1s is negative"},
		{approve(traffic.Approval{At: "7"}), "rollout.approve[1].at: no step has the weight 7 %"},
		{approve(traffic.Approval{At: "noon"}), `rollout.approve[1].at: "noon" is neither start nor the weight of a step`},
		{approve(traffic.Approval{}), `rollout.approve[1].at: "" is neither`},
		{approve(traffic.Approval{At: "5", Within: -1}), "rollout.approve[1].within: -1ns is negative"},
		{approve(traffic.Approval{At: "5", Then: verdict.Proceed}), `rollout.approve[1].then: "proceed" is neither back nor hold`},
		{approve(traffic.Approval{At: "5", Then: "later"}), `rollout.approve[1].then: "later" is neither back nor hold`},
	} {
		require.ErrorContains(t, bad.config.Validate(), bad.complaint)
	}
}

// TestDigest holds that a plan keeps its digest for ever, through the journal too, and that each of its values counts.
func TestDigest(t *testing.T) {
	plan := func() traffic.Plan {
		c := traffic.DefaultPlanConfig()
		return traffic.Plan{
			Steps: c.Steps, Bake: c.Bake, Approve: []traffic.Approval{{At: "100", Within: time.Hour, Then: verdict.Back}},
			Inconclusive: verdict.Inconclusive{After: 30 * time.Minute, Then: verdict.Hold}, KeepWarm: time.Minute,
		}
	}
	original := plan().Digest()
	require.Equal(t, "33b5d3ff8b0a", original, "journals of older versions name this plan so")
	require.Equal(t, original, deepCopy(t, plan()).Digest())
	seen := map[string]bool{original: true}
	for i, change := range []func(*traffic.Plan){
		func(p *traffic.Plan) { p.Steps[0].Weight++ },
		func(p *traffic.Plan) { p.Steps[1].Soak++ },
		func(p *traffic.Plan) { p.Steps = p.Steps[1:] },
		func(p *traffic.Plan) { p.Bake++ },
		func(p *traffic.Plan) { p.Approve[0].At = traffic.AtStart },
		func(p *traffic.Plan) { p.Approve[0].Within++ },
		func(p *traffic.Plan) { p.Approve[0].Then = verdict.Hold },
		func(p *traffic.Plan) { p.Inconclusive.After++ },
		func(p *traffic.Plan) { p.Inconclusive.Then = verdict.Proceed },
		func(p *traffic.Plan) { p.Timeout++ },
		func(p *traffic.Plan) { p.KeepWarm++ },
	} {
		p := plan()
		change(&p)
		require.False(t, seen[p.Digest()], "change %d has the digest of another plan", i)
		seen[p.Digest()] = true
	}
}

func TestKindOf(t *testing.T) {
	refused := &traffic.Fault{Kind: traffic.Refused, Err: errors.New("nginx -t failed"), Hint: "mend other.conf"}
	require.Equal(t, traffic.Refused, traffic.KindOf(fmt.Errorf("raise to 5 %%: %w", refused)))
	require.Equal(t, traffic.Refused, traffic.KindOf(errors.Join(errors.New("first"), refused)))
	require.Equal(t, "nginx -t failed", refused.Error())
	require.ErrorIs(t, fmt.Errorf("around: %w", &traffic.Fault{Kind: traffic.Refused, Err: traffic.ErrCut}), traffic.ErrCut)
	require.Empty(t, traffic.KindOf(errors.New("nobody classed this")))
	require.Empty(t, traffic.KindOf(nil))
}
