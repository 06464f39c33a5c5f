package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"text/tabwriter"
	"time"
)

// row is one line of .bench/results.json.
type row struct {
	Name string `json:"name"`
	// Unit is that of Ours and Theirs.
	Unit string  `json:"unit"`
	Ours float64 `json:"ours"`
	// Versus names what was measured beside it in the same run; empty where there is nothing like it, and Theirs and Ratio are 0.
	Versus string  `json:"versus"`
	Theirs float64 `json:"theirs"`
	// Ratio is Ours over Theirs; 0 also where Theirs is.
	Ratio float64 `json:"ratio"`
	// N is how often each side was measured. Ours and Theirs are the medians, where the row's maker says nothing else.
	N int `json:"n"`
}

// alone is a row without a rival.
func alone(name, unit string, ours float64, n int) row {
	return row{Name: name, Unit: unit, Ours: rounded(ours), N: n}
}

// against sets the rival's number beside it.
func (r row) against(versus string, theirs float64) row {
	r.Versus, r.Theirs = versus, rounded(theirs)
	if theirs != 0 {
		r.Ratio = rounded(r.Ours / theirs)
	}
	return r
}

// rounded to a thousandth, which is finer than anything here is measured.
func rounded(v float64) float64 { return math.Round(v*1000) / 1000 }

// median is that of a list with at least one element.
func median[T float64 | time.Duration](list []T) T {
	sorted := slices.Sorted(slices.Values(list))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func write(path string, rows []row) error {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false) // && is to be read
	if err := encoder.Encode(rows); err != nil {
		return err
	}
	return os.WriteFile(path, text.Bytes(), 0o644)
}

// show prints the rows for people.
func show(to io.Writer, rows []row) error {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nNAME\tOURS\tTHEIRS\tUNIT\tRATIO\tN\tVERSUS")
	for _, r := range rows {
		theirs, ratio := "", ""
		if r.Versus != "" {
			theirs, ratio = number(r.Theirs), "-"
		}
		if r.Theirs != 0 {
			ratio = fmt.Sprintf("%.3g×", r.Ratio)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", r.Name, number(r.Ours), theirs, r.Unit, ratio, r.N, r.Versus)
	}
	return table.Flush()
}

// number has as many digits as people read.
func number(v float64) string {
	if v == math.Trunc(v) || math.Abs(v) >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}
