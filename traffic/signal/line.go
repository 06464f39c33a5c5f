package signal

import (
	"bytes"
	"errors"
	"time"

	"cutover/traffic/verdict"
)

// Origin is what a server of this rollout stands for.
type Origin struct {
	Arm verdict.Arm
	// Route is the place among the routes, counted from 1, of its web service; 0 where services are not judged on their own.
	Route uint8
	// GRPC tells that its answers of 200 carry a second status, which is the one that counts.
	GRPC bool
}

// Addresses tells what a server stands for by its address as nginx logs it: "127.0.0.1:18000".
type Addresses map[string]Origin

// Reading says which lines of a log count, and how their attempts are called.
type Reading struct {
	// App is the one whose lines count, of those that name one.
	App string
	// Arms must not change afterwards.
	Arms Addresses
	// Routes are known by the names that nginx logs. One without a path is a web service, which its address tells.
	Routes []verdict.Route
	// SlowerThan is what makes an attempt slow; zero where nobody wants to know.
	SlowerThan time.Duration
	// Format is that of the lines; nil is cutover's own.
	Format *Format
}

// ErrForeign says that a line is not one that nginx writes by cutover's log format.
var ErrForeign = errors.New("not a line of cutover's access log")

const (
	// clientGone is the status that nginx logs when the client left before the answer.
	clientGone = 499
	// switched is the status of a connection that is no longer HTTP, as a WebSocket's: its time is how long it was of use.
	switched = 101
)

// reader makes samples of lines, one at a time.
//
// It takes more than strict JSON (nginx writes the status of a request that it could not read as 000), keeps nothing of
// a line, and allocates only where samples are more than there is room for, and where the lines change their form.
type reader struct {
	Reading
	// named has the routes that nginx tells, by name.
	named map[string]uint8
	// line is the one that parse took last.
	line entry
	// known is the form of the lines so far, by which the next one is read at a fourth of the cost.
	known layout
	form  forming
}

func newReader(r Reading) *reader {
	named := map[string]uint8{}
	for i, route := range r.Routes {
		if route.Path != "" {
			named[route.Name] = uint8(i + 1)
		}
	}
	return &reader{Reading: r, named: named}
}

// field is one of the values that the judge needs.
type field uint8

const (
	otherField field = iota
	// timeField has seconds since 1970 with decimals; the two after it are the less exact $time_iso8601 and $time_local.
	timeField
	isoField
	localField
	appField
	// statusField is what the client got.
	statusField
	// addressField, answerField and tookField are nginx's lists $upstream_addr, $upstream_status and $upstream_response_time.
	addressField
	answerField
	tookField
	// colorField is that of the last address; empty where that is none of ours.
	colorField
	// overrideField is the color that a tester asked for: that tells nothing about the share's users.
	overrideField
	routeField
	// grpcField is the status of the last attempt in gRPC's own words, where it came in a trailer, grpcAtOnceField where the answer was
	// nothing but headers. nginx keeps none for the attempts before.
	grpcField
	grpcAtOnceField
	fields
)

// fieldOf tells which value has that key in cutover's log.
func fieldOf(key []byte) field {
	switch string(key) {
	case "ts":
		return timeField
	case "app":
		return appField
	case "status":
		return statusField
	case "ua":
		return addressField
	case "us":
		return answerField
	case "ut":
		return tookField
	case "color":
		return colorField
	case "override":
		return overrideField
	case "route":
		return routeField
	case "gs":
		return grpcField
	}
	return otherField
}

// entry is what the judge needs of one line.
type entry struct {
	// text has the values, which point into the line. Invariant: nil for those that it does not have, or not as plain text.
	text [fields][]byte
	// at is when the request was logged, which is when it ended.
	at     time.Time
	status int
}

// parse reads a line, of whichever app; false for one that does not hold a time, a status, two lists, and an app where the format has one.
func (r *reader) parse(line []byte) bool {
	e := &r.line
	clear(e.text[:])
	if r.Format != nil {
		return r.Format.layout.match(line, e) && e.complete()
	}
	plain := bytes.IndexByte(line, '\\') < 0
	if plain && r.known.match(line, e) {
		return e.text[appField] != nil && e.complete()
	}
	clear(e.text[:])
	r.form.restart()
	o := object{rest: line}
	for o.next() {
		f := fieldOf(o.key)
		e.text[f] = o.value
		r.form.add(line, f, o.value)
	}
	if !o.complete || e.text[appField] == nil || !e.complete() {
		return false
	}
	if plain {
		r.known = r.form.layout(line)
	}
	return true
}

// complete reads time and status, and tells whether what a sample is made of is there.
func (e *entry) complete() bool {
	var timed, answered bool
	e.at, timed = e.time()
	e.status, answered = parseStatus(e.text[statusField])
	return timed && answered && e.text[addressField] != nil && e.text[answerField] != nil
}

func (e *entry) time() (time.Time, bool) {
	switch {
	case e.text[timeField] != nil:
		return parseTime(e.text[timeField])
	case e.text[isoField] != nil:
		at, err := time.Parse(time.RFC3339, string(e.text[isoField]))
		return at, err == nil
	}
	at, err := time.Parse("02/Jan/2006:15:04:05 -0700", string(e.text[localField]))
	return at, err == nil
}

// ours tells whether the line is of the app. A format of the user's own may name none.
func (r *reader) ours() bool {
	app := r.line.text[appField]
	return app == nil || string(app) == r.App
}

// attempts appends one sample to into for each attempt in the line at an address in Arms; false, with into as it was, when the lists
// do not belong together.
// An attempt is bad when its answer was 500 or above, or when none came, or when gRPC says so. Attempts without an answer in a request
// that the client gave up are left out: they tell nothing about the server. So are those of testers who chose the color.
func (r *reader) attempts(into []verdict.Sample) ([]verdict.Sample, bool) {
	e := &r.line
	addresses, answers, times := list(e.text[addressField]), list(e.text[answerField]), list(e.text[tookField])
	samples, route, chosen := into, r.route(), present(e.text[overrideField])
	for more := true; more; {
		var address, answer, took []byte
		var moreAnswers bool
		address, addresses, more = addresses.cut()
		answer, answers, moreAnswers = answers.cut()
		if r.SlowerThan > 0 {
			took, times, _ = times.cut()
		}
		status, answered := parseStatus(answer)
		if more != moreAnswers || !answered && present(answer) {
			return into, false
		}
		origin, known := r.Arms[string(address)]
		if !known || chosen || !answered && e.status == clientGone {
			continue
		}
		s := verdict.Sample{At: e.at, Arm: origin.Arm, Bad: !answered || status >= 500, Route: route}
		s.Slow = status != switched && slower(took, r.SlowerThan)
		if origin.GRPC && status == 200 && !more {
			s.Bad = e.grpcFailed()
		}
		if route == 0 {
			s.Route = origin.Route
		}
		samples = append(samples, s)
	}
	return samples, true
}

// route is the one that nginx names; 0 for none, and for one that nobody knows any more.
func (r *reader) route() uint8 {
	if name := r.line.text[routeField]; len(name) > 0 && len(r.named) > 0 {
		return r.named[string(name)]
	}
	return 0
}

// faultsOfGRPC are the counterparts of the statuses from 500 on, as gRPC's own table of HTTP statuses and its words for them have it:
// UNKNOWN (2, an exception that nobody caught), DEADLINE_EXCEEDED (4, as 504), UNIMPLEMENTED (12, 501), INTERNAL (13, 500),
// UNAVAILABLE (14, 503) and DATA_LOSS (15). The others tell of the caller, as 4xx do.
const faultsOfGRPC = 1<<2 | 1<<4 | 1<<12 | 1<<13 | 1<<14 | 1<<15

// grpcFailed tells whether the last attempt's own status is a fault of the server. To have none is no fault: nginx logs the same for an
// answer that broke off and for a stream that its client ended, as most clients end streams.
func (e *entry) grpcFailed() bool {
	status := e.text[grpcAtOnceField]
	if !present(status) {
		status = e.text[grpcField]
	}
	code, ok := parseDigits(status, 2)
	return ok && code < 16 && faultsOfGRPC>>code&1 == 1
}

// present tells that nginx had a value; without one it writes nothing in JSON, and "-" else.
func present(value []byte) bool { return len(value) > 1 || len(value) == 1 && value[0] != '-' }

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
	begin := bytes.IndexByte(l, ' ')
	if begin < 0 {
		return l, nil, false
	}
	for i := begin; i < len(l); i++ {
		if l[i] != ' ' {
			continue
		}
		switch {
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
