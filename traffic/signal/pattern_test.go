package signal

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cutover/traffic/verdict"
)

// timed is combined with what the judge needs besides.
const timed = `combined "$upstream_addr" "$upstream_status" "$upstream_response_time" $request_time $msec`

func TestFormatIsRead(t *testing.T) {
	const request = `10.0.0.7 - jo hn [14/Nov/2023:22:13:20 +0000] "GET /a?\x22 HTTP/1.1" 200 512 "-" "curl \x5C"`
	const s, c = stableAddress, candidateAddress
	milli := time.UnixMilli(1700000000123)
	for name, test := range map[string]struct {
		format, line, want string
		at                 time.Time
	}{
		"combined and more":   {timed, request + ` "` + c + `, ` + s + `" "502, 200" "0.000, 0.400" 0.401 1700000000.123`, "candidate- stable+slow", milli},
		"combined's own time": {`combined "$upstream_addr" "$upstream_status"`, request + ` "` + s + `" "200"`, "stable+", time.Unix(1700000000, 0)},
		"lists without quotes": {`$msec $upstream_addr $upstream_status $upstream_response_time $status`,
			"1700000000.123 " + c + ", " + c + " : " + s + " 502, 504 : 200 0.100, 0.301 : 0.001 200", "candidate- candidate-slow stable+", milli},
		"iso time":            {`$time_iso8601 $status $upstream_addr|$upstream_status`, "2023-11-14T23:13:20+01:00 200 " + s + "|200", "stable+", time.Unix(1700000000, 0)},
		"the more exact time": {`[$time_local] $msec $status $upstream_addr $upstream_status`, "[no time] 1700000000.123 200 " + s + " 500", "stable-", milli},
		"json": {`{"t":"$msec","s":$status,"r":"${request}","a":"$upstream_addr","u":"$upstream_status"}`,
			`{"t":"1700000000.123","s":200,"r":"GET /\",\"a\":\"` + c + `\",\"u\":\"500\"} HTTP/1.1","a":"` + s + `","u":"200"}`, "stable+", milli},
		"client gone":      {`$msec $status $upstream_addr $upstream_status`, "1700000000.123 499 " + c + " -", "", milli},
		"never upstream":   {`$msec $status $upstream_addr $upstream_status`, "1700000000.123 301 - -", "", milli},
		"no tester":        {`$msec $status $upstream_addr $upstream_status $cutover_shop__override`, "1700000000.123 200 " + c + " 500 -", "candidate-", milli},
		"tester":           {`$msec $status $upstream_addr $upstream_status $cutover_shop__override`, "1700000000.123 200 " + c + " 500 green", "", milli},
		"gRPC":             {`$msec $status $upstream_addr $upstream_status $upstream_http_grpc_status $upstream_trailer_grpc_status`, "1700000000.123 200 " + c + " 200 - 14", "candidate-", milli},
		"gRPC, headers":    {`$msec $status $upstream_addr $upstream_status $upstream_http_grpc_status $upstream_trailer_grpc_status`, "1700000000.123 200 " + c + " 200 13 -", "candidate-", milli},
		"texts at the end": {`$msec $status <$upstream_addr> <$upstream_status>.`, "1700000000.123 200 <" + s + "> <200>.", "stable+", milli},
	} {
		t.Run(name, func(t *testing.T) {
			format, err := ParseFormat(test.format)
			require.NoError(t, err)
			reading := testReading
			reading.Format, reading.SlowerThan = format, 300*time.Millisecond
			reading.Arms = Addresses{s: {Arm: verdict.Baseline}, c: {Arm: verdict.Candidate, GRPC: true}}
			r := newReader(reading)
			samples, err := parseLine(r, []byte(test.line), nil)
			require.NoError(t, err)
			require.True(t, r.ours())
			words := strings.Fields(outcomes(samples))
			for i := range samples {
				if samples[i].Slow {
					words[i] += "slow"
				}
				require.True(t, test.at.Equal(samples[i].At), samples[i].At)
			}
			require.Equal(t, test.want, strings.Join(words, " "))
		})
	}
}

func TestFormatIsRefused(t *testing.T) {
	const whole = ` $msec $status $upstream_addr $upstream_status`
	for pattern, want := range map[string]string{
		"":                                  "names no variable",
		"combined":                          "$upstream_addr, $upstream_status missing",
		"combinedly" + whole:                "",
		`$upstream_addr "$upstream_status"`: "$msec, $status missing",
		`$msec $status$upstream_addr $upstream_status`: "nothing stands between $status and",
		whole + ` $ `: "a $ without the name",
		whole + "\n":  "one line",
		`$msec $status $upstream_addr, $upstream_status`:          `put it in quotes: "$upstream_addr"`,
		`$http_user_agent` + whole:                                `write "$http_user_agent"`,
		`$remote_user [$time_local]` + whole:                      `write "$remote_user"`,
		`"$http_user_agent"` + whole:                              "",
		`$remote_addr ${status} "$uri" $request_method` + whole:   "",
		whole + ` $http_user_agent`:                               "",
		whole + ` $args $uri`:                                     `write "$args"`,
		`$remote_user [$time_local] "$request"` + whole:           "",
		`$upstream_http_x_tenant` + whole:                         `write "$upstream_http_x_tenant"`,
		`$cutover_shop_color $cutover_shop__route` + whole + ` ]`: "",
	} {
		f, err := ParseFormat(pattern)
		if want == "" {
			require.NoError(t, err, pattern)
			require.Equal(t, strings.Contains(pattern, "_color"), f.Colored)
			continue
		}
		require.ErrorContains(t, err, want, pattern)
	}
}

// What clients send cannot make a line tell of another attempt than the one that there was.
func TestClientsCannotWriteEvidence(t *testing.T) {
	patterns := []string{
		timed, `"$http_user_agent"$msec "$http_x" $status $upstream_addr $upstream_status`,
		`$status $upstream_addr $upstream_status $msec $http_user_agent`, `$http_user_agent "$msec" $status "$upstream_addr" "$upstream_status" $uri`,
	}
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.SampledFrom(patterns).Draw(t, "pattern")
		if rapid.Bool().Draw(t, "json") && !strings.HasPrefix(pattern, "combined") {
			pattern = `{"m":"$msec","x":"$http_x","s":$status,"a":"$upstream_addr","u":"$upstream_status","y":"$uri"}`
		}
		format, err := ParseFormat(pattern)
		require.NoError(t, err)
		if rest, ok := strings.CutPrefix(pattern, "combined"); ok {
			pattern = combined + rest
		}
		line := rendered(t, pattern, map[string]string{
			"$msec": "1700000000.123", "$status": "200", "$upstream_addr": stableAddress, "$upstream_status": "200",
			"$time_local": "14/Nov/2023:22:13:20 +0000",
		})
		reading := testReading
		reading.Format = format
		samples, err := parseLine(newReader(reading), []byte(line), nil)
		if err == nil { // a client may make his own line unreadable, no more
			require.Equal(t, "stable+", outcomes(samples), line)
		}
	})
}

// rendered writes a line by the pattern, as nginx does, with whatever clients like in the variables that have no value here.
func rendered(t *rapid.T, pattern string, values map[string]string) string {
	escaped := escapedDefault
	if strings.HasPrefix(pattern, "{") {
		escaped = escapedJSON
	}
	pieces := rapid.SliceOfN(rapid.SampledFrom([]string{
		`"`, `\`, ` `, `, `, " : ", `" "`, candidateAddress, "500", "[", "] ", "1700000000.9 ", " 500 ", "\x00", `\"`, `\x22`, `","`, "14/Nov/2023:22:13:20 +0000",
	}), 0, 20)
	tricky := rapid.OneOf(rapid.String(), rapid.Map(pieces, func(p []string) string { return strings.Join(p, "") }))
	return variable.ReplaceAllStringFunc(pattern, func(name string) string {
		if value, ok := values[name]; ok {
			return value
		}
		return escaped(tricky.Draw(t, name))
	})
}

func escapedDefault(value string) string {
	if value == "" {
		return "-"
	}
	var out strings.Builder
	for _, c := range []byte(value) {
		if c == '"' || c == '\\' || c < 32 || c > 126 {
			fmt.Fprintf(&out, `\x%02X`, c)
			continue
		}
		out.WriteByte(c)
	}
	return out.String()
}

func escapedJSON(value string) string {
	var out strings.Builder
	for _, c := range []byte(value) {
		switch {
		case c == '"' || c == '\\':
			out.WriteString(`\` + string(c))
		case c < 32:
			fmt.Fprintf(&out, `\u%04X`, c)
		default:
			out.WriteByte(c)
		}
	}
	return out.String()
}

// TestFormatRoundTrip renders random patterns with random values, and wants the values back.
func TestFormatRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		between := rapid.SampledFrom([]string{" ", " | ", `" "`, "][", "\t", ";"})
		attempts := rapid.IntRange(1, 4).Draw(t, "attempts")
		values := map[string]string{"$msec": fmt.Sprintf("%d.%03d", rapid.IntRange(1, 2e9).Draw(t, "s"), rapid.IntRange(0, 999).Draw(t, "ms")), "$status": "200"}
		var addresses, answers, want []string
		for range attempts {
			address := rapid.SampledFrom([]string{stableAddress, candidateAddress}).Draw(t, "address")
			answer := rapid.SampledFrom([]string{"200", "404", "502", "-"}).Draw(t, "answer")
			addresses, answers = append(addresses, address), append(answers, answer)
			want = append(want, map[string]string{stableAddress: "stable", candidateAddress: "candidate"}[address]+map[bool]string{true: "+", false: "-"}[answer < "5" && answer != "-"])
		}
		separator := rapid.SampledFrom([]string{", ", " : "}).Draw(t, "separator")
		values["$upstream_addr"], values["$upstream_status"] = strings.Join(addresses, separator), strings.Join(answers, separator)
		names := rapid.Permutation([]string{"$msec", "$status", "$upstream_addr", "$upstream_status", "$request_time"}).Draw(t, "names")
		values["$request_time"] = "0.012"
		pattern := ""
		for _, name := range names {
			pattern += name + between.Draw(t, "between")
		}
		format, err := ParseFormat(pattern)
		require.NoError(t, err, pattern)
		line := pattern
		for name, value := range values {
			line = strings.ReplaceAll(line, name, value)
		}
		reading := testReading
		reading.Format = format
		r := newReader(reading)
		samples, err := parseLine(r, []byte(line), nil)
		require.NoError(t, err, "%s by %s", line, pattern)
		require.Equal(t, strings.Join(want, " "), outcomes(samples))
		require.Equal(t, values["$msec"], string(r.line.text[timeField]))
	})
}

func FuzzFormat(f *testing.F) {
	f.Add(timed, []byte(`10.0.0.7 - - [14/Nov/2023:22:13:20 +0000] "GET /" 200 5 "-" "c" "`+stableAddress+`" "200" "0.1" 0.1 1700000000.1`))
	f.Add(`$msec $status $upstream_addr $upstream_status`, []byte("1.1 200 "+candidateAddress+", "+stableAddress+" 502, 200"))
	f.Add(`{"a":"$upstream_addr","b":"$upstream_status","t":"$time_iso8601","s":$status}`, []byte(`{"a":"\"`))
	f.Fuzz(func(t *testing.T, pattern string, line []byte) {
		format, err := ParseFormat(pattern)
		if err != nil {
			require.Nil(t, format)
			return
		}
		reading := testReading
		reading.Format = format
		samples, err := parseLine(newReader(reading), line, nil)
		if err != nil {
			require.Empty(t, samples)
		}
		require.LessOrEqual(t, len(samples), 1+bytes.Count(line, []byte(" ")))
	})
}
