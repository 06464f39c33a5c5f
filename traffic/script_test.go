package traffic_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cutover/traffic"
	"cutover/traffic/verdict"
)

// A script tells what the machine makes of events, one line each:
//
//	[+10m] event arguments   -> phase(step) share | pending effect | what else changed
//
// "+10m" is the time since the line before. The share is the candidate's: "5 %" is proven, "5 % to 20 %" is on its way.
// "-> nothing" means that the event changed nothing at all. Two more words may stand where an event does:
//
//	plan steps=5:10m,100:0s …   the plan of the rollouts that are opened below; what is left out has its default
//	asking start,100/2h/back    that plan with these approvals
//	at soaking(1)               forget everything and go to that place by the shortest good way (see places)
//	again                       the line before once more, as a journal that is read twice would give it
type script struct {
	plan  traffic.Plan
	now   time.Time
	state traffic.State
	last  traffic.Event
	// met is called for every event with the phase that it met; may be nil.
	met func(traffic.Phase, traffic.EventKind)
}

const (
	ann         = "ann@host"
	defaultPlan = "steps=5:10m,20:10m,100:0s bake=20m inconclusive=30m/hold keep_warm=30m"
)

// kinds are all events that there are; TestKindsAreComplete holds that.
var kinds = []traffic.EventKind{
	traffic.StableSet, traffic.StackUp, traffic.StackDown, traffic.Opened, traffic.Retargeted,
	traffic.Prepared, traffic.PrepareFailed, traffic.Checked, traffic.Raised, traffic.RaiseFailed,
	traffic.CutProven, traffic.CutUnproven, traffic.HandedOver, traffic.Finished, traffic.FinishFailed, traffic.Retired, traffic.Hooked,
	traffic.Judged, traffic.Paused, traffic.Resumed, traffic.Approved, traffic.AbortAsked, traffic.CutSeen,
	traffic.AcceptedByHand, traffic.FinishNow, traffic.JournalFailed, traffic.Recovered,
}

func newScript() *script {
	s := &script{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	if err := s.setPlan(defaultPlan); err != nil {
		panic(err)
	}
	return s
}

// run does what the left side of one line says and answers what its right side must be; "" where it has none.
func (s *script) run(line string) (string, error) {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	rest = strings.TrimSpace(rest)
	if since, ok := strings.CutPrefix(word, "+"); ok {
		d, err := time.ParseDuration(since)
		if err != nil {
			return "", err
		}
		s.now = s.now.Add(d)
		word, rest, _ = strings.Cut(rest, " ")
	}
	before := s.state
	switch word {
	case "plan":
		s.plan = traffic.Plan{}
		return "", s.setPlan(defaultPlan + " " + rest)
	case "asking":
		return "", s.setPlan("approve=" + rest)
	case "at":
		way, ok := places[rest]
		if !ok {
			return "", fmt.Errorf("no way to %q is known", rest)
		}
		if err := s.walk(way); err != nil {
			return "", err
		}
		return describe(s.state) + noted(nil), nil
	case "again":
	default:
		if !slices.Contains(kinds, traffic.EventKind(word)) {
			return "", fmt.Errorf("%q is no event", word)
		}
		e, err := s.event(word, strings.TrimSpace(rest))
		if err != nil {
			return "", err
		}
		s.last = e
	}
	s.apply(s.last)
	notes, same := changes(before, s.state)
	if same {
		return "nothing", nil
	}
	return describe(s.state) + noted(notes), nil
}

func (s *script) apply(e traffic.Event) {
	if s.met != nil {
		s.met(s.state.Phase(), e.Kind)
	}
	s.state = traffic.Next(s.state, e)
}

// walk starts anew and follows a way of places; its events are not counted as met, and its plan ends with it.
func (s *script) walk(way string) error {
	met, plan := s.met, s.plan
	s.met, s.state = nil, traffic.State{}
	defer func() { s.met, s.plan = met, plan }()
	for line := range strings.SplitSeq(way, ";") {
		if _, err := s.run(line); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	return nil
}

// setPlan changes the keys that are named.
func (s *script) setPlan(text string) error {
	for field := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(field, "=")
		var err error
		switch key {
		case "steps":
			s.plan.Steps, err = parseSteps(value)
		case "approve":
			s.plan.Approve, err = parseApprovals(value)
		case "bake":
			s.plan.Bake, err = time.ParseDuration(value)
		case "timeout":
			s.plan.Timeout, err = time.ParseDuration(value)
		case "keep_warm":
			s.plan.KeepWarm, err = time.ParseDuration(value)
		case "hooks":
			for point := range strings.SplitSeq(value, ",") {
				s.plan.Hooks = append(s.plan.Hooks, traffic.HookPoint(point))
			}
		case "observe":
			s.plan.Observe, err = strconv.ParseBool(value)
		case "inconclusive":
			after, then, _ := strings.Cut(value, "/")
			s.plan.Inconclusive.Then = verdict.Then(then)
			s.plan.Inconclusive.After, err = time.ParseDuration(after)
		default:
			err = errors.New("no such key")
		}
		if err != nil {
			return fmt.Errorf("plan %s: %w", field, err)
		}
	}
	return nil
}

func parseSteps(text string) (steps []traffic.Step, err error) {
	for part := range strings.SplitSeq(text, ",") {
		weight, soak, _ := strings.Cut(part, ":")
		var step traffic.Step
		if step.Weight, err = traffic.ParseWeight(weight); err != nil {
			return nil, err
		}
		if step.Soak, err = time.ParseDuration(soak); err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}

// parseApprovals reads "start,100/2h/back".
func parseApprovals(text string) (approvals []traffic.Approval, err error) {
	for part := range strings.SplitSeq(text, ",") {
		fields := strings.Split(part, "/")
		a := traffic.Approval{At: fields[0]}
		if len(fields) == 3 {
			a.Then = verdict.Then(fields[2])
			if a.Within, err = time.ParseDuration(fields[1]); err != nil {
				return nil, err
			}
		}
		approvals = append(approvals, a)
	}
	return approvals, nil
}

// event reads one event; what it says of its rollout is the open one, unless rollout=000099 stands first.
func (s *script) event(kind, rest string) (traffic.Event, error) {
	e := traffic.Event{Kind: traffic.EventKind(kind), At: s.now, By: ann}
	if r := s.state.Open; r != nil {
		e.Rollout = r.ID
	}
	if other, ok := strings.CutPrefix(rest, "rollout="); ok {
		id, remains, _ := strings.Cut(other, " ")
		n, err := strconv.Atoi(id)
		if err != nil {
			return e, err
		}
		e.Rollout, rest = traffic.RolloutID(n), remains
	}
	fields := strings.Fields(rest)
	var err error
	switch e.Kind {
	case traffic.Opened:
		err = s.opening(&e, fields)
	case traffic.StableSet, traffic.StackUp, traffic.StackDown:
		e.Color = traffic.Color(fields[0])
		if len(fields) > 1 {
			e.Release = &traffic.Release{Tag: fields[1]}
		}
	case traffic.Hooked:
		point, why, _ := strings.Cut(rest, " ")
		e.Hook, e.Why = traffic.HookPoint(point), why
	case traffic.Prepared:
		e.Release = &traffic.Release{Tag: s.state.Open.Release.Tag, Images: map[string]string{"backend": "sha256:7"}}
	case traffic.Raised, traffic.Retargeted:
		weight, guarded := strings.CutSuffix(rest, " guarded")
		e.Guarded = guarded
		e.Weight, err = traffic.ParseWeight(weight)
	case traffic.Judged:
		e.Verdict = opinion(rest)
	case traffic.Recovered:
		e.Why = "its promoter is gone"
		e.Live = s.live(rest)
	case traffic.Paused, traffic.Resumed, traffic.Approved, traffic.AcceptedByHand, traffic.FinishNow:
		if rest != "" {
			e.By = rest
		}
	default:
		e.Why = rest
	}
	return e, err
}

func (s *script) opening(e *traffic.Event, fields []string) error {
	if len(fields) < 2 {
		return errors.New("opened wants a mode and a tag")
	}
	stable := s.state.Stable
	e.Opening = &traffic.Opening{
		Mode: traffic.Mode(fields[0]), Tag: fields[1], Plan: s.plan,
		Stable: stable, Previous: s.state.Releases[stable].Tag,
	}
	if e.Rollout == 0 {
		e.Rollout = s.state.LastID + 1
	}
	if len(fields) < 3 {
		return nil
	}
	e.Opening.Guarded = slices.Contains(fields, "guarded")
	var err error
	e.Opening.Target, err = traffic.ParseWeight(fields[2])
	return err
}

// opinion reads "pass", "undecided/evidence needs 300 more requests", or nothing: a tick without a judge.
func opinion(text string) *verdict.Result {
	if text == "" {
		return nil
	}
	word, reason, _ := strings.Cut(text, " ")
	decision, rule, _ := strings.Cut(word, "/")
	return &verdict.Result{Decision: verdict.Decision(decision), Rule: rule, Reason: strings.TrimSpace(reason)}
}

// live is what a probe of nginx would answer: the folder is standing, gone or finished, or nobody answers.
func (s *script) live(folder string) *traffic.Live {
	r := s.state.Open
	if folder == "unknown" || r == nil {
		return nil
	}
	return &traffic.Live{
		Split: traffic.Split{Rollout: r.ID, Stable: r.Stable, Weight: r.Wanted},
		Open:  folder == "standing", Finished: folder == "finished",
	}
}

// describe says where a state is and what it waits for.
func describe(s traffic.State) string {
	r := s.Open
	if r == nil {
		return fmt.Sprintf("idle, stable %s | -", s.Stable)
	}
	text := string(r.Phase)
	switch r.Phase {
	case traffic.Waiting, traffic.Shifting, traffic.Soaking:
		if r.Mode == traffic.Promotion {
			text += fmt.Sprintf("(%d)", r.Step)
		}
	}
	text += " " + r.Actual.String()
	if r.Wanted != r.Actual {
		text += " to " + r.Wanted.String()
	}
	return text + " | " + effect(s)
}

func effect(s traffic.State) string {
	a, ok := traffic.Pending(s)
	switch {
	case !ok:
		return "-"
	case a.Kind == traffic.Raise:
		return "raise " + a.Split.Weight.String()
	case a.Kind == traffic.Cut:
		return "cut"
	case a.Kind == traffic.Finish:
		return "finish"
	case a.Kind == traffic.RunHooks:
		return fmt.Sprintf("%s of %s %s at %s", a.Hook.Point, a.Hook.Color, a.Hook.Tag, a.Hook.Weight)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s", a.Kind, a.Color, a.Tag))
}

func noted(notes []string) string {
	if len(notes) == 0 {
		return ""
	}
	return " | " + strings.Join(notes, "; ")
}
