package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		list []float64
		want float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 100, 2}, 3},
	} {
		require.InDelta(t, c.want, median(c.list), 1e-9, "%v", c.list)
	}
}

// A rival that measures 0 has no ratio, and one that is not there is not shown as 0.
func TestRows(t *testing.T) {
	faster := alone("faster", "ms", 5, 7).against("reload", 100)
	require.InDelta(t, 0.05, faster.Ratio, 1e-9)
	none := alone("none", "requests", 0, 7).against("reload", 0)
	require.Zero(t, none.Ratio)
	var out bytes.Buffer
	require.NoError(t, show(&out, []row{faster, none, alone("alone", "MB", 21.54, 1)}))
	require.Equal(t, `
NAME    OURS  THEIRS  UNIT      RATIO  N  VERSUS
faster  5     100     ms        0.05×  7  reload
none    0     0       requests  -      7  reload
alone   21.5          MB               1  
`, out.String())
}

func TestLinesPerSecond(t *testing.T) {
	got := linesPerSecond([]byte(`goos: linux
BenchmarkParseLine     	  100	     500.0 ns/op	 600.00 MB/s	       0 B/op	       0 allocs/op
BenchmarkEncodingJSON-2	  100	     4000 ns/op	  80.00 MB/s
PASS
`))
	require.Equal(t, map[string]float64{"BenchmarkParseLine": 2e6, "BenchmarkEncodingJSON": 250e3}, got)
}
