package signal

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// ratesNow is 12:20 in Greenwich.
var ratesNow = time.Date(2026, 3, 1, 12, 20, 0, 0, time.UTC)

// visit is a line of the log so long ago.
func visit(ago time.Duration, answers, addresses string) string {
	at := ratesNow.Add(-ago)
	return fmt.Sprintf(`{"ts":"%d.%03d","app":"shop","status":200,"us":"%s","ua":"%s"}`+"\n", at.Unix(), at.Nanosecond()/1e6, answers, addresses)
}

// visits are good answers of stable from so long ago until so long ago, one each gap.
func visits(from, until, gap time.Duration) string {
	var text strings.Builder
	for ago := from; ago > until; ago -= gap {
		text.WriteString(visit(ago, "200", stableAddress))
	}
	return text.String()
}

// ratesOf reads rates from a log, and from the one before it where there is one, by a clock in that zone.
func ratesOf(t require.TestingT, folder, log, before string, zone *time.Location) Rates {
	path := filepath.Join(folder, "cutover-shop.log")
	require.NoError(t, os.WriteFile(path, []byte(log), 0o600))
	_ = os.Remove(path + ".1")
	if before != "" {
		require.NoError(t, os.WriteFile(path+".1", []byte(before), 0o600))
	}
	r, err := ReadRates(context.Background(), path, testReading, ratesNow.In(zone))
	require.NoError(t, err)
	return r
}

func TestRates(t *testing.T) {
	const hour = time.Hour
	for _, c := range []struct {
		name, log, before string
		zone              *time.Location
		requests          int64
		now               float64
		from              time.Duration // ago
		hours             string        // hour, requests and minutes covered of those that are covered
	}{
		{name: "an hour and a half", log: visits(90*time.Minute, 0, time.Second), requests: 5400, now: 1, from: 90 * time.Minute,
			hours: "10:600/10 11:3600/60 12:1200/20"},
		{name: "silent since", log: visits(hour, 30*time.Minute, time.Second), requests: 1800, from: hour,
			hours: "11:1800/40 12:0/20"},
		{name: "a minute", log: visits(time.Minute, 0, 100*time.Millisecond), requests: 600, now: 10, from: time.Minute, hours: "12:600/1"},
		{name: "one line", log: visit(0, "200", stableAddress), requests: 1, now: 1, hours: "12:1/0"},
		{name: "a zone of half hours", log: visits(hour, 0, time.Second), zone: time.FixedZone("", 5*3600+1800), requests: 3600, now: 1, from: hour,
			hours: "16:600/10 17:3000/50"},
		{name: "with the log before", log: visits(40*time.Minute, 0, time.Second), before: visits(hour, 40*time.Minute, 2*time.Second),
			requests: 3000, now: 1, from: hour, hours: "11:1800/40 12:1200/20"},
		{name: "what is older does not count", log: visits(25*hour, 23*hour+50*time.Minute, time.Minute) + visits(hour, 0, time.Minute), requests: 70,
			now: 1.0 / 60, from: 24 * hour,
			hours: "0:0/60 1:0/60 2:0/60 3:0/60 4:0/60 5:0/60 6:0/60 7:0/60 8:0/60 9:0/60 10:0/60 11:40/60 12:30/60 " +
				"13:0/60 14:0/60 15:0/60 16:0/60 17:0/60 18:0/60 19:0/60 20:0/60 21:0/60 22:0/60 23:0/60"},
		{name: "nothing of the day", log: visits(26*hour, 25*hour, time.Minute)},
		{name: "empty"},
		{name: "from the future", log: visits(-hour, -2*hour, time.Minute)},
		{name: "of another app", log: strings.ReplaceAll(visits(hour, 0, time.Minute), `"shop"`, `"shopping"`)},
		{name: "nginx answered by itself", log: strings.ReplaceAll(visits(hour, 0, time.Minute), stableAddress, "")},
		{name: "cut off", log: visits(2*time.Second, 0, time.Second) + visit(0, "200", stableAddress)[:60], requests: 2, now: 1, from: 2 * time.Second, hours: "12:2/0"},
		{name: "garbage between", log: "\x00\xff{\n\n" + visits(time.Minute, 0, time.Second) + strings.Repeat("x", 1<<20) + "\n" + visit(0, "200", stableAddress),
			requests: 61, now: 61.0 / 60, from: time.Minute, hours: "12:61/1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.zone == nil {
				c.zone = time.UTC
			}
			r := ratesOf(t, t.TempDir(), c.log, c.before, c.zone)
			require.Equal(t, c.requests, r.Requests)
			require.InDelta(t, c.now, r.Now, 1e-9)
			var hours []string
			for i, h := range r.ByHour {
				if h != (HourRate{}) {
					hours = append(hours, fmt.Sprintf("%d:%d/%d", i, h.Requests, int(h.Covered.Minutes())))
				}
			}
			require.Equal(t, c.hours, strings.Join(hours, " "))
			if c.requests == 0 {
				require.Equal(t, Rates{}, r)
				return
			}
			require.True(t, r.To.Equal(ratesNow))
			require.Equal(t, c.from, ratesNow.Sub(r.From))
		})
	}
}

func TestErrorRate(t *testing.T) {
	const s, c = stableAddress, candidateAddress
	for name, test := range map[string]struct {
		log  string
		want float64
	}{
		"one of four":                   {visit(4, "200", s) + visit(3, "404", s) + visit(2, "502", s) + visit(1, "200", s), 0.25},
		"a bad candidate is not stable": {visit(3, "502, 200", c+", "+s) + visit(2, "200", s), 0},
		"every attempt counts":          {visit(3, "502, 500", s+", "+s) + visit(2, "200", s), 2.0 / 3},
		"only the other color was up":   {visit(3, "500", c) + visit(2, "200", c), 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			require.InDelta(t, test.want, ratesOf(t, t.TempDir(), test.log, "", time.UTC).ErrorRate, 1e-12)
		})
	}
}

func TestRatesOfNoLog(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "cutover-shop.log")
	read := func(ctx context.Context) (Rates, error) { return ReadRates(ctx, path, testReading, ratesNow) }

	r, err := read(context.Background())
	require.NoError(t, err)
	require.Equal(t, Rates{Absent: true}, r)
	require.Zero(t, r.ByHour[0].PerSecond())

	require.NoError(t, os.WriteFile(path+".1", []byte(visits(time.Minute, 0, time.Second)), 0o600))
	r, err = read(context.Background())
	require.NoError(t, err)
	require.True(t, r.Absent, "between a rotation's rename and nginx's reopening")
	require.EqualValues(t, 60, r.Requests)

	require.NoError(t, os.Link(path+".1", path))
	r, err = read(context.Background())
	require.NoError(t, err)
	require.EqualValues(t, 60, r.Requests, "one file under both names is counted once")

	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = read(canceled)
	require.ErrorIs(t, err, context.Canceled)

	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Mkdir(path, 0o700))
	_, err = read(context.Background())
	var named *fs.PathError
	require.ErrorAs(t, err, &named)
	require.Equal(t, path, named.Path)
}

// A neighbour that was compressed, or is no log at all, only means that less is known.
func TestRatesBesideAStrangeNeighbour(t *testing.T) {
	var compressed bytes.Buffer
	z := gzip.NewWriter(&compressed)
	_, err := z.Write([]byte(visits(time.Hour, time.Minute, time.Second)))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	folder, log := t.TempDir(), visits(time.Minute, 0, time.Second)
	require.EqualValues(t, 60, ratesOf(t, folder, log, compressed.String(), time.UTC).Requests)

	path := filepath.Join(folder, "cutover-shop.log")
	require.NoError(t, os.Remove(path+".1"))
	require.NoError(t, os.Mkdir(path+".1", 0o700))
	r, err := ReadRates(context.Background(), path, testReading, ratesNow)
	require.NoError(t, err)
	require.EqualValues(t, 60, r.Requests)
}

// Of a large log, only the end is read: what lies before the day, or beyond the budget, costs next to nothing.
func TestRatesReadTheEndOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cutover-shop.log")
	recent := visits(20*time.Hour, 0, time.Second)
	old := visit(30*time.Hour, "200", stableAddress)
	old = strings.Repeat(old, 40<<20/len(old))
	require.NoError(t, os.WriteFile(path, []byte(old+recent), 0o600))
	f, err := openLog(path)
	require.NoError(t, err)
	defer f.close()

	c := census{lines: newReader(testReading), now: ratesNow, since: ratesNow.Add(-day)}
	begin, err := c.begin(f, mostRead)
	require.NoError(t, err)
	require.LessOrEqual(t, begin, int64(len(old)))
	require.GreaterOrEqual(t, begin, f.info.Size()-int64(max(2*len(recent), 2*galloped)))
	left, err := c.read(context.Background(), f, mostRead)
	require.NoError(t, err)
	require.Zero(t, left, "an older line ends the search")
	require.EqualValues(t, 20*3600, c.requests)

	c = census{lines: newReader(testReading), now: ratesNow, since: ratesNow.Add(-day)}
	left, err = c.read(context.Background(), f, int64(len(recent)/2))
	require.NoError(t, err)
	require.Zero(t, left)
	require.InDelta(t, 10*3600, float64(c.requests), 2, "the end of the log is what the budget is for")
	require.InDelta(t, float64(10*time.Hour), float64(ratesNow.Sub(c.rates().From)), float64(2*time.Second))
}

// The rates are what a reading of all lines gives.
func TestRatesAgainstAllLines(t *testing.T) {
	folder := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		zone := time.FixedZone("", 900*rapid.IntRange(-48, 56).Draw(t, "quarters of an hour"))
		var log strings.Builder
		var want, inHour [24]int64
		ago := time.Duration(rapid.IntRange(0, 26*3600).Draw(t, "first")) * time.Second
		for range rapid.IntRange(1, 200).Draw(t, "lines") {
			if ago = ago - time.Duration(rapid.IntRange(0, 2000).Draw(t, "gap"))*time.Second; ago < 0 {
				break
			}
			log.WriteString(visit(ago, "200", stableAddress))
			if ago <= day {
				want[ratesNow.Add(-ago).In(zone).Hour()]++
			}
		}
		cut := rapid.IntRange(0, log.Len()).Draw(t, "rotated at")
		whole := strings.LastIndexByte(log.String()[:cut], '\n') + 1
		r := ratesOf(t, folder, log.String()[whole:], log.String()[:whole], zone)
		total, covered := int64(0), time.Duration(0)
		for i, h := range r.ByHour {
			inHour[i] = h.Requests
			total += h.Requests
			covered += h.Covered
			require.LessOrEqual(t, h.Covered, time.Hour)
		}
		require.Equal(t, want, inHour)
		require.Equal(t, r.Requests, total)
		require.Equal(t, r.To.Sub(r.From), covered)
	})
}

// Any bytes, cut anywhere, give rates that hold together.
func FuzzRates(f *testing.F) {
	f.Add([]byte(visits(time.Minute, 0, 10*time.Second)), []byte(visits(26*time.Hour, 23*time.Hour, time.Hour)))
	f.Add([]byte(visit(0, "502, 200", candidateAddress+", "+stableAddress)[:70]), []byte("{\x00"))
	f.Add([]byte(`{"ts":"99999999999.9","app":"shop","status":0,"us":"","ua":""}`+"\n"), []byte(`{"ts":"0","app":"shop","status":200,"us":"-","ua":"127.0.0.1:18000"}`+"\n"))
	folder := f.TempDir()
	f.Fuzz(func(t *testing.T, log, before []byte) {
		r := ratesOf(t, folder, string(log), string(before), time.UTC)
		total := int64(0)
		for _, h := range r.ByHour {
			require.GreaterOrEqual(t, h.Covered, time.Duration(0))
			total += h.Requests
		}
		require.Equal(t, r.Requests, total)
		require.True(t, r.ErrorRate >= 0 && r.ErrorRate <= 1)
		require.LessOrEqual(t, r.To.Sub(r.From), day)
		require.LessOrEqual(t, r.Requests, int64(bytes.Count(log, []byte("\n"))+bytes.Count(before, []byte("\n"))))
	})
}

func BenchmarkReadRates(b *testing.B) {
	path := filepath.Join(b.TempDir(), "cutover-shop.log")
	line := strings.Replace(logged("200", "502, 200", candidateAddress+", "+stableAddress), "1700000000", fmt.Sprint(ratesNow.Unix()-60), 1) + "\n"
	const lines = 300_000
	require.NoError(b, os.WriteFile(path, []byte(strings.Repeat(line, lines)), 0o600))
	for b.Loop() {
		r, err := ReadRates(context.Background(), path, testReading, ratesNow)
		require.NoError(b, err)
		require.EqualValues(b, lines, r.Requests)
	}
	b.ReportMetric(float64(lines*b.N)/b.Elapsed().Seconds(), "lines/s")
}
