package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	activeName = "journal.jsonl"
	// lockPatience bounds how long an append waits for others: a cutback must not hang on its record.
	lockPatience = 50 * time.Millisecond
	lockRetry    = time.Millisecond
	// readings bounds how often damage is looked at again before it is believed.
	readings = 5
)

// ErrLockHeld says that others kept the journal's lock for longer than 50 ms. Nothing was written.
var ErrLockHeld = errors.New("the journal is locked by another process")

// Entry is one line of the journal.
type Entry struct {
	// Seq counts from 1, without a gap across rotated files, except that it steps over lines that were broken.
	Seq uint64 `json:"seq"`
	// Time is the writer's clock in UTC; it may go back where that clock was set back.
	Time time.Time `json:"time"`
	// Rollout is the id of the rollout that the event belongs to; empty for none.
	Rollout string `json:"rollout,omitempty"`
	// Actor is the person or machine on whose behalf it was written.
	Actor string          `json:"actor"`
	Event json.RawMessage `json:"event"`
	// Prev is the Sum of the entry before; empty for the first of all.
	Prev string `json:"prev,omitempty"`
	// Sum is the sha256, in hex, of the line without it. Invariant: the last field, so that it can be cut off a line.
	Sum string `json:"sum"`
}

// CorruptError names the first line of a journal that does not prove itself, or does not follow the one before it.
type CorruptError struct {
	Path string
	// Line counts from 1.
	Line int
	// Why is a clause about the line: "its checksum does not match".
	Why string
}

// Error gives file, line and reason.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("journal %s, line %d is damaged: %s", e.Path, e.Line, e.Why)
}

// Journal is the journal of one app. It holds nothing open and may be used from several goroutines and processes.
type Journal struct {
	dir   string
	clock func() time.Time
}

// Open names the journal in the folder, <state>/<app>, and makes the folder where it is missing.
// The clock dates the entries.
func Open(dir string, clock func() time.Time) (*Journal, error) {
	if err := makeFolder(dir); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	return &Journal{dir: dir, clock: clock}, nil
}

// Append writes one entry and has synced it when it returns. On an error nothing of it is left for readers.
// A context that has ended writes nothing; a lock that others hold for longer than 50 ms gives ErrLockHeld.
// Damage elsewhere in the journal does not keep it from working.
func (j *Journal) Append(ctx context.Context, rollout, actor string, event any) (Entry, error) {
	raw, err := json.Marshal(event)
	if err != nil {
		return Entry{}, fmt.Errorf("encode event for %s: %w", j.active(), err)
	}
	f, err := j.lock(ctx, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return Entry{}, fmt.Errorf("append to journal: %w", err)
	}
	defer release(f)
	before, size, err := j.tail(f)
	if err != nil {
		return Entry{}, fmt.Errorf("append to journal: %w", err)
	}
	line, e, err := seal(Entry{
		Seq: before.next(), Time: j.clock().UTC(), Rollout: rollout, Actor: actor, Event: raw, Prev: before.last.Sum,
	})
	if err != nil {
		return Entry{}, fmt.Errorf("encode entry for %s: %w", j.active(), err)
	}
	if err := j.write(f, before.length, size, line); err != nil {
		return Entry{}, errors.Join(fmt.Errorf("append to journal: %w", err), f.Truncate(before.length))
	}
	return e, nil
}

// Read gives every whole entry in order, those of rotated files included. A torn last line is not there.
// Where anything else is broken it returns a *CorruptError along with all entries that are whole.
func (j *Journal) Read() ([]Entry, error) { return j.read(0) }

// Rotate moves what was written so far to journal-<first seq>.jsonl. An empty journal stays as it is.
// The file has to stay in the folder until the next append, which goes on from it.
func (j *Journal) Rotate() error {
	f, err := j.lock(context.Background(), os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("rotate journal: %w", err)
	}
	defer release(f)
	if err := j.rotate(f); err != nil {
		return fmt.Errorf("rotate journal: %w", err)
	}
	return nil
}

// rotate expects the lock.
func (j *Journal) rotate(f *os.File) error {
	data, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	lines := settled(data)
	if len(lines) < len(data) { // a tail that is torn is harmless at the end of the last file only
		if err := errors.Join(f.Truncate(int64(len(lines))), f.Sync()); err != nil {
			return err
		}
	}
	if len(lines) == 0 {
		return nil
	}
	first, err := j.firstSeq(lines)
	if err != nil {
		return err
	}
	old := filepath.Join(j.dir, rotatedName(first))
	if _, err := os.Lstat(old); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%s is there already", old), err)
	}
	if err := os.Rename(j.active(), old); err != nil {
		return err
	}
	return syncFolder(j.dir)
}

// firstSeq is the seq that names a file: of its first whole entry, or, without one, that which would come first.
func (j *Journal) firstSeq(lines []byte) (uint64, error) {
	var r replay
	if r.add("", lines); len(r.entries) > 0 {
		return r.entries[0].Seq, nil
	}
	older, err := j.rotatedTail()
	return older.next(), err
}

func (j *Journal) active() string { return filepath.Join(j.dir, activeName) }

// lock opens the active file and takes its flock, with patience. Each try opens anew, because the file that was
// waited for may have been rotated away meanwhile.
func (j *Journal) lock(ctx context.Context, flags int) (*os.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("lock %s: %w", j.active(), err)
	}
	patience, cancel := context.WithTimeoutCause(ctx, lockPatience, ErrLockHeld)
	defer cancel()
	for {
		f, err := os.OpenFile(j.active(), flags, fileMode)
		if err != nil {
			return nil, err
		}
		ours, err := take(f)
		if ours {
			return f, nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("lock %s: %w", j.active(), err)
		}
		select {
		case <-patience.Done():
			return nil, fmt.Errorf("lock %s: %w", j.active(), context.Cause(patience))
		case <-time.After(lockRetry):
		}
	}
}

// take tries the flock once, and tells whether it was had on the file that the path names now.
func take(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	locked, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(locked, named), err
}

// release ends the flock by name: closing alone would leave it to a child that is just being forked.
// Both calls fail only for a file that is not open, and what was synced is safe without them.
func release(f *os.File) {
	_ = unix.Flock(int(f.Fd()), unix.LOCK_UN)
	_ = f.Close()
}

// tail finds the end of the chain, in the locked file or in the rotated ones before it, and the size of the file.
func (j *Journal) tail(f *os.File) (tail, int64, error) {
	info, err := f.Stat()
	if err != nil {
		return tail{}, 0, err
	}
	t, err := readTail(f, info.Size())
	if err != nil || t.last.Seq > 0 {
		return t, info.Size(), err
	}
	older, err := j.rotatedTail()
	t.last, t.broken = older.last, t.broken+older.broken
	return t, info.Size(), err
}

// write puts the line behind the first length bytes and syncs it. Size beyond length is a torn tail.
func (j *Journal) write(f *os.File, length, size int64, line []byte) error {
	if length == 0 { // the file is new: whatever the umask, the group reads it
		if err := f.Chmod(fileMode); err != nil {
			return err
		}
	}
	if length < size {
		if err := f.Truncate(length); err != nil {
			return err
		}
	}
	if _, err := f.WriteAt(line, length); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if length == 0 || length < size {
		return syncFolder(j.dir)
	}
	return nil
}
