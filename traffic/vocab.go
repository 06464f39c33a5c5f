package traffic

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Color names one of the two slots that a release can run in.
type Color string

// The two slots. Which of them is stable is a fact of the journal, never of the name.
const (
	Blue  Color = "blue"
	Green Color = "green"
)

// ParseColor reads "blue" or "green".
func ParseColor(s string) (Color, error) {
	switch c := Color(s); c {
	case Blue, Green:
		return c, nil
	}
	return "", fmt.Errorf("unknown color %q: the colors are blue and green", s)
}

// Other is the opposite slot; the zero Color has none and answers itself.
func (c Color) Other() Color {
	switch c {
	case Blue:
		return Green
	case Green:
		return Blue
	}
	return c
}

// Weight is a share of the traffic in basis points, 0 to 10000.
// People read and write it in percent, in JSON and YAML too.
type Weight int

// Full is all of the traffic.
const Full Weight = 10000

// ParseWeight reads a percentage from 0 to 100 with up to two decimals, with or without a percent sign: "20", "0.5", "20%".
func ParseWeight(s string) (Weight, error) {
	number := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(s), "%"))
	percent, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(percent) {
		return 0, fmt.Errorf("weight %q is not a number of percent, such as 20 or 0.5", s)
	}
	if percent < 0 || percent > 100 {
		return 0, fmt.Errorf("weight %s is outside 0 to 100 percent", s)
	}
	points := math.Round(percent * 100)
	if math.Abs(points-percent*100) > 1e-6 {
		return 0, fmt.Errorf("weight %s is finer than 0.01 percent", s)
	}
	return Weight(points), nil
}

// Rest is the share that is left for the other color.
func (w Weight) Rest() Weight { return Full - w }

// Fraction is the share as a number from 0 to 1.
func (w Weight) Fraction() float64 { return float64(w) / float64(Full) }

// String gives the share as people write it: "5 %", "0.5 %".
func (w Weight) String() string { return w.number() + " %" }

// MarshalJSON writes the number of percent.
func (w Weight) MarshalJSON() ([]byte, error) { return []byte(w.number()), nil }

// UnmarshalJSON reads a number of percent.
func (w *Weight) UnmarshalJSON(b []byte) error { return w.UnmarshalYAML(b) }

// MarshalYAML writes the number of percent.
func (w Weight) MarshalYAML() ([]byte, error) { return w.MarshalJSON() }

// UnmarshalYAML reads a number of percent, with or without a percent sign.
func (w *Weight) UnmarshalYAML(b []byte) error {
	parsed, err := ParseWeight(strings.Trim(string(b), "\"' \n"))
	if err != nil {
		return err
	}
	*w = parsed
	return nil
}

func (w Weight) number() string { return strconv.FormatFloat(float64(w)/100, 'f', -1, 64) }

// RolloutID numbers the rollouts of one app; it is also the rollout's epoch: a higher one is newer.
// Zero means no rollout.
type RolloutID int

// ParseRolloutID reads an id as it stands in folders and journals: "000017" or "17".
func ParseRolloutID(s string) (RolloutID, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("rollout %q is not a number such as 000017", s)
	}
	return RolloutID(n), nil
}

// String gives the six digits that folders and journals carry.
func (id RolloutID) String() string { return fmt.Sprintf("%06d", int(id)) }

// MarshalText writes the six digits, and nothing for no rollout.
func (id RolloutID) MarshalText() ([]byte, error) {
	if id == 0 {
		return nil, nil
	}
	return []byte(id.String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (id *RolloutID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = 0
		return nil
	}
	parsed, err := ParseRolloutID(string(b))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// Generation numbers the rendered nginx trees of one app. Zero means none.
type Generation int

// Release is what one color runs: a tag and, once the engine was asked, the image that each service of it runs.
type Release struct {
	Tag string `json:"tag"`
	// Images maps a service to the id of the image that its container runs ("sha256:…"). Empty for external stacks.
	Images map[string]string `json:"images,omitempty"`
}

// Split is one division of the traffic, as a generation renders it.
//
// Invariant: Weight is zero when Rollout is, and Candidate is Stable.Other().
type Split struct {
	Rollout RolloutID `json:"rollout,omitzero"`
	Stable  Color     `json:"stable"`
	// Weight is the candidate's share. It holds only while the rollout's folder stands; without it stable has everything.
	Weight Weight `json:"weight"`
	// Releases are the tags that the access log shall name, by color.
	Releases map[Color]string `json:"releases,omitempty"`
}

// Candidate is the color that is not stable.
func (s Split) Candidate() Color { return s.Stable.Other() }
