package traffic_test

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"

	"cutover/traffic"
)

// changes says what differs between two states besides what describe shows, and whether nothing differs at all.
func changes(a, b traffic.State) (notes []string, same bool) {
	if reflect.DeepEqual(a, b) {
		return nil, true
	}
	was, is := traffic.Rollout{}, traffic.Rollout{}
	switch {
	case a.Open != nil && b.Open != nil:
		was, is = *a.Open, *b.Open
	case a.Open != nil && b.Last != nil:
		was, is = *a.Open, *b.Last
	case b.Open != nil:
		is = *b.Open
		notes = append(notes, is.Name()+" opened by "+is.By)
	}
	notes = append(notes, steps(was, is)...)
	notes = append(notes, flags(was, is)...)
	if a.Stable != b.Stable {
		notes = append(notes, fmt.Sprintf("stable %s", b.Stable))
	}
	for _, c := range []traffic.Color{traffic.Blue, traffic.Green} {
		if before, after := a.Releases[c].Tag, b.Releases[c].Tag; before != after {
			notes = append(notes, fmt.Sprintf("%s runs %s", c, cmp.Or(after, "nothing")))
		}
	}
	for _, rejected := range b.Rejected[len(a.Rejected):] {
		notes = append(notes, "rejected "+rejected.Release.Tag)
	}
	if a.Open != nil && b.Open == nil {
		notes = append(notes, "over: "+string(is.Ending))
	}
	if b.Settled() && !a.Settled() && b.Open != nil {
		notes = append(notes, "settled")
	}
	return notes, false
}

// steps tells which shares were left since, and how.
func steps(was, is traffic.Rollout) (notes []string) {
	for i, step := range is.Steps {
		before := traffic.StepRecord{}
		if i < len(was.Steps) {
			before = was.Steps[i]
		}
		if step.How != before.How {
			notes = append(notes, fmt.Sprintf("%s %s", step.Weight, step.How))
		}
	}
	return notes
}

// flags tells which of the small facts of a rollout changed.
func flags(was, is traffic.Rollout) (notes []string) {
	say := func(changed bool, note string) {
		if changed {
			notes = append(notes, note)
		}
	}
	say(was.Cleared != is.Cleared && is.Cleared > -2 && was.ID != 0, fmt.Sprintf("let through: step %d", is.Cleared))
	say(was.BlindSince.IsZero() && !is.BlindSince.IsZero(), "blind from now")
	say(!was.BlindSince.IsZero() && is.BlindSince.IsZero(), "sees again")
	say(was.Holding != is.Holding && is.Holding != "", "holding: "+is.Holding)
	say(was.Holding != "" && is.Holding == "" && is.Ending == "", "no longer holding")
	say(was.Paused == "" && is.Paused != "", "paused by "+is.Paused)
	say(was.Paused != "" && is.Paused == "", "no longer paused")
	say(!was.HandedOver && is.HandedOver, "workers were asked to change")
	say(!was.Served && is.Served, "served without its folder")
	say(!was.Cut && is.Cut, "cut")
	say(was.Ending != is.Ending, fmt.Sprintf("%s: %s", is.Ending, is.Why))
	say(was.Unproven != is.Unproven, "NOT PROVEN: "+is.Unproven)
	say(was.Trouble != is.Trouble, "trouble: "+cmp.Or(is.Trouble, "none"))
	return slices.Clip(notes)
}
