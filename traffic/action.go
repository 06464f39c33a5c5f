package traffic

// ActionKind names an effect. Each may be performed twice and is proven by reading back.
type ActionKind string

// The effects that a state asks for.
const (
	Prepare  ActionKind = "prepare"
	Check    ActionKind = "check"
	Raise    ActionKind = "raise"
	Cut      ActionKind = "cut"
	HandOver ActionKind = "hand-over"
	Finish   ActionKind = "finish"
	Retire   ActionKind = "retire"
	RunHooks ActionKind = "run-hooks"
)

// Action is one effect with what it needs to know.
type Action struct {
	Kind    ActionKind
	Rollout RolloutID
	Color   Color
	Tag     string
	Split   Split
	Why     string
	// Hook is what RunHooks is told.
	Hook HookCall
}

// Pending is the one effect that the state is waiting for, if any. It depends on the state alone, so that a state that was
// read from the journal asks for the same as the one that was lost.
func Pending(s State) (Action, bool) {
	r := s.Open
	if r == nil {
		return Action{}, false
	}
	a := Action{Rollout: r.ID, Color: r.Candidate(), Tag: r.Release.Tag}
	switch {
	case r.Hook != "":
		a.Kind, a.Hook = RunHooks, r.call()
	case r.Phase == Preparing:
		a.Kind = Prepare
	case r.Phase == Ready:
		a.Kind = Check
	case r.Phase == Shifting:
		a.Kind, a.Split = Raise, r.split(r.Wanted)
	case r.Phase == CuttingBack && !r.Cut:
		a.Kind, a.Color, a.Tag, a.Why = Cut, r.Stable, r.Previous, r.Why
	case r.Phase == CuttingBack:
		a.Kind, a.Color, a.Tag = HandOver, r.Stable, r.Previous
	case r.Phase == Accepted && !r.HandedOver:
		a.Kind = HandOver
	case s.Settled():
		return Action{}, false
	case r.Phase == Finishing && !r.Served:
		a.Kind, a.Split = Finish, r.split(Full)
	case r.Phase == Finishing && r.Unhanded:
		a.Kind = HandOver
	case r.Phase == Finishing:
		a.Kind, a.Color, a.Tag = Retire, r.Stable, r.Previous
	default:
		return Action{}, false
	}
	return a, true
}

func (r Rollout) split(w Weight) Split {
	return Split{
		Rollout:  r.ID,
		Stable:   r.Stable,
		Weight:   w,
		Releases: map[Color]string{r.Stable: r.Previous, r.Candidate(): r.Release.Tag},
	}
}
