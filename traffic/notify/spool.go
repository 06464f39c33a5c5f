package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Spool is the queue of one app's messages, a folder. Any number of processes may use it at once.
type Spool struct {
	dir string
	say func(line string)

	mutex sync.Mutex
	// changed is closed, and replaced, when this Spool has put something.
	changed chan struct{}
}

// Open names the folder, <state>/<app>/notify, which appears with the first message. say gets a line, one at a time, for
// each message that is dropped and, from Run, for each trouble that is new.
func Open(dir string, say func(line string)) *Spool {
	return &Spool{dir: dir, say: say, changed: make(chan struct{})}
}

// Put writes the message to disk for each receiver that wants its kind. It waits for nothing but the disk, and a receiver
// whose folder cannot be written does not keep it from the others. Twice the same id is told once.
func (s *Spool) Put(configs []Config, m Message) error {
	if err := m.Validate(); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("message %s: %w", m.ID, err)
	}
	var failed []error
	for _, c := range configs {
		if !c.wants(m.Kind) {
			continue
		}
		if err := s.queue(c).put(slip{at: m.At, id: m.ID}, text); err != nil {
			failed = append(failed, fmt.Errorf("queue message %s for %s: %w", m.ID, c.name(), err))
		}
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return errors.Join(failed...)
}

// Deliver sends what is queued for these receivers, all of them at once, each oldest first, and returns when that is done or
// ctx is over. It also waits, within ctx, for another process that is sending to the same receiver. What was not taken
// stays queued; the error says why, receiver by receiver.
func (s *Spool) Deliver(ctx context.Context, configs []Config, sender Sender) error {
	failed := make([]error, len(configs))
	var all sync.WaitGroup
	for i, c := range configs {
		all.Go(func() { failed[i] = s.queue(c).drain(ctx, c, sender) })
	}
	all.Wait()
	return errors.Join(errors.Join(failed...), s.expireOthers(configs, sender.Now()))
}

// Run delivers, now, after each Put of this Spool, and each minute while something is left, until ctx ends. Trouble is
// said once, until it is another. To end well: Deliver with a deadline, then end ctx; an end in the middle of a
// request may send that message twice.
func (s *Spool) Run(ctx context.Context, configs []Config, sender Sender) {
	var all sync.WaitGroup
	for _, c := range configs {
		all.Go(func() { s.follow(ctx, c, sender) })
	}
	all.Wait()
}

// again is how long a receiver that failed is left alone.
const again = time.Minute

func (s *Spool) follow(ctx context.Context, c Config, sender Sender) {
	timer := time.NewTimer(again)
	defer timer.Stop()
	said := ""
	for {
		s.mutex.Lock()
		changed := s.changed
		s.mutex.Unlock()
		err := s.queue(c).drain(ctx, c, sender)
		if ctx.Err() != nil {
			return
		}
		if now := sentence(err); now != said {
			said = now
			s.tell(now)
		}
		timer.Reset(again)
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-timer.C:
		}
	}
}

func sentence(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (s *Spool) tell(line string) {
	if line == "" {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.say(line)
}

func (s *Spool) queue(c Config) queue {
	return queue{filepath.Join(s.dir, c.folder()), c.name(), s.tell}
}

// expireOthers lets go of what waits for receivers that are not configured any more, or for another environment, when it is too old.
func (s *Spool) expireOthers(configs []Config, now time.Time) error {
	listing, err := os.ReadDir(s.dir)
	if err != nil {
		return gone(err)
	}
	var failed []error
	for _, item := range listing {
		other := !slices.ContainsFunc(configs, func(c Config) bool { return c.folder() == item.Name() })
		if other && item.IsDir() {
			q := queue{filepath.Join(s.dir, item.Name()), item.Name(), s.tell}
			failed = append(failed, q.expire(now))
		}
	}
	return errors.Join(failed...)
}

const (
	folderMode fs.FileMode = 0o750
	fileMode   fs.FileMode = 0o640
)

// makeFolder makes one folder, readable for the group whatever the umask. One that is there keeps its mode.
func makeFolder(dir string) error {
	err := os.Mkdir(dir, folderMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	// A setgid bit, inherited from the parent, is what hands the group on to the files: chmod must not drop it.
	return os.Chmod(dir, folderMode|info.Mode()&fs.ModeSetgid)
}

// syncFolder makes names that were created or renamed in the folder survive a loss of power.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
