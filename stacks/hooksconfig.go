package stacks

import (
	"fmt"
	"time"

	"cutover/traffic"
)

// Hooks are commands of the user's, by the transition at which they run. At each point they run in order, to the first that fails.
// They exit 0 to pass and 75 for "not yet": then they are asked again until their time is over.
type Hooks struct {
	// BeforeUp and BeforeSwitch run before the services of the new release start, migrations in the latter. Failing, they end the
	// rollout before any traffic.
	BeforeUp     []Hook `yaml:"before_up"`
	BeforeSwitch []Hook `yaml:"before_switch"`
	// AfterStep runs when a share was proven live, BeforePromote before the last share. Failing, they take everything back.
	AfterStep     []Hook `yaml:"after_step"`
	BeforePromote []Hook `yaml:"before_promote"`
	// AfterPromote, OnRevert and OnFail are told how it ended.
	AfterPromote []Hook `yaml:"after_promote"`
	OnRevert     []Hook `yaml:"on_revert"`
	OnFail       []Hook `yaml:"on_fail"`
	// BeforeRetire runs before the old stack is stopped. Failing, it leaves that up.
	BeforeRetire []Hook `yaml:"before_retire"`
}

// Hook is one command.
type Hook struct {
	// Service is the one in whose image a one-shot container of the release runs the command; empty means on the host.
	Service string   `yaml:"service"`
	Run     []string `yaml:"run"`
	// Timeout is when the hook is stopped; 0 means ten minutes.
	Timeout time.Duration `yaml:"timeout"`
}

// all lists the points in the order of a rollout.
func (h Hooks) all() []hooksAt {
	return []hooksAt{
		{beforeUp, h.BeforeUp}, {beforeSwitch, h.BeforeSwitch}, {traffic.AfterStep, h.AfterStep}, {traffic.BeforePromote, h.BeforePromote},
		{traffic.AfterPromote, h.AfterPromote}, {traffic.OnRevert, h.OnRevert}, {traffic.OnFail, h.OnFail}, {traffic.BeforeRetire, h.BeforeRetire},
	}
}

type hooksAt struct {
	point traffic.HookPoint
	hooks []Hook
}

// At gives the hooks of a point.
func (h Hooks) At(p traffic.HookPoint) []Hook {
	for _, at := range h.all() {
		if at.point == p {
			return at.hooks
		}
	}
	return nil
}

// Points gives those at which a rollout has to wait for hooks; the ones of Prepare are waited for as it is.
func (h Hooks) Points() []traffic.HookPoint {
	var points []traffic.HookPoint
	for _, at := range h.all() {
		if len(at.hooks) > 0 && at.point != beforeUp && at.point != beforeSwitch {
			points = append(points, at.point)
		}
	}
	return points
}

func (h Hooks) validate(driver string) error {
	for _, at := range h.all() {
		for i, hook := range at.hooks {
			where := fmt.Sprintf("stacks.hooks.%s[%d]", at.point, i)
			switch {
			case len(hook.Run) == 0 || hook.Run[0] == "":
				return fmt.Errorf("%s: needs a command to run", where)
			case hook.Timeout < 0:
				return fmt.Errorf("%s.timeout: %v is negative", where, hook.Timeout)
			case hook.Service != "" && driver == DriverExternal:
				return fmt.Errorf("%s.service: external stacks have no services of ours; without it the hook runs on the host", where)
			case hook.Service != "" && !serviceName.MatchString(hook.Service):
				return fmt.Errorf("%s.service: %q is not the name of a service", where, hook.Service)
			}
		}
	}
	return nil
}
