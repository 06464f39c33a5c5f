package signal

import (
	"bytes"
	"errors"
	"time"

	"cutover/traffic/verdict"
)

// Addresses tells which arm a server of this rollout belongs to, by its address as nginx logs it: "127.0.0.1:18000".
type Addresses map[string]verdict.Arm

// ErrForeign says that a line is not one that nginx writes by cutover's log format.
var ErrForeign = errors.New("not a line of cutover's access log")

// clientGone is the status that nginx logs when the client left before the answer.
const clientGone = 499

// ParseLine appends one sample to into for each attempt in the line at an address in arms, and gives the longer slice.
// An attempt is bad when its answer was 500 or above, or when none came. Attempts without an answer in a request that
// the client gave up are left out: they tell nothing about the server. So are those of testers who chose the color. The line's app is
// not looked at.
// ErrForeign, with into as it was, for any line that does not hold a time, an app, a status and two lists of one length.
//
// It takes more than strict JSON (nginx writes the status of a request that it could not read as 000), keeps nothing of
// the line, and allocates only where into is full.
func ParseLine(line []byte, arms Addresses, into []verdict.Sample) ([]verdict.Sample, error) {
	e, ok := parseEntry(line)
	if !ok {
		return into, ErrForeign
	}
	samples, ok := e.attempts(arms, into)
	if !ok {
		return into, ErrForeign
	}
	return samples, nil
}

// entry is what the judge needs of one line. Its slices point into the line.
type entry struct {
	app []byte
	// at is when the request was logged, which is when it ended.
	at time.Time
	// status is what the client got.
	status int
	// addresses, answers and times are nginx's lists $upstream_addr, $upstream_status and $upstream_response_time.
	addresses, answers, times list
	// color is that of the last address; empty where that is none of ours.
	color []byte
	// chosen tells that a tester asked for the color: that tells nothing about the share's users.
	chosen bool
	// slowerThan is what makes an attempt slow; zero where nobody wants to know.
	slowerThan time.Duration
}

// parseEntry reads a line; false for one that is not ours.
func parseEntry(line []byte) (entry, bool) {
	var ts, app, status, addresses, answers, times, color []byte
	var chosen bool
	o := object{rest: line}
	for o.next() {
		switch string(o.key) {
		case "ts":
			ts = o.value
		case "app":
			app = o.value
		case "status":
			status = o.value
		case "ua":
			addresses = o.value
		case "us":
			answers = o.value
		case "ut":
			times = o.value
		case "color":
			color = o.value
		case "override":
			chosen = len(o.value) > 0
		}
	}
	if !o.complete || app == nil || addresses == nil || answers == nil {
		return entry{}, false
	}
	at, timed := parseTime(ts)
	code, answered := parseStatus(status)
	e := entry{app: app, at: at, status: code, addresses: addresses, answers: answers, times: times, color: color, chosen: chosen}
	return e, timed && answered
}

// attempts appends the samples of the line; false, with nothing to be used, when the lists do not belong together.
func (e entry) attempts(arms Addresses, into []verdict.Sample) ([]verdict.Sample, bool) {
	addresses, answers, times := e.addresses, e.answers, e.times
	for more := true; more; {
		var address, answer, took []byte
		var moreAnswers bool
		address, addresses, more = addresses.cut()
		answer, answers, moreAnswers = answers.cut()
		if e.slowerThan > 0 {
			took, times, _ = times.cut()
		}
		status, answered := parseStatus(answer)
		if more != moreAnswers || !answered && len(answer) > 0 && string(answer) != "-" {
			return into, false
		}
		arm, known := arms[string(address)]
		if known && !e.chosen && (answered || e.status != clientGone) {
			into = append(into, verdict.Sample{At: e.at, Arm: arm, Bad: !answered || status >= 500, Slow: slower(took, e.slowerThan)})
		}
	}
	return into, true
}

// slower tells whether nginx measured more than the limit, which is above zero; false also where it measured nothing.
func slower(took []byte, limit time.Duration) bool {
	if limit <= 0 {
		return false
	}
	t, ok := parseTime(took)
	return ok && time.Duration(t.UnixNano()) > limit
}

// list is what nginx writes for several attempts: ", " stands between two tries, " : " where an internal redirect
// began anew. A list always has a first item, which may be empty.
type list []byte

// cut gives the first item and the list after it; false when there is none.
func (l list) cut() (first []byte, rest list, more bool) {
	for i, c := range l {
		switch {
		case c != ' ':
		case i > 0 && l[i-1] == ',':
			return l[:i-1], l[i+1:], true
		case len(l) > i+2 && l[i+1] == ':' && l[i+2] == ' ':
			return l[:i], l[i+3:], true
		}
	}
	return l, nil, false
}

// parseTime reads nginx's $msec: seconds since 1970 with up to nine decimals.
func parseTime(text []byte) (time.Time, bool) {
	whole, decimals, pointed := bytes.Cut(text, []byte("."))
	seconds, ok := parseDigits(whole, 11)
	if !ok || !pointed {
		return time.Unix(seconds, 0), ok
	}
	nanoseconds, ok := parseDigits(decimals, 9)
	for range 9 - len(decimals) {
		nanoseconds *= 10
	}
	return time.Unix(seconds, nanoseconds), ok
}

// parseStatus reads an HTTP status; false for "-", which stands for no answer, as for everything else.
func parseStatus(text []byte) (int, bool) {
	n, ok := parseDigits(text, 3)
	return int(n), ok
}

// parseDigits reads a number of one to most digits.
func parseDigits(text []byte, most int) (int64, bool) {
	if len(text) == 0 || len(text) > most {
		return 0, false
	}
	n := int64(0)
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
