package signal

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"time"

	"cutover/traffic/verdict"
)

// Wanted says what is to be read from a recording, and how.
type Wanted struct {
	// App is the one whose lines count; empty means that of the first line. Traces name none.
	App string
	// Candidate and Stable are the colors of the two arms.
	Candidate, Stable string
	// SlowerThan makes an attempt slow; zero leaves slowness out.
	SlowerThan time.Duration
	// Known is what the configuration tells of addresses. The log knows better which color they had, if it names colors.
	Known  Addresses
	Routes []verdict.Route
	// Format is that of the log; nil is cutover's own.
	Format *Format
}

// Recording is a file of requests that were: cutover's access log, or a trace, whose lines name the color, the status and
// the time of one answer each: {"ts":1700000000.123,"pool":"blue","status":200,"rt":0.012}. Either may be gzipped.
//
// Which address belongs to which color the log itself tells: nginx names the color of the last attempt. An address that was
// never the last, as that of a release which refuses each connection, belongs to the color that did not answer.
type Recording struct {
	// Lines counts all lines. Foreign counts those that were left out because they are another app's or of no known
	// format, and FirstForeign is the number of the first of them; zero where there is none.
	Lines, Foreign, FirstForeign int64
	// Disordered is the number of the first line that was logged over a minute before the one above it; zero if none was.
	Disordered int64
	// First and Last are the times of the first and the latest line that count.
	First, Last time.Time

	path   string
	wanted Wanted
	lines  *reader
	pools  map[string]verdict.Arm // by color
	arms   Addresses
	// rescued are the colors of addresses by what came after them, for those that never came last.
	rescued map[string]verdict.Arm
	samples []verdict.Sample
}

// disorder is how far back a line's time may step before the files seem to be put together in the wrong order.
const disorder = time.Minute

// OpenRecording reads the file once to learn what is in it. Errors name the file, and how far it could be read;
// ErrForeign where not one line counts.
func OpenRecording(path string, w Wanted) (*Recording, error) {
	r := &Recording{
		path: path, wanted: w, arms: Addresses{}, rescued: map[string]verdict.Arm{},
		pools: map[string]verdict.Arm{w.Candidate: verdict.Candidate, w.Stable: verdict.Baseline},
	}
	if w.Format != nil && !w.Format.Colored {
		r.arms = maps.Clone(w.Known)
	}
	r.lines = newReader(Reading{App: w.App, Arms: r.arms, Routes: w.Routes, SlowerThan: w.SlowerThan, Format: w.Format})
	if err := r.readLines(r.survey); err != nil {
		if r.Lines > 0 {
			err = fmt.Errorf("at line %d, the last one logged at %s: %w", r.Lines, r.Last.UTC().Format(time.RFC3339Nano), err)
		}
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	for address, arm := range r.rescued {
		r.learnAddress(address, arm)
	}
	switch {
	case r.Lines == 0:
		return nil, fmt.Errorf("%s is empty", path)
	case r.Foreign == r.Lines && w.App != "":
		return nil, fmt.Errorf("%s: line %d: %w of %s, and no line of a trace; nor is any other", path, r.FirstForeign, ErrForeign, w.App)
	case r.Foreign == r.Lines:
		return nil, fmt.Errorf("%s: line %d: %w, and no line of a trace; nor is any other", path, r.FirstForeign, ErrForeign)
	}
	return r, nil
}

// Play reads the file once more and gives each attempt at one of the two colors, in the order of the lines.
func (r *Recording) Play(use func(verdict.Sample)) error {
	err := r.readLines(func(line []byte) {
		r.samples = r.samples[:0]
		if r.lines.parse(line) && r.lines.ours() {
			r.samples, _ = r.lines.attempts(r.samples)
		} else if s, ok := r.traced(line); ok {
			r.samples = append(r.samples, s)
		}
		for _, s := range r.samples {
			use(s)
		}
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", r.path, err)
	}
	return nil
}

// survey learns from one line.
func (r *Recording) survey(line []byte) {
	r.Lines++
	at, ok := r.learn(line)
	if !ok {
		r.Foreign++
		if r.FirstForeign == 0 {
			r.FirstForeign = r.Lines
		}
		return
	}
	if r.First.IsZero() {
		r.First = at
	}
	if r.Disordered == 0 && r.Last.Sub(at) > disorder {
		r.Disordered = r.Lines
	}
	r.Last = later(r.Last, at)
}

// learn answers when a line that counts was logged.
func (r *Recording) learn(line []byte) (at time.Time, ok bool) {
	if !r.lines.parse(line) {
		s, ok := r.traced(line)
		return s.At, ok
	}
	e := &r.lines.line
	if r.lines.App == "" {
		r.lines.App = string(e.text[appField])
	}
	if !r.lines.ours() {
		return e.at, false
	}
	if arm, ours := r.pools[string(e.text[colorField])]; ours {
		r.learnAddresses(e.text[addressField], arm)
	}
	r.samples, ok = r.lines.attempts(r.samples[:0])
	return e.at, ok
}

// learnAddresses takes the addresses of one request, of which the last is the arm's.
func (r *Recording) learnAddresses(addresses list, last verdict.Arm) {
	redirected := bytes.Contains(addresses, []byte(" : ")) // then the attempts are not at one pool
	for more := true; more; {
		var address []byte
		address, addresses, more = addresses.cut()
		switch {
		case !more:
			r.learnAddress(string(address), last)
		case !redirected:
			if _, known := r.rescued[string(address)]; !known {
				r.rescued[string(address)] = verdict.Candidate - last // the other arm
			}
		}
	}
}

// learnAddress takes the first thing that is learned of an address.
func (r *Recording) learnAddress(address string, arm verdict.Arm) {
	if _, learned := r.arms[address]; !learned {
		o := r.wanted.Known[address]
		o.Arm = arm
		r.arms[address] = o
	}
}

// traced reads a line of a trace.
func (r *Recording) traced(line []byte) (verdict.Sample, bool) {
	var ts, pool, status, took []byte
	o := object{rest: line}
	for o.next() {
		switch string(o.key) {
		case "ts":
			ts = o.value
		case "pool":
			pool = o.value
		case "status":
			status = o.value
		case "rt":
			took = o.value
		}
	}
	at, timed := parseTime(ts)
	code, answered := parseStatus(status)
	arm, known := r.pools[string(pool)]
	s := verdict.Sample{At: at, Arm: arm, Bad: code >= 500, Slow: slower(took, r.wanted.SlowerThan)}
	return s, o.complete && timed && answered && known
}

// readLines hands out the lines, without their newlines. The bytes are use's only until it returns.
func (r *Recording) readLines(use func(line []byte)) error {
	info, err := os.Stat(r.path)
	if err != nil {
		return bare(err)
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file; it is read twice")
	}
	file, err := os.Open(r.path)
	if err != nil {
		return bare(err)
	}
	defer file.Close()
	buffered := bufio.NewReaderSize(file, readChunk)
	text := io.Reader(buffered)
	if magic, _ := buffered.Peek(2); string(magic) == "\x1f\x8b" {
		if text, err = gzip.NewReader(buffered); err != nil {
			return plain(err)
		}
	}
	lines := bufio.NewScanner(text)
	lines.Buffer(make([]byte, readChunk), longestLine)
	for lines.Scan() {
		use(lines.Bytes())
	}
	return plain(lines.Err())
}

// plain is the error in words that say what is wrong with a recording.
func plain(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("its compressed data end too early")
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("the next line is longer than %d bytes", longestLine)
	}
	return err
}

// bare is the error without the path, which whoever reports it names.
func bare(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
