package signal

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"cutover/traffic/verdict"
)

const (
	// pollEvery is how often the log is looked at. nginx holds lines back for up to 100 ms anyway.
	pollEvery = 50 * time.Millisecond
	// readPerPoll bounds the bytes of one batch, so that a reader who is late says so between two batches.
	readPerPoll = 4 << 20
	// faultAfter is how long reading may fail before that is a fault: a rotation may leave no file for a moment.
	faultAfter = time.Second
	// quietAfter is how long nothing must come in a file that was renamed away before it is given up. Each worker of
	// nginx writes there until it has reopened the log, a busy one later than the others.
	quietAfter = 5 * time.Second
)

// AccessLog is the log that nginx writes for one app, as the judge's source of evidence.
type AccessLog struct {
	path    string
	reading Reading
	now     func() time.Time
	foreign atomic.Int64
}

// OpenAccessLog names the log at path, what counts in it, and the clock. No file is opened before Follow.
func OpenAccessLog(path string, r Reading, now func() time.Time) *AccessLog {
	return &AccessLog{path: path, reading: r, now: now}
}

// Foreign counts the lines that Follow has left out so far because they are another app's, or not of our format.
func (a *AccessLog) Foreign() int64 { return a.foreign.Load() }

// Follow hands a batch to fold at once and then some 20 times a second, an empty one too, until the context ends; nil then.
// Evidence begins with the lines that nginx writes after the first batch, or with all of a file that appears later.
// Samples of a batch are fold's to keep. A log that cannot be read is no error but a Fault in the batches: it may come back.
func (a *AccessLog) Follow(ctx context.Context, fold func(verdict.Batch)) error {
	t := newTail(a)
	defer t.close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		fold(t.poll(a.now()))
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// tail is the state of one Follow: which files are open, and what the batch at hand holds.
type tail struct {
	log   *AccessLog
	lines *reader
	// files are the open ones, oldest first: the current one, and those renamed away that nginx may still write to.
	files []*logFile
	// current is the one that path named at the last look; nil while none could be opened.
	current *logFile
	// absent tells that path named nothing since the last file was opened, so that the next one is new from its start.
	absent bool
	// polled tells that Follow has begun: a file that is opened at its end from here on has been growing unread.
	polled bool
	// healthy is when reading last worked.
	healthy time.Time
	// newest is the time of the latest line of ours.
	newest time.Time
	batch  verdict.Batch
}

func newTail(log *AccessLog) tail {
	return tail{log: log, lines: newReader(log.reading), healthy: log.now()}
}

// poll reads what there is, up to a bound. Everything that was in the log at now is in the batch, unless it is Behind.
func (t *tail) poll(now time.Time) verdict.Batch {
	t.batch = verdict.Batch{Now: now, Samples: make([]verdict.Sample, 0, len(t.batch.Samples))}
	lost := t.look()
	t.polled = true
	p, err := t.read(now)
	t.giveUpQuiet(now)

	t.batch.Gap = t.batch.Gap || p.gap
	if p.unread > 0 {
		t.batch.Behind = pollEvery // the least that is true, also where no line of ours was seen yet
		if !t.newest.IsZero() {
			t.batch.Behind = max(pollEvery, now.Sub(t.newest))
		}
	}
	// Lines that still come through a file without a name are evidence as good as any.
	if trouble := cmp.Or(lost, err); trouble == nil || p.read > 0 {
		t.healthy = now
	} else if now.Sub(t.healthy) >= faultAfter {
		t.batch.Fault = "access log: " + trouble.Error()
	}
	return t.batch
}

// look makes current the file that path names. Its errors name the path.
func (t *tail) look() error {
	info, err := os.Stat(t.log.path)
	if err != nil {
		t.absent = t.absent || errors.Is(err, fs.ErrNotExist)
		return err
	}
	for _, f := range t.files {
		if os.SameFile(info, f.info) { // also one that was moved away and back
			t.current, t.absent = f, false
			return nil
		}
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for a writer, and a device has no lines to come back to
		return &fs.PathError{Op: "follow", Path: t.log.path, Err: errors.New("not a regular file")}
	}
	fromStart := t.absent || t.current != nil
	open := openAtEnd
	if fromStart {
		open = openAtStart
	}
	opened, err := open(t.log.path)
	if err != nil {
		return err
	}
	t.batch.Gap = t.polled && !fromStart
	t.files = append(t.files, opened)
	t.current, t.absent = opened, false
	return nil
}

// read reads all open files, the oldest first, because its lines are older. One that fails is closed; if it still has
// its name, the next look opens it again.
func (t *tail) read(now time.Time) (all progress, trouble error) {
	t.files = slices.DeleteFunc(t.files, func(f *logFile) bool {
		p, err := f.advance(readPerPoll-all.read, now, t.use)
		all.read += p.read
		all.unread += p.unread
		all.gap = all.gap || p.gap || err != nil
		if err == nil {
			return false
		}
		trouble = cmp.Or(trouble, err)
		if f == t.current {
			t.current = nil
		}
		f.close()
		return true
	})
	return all, trouble
}

// use adds one line to the batch.
func (t *tail) use(line []byte) {
	ok := t.lines.parse(line) && t.lines.ours()
	if ok {
		t.batch.Samples, ok = t.lines.attempts(t.batch.Samples)
	}
	if !ok {
		t.log.foreign.Add(1)
		return
	}
	if at := t.lines.line.at; at.After(t.newest) && !at.After(t.batch.Now) { // one from the future tells nothing of the lag
		t.newest = at
	}
}

// giveUpQuiet closes the renamed files that nginx has left: a later file has lines, and nothing came here since then.
// Silence alone would not do: with little traffic, nginx may be asked to reopen its log long after the rename.
func (t *tail) giveUpQuiet(now time.Time) {
	var reopened time.Time // when the first line came in a later file; zero if none did
	for i, f := range slices.Backward(t.files) {
		quiet := now.Sub(reopened) >= quietAfter && now.Sub(f.lastRead) >= quietAfter
		if f != t.current && !reopened.IsZero() && quiet {
			t.batch.Gap = t.batch.Gap || f.begun > 0 // a line that will never end
			f.close()
			t.files = slices.Delete(t.files, i, i+1)
		}
		reopened = cmp.Or(f.firstRead, reopened)
	}
}

func (t *tail) close() {
	for _, f := range t.files {
		f.close()
	}
}
