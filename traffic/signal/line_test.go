package signal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic/verdict"
)

const (
	stableAddress    = "127.0.0.1:18000"
	candidateAddress = "127.0.0.1:28000"
)

var testArms = Addresses{stableAddress: {Arm: verdict.Baseline}, candidateAddress: {Arm: verdict.Candidate}}

var testReading = Reading{App: "shop", Arms: testArms}

// logged is a line as nginx writes it, with the status that the client got and the two lists.
func logged(status, answers, addresses string) string {
	return fmt.Sprintf(`{"ts":"1700000000.123","app":"shop","env":"prod","rollout":"000017","generation":123,"pool":"split",`+
		`"color":"green","release":"v1.1.0","status":%s,"method":"GET","rt":0.012,"us":"%s","ua":"%s","ut":"0.001",`+
		`"id":"4c1e7a0b9d3f48d2a6c5b8e1f0072d39"}`, status, answers, addresses)
}

// parseLine appends the samples of one line, of whichever app. ErrForeign for what is no line of ours.
func parseLine(r *reader, line []byte, into []verdict.Sample) ([]verdict.Sample, error) {
	if !r.parse(line) {
		return into, ErrForeign
	}
	samples, ok := r.attempts(into)
	if !ok {
		return into, ErrForeign
	}
	return samples, nil
}

// outcomes writes samples down, one word each: arm and outcome.
func outcomes(samples []verdict.Sample) string {
	words := []string{}
	for _, s := range samples {
		word := map[verdict.Arm]string{verdict.Baseline: "stable", verdict.Candidate: "candidate"}[s.Arm]
		words = append(words, word+map[bool]string{false: "+", true: "-"}[s.Bad])
	}
	return strings.Join(words, " ")
}

func TestAttempts(t *testing.T) {
	const s, c, other = stableAddress, candidateAddress, "10.0.0.9:80"
	for name, test := range map[string]struct{ status, answers, addresses, want string }{
		"single":                        {"200", "200", s, "stable+"},
		"not found is no fault":         {"404", "404", c, "candidate+"},
		"bad answer":                    {"500", "500", c, "candidate-"},
		"least bad answer":              {"499", "499", c, "candidate+"},
		"dead candidate, rescued":       {"200", "502, 200", c + ", " + s, "candidate- stable+"},
		"both dead":                     {"502", "502, 502", c + ", " + s, "candidate- stable-"},
		"one arm twice":                 {"200", "504, 200", c + ", " + c, "candidate- candidate+"},
		"internal redirect":             {"200", "500 : 200", c + " : " + s, "candidate- stable+"},
		"retried, then redirected":      {"200", "502, 500 : 200", c + ", " + s + " : " + s, "candidate- stable- stable+"},
		"redirect that got nowhere":     {"500", "500 : ", c + " : ", "candidate-"},
		"redirects that got nowhere":    {"200", "500 :  : 200", c + " :  : " + s, "candidate- stable+"},
		"group name, none to be tried":  {"502", "502", "cutover_shop_web_green", ""},
		"group name after an attempt":   {"502", "502, 502", c + ", cutover_shop_web_green", "candidate-"},
		"no answer":                     {"504", "-", c, "candidate-"},
		"no answer, nothing written":    {"504", "", c, "candidate-"},
		"client gone":                   {"499", "-", c, ""},
		"client gone during the rescue": {"499", "502, -", c + ", " + s, "candidate-"},
		"never upstream":                {"301", "", "", ""},
		"never upstream, older form":    {"301", "-", "-", ""},
		"neither color":                 {"502", "502, 200", other + ", " + s, "stable+"},
		"unix socket":                   {"200", "200", "unix:/run/app.sock", ""},
		"unreadable request":            {"000", "", "", ""},
		"status as text":                {`"200"`, "200", s, "stable+"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseLine(newReader(testReading), []byte(logged(test.status, test.answers, test.addresses)), nil)
			require.NoError(t, err)
			require.Equal(t, test.want, outcomes(got))
			for _, sample := range got {
				require.True(t, sample.At.Equal(time.UnixMilli(1700000000123)))
			}
		})
	}
}

func TestLineIsTaken(t *testing.T) {
	at := func(ts string) string {
		return `{"ts":` + ts + `,"app":"shop","status":200,"us":"200","ua":"` + stableAddress + `"}`
	}
	for line, want := range map[string]time.Time{
		at(`1700000000.123`): time.UnixMilli(1700000000123),
		at(`"1700000000"`):   time.Unix(1700000000, 0),
		at(`1700000000.5`):   time.UnixMilli(1700000000500),
		" { \"x\" : {\"ts\":[1,\"]}\\\"\"]} , " + at(`1700000000.5`)[1:] + " \r":                   time.UnixMilli(1700000000500),
		strings.Replace(at(`1.5`), "{", `{"release":"v\"1\\","note":"\u00e9, us","null":null,`, 1): time.UnixMilli(1500),
		strings.Replace(at(`1.5`), "{", `{"ts":"7","us":"500, 500",`, 1):                           time.UnixMilli(1500),
	} {
		got, err := parseLine(newReader(testReading), []byte(line), nil)
		require.NoError(t, err, line)
		require.Equal(t, "stable+", outcomes(got), line)
		require.True(t, want.Equal(got[0].At), line)
	}
}

func TestLineIsRefused(t *testing.T) {
	whole := logged("200", "502, 200", candidateAddress+", "+stableAddress)
	lines := []string{
		"", " ", "{", "{}", "[]", "null", "garbage", `{"ts"}`, `{"ts":}`, `{"ts":"1"`, whole + whole, whole + "x", whole[1:],
		`127.0.0.1 - - [14/Nov/2023:22:13:20 +0000] "GET / HTTP/1.1" 200 5 "-" "curl/8"`,
		logged("200", "200", candidateAddress+", "+stableAddress), // lists that do not belong together
		logged("200", "502, 200", candidateAddress),
		logged("200", "502 : 200", candidateAddress),
		logged("200", "20x", candidateAddress),
		logged("200", "2000", candidateAddress),
		logged("200", "-1", candidateAddress),
		logged("", "200", candidateAddress),
		logged("-", "200", candidateAddress),
		logged("200", `2\u00300`, candidateAddress),
		strings.Replace(whole, "1700000000.123", "2023-11-14", 1),
		strings.Replace(whole, "1700000000.123", "1700000000.", 1),
		strings.Replace(whole, "1700000000.123", ".5", 1),
		strings.Replace(whole, `"us"`, `"\u0075s"`, 1),
		strings.Replace(whole, `"ua":"`, `"ua":["`, 1),
	}
	for _, key := range []string{"ts", "app", "status", "us", "ua"} {
		lines = append(lines, strings.Replace(whole, `"`+key+`"`, `"x"`, 1))
	}
	before := []verdict.Sample{{Arm: verdict.Candidate}}
	for _, line := range lines {
		got, err := parseLine(newReader(testReading), []byte(line), before)
		require.ErrorIs(t, err, ErrForeign, line)
		require.Equal(t, before, got, line)
	}
	taught := newReader(testReading)
	require.True(t, taught.parse([]byte(whole)))
	for end := range whole { // nginx ran out of disk
		_, err := parseLine(taught, []byte(whole[:end]), nil)
		require.ErrorIs(t, err, ErrForeign, whole[:end])
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	line := []byte(logged("200", "502, 200", candidateAddress+", "+stableAddress))
	into, r := make([]verdict.Sample, 0, 8), newReader(testReading)
	require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = parseLine(r, line, into) }))
}

func FuzzParseLine(f *testing.F) {
	const s, c = stableAddress, candidateAddress
	for _, line := range []string{
		logged("200", "200", s), logged("200", "502, 200", c+", "+s), logged("200", "500 : 200", c+" : "+s),
		logged("502", "502", "cutover_shop_web_green"), logged("499", "-", c), logged("301", "", ""), logged("000", "-", "-"),
		logged("200", "502, , 200", c+", , "+s), logged("200", "200", c+", "+s), logged("200", ", : 200", " :, "+s),
		`{"ts":1.5,"app":"a\"b","status":200,"us":"200","ua":"` + s + `","more":{"us":["}",{"a":"\\\""}]},"rt":1e-3}`,
		`{"ts":1e9,"app":"shop","status":2.0,"us":null,"ua":["` + s + `"]}`, "{}", "", "garbage",
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r := newReader(testReading)
		got, err := parseLine(r, line, nil)
		if err != nil {
			require.ErrorIs(t, err, ErrForeign)
			require.Empty(t, got)
		}
		for range 2 { // by the form of this line, and then by that of another one
			again, errAgain := parseLine(r, line, nil)
			require.Equal(t, err, errAgain)
			require.Equal(t, got, again)
			require.True(t, r.parse([]byte(logged("200", "200", stableAddress))))
		}
		require.LessOrEqual(t, len(got), 1+bytes.Count(line, []byte(", "))+bytes.Count(line, []byte(" : ")))
		if !json.Valid(line) || bytes.TrimLeft(line, " \t\r\n")[0] != '{' {
			return // nginx writes what JSON forbids, such as 000, so that no more is promised
		}
		want, ok := referenceParse(t, line)
		require.Equal(t, ok, err == nil)
		require.Equal(t, len(want), len(got))
		for i := range want {
			require.True(t, want[i].At.Equal(got[i].At))
			require.Equal(t, outcomes(want), outcomes(got))
		}
	})
}

// referenceParse is parse and attempts again, written for the eye, on top of encoding/json. The line must be a JSON object.
func referenceParse(t *testing.T, line []byte) ([]verdict.Sample, bool) {
	members, ok := referenceMembers(t, line)
	if !ok || !regexp.MustCompile(`^\d{1,11}(\.\d{1,9})?$`).MatchString(members["ts"]) ||
		!regexp.MustCompile(`^\d{1,3}$`).MatchString(members["status"]) {
		return nil, false
	}
	seconds, decimals, _ := strings.Cut(members["ts"], ".")
	whole, err := strconv.ParseInt(seconds, 10, 64)
	require.NoError(t, err)
	nanoseconds, err := strconv.ParseInt((decimals + "000000000")[:9], 10, 64)
	require.NoError(t, err)

	separator := regexp.MustCompile(`, | : `)
	addresses, answers := separator.Split(members["ua"], -1), separator.Split(members["us"], -1)
	if len(addresses) != len(answers) {
		return nil, false
	}
	var samples []verdict.Sample
	for i, answer := range answers {
		missing := answer == "" || answer == "-"
		if !missing && !regexp.MustCompile(`^\d{1,3}$`).MatchString(answer) {
			return nil, false
		}
		origin, known := testArms[addresses[i]]
		if !known || missing && members["status"] == "499" {
			continue
		}
		bad := missing || len(answer) == 3 && answer >= "500"
		samples = append(samples, verdict.Sample{At: time.Unix(whole, nanoseconds), Arm: origin.Arm, Bad: bad})
	}
	return samples, true
}

// referenceMembers gives the text of each member that a line of ours must have; false where one is missing or is not plain.
func referenceMembers(t *testing.T, line []byte) (map[string]string, bool) {
	raw := map[string]string{}
	decoder := json.NewDecoder(bytes.NewReader(line))
	_, err := decoder.Token()
	require.NoError(t, err)
	for decoder.More() {
		before := decoder.InputOffset()
		key, err := decoder.Token()
		require.NoError(t, err)
		if bytes.ContainsRune(line[before:decoder.InputOffset()], '\\') {
			return nil, false
		}
		var value json.RawMessage
		require.NoError(t, decoder.Decode(&value))
		raw[key.(string)] = string(value)
	}
	members := map[string]string{}
	for _, key := range []string{"ts", "app", "status", "us", "ua"} {
		value, found := raw[key]
		if !found || strings.ContainsAny(value[:1], "{[") || strings.Contains(value, `\`) {
			return nil, false
		}
		members[key] = strings.TrimSuffix(strings.TrimPrefix(value, `"`), `"`)
	}
	return members, true
}

func BenchmarkParseLine(b *testing.B) {
	line := []byte(logged("200", "502, 200", candidateAddress+", "+stableAddress))
	into, r := make([]verdict.Sample, 0, 8), newReader(testReading)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parseLine(r, line, into); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncodingJSON is what BenchmarkParseLine is measured against: only the decoding, without lists and arms.
func BenchmarkEncodingJSON(b *testing.B) {
	line := []byte(logged("200", "502, 200", candidateAddress+", "+stableAddress))
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		var e struct {
			Time      string `json:"ts"`
			App       string `json:"app"`
			Status    int    `json:"status"`
			Addresses string `json:"ua"`
			Answers   string `json:"us"`
		}
		if err := json.Unmarshal(line, &e); err != nil {
			b.Fatal(err)
		}
	}
}
