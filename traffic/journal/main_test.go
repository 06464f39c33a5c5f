package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// roleVariable makes the test binary play another process: see roles.
const roleVariable = "CUTOVER_JOURNAL_ROLE"

var roles = map[string]func(args []string) error{
	"append":          playAppender,
	"hold":            playHolder,
	"hold-with-child": playParent,
	"inherit":         playHeir,
	"wait":            func([]string) error { return waitForEnd() },
}

func TestMain(m *testing.M) {
	role, given := os.LookupEnv(roleVariable)
	if !given {
		goleak.VerifyTestMain(m)
		return
	}
	if err := roles[role](os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// playAppender appends "count" entries (0: without end) as "actor", prints the seq of each, and rotates at each
// "every"th (0: never).
func playAppender(args []string) error {
	dir, actor := args[0], args[1]
	count, _ := strconv.Atoi(args[2])
	every, _ := strconv.Atoi(args[3])
	j, err := Open(dir, time.Now)
	if err != nil {
		return err
	}
	for n := 1; n <= count || count == 0; n++ {
		var e Entry
		if err := patiently(func() (err error) {
			e, err = j.Append(context.Background(), "000001", actor, n)
			return err
		}); err != nil {
			return err
		}
		fmt.Println(e.Seq)
		if every > 0 && n%every == 0 {
			if err := patiently(j.Rotate); err != nil {
				return err
			}
		}
	}
	return nil
}

func patiently(do func() error) error {
	for {
		if err := do(); !errors.Is(err, ErrLockHeld) {
			return err
		}
	}
}

func playHolder(args []string) error {
	l, err := TryLock(args[0], Holder{PID: os.Getpid(), Actor: "other", Command: "promote", Since: date})
	if err != nil {
		return err
	}
	fmt.Println("held")
	return errors.Join(waitForEnd(), l.Unlock())
}

// playHeir goes on holding the lock that is its descriptor 3.
func playHeir(args []string) error {
	l, err := Inherit(args[0], os.NewFile(3, "lock"), Holder{PID: os.Getpid(), Actor: "heir", Command: "conclude", Since: date})
	if err != nil {
		return err
	}
	fmt.Println("held")
	return errors.Join(waitForEnd(), l.Unlock())
}

// playParent holds the lock, and starts a child that outlives it.
func playParent(args []string) error {
	l, err := TryLock(args[0], Holder{PID: os.Getpid(), Actor: "parent", Command: "promote", Since: date})
	if err != nil {
		return err
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), roleVariable+"=wait")
	child.Stdin, child.Stdout = os.Stdin, os.Stdout
	if err := child.Start(); err != nil {
		return err
	}
	fmt.Println("held")
	return errors.Join(child.Wait(), l.Unlock())
}

// waitForEnd ends with the test, whose end of the pipe closes with it at the latest.
func waitForEnd() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// process is the test binary in another role.
type process struct {
	*exec.Cmd
	lines *bufio.Scanner
	stdin io.Closer
}

func start(t *testing.T, role string, args ...string) *process {
	t.Helper()
	return startWith(t, nil, role, args...)
}

// startWith hands files down, as descriptors from 3 on.
func startWith(t *testing.T, files []*os.File, role string, args ...string) *process {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr, cmd.ExtraFiles = os.Stderr, files
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd, bufio.NewScanner(out), in}
	t.Cleanup(p.kill)
	return p
}

// line waits for one line of output; false means that the process has ended.
func (p *process) line() (string, bool) {
	ok := p.lines.Scan()
	return p.lines.Text(), ok
}

// kill is kill -9, and waits for the end, also that of a child. It may be called again.
func (p *process) kill() {
	_ = p.Process.Kill()
	_ = p.stdin.Close()
	for p.lines.Scan() { // until nobody has the other end of the pipe any more
	}
	_ = p.Wait()
}

var date = time.Date(2026, 3, 1, 3, 12, 4, 0, time.UTC)

// ticking is a clock that goes on by a second each time it is read.
func ticking() func() time.Time {
	var n atomic.Int64
	return func() time.Time { return date.Add(time.Duration(n.Add(1)) * time.Second) }
}

func open(t testing.TB, dir string) *Journal {
	t.Helper()
	j, err := Open(dir, ticking())
	require.NoError(t, err)
	return j
}

// add appends an event that is expected to be taken.
func add(t require.TestingT, j *Journal, event any) Entry {
	e, err := j.Append(context.Background(), "000017", "ci", event)
	require.NoError(t, err)
	return e
}

func read(t require.TestingT, j *Journal) []Entry {
	entries, err := j.Read()
	require.NoError(t, err)
	return entries
}

// eventually polls, with a bound, for what another goroutine or process is about to do.
func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, 20*time.Second, 5*time.Millisecond, what)
}

// missing skips loudly what this machine cannot do, or fails where everything real is required.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CUTOVER_REQUIRE_REAL") != "" {
		t.Fatalf("%s is required here", what)
	}
	t.Skipf("NOT TESTED: %s is missing", what)
}
