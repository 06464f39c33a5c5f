package verdict

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
	"text/tabwriter"

	"github.com/stretchr/testify/require"
)

var (
	characteristics = flag.String("characteristics", "", "write the operating characteristics into this file, as JSON, and print their tables")
	rollouts        = flag.Int("rollouts", 2000, "how many rollouts a cell of the operating characteristics has, a multiple of 100")
)

var (
	ocBaselines = []Fraction{0, 0.001, 0.01, 0.05}
	ocTraffic   = []float64{10, 50, 500}
	ocFaults    = []Fraction{1, 0.5, 0.1, 0.05, 0.02}
)

// ocRow is a line of the file. Theirs is 0 and Versus empty where nothing is set beside.
type ocRow struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit"`
	Ours   float64 `json:"ours"`
	Versus string  `json:"versus"`
	Theirs float64 `json:"theirs"`
	Ratio  float64 `json:"ratio"`
	N      int     `json:"n"`
}

func ocRowOf(name, unit string, ours float64, versus string, theirs float64) ocRow {
	r := ocRow{Name: name, Unit: unit, Ours: ours, Versus: versus, Theirs: theirs, N: *rollouts}
	if theirs != 0 {
		r.Ratio = ours / theirs
	}
	return r
}

// BenchmarkCharacteristics measures the judge and its peers once, which takes minutes: run it with -benchtime 1x. A test runs a few.
func BenchmarkCharacteristics(b *testing.B) {
	if *characteristics == "" {
		b.Skip("it needs -characteristics FILE")
	}
	same := ocCells(ocBaselines, func(base Fraction) []ocWorld { return []ocWorld{{baseline: base, candidate: base}} })
	margin := ocCells(ocBaselines, func(base Fraction) []ocWorld { return []ocWorld{{baseline: base, candidate: atMargin(base)}} })
	early, late := ocCells(ocBaselines[1:3], faultsFrom(0)), ocCells(ocBaselines[1:3], faultsFrom(200))
	for _, cells := range [][]ocCell{same, margin, early, late} {
		playAll(cells, *rollouts)
	}
	best := honest(same)
	rows := slices.Concat(falseReverts("false_reverts", same), falseReverts("false_reverts_at_the_margin", margin), worstReverts(same),
		revertTimes(early, best), revertTimes(late, best))
	printReverts("False reverts, % of rollouts, candidate as good as stable", same)
	printReverts("False reverts, % of rollouts, candidate at 1.25 times stable's rate plus 0.1 %", margin)
	printTimes("Fault from the first request: seconds / failed requests", early)
	printTimes("Fault from 200 s on, times from there: seconds / failed requests", late)
	fmt.Println("\nFalse reverts, % of rollouts, where requests do not fail independently")
	table := newTable("world", "rps")
	for i := range stresses {
		s := &stresses[i]
		reverts := s.stressed(uint64(2*i), *rollouts)
		name := fmt.Sprintf("stress %s, %v rps", s.name, s.perSecond)
		rows = append(rows, ocRowOf(name, "% of rollouts", reverts[0], peers[gentlest].name, reverts[2+gentlest]))
		fmt.Fprintf(table, "%s\t%v", s.name, s.perSecond)
		for _, r := range reverts {
			fmt.Fprintf(table, "\t%.2f", r)
		}
		fmt.Fprintln(table)
	}
	require.NoError(b, table.Flush())
	text, err := json.MarshalIndent(rows, "", "  ")
	require.NoError(b, err)
	require.NoError(b, os.WriteFile(*characteristics, text, 0o644))
}

// TestFewCharacteristics holds a few cells to what was measured when this was written, with room for chance alone: three standard
// deviations of so few rollouts.
func TestFewCharacteristics(t *testing.T) {
	const few = 100
	for _, c := range []struct {
		ocWorld
		median float64 // in seconds from the onset
	}{
		{ocWorld{perSecond: 10, baseline: 0.01, candidate: 0.05, onset: 200}, 275},
		{ocWorld{perSecond: 50, baseline: 0.01, candidate: 0.05}, 105},
		{ocWorld{perSecond: 50, baseline: 0.001, candidate: 0.1, onset: 200}, 30},
		{ocWorld{perSecond: 500, baseline: 0.01, candidate: 0.02}, 198},
		{ocWorld{perSecond: 500, baseline: 0.01, candidate: 0.5, onset: 200}, 6},
		{ocWorld{perSecond: 50, baseline: 0.01, candidate: atMargin(0.01)}, 0},
	} {
		cell := []ocCell{{ocWorld: c.ocWorld}}
		playAll(cell, few)
		late, reverts := 0.0, 0.0
		for _, f := range cell[0].ours {
			if f.reverted {
				reverts++
			}
			if float64(f.after) > c.median {
				late++
			}
		}
		if c.median == 0 {
			require.LessOrEqual(t, reverts, atMost(0.01, few), c)
			continue
		}
		require.LessOrEqual(t, late, atMost(0.5, few), c)
		require.Less(t, cell[0].ours.within(0.5), cell[0].theirs[gentlest].within(0.5), "%v: slower than %s", c, peers[gentlest].name)
	}
	for i, most := range map[int]float64{3: 0, 6: 0.065, 7: 0.11} {
		reverts := stresses[i].stressed(1, few)[0] * few / 100
		require.LessOrEqual(t, reverts, atMost(most, few), "%s, %v a second", stresses[i].name, stresses[i].perSecond)
	}
}

// gentlest is the peer that reverts least for bursts, in peers.
const gentlest = 1

// atMargin is the worst candidate that is no worse than is allowed.
func atMargin(base Fraction) Fraction { return 1.25*base + 0.001 }

// ocCells are the worlds at each of the baselines and each traffic.
func ocCells(baselines []Fraction, worlds func(Fraction) []ocWorld) (cells []ocCell) {
	for _, base := range baselines {
		for _, perSecond := range ocTraffic {
			for _, w := range worlds(base) {
				w.perSecond = perSecond
				cells = append(cells, ocCell{ocWorld: w})
			}
		}
	}
	return cells
}

func faultsFrom(onset int) func(Fraction) []ocWorld {
	return func(base Fraction) (worlds []ocWorld) {
		for _, fails := range ocFaults {
			worlds = append(worlds, ocWorld{baseline: base, candidate: fails, onset: onset})
		}
		return worlds
	}
}

// honest are the peers that revert at most 1 % of the good releases at every baseline up to 1 %, as far as so few rollouts can tell.
func honest(same []ocCell) (best []int) {
	n := float64(len(same[0].ours))
	for p := range peers {
		if worstUpTo1(same, func(c *ocCell) fates { return c.theirs[p] })/100*n <= atMost(0.01, n) {
			best = append(best, p)
		}
	}
	return best
}

func worstUpTo1(same []ocCell, of func(*ocCell) fates) (worst float64) {
	for i := range same {
		if same[i].baseline <= 0.01 {
			worst = max(worst, of(&same[i]).reverts())
		}
	}
	return worst
}

// worstReverts sets the worst of our false reverts up to 1 % errors beside that of each peer.
func worstReverts(same []ocCell) (rows []ocRow) {
	ours := worstUpTo1(same, func(c *ocCell) fates { return c.ours })
	for p := range peers {
		theirs := worstUpTo1(same, func(c *ocCell) fates { return c.theirs[p] })
		rows = append(rows, ocRowOf("false_reverts_worst_up_to_1%", "% of rollouts", ours, peers[p].name, theirs))
	}
	return rows
}

// falseReverts sets ours beside those of the test that looks as if each look were the only one.
func falseReverts(name string, cells []ocCell) (rows []ocRow) {
	last := len(peers) - 1
	for i := range cells {
		c := &cells[i]
		rows = append(rows, ocRowOf(name+" "+c.String(), "% of rollouts", c.ours.reverts(), peers[last].name, c.theirs[last].reverts()))
	}
	return rows
}

// revertTimes sets ours beside those of the quickest of the honest peers.
func revertTimes(cells []ocCell, honest []int) (rows []ocRow) {
	for i := range cells {
		c := &cells[i]
		ours, name := c.ours.afterOnset(), c.String()
		if len(honest) == 0 {
			rows = append(rows, ocRowOf("revert_median "+name, "s", ours.within(0.5), "", 0))
			continue
		}
		best := slices.MinFunc(honest, func(a, b int) int {
			return cmp.Compare(c.theirs[a].afterOnset().within(0.5), c.theirs[b].afterOnset().within(0.5))
		})
		theirs := c.theirs[best].afterOnset()
		rows = append(rows,
			ocRowOf("revert_median "+name, "s", ours.within(0.5), peers[best].name, theirs.within(0.5)),
			ocRowOf("revert_95% "+name, "s", ours.within(0.95), peers[best].name, theirs.within(0.95)),
			ocRowOf("revert_failed "+name, "requests", ours.failed(), peers[best].name, theirs.failed()))
	}
	return rows
}

// String names the world in a row: "base 1%, 50 rps, candidate 5% from 200 s".
func (w ocWorld) String() string {
	name := fmt.Sprintf("base %s, %v rps, candidate %s", w.baseline, w.perSecond, w.candidate)
	if w.onset > 0 {
		name += fmt.Sprintf(" from %d s", w.onset)
	}
	return name
}

func newTable(columns ...string) *tabwriter.Writer {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, name := range columns {
		fmt.Fprintf(table, "%s\t", name)
	}
	fmt.Fprint(table, "cutover\timpatient")
	for _, p := range peers {
		fmt.Fprintf(table, "\t%s", p.short)
	}
	fmt.Fprintln(table)
	return table
}

func printReverts(title string, cells []ocCell) {
	fmt.Println("\n" + title)
	table := newTable("base", "rps")
	for i := range cells {
		c := &cells[i]
		fmt.Fprintf(table, "%s\t%v\t%.2f\t%.2f", c.baseline, c.perSecond, c.ours.reverts(), c.impatient.reverts())
		for _, theirs := range c.theirs {
			fmt.Fprintf(table, "\t%.2f", theirs.reverts())
		}
		fmt.Fprintln(table)
	}
	table.Flush()
}

func printTimes(title string, cells []ocCell) {
	fmt.Println("\n" + title)
	table := newTable("base", "rps", "candidate")
	for i := range cells {
		c := &cells[i]
		fmt.Fprintf(table, "%s\t%v\t%s", c.baseline, c.perSecond, c.candidate)
		for _, ours := range []fates{c.ours, c.impatient} {
			f := ours.afterOnset()
			fmt.Fprintf(table, "\t%v (95 %%: %v) / %v%s", f.within(0.5), f.within(0.95), f.failed(), f.most())
		}
		for _, theirs := range c.theirs {
			f := theirs.afterOnset()
			fmt.Fprintf(table, "\t%v / %v%s", f.within(0.5), f.failed(), f.most())
		}
		fmt.Fprintln(table)
	}
	table.Flush()
}

// most says how many were reverted at all, where that is not nearly all.
func (f fates) most() string {
	if r := f.reverts(); r < 99 {
		return fmt.Sprintf(" (%.0f %%)", r)
	}
	return ""
}
