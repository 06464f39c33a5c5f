package signal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"cutover/traffic/verdict"
)

const (
	// day is how far back the log is read, and mostRead how many bytes of it at most.
	day      = 24 * time.Hour
	mostRead = 256 << 20
	// lately is the stretch that Rates.Now speaks of.
	lately = 5 * time.Minute
	// slot is the stretch that requests are counted by; each hour of each time zone is made of whole ones.
	slot = 15 * time.Minute
	// galloped is the first step backwards in the search for where the day begins.
	galloped = 4 << 20
)

// Rates is what an existing access log tells about the traffic of one app in the last 24 hours.
type Rates struct {
	// Now is the requests a second of the last five minutes.
	Now float64 `json:"now"`
	// ByHour is by hour of the day, in the time zone of the clock that was given.
	ByHour [24]HourRate `json:"by_hour"`
	// ErrorRate is the share of the attempts at the baseline's addresses that were bad; where the log has none, of those at
	// the candidate's. From 0 to 1; zero also where there were no attempts.
	ErrorRate float64 `json:"error_rate"`
	// Requests counts what reached a color. What nginx answered by itself is not among them: it is no evidence.
	Requests int64 `json:"requests"`
	// From and To are the times between which all requests were counted. From is the first line's, or 24 hours ago where
	// the log reaches further back; To is the clock that was given. Zero where the log has no request of this app.
	From time.Time `json:"from,omitzero"`
	To   time.Time `json:"to,omitzero"`
	// Absent tells that no log stands at the path.
	Absent bool `json:"absent,omitempty"`
}

// HourRate is the traffic in one hour of the day.
type HourRate struct {
	Requests int64 `json:"requests"`
	// Covered is how much of this hour the log tells about.
	Covered time.Duration `json:"covered"`
}

// PerSecond is the requests a second; zero where the log does not cover the hour.
func (h HourRate) PerSecond() float64 { return perSecond(h.Requests, h.Covered) }

func perSecond(requests int64, in time.Duration) float64 {
	if in <= 0 {
		return 0
	}
	return float64(requests) / in.Seconds()
}

// ReadRates reads the app's requests of the 24 hours before now from the access log at path and from the log before it,
// path.1, unless that was compressed; at most the last 256 MiB. In r, stable's addresses are the Baseline's. A log that is absent, empty or of another app is no error: it tells of no requests. Errors name the file.
func ReadRates(ctx context.Context, path string, r Reading, now time.Time) (Rates, error) {
	c := census{lines: newReader(r), now: now, since: now.Add(-day)}
	files, err := openLogs(path)
	if err != nil {
		return Rates{}, err
	}
	defer func() {
		for _, f := range files {
			f.close()
		}
	}()
	budget := int64(mostRead)
	for _, f := range files {
		if budget, err = c.read(ctx, f, budget); err != nil {
			return Rates{}, fmt.Errorf("read rates of %s: %w", f.file.Name(), err)
		}
	}
	rates := c.rates()
	rates.Absent = len(files) == 0 || files[0].file.Name() != path
	return rates, nil
}

// openLogs opens the log at path and the one before it, as far as they are there. Both are open before anything is read:
// a rotation in between then shows one file under both names, and hides none.
func openLogs(path string) (files []*logFile, err error) {
	current, err := openLog(path)
	if err != nil {
		return nil, err
	}
	if current != nil {
		files = append(files, current)
	}
	before, err := openLog(path + ".1")
	switch {
	case err != nil || before == nil: // without a neighbour that can be read less is known, no more than that
	case current != nil && os.SameFile(current.info, before.info):
		before.close()
	default:
		files = append(files, before)
	}
	return files, nil
}

// openLog opens a log to be read from its start; nil where there is none.
func openLog(path string) (*logFile, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // opening a pipe would wait for a writer
		return nil, &fs.PathError{Op: "read rates of", Path: path, Err: errors.New("not a regular file")}
	}
	f, err := openAtStart(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// census counts the lines of one app between since and now.
type census struct {
	lines      *reader
	since, now time.Time
	requests   int64
	lately     int64
	slots      [day/slot + 1]int64 // the first holds since and the last now
	attempts   [2]verdict.Tally    // by Arm
	first      time.Time
	// older tells that a line from before since was seen: the log leaves nothing of the day out.
	older   bool
	samples []verdict.Sample
}

// read counts the lines of one file, as far back as the day and the budget of bytes reach, and answers what is left of
// the budget. A file that holds older lines leaves none.
func (c *census) read(ctx context.Context, f *logFile, budget int64) (left int64, err error) {
	if f.offset, err = c.begin(f, budget); err != nil {
		return 0, err
	}
	f.skipping = f.offset > 0
	for unread := true; unread && budget > 0; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		p, err := f.advance(min(budget, readPerPoll), c.now, c.use)
		if err != nil {
			return 0, err
		}
		budget -= p.read
		unread = p.read > 0 && p.unread > 0
	}
	if c.older {
		return 0, nil
	}
	return max(0, budget), nil
}

// begin finds an offset behind which all lines of the day stand that the budget allows, by steps backwards that double
// until a line before the day is found.
func (c *census) begin(f *logFile, budget int64) (int64, error) {
	size := f.info.Size()
	earliest := max(0, size-budget)
	for back := int64(galloped); size-back > earliest; back *= 2 {
		old, err := c.oldAt(f, size-back)
		if old || err != nil {
			return size - back, err
		}
	}
	return earliest, nil
}

// oldAt tells whether the first line behind the offset that can be read is from before the day.
func (c *census) oldAt(f *logFile, offset int64) (bool, error) {
	const enough = 64 << 10
	look := &logFile{file: f.file, info: f.info, buffer: make([]byte, enough), offset: offset, skipping: true}
	var at time.Time
	_, err := look.advance(enough, c.now, func(line []byte) {
		if at.IsZero() && c.lines.parse(line) {
			at = c.lines.line.at
		}
	})
	return !at.IsZero() && at.Before(c.since), err
}

// use counts one line.
func (c *census) use(line []byte) {
	if !c.lines.parse(line) || !c.lines.ours() {
		return
	}
	at, ok := c.lines.line.at, false
	if at.After(c.now) {
		return
	}
	if at.Before(c.since) {
		c.older = true
		return
	}
	c.samples, ok = c.lines.attempts(c.samples[:0])
	if !ok || len(c.samples) == 0 {
		return
	}
	for _, s := range c.samples {
		seen := &c.attempts[s.Arm]
		seen.Requests++
		if s.Bad {
			seen.Errors++
		}
	}
	c.requests++
	if c.now.Sub(at) <= lately {
		c.lately++
	}
	c.slots[at.Sub(c.since.Truncate(slot))/slot]++
	if c.first.IsZero() || at.Before(c.first) {
		c.first = at
	}
}

// rates puts the counts into rates.
func (c *census) rates() Rates {
	r := Rates{Requests: c.requests, ErrorRate: c.errorRate()}
	if c.requests == 0 {
		return r
	}
	r.From, r.To = c.first, c.now
	if c.older {
		r.From = c.since
	}
	r.Now = perSecond(c.lately, min(lately, max(time.Second, r.To.Sub(r.From))))
	for i, requests := range c.slots {
		begin := c.since.Truncate(slot).Add(time.Duration(i) * slot)
		hour := &r.ByHour[begin.In(c.now.Location()).Hour()]
		hour.Requests += requests
		hour.Covered += max(0, earlier(begin.Add(slot), r.To).Sub(later(begin, r.From)))
	}
	return r
}

func (c *census) errorRate() float64 {
	for _, arm := range []verdict.Arm{verdict.Baseline, verdict.Candidate} {
		if seen := c.attempts[arm]; seen.Requests > 0 {
			return float64(seen.Errors) / float64(seen.Requests)
		}
	}
	return 0
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
