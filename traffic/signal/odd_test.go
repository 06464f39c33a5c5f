package signal

import (
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic/verdict"
)

// answered is a line with the members that the judge looks at, and more.
func answered(status, answers, addresses, times, more string) string {
	return fmt.Sprintf(`{"ts":"1700000000.123","app":"shop","status":%s,"us":"%s","ua":"%s","ut":"%s"%s}`, status, answers, addresses, times, more)
}

// A WebSocket is open for as long as somebody uses it: that is neither slow nor an error.
func TestSwitchedProtocolsAreNeverSlow(t *testing.T) {
	const s, c = stableAddress, candidateAddress
	reading := testReading
	reading.SlowerThan = time.Second
	for _, test := range []struct {
		line string
		slow []bool
	}{
		{answered("101", "101", c, "3600.000", ""), []bool{false}},
		{answered("200", "200", c, "3600.000", ""), []bool{true}},
		{answered("101", "502, 101", c+", "+s, "2.000, 3600.000", ""), []bool{true, false}},
		{answered("500", "500", c, "3600.000", ""), []bool{true}},
	} {
		samples, err := parseLine(newReader(reading), []byte(test.line), nil)
		require.NoError(t, err)
		var slow []bool
		for _, sample := range samples {
			slow = append(slow, sample.Slow)
		}
		require.Equal(t, test.slow, slow, test.line)
	}
	samples, err := parseLine(newReader(reading), []byte(answered("101", "101", c, "3600.000", "")), nil)
	require.NoError(t, err)
	require.Equal(t, "candidate+", outcomes(samples))
}

func TestRoutesOfALine(t *testing.T) {
	const web, api = stableAddress, "127.0.0.1:18001"
	reading := Reading{App: "shop",
		Arms:   Addresses{web: {Route: 3}, api: {Route: 4}},
		Routes: []verdict.Route{{Name: "checkout", Path: "/api/checkout/"}, {Name: "search", Path: "/search"}, {Name: "web"}, {Name: "api"}}}
	for more, want := range map[string][]uint8{
		``:                     {4, 3}, // by the services' addresses
		`,"route":""`:          {4, 3},
		`,"route":"checkout"`:  {1, 1},
		`,"route":"search"`:    {2, 2},
		`,"route":"web"`:       {4, 3}, // a service is nobody's path
		`,"route":"forgotten"`: {4, 3}, // of a tree that was rendered before
		`,"route":null`:        {4, 3},
	} {
		r := newReader(reading)
		for range 2 { // the second time by the form of the first
			samples, err := parseLine(r, []byte(answered("200", "502, 200", api+", "+web, "", more)), nil)
			require.NoError(t, err)
			require.Len(t, samples, 2)
			require.Equal(t, want, []uint8{samples[0].Route, samples[1].Route}, more)
		}
	}
	reading.Arms = testArms
	samples, err := parseLine(newReader(reading), []byte(answered("200", "200", web, "", "")), nil)
	require.NoError(t, err)
	require.Zero(t, samples[0].Route)
}

func TestStatusOfGRPC(t *testing.T) {
	const s, c = stableAddress, candidateAddress
	reading := Reading{App: "shop", Arms: Addresses{s: {Arm: verdict.Baseline, GRPC: true}, c: {Arm: verdict.Candidate, GRPC: true}}}
	bad := map[int]bool{2: true, 4: true, 12: true, 13: true, 14: true, 15: true}
	for code := range 20 {
		samples, err := parseLine(newReader(reading), []byte(answered("200", "200", c, "", fmt.Sprintf(`,"gs":"%d"`, code))), nil)
		require.NoError(t, err)
		require.Equal(t, bad[code], samples[0].Bad, code)
	}
	for _, test := range []struct{ answers, addresses, more, want string }{
		{"502, 200", c + ", " + s, `,"gs":"0"`, "candidate- stable+"},
		{"200", c, `,"gs":"-"`, "candidate+"},
		{"200", c, `,"gs":"x"`, "candidate+"},
		{"200", c, `,"gs":"14, 14"`, "candidate+"},
		{"200", c, ``, "candidate+"},
		{"503", c, `,"gs":"0"`, "candidate-"},
		{"404", c, `,"gs":"14"`, "candidate+"},                         // not gRPC's answer at all
		{"200, 502", c + ", " + s, `,"gs":"14"`, "candidate+ stable-"}, // nginx keeps none for attempts before the last
	} {
		samples, err := parseLine(newReader(reading), []byte(answered("200", test.answers, test.addresses, "", test.more)), nil)
		require.NoError(t, err)
		require.Equal(t, test.want, outcomes(samples), test)
	}
	plain, err := parseLine(newReader(testReading), []byte(answered("200", "200", c, "", `,"gs":"14"`)), nil)
	require.NoError(t, err)
	require.Equal(t, "candidate+", outcomes(plain), "the service does not speak gRPC")
}

// Whatever stands in the log, each line of ours counts once and nothing else does.
func TestOddLinesCostNothingButThemselves(t *testing.T) {
	b, f := open(t)
	random := rand.New(rand.NewSource(1))
	noise := func() string {
		bytes := make([]byte, random.Intn(300))
		random.Read(bytes)
		return strings.ReplaceAll(string(bytes), "\n", " ") + "\n"
	}
	var want []int
	foreign := int64(0)
	for range 300 {
		switch random.Intn(3) {
		case 0:
			b.write(f, noise())
			foreign++
		case 1:
			b.write(f, b.next()[:40]+"\n")
			foreign++
		default:
			b.write(f, b.next())
			want = append(want, b.serial)
		}
	}
	b.requireLines(want...)
	require.Equal(t, foreign, b.log.Foreign())
}

// The judge goes by its own clock, and a line's time is only what the line says: whatever that is, the batch is whole.
func TestTimesThatCannotBe(t *testing.T) {
	b, f := open(t)
	for _, ts := range []string{"1700000000.000", "1699999999.000", "0", "99999999999.999999999", "1700000000.5"} {
		b.write(f, fmt.Sprintf(`{"ts":"%s","app":"shop","status":200,"us":"200","ua":"%s"}`+"\n", ts, stableAddress))
	}
	batch, _ := b.poll()
	require.Len(t, batch.Samples, 5)
	require.Zero(t, batch.Behind)
	require.False(t, batch.Gap)
	cfg := verdict.DefaultConfig()
	cfg.WarmUp = 0
	judge := verdict.NewJudge(cfg)
	judge.Shift(b.now, 0.05)
	judge.Fold(batch)
	judge.Advance(b.now.Add(time.Second))
	require.NotEqual(t, verdict.Passed, judge.Result().Decision)
	require.NotEqual(t, verdict.Failed, judge.Result().Decision)
}
