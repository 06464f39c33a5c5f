package signal

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic/verdict"
)

// usual is a line about a request that one color answered at once, at so many milliseconds.
func usual(at int) string {
	color, address := "blue", stableAddress
	if at%20 == 0 {
		color, address = "green", candidateAddress
	}
	return fmt.Sprintf(`{"ts":"%d.%03d","app":"shop","env":"prod","rollout":"000017","generation":123,"pool":"split","color":"%s",`+
		`"release":"v1.1.0","status":200,"method":"GET","rt":0.012,"us":"200","ua":"%s","ut":"0.011",`+
		`"id":"4c1e7a0b9d3f48d2a6c5b8e1f0072d39","override":"","mark":""}`, 1700000000+at/1000, at%1000, color, address)
}

// BenchmarkParseAndFold is what one line costs from the bytes in the file to the judge's opinion: 50 000 lines a second, read 20 times.
func BenchmarkParseAndFold(b *testing.B) {
	cfg := verdict.DefaultConfig()
	cfg.Latency.SlowerThan, cfg.WarmUp = 300*time.Millisecond, 0
	path := filepath.Join(b.TempDir(), "cutover-shop.log")
	var text strings.Builder
	const lines, perSecond = 200_000, 50_000
	for n := range lines {
		text.WriteString(usual(n*1000/perSecond) + "\n")
	}
	require.NoError(b, os.WriteFile(path, []byte(text.String()), 0o600))
	read := 0
	for b.Loop() {
		if read == 0 {
			read = lines
			b.StopTimer()
			reading := testReading
			reading.SlowerThan = cfg.Latency.SlowerThan
			f, err := openAtStart(path)
			require.NoError(b, err)
			now := time.Unix(1700000000, 0)
			t := newTail(OpenAccessLog(path, reading, func() time.Time { return now }))
			t.files, t.current = []*logFile{f}, f
			judge := verdict.NewJudge(cfg)
			judge.Shift(now, 0.05)
			b.StartTimer()
			for got := -1; got != 0; {
				now = now.Add(pollEvery)
				batch := t.poll(now)
				got = len(batch.Samples)
				judge.Fold(batch)
			}
			b.StopTimer()
			require.EqualValues(b, lines, judge.Result().Candidate.Requests+judge.Result().Baseline.Requests)
			t.close()
			b.StartTimer()
		}
		read--
	}
}
