package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pollEvery is the net under inotify, which a host may have used up, and which may overflow.
const pollEvery = time.Second

// Watch calls each, from this goroutine, for every entry with a higher seq than after, in order and once, until
// the context ends; it then returns nil. An error means that the journal can no longer be read.
// Damage does not end it: whole entries behind a broken line still arrive, because a cutback may be among them.
//
// An entry may be seen before it is synced. Where its writer then fails and takes it back, the next entry has the
// same seq, and is handed over too.
func (j *Journal) Watch(ctx context.Context, after uint64, each func(Entry)) error {
	// A watcher that cannot be had is no error: the poll alone is late by a second at most.
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer w.Close() // waits for its goroutine
		if err := w.Add(j.dir); err == nil {
			return j.follow(ctx, stirs{w.Events, w.Errors}, after, each)
		}
	}
	return j.follow(ctx, stirs{}, after, each)
}

// stirs tell that something in the folder has changed, or that such news was lost. The zero value never tells.
type stirs struct {
	events <-chan fsnotify.Event
	lost   <-chan error
}

// follow reads what is new at each stir and at each poll.
func (j *Journal) follow(ctx context.Context, s stirs, after uint64, each func(Entry)) error {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	var seen look
	last := Entry{Seq: after}
	for {
		now, err := j.look()
		if err != nil {
			return fmt.Errorf("watch journal: %w", err)
		}
		if now != seen {
			entries, err := j.read(last.Seq)
			if _, damaged := errors.AsType[*CorruptError](err); err != nil && !damaged {
				return fmt.Errorf("watch journal: %w", err)
			}
			seen, last = now, handOver(ctx, entries, last, each)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
		case _, open := <-s.events:
			if !open {
				s = stirs{}
			}
		case <-s.lost:
		}
	}
}

// handOver calls each for what came after last, and gives the new last one.
func handOver(ctx context.Context, entries []Entry, last Entry, each func(Entry)) Entry {
	for _, e := range entries {
		replaced := e.Seq == last.Seq && last.Sum != "" && e.Sum != last.Sum
		if (e.Seq > last.Seq || replaced) && ctx.Err() == nil {
			each(e)
			last = e
		}
	}
	return last
}

// look is what tells whether reading would give anything new.
type look struct {
	// newest is the first seq of the newest rotated file: it grows also when a file came and went unseen.
	newest uint64
	// changed, in nanoseconds, and size are those of the active file; a size of -1 means that there is none.
	changed, size int64
}

func (j *Journal) look() (look, error) {
	l := look{size: -1}
	info, err := os.Stat(j.active())
	if err == nil {
		l.changed, l.size = info.ModTime().UnixNano(), info.Size()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return l, err
	}
	older, err := j.rotatedFiles()
	if len(older) > 0 {
		l.newest = older[len(older)-1].first
	}
	return l, err
}
