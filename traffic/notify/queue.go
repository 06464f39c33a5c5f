package notify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

const (
	// capacity holds for messages that wait and, apart, for those that are remembered.
	capacity = 200
	// keep is how long a message is tried, and remembered once it was taken.
	keep = 24 * time.Hour
	// refusals in a row are taken for the receiver's state, not for a fault of the messages.
	refusals = 3
	// lockRetry is how often a folder is tried that another process holds.
	lockRetry = 20 * time.Millisecond
)

// queue is one receiver's folder.
type queue struct {
	dir string
	// name is how lines and errors call the receiver.
	name string
	tell func(line string)
}

// slip is the name of a queued file: when it happened, and what.
type slip struct {
	at time.Time
	id string
}

const (
	waiting = ".json"
	taken   = ".sent"
)

// file sorts as the times do: the milliseconds always have 15 digits.
func (s slip) file(suffix string) string {
	return fmt.Sprintf("%015d-%s%s", s.at.UnixMilli(), s.id, suffix)
}

func parseSlip(file string) (s slip, suffix string, ok bool) {
	suffix = filepath.Ext(file)
	digits, id, _ := strings.Cut(strings.TrimSuffix(file, suffix), "-")
	ms, err := strconv.ParseInt(digits, 10, 64)
	s = slip{time.UnixMilli(ms), id}
	return s, suffix, err == nil && (suffix == waiting || suffix == taken) && idForm().MatchString(id) && s.file(suffix) == file
}

func (q queue) path(s slip, suffix string) string { return filepath.Join(q.dir, s.file(suffix)) }

// list gives the messages with a suffix, oldest first. Names that are not ours are left alone.
func (q queue) list(suffix string) ([]slip, error) {
	listing, err := os.ReadDir(q.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var slips []slip
	for _, item := range listing {
		if s, is, ok := parseSlip(item.Name()); ok && is == suffix {
			slips = append(slips, s)
		}
	}
	slices.SortFunc(slips, func(a, b slip) int { return cmp.Or(a.at.Compare(b.at), strings.Compare(a.id, b.id)) })
	return slips, err
}

func (q queue) put(s slip, text []byte) error {
	for _, dir := range []string{filepath.Dir(q.dir), q.dir} {
		if err := makeFolder(dir); err != nil {
			return err
		}
	}
	// The temporary file lies beside it: elsewhere would need the environment, and another file system would not rename.
	err := renameio.WriteFile(q.path(s, waiting), text, fileMode, renameio.WithStaticPermissions(fileMode), renameio.WithTempDir(q.dir))
	if err != nil {
		return err
	}
	if err := syncFolder(q.dir); err != nil {
		return err
	}
	slips, err := q.list(waiting)
	for _, old := range slips[:max(len(slips)-capacity, 0)] {
		err = errors.Join(err, q.drop(old, fmt.Sprintf("more than %d are waiting", capacity)))
	}
	return err
}

// drop takes a message out of the queue for good, aloud; another process may have done so already.
func (q queue) drop(s slip, why string) error {
	err := os.Remove(q.path(s, waiting))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		q.tell(fmt.Sprintf("notify %s: dropped message %s: %s", q.name, s.id, why))
	}
	return err
}

// drain sends what waits. Trouble with the receiver ends it, a refusal only goes on to the next message.
func (q queue) drain(ctx context.Context, c Config, sender Sender) error {
	if slips, err := q.list(waiting); err != nil || len(slips) == 0 {
		return q.explain(err)
	}
	unlock, err := q.lock(ctx)
	if err != nil {
		return q.explain(err)
	}
	defer unlock()
	failed := q.forget(sender.Now()) // trouble with a message is more important, and replaces it
	refused := map[slip]bool{}
	for inARow := 0; inARow < refusals; {
		s, found, err := q.next(refused)
		if err != nil || !found {
			failed = errors.Join(failed, err)
			break
		}
		err = q.hand(ctx, c, s, sender)
		if err == nil {
			inARow = 0
			continue
		}
		failed = err
		if _, is := errors.AsType[refusal](err); !is {
			break
		}
		refused[s] = true
		inARow++
	}
	return q.explain(failed)
}

// explain adds whose trouble it is, and what became of the messages.
func (q queue) explain(err error) error {
	if err == nil {
		return nil
	}
	slips, _ := q.list(waiting) // the first trouble is what is told
	return fmt.Errorf("notify %s: %w; queued: %d", q.name, err, len(slips))
}

// lock waits until this process alone sends to the receiver. The folder itself is locked: nothing is left behind for that.
func (q queue) lock(ctx context.Context) (unlock func(), err error) {
	l := flock.New(q.dir, flock.SetFlag(os.O_RDONLY))
	had, err := l.TryLock() // also where no time is left: what is too old or told already can still be dealt with
	if err == nil && !had {
		_, err = l.TryLockContext(ctx, lockRetry)
		if err != nil && ctx.Err() != nil {
			err = errors.New("another process is sending, and did not end in the time that was left")
		}
	}
	if err != nil {
		return nil, err
	}
	// Where the queue could not be changed, each later command would send the same again.
	if err := unix.Access(q.dir, unix.W_OK); err != nil {
		_ = l.Unlock()
		return nil, fmt.Errorf("nothing is sent while %s cannot be written: %w", q.dir, err)
	}
	return func() { _ = l.Unlock() }, nil // it closes the file in any case, and that lets go
}

// next is the oldest message that waits, looked up anew each time: others may put and drop meanwhile.
func (q queue) next(refused map[slip]bool) (slip, bool, error) {
	slips, err := q.list(waiting)
	for _, s := range slips {
		if !refused[s] {
			return s, true, err
		}
	}
	return slip{}, false, err
}

// hand sends one message, or drops it where that would be wrong. After nil it does not wait any more.
func (q queue) hand(ctx context.Context, c Config, s slip, sender Sender) error {
	known, err := q.list(taken)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(known, func(k slip) bool { return k.id == s.id }) {
		return gone(os.Remove(q.path(s, waiting)))
	}
	if age := sender.Now().Sub(s.at); age > keep {
		return q.drop(s, stale)
	}
	data, err := os.ReadFile(q.path(s, waiting))
	if err != nil {
		return gone(err)
	}
	m, err := parseMessage(data)
	if err != nil || m.ID != s.id {
		return q.drop(s, "the file does not hold it")
	}
	if err := sender.send(ctx, c, m); err != nil {
		return err
	}
	return gone(os.Rename(q.path(s, waiting), q.path(s, taken)))
}

const stale = "nobody took it for 24 hours"

// expire drops what is too old, where nothing will be sent any more.
func (q queue) expire(now time.Time) error {
	slips, err := q.list(waiting)
	for _, s := range slips {
		if now.Sub(s.at) > keep {
			err = errors.Join(err, q.drop(s, stale))
		}
	}
	return errors.Join(err, q.forget(now))
}

// forget ends the memory of messages that were taken.
func (q queue) forget(now time.Time) error {
	slips, err := q.list(taken)
	for i, s := range slips {
		if now.Sub(s.at) > keep || i < len(slips)-capacity {
			err = errors.Join(err, gone(os.Remove(q.path(s, taken))))
		}
	}
	return err
}

// gone takes a file that is not there for one that somebody else has dealt with.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
