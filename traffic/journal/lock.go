package journal

import (
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
	lockName = "lock"
	// A holder that has not written its name yet, or was gone before it could be asked, is asked again.
	holderTries = 25
	holderRetry = 2 * time.Millisecond
)

// The bytes of the lock file that are locked, by themselves and whatever stands there.
const (
	seatByte int64 = iota // who holds this one holds the app
	nameByte              // held besides once the text is the holder's own, and not what a killed process left
)

// Holder says who is at work on the app.
type Holder struct {
	PID     int       `json:"pid"`
	Actor   string    `json:"actor"`
	Command string    `json:"command"`
	Rollout string    `json:"rollout,omitempty"`
	Since   time.Time `json:"since"`
}

// BusyError says that somebody else holds the app. Its Holder is zero where they have not said who they are.
type BusyError struct{ Holder Holder }

// Error says who, since when, and at what.
func (e *BusyError) Error() string {
	h := e.Holder
	if h == (Holder{}) {
		return "busy: another process holds the app and has not said who it is"
	}
	rollout := ""
	if h.Rollout != "" {
		rollout = "rollout " + h.Rollout + ", "
	}
	since := h.Since.Format("2006-01-02 15:04:05 MST")
	return fmt.Sprintf("busy: %s since %s: %s (%sprocess %d)", h.Actor, since, h.Command, rollout, h.PID)
}

// Lock is the held rollout lock of one app. The kernel lets it go when the process ends, however that happens;
// no child inherits it that was not handed its file. Keep the value: a Lock that is forgotten is let go at some garbage collection.
//
// It is an open file description lock of fcntl, because those, unlike flock, can be asked for without being
// taken: a `status` that tried the lock would make a `promote` of the same instant busy for no reason. And unlike
// older fcntl locks they are not lost when some other part of the process closes the same file.
// The file is never removed: a second one beside a held one would be free.
type Lock struct{ file *os.File }

// TryLock takes the rollout lock in the folder, <state>/<app>, which it makes where it is missing.
// It gives a *BusyError, at once, where somebody else holds the lock.
func TryLock(dir string, h Holder) (*Lock, error) {
	path := filepath.Join(dir, lockName)
	if err := makeFolder(dir); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	err = occupy(f, h)
	if err == nil {
		return &Lock{f}, nil
	}
	if _, busy := errors.AsType[*BusyError](err); !busy {
		err = fmt.Errorf("lock %s: %w", path, err)
	}
	_ = f.Close() // lets go of the seat too; what counts is why it could not be kept
	return nil, err
}

func occupy(f *os.File, h Holder) error {
	for range holderTries {
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, span(unix.F_WRLCK, seatByte, 1))
		if err == nil {
			return introduce(f, h)
		}
		if !errors.Is(err, unix.EAGAIN) {
			return err
		}
		other, held, err := holding(f)
		if err != nil {
			return err
		}
		if held {
			return &BusyError{other}
		}
	} // each time it was let go before its holder could be asked
	return &BusyError{}
}

// introduce expects the seat to be held.
func introduce(f *os.File, h Holder) error {
	if err := f.Chmod(fileMode); err != nil { // whatever the umask, the group may ask who it is
		return err
	}
	if err := writeHolder(f, h); err != nil {
		return err
	}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, span(unix.F_WRLCK, nameByte, 1))
}

// Update changes what others read about the holder, without letting go.
func (l *Lock) Update(h Holder) error {
	if err := writeHolder(l.file, h); err != nil {
		return fmt.Errorf("update holder of %s: %w", l.file.Name(), err)
	}
	return nil
}

// Unlock lets go, by name, because closing alone would leave the lock to a child that is just being forked.
func (l *Lock) Unlock() error {
	err := errors.Join(unix.FcntlFlock(l.file.Fd(), unix.F_OFD_SETLK, span(unix.F_UNLCK, seatByte, 0)), l.file.Close())
	if err != nil {
		return fmt.Errorf("unlock %s: %w", l.file.Name(), err)
	}
	return nil
}

// Handle is the open file by which the app is held: a child that gets it holds the app too, until it has ended, and this process
// lets go of its part by ending without Unlock. See Inherit.
func (l *Lock) Handle() *os.File { return l.file }

// Inherit goes on holding the app in the folder by the file that a parent handed down. It gives an error where that file is not
// the folder's lock, and a *BusyError where
// it is not held by it and somebody else holds the app.
func Inherit(dir string, f *os.File, h Holder) (*Lock, error) {
	path := filepath.Join(dir, lockName)
	handed, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("inherit lock %s: %w", path, err)
	}
	named, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("inherit lock %s: %w", path, err)
	}
	if !os.SameFile(handed, named) {
		return nil, fmt.Errorf("inherit lock %s: it is another file", path)
	}
	if err := occupy(f, h); err != nil { // taken already, unless somebody has let go of it
		return nil, fmt.Errorf("inherit lock %s: %w", path, err)
	}
	return &Lock{f}, nil
}

// Holding tells whether a process holds the rollout lock in the folder, and who it is. It only asks: nobody's
// TryLock ever meets it. The Holder is zero where the lock is held by one that has not said who it is.
func Holding(dir string) (Holder, bool, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Holder{}, false, nil
	}
	if err != nil {
		return Holder{}, false, fmt.Errorf("ask for lock %s: %w", path, err)
	}
	defer f.Close()
	h, held, err := holding(f)
	if err != nil {
		return Holder{}, false, fmt.Errorf("ask for lock %s: %w", path, err)
	}
	return h, held, nil
}

func holding(f *os.File) (Holder, bool, error) {
	for range holderTries {
		held, err := isHeld(f, seatByte)
		if err != nil || !held {
			return Holder{}, false, err
		}
		named, err := isHeld(f, nameByte)
		if err != nil {
			return Holder{}, false, err
		}
		if h, err := readHolder(f); named && err == nil { // an error is a text that is just being rewritten
			return h, true, nil
		}
		time.Sleep(holderRetry)
	}
	return Holder{}, true, nil
}

// isHeld asks whether another open file holds the byte.
func isHeld(f *os.File, at int64) (bool, error) {
	question := span(unix.F_WRLCK, at, 1)
	err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, question)
	return question.Type != unix.F_UNLCK, err
}

// span describes a lock of that many bytes; zero means up to the end.
func span(kind int16, start, length int64) *unix.Flock_t {
	return &unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: start, Len: length}
}

// writeHolder writes over what stands there and cuts the rest off: an older, longer text never ends a newer one
// for longer than an instant, in which it does not parse.
func writeHolder(f *os.File, h Holder) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(append(text, '\n'), 0); err != nil {
		return err
	}
	return f.Truncate(int64(len(text)) + 1)
}

func readHolder(f *os.File) (Holder, error) {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		return Holder{}, err
	}
	var h Holder
	err = json.Unmarshal(text, &h)
	return h, err
}
