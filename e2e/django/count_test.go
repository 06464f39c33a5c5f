package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMeasure(t *testing.T) {
	blue := func(at ...float64) (all []tick) {
		for _, a := range at {
			all = append(all, tick{"blue", 100 + a})
		}
		return all
	}
	green := func(at float64) tick { return tick{"green", 100 + at} }
	for name, c := range map[string]struct {
		ticks []tick
		want  beat
	}{
		"nothing":                    {nil, beat{}},
		"one beat":                   {blue(0, 1, 2), beat{Ticks: 3, Gap: 1}},
		"handed over":                {append(blue(0, 1), green(3.5), green(4.5)), beat{Ticks: 4, Gap: 2.5}},
		"both at once":               {append(blue(0, 1), green(1.25), tick{"blue", 102}, green(2.25)), beat{Ticks: 5, Doubled: 3, Gap: 1}},
		"a slow beat that hurries":   {blue(0, 1.75, 2.25), beat{Ticks: 3, Gap: 1.75}},
		"a gap that began before":    {blue(-3, 0.5), beat{Ticks: 1, Gap: 3.5}},
		"a gap that ends after":      {blue(9, 14), beat{Ticks: 1, Gap: 5}},
		"what is before and after":   {blue(-2, -1, 11, 15), beat{Gap: 12}},
		"silence, which is no gap 0": {blue(-20, 30), beat{Gap: 50}},
	} {
		require.Equal(t, c.want, measure(c.ticks, time.Unix(100, 0), time.Unix(110, 0)), name)
	}
}

func TestAcceptable(t *testing.T) {
	good := result{TasksSent: enough, Revert: part{UsersHurt: 3}}
	require.NoError(t, good.acceptable())
	for name, spoil := range map[string]func(*result){
		"lost requests": func(r *result) { r.RequestsLost = 1 },
		"lost tasks":    func(r *result) { r.TasksLost = 1 },
		"two beats":     func(r *result) { r.BeatDoubled = 1 },
		"too few tasks": func(r *result) { r.TasksSent-- },
		"hurt by good":  func(r *result) { r.Promotion.UsersHurt = 1 },
		"hurt by back":  func(r *result) { r.Back.UsersHurt = 1 },
		"never bad":     func(r *result) { r.Revert.UsersHurt = 0 },
	} {
		r := good
		spoil(&r)
		require.Error(t, r.acceptable(), name)
	}
}
