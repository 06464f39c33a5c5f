package notify

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

// roleVariable makes the test binary play another process: see roles.
const roleVariable = "CUTOVER_NOTIFY_ROLE"

var roles = map[string]func(args []string) error{
	"deliver": playDeliverer,
	"die":     playVictim,
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

// date is when everything happens here.
var date = time.Date(2026, 3, 1, 3, 12, 4, 0, time.UTC)

// reverted is the message of a bad night.
func reverted() Message {
	return Message{
		ID: "web-1-shop-000017-reverted", At: date, App: "shop", Environment: "prod", Host: "web-1", Rollout: "000017", Release: "v1.4.0",
		Kind: Reverted, Text: "green v1.4.0 answered 41 of 980 requests with an error (4.18 %), blue v1.3.2 3 of 4,870 (0.06 %)",
		Next: "cutover report 000017", Weight: 20, Exit: 8,
	}
}

// numbered is the nth of many messages, a second after the one before.
func numbered(n int) Message {
	m := reverted()
	m.ID, m.At = "m-"+strconv.Itoa(n), date.Add(time.Duration(n)*time.Second)
	return m
}

// environment has what the receivers of these tests need.
func environment(name string) string {
	return map[string]string{
		"HOOK_SECRET":  "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"DING_SECRET":  "SECsecret",
		"LARK_SECRET":  "feishu-secret\n",
		"PLAIN_SECRET": "a plain secret",
		"BAD_SECRET":   "whsec_not*base64",
		"HOOK":         "https://hooks.example.com/services/T000/hush-hush-key\n",
	}[name]
}

// sender posts over loopback, on its own connections, which end with the test.
func sender(t testing.TB) Sender {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return Sender{Env: environment, Now: func() time.Time { return date.Add(time.Minute) }, Transport: transport}
}

// spool is an empty one, and what it has said.
func spool(t testing.TB) (*Spool, *notes) {
	said := &notes{}
	return Open(filepath.Join(t.TempDir(), "notify"), said.add), said
}

// notes collects what is said or received.
type notes struct {
	mutex sync.Mutex
	all   []string
}

func (l *notes) add(line string) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.all = append(l.all, line)
}

func (l *notes) list() []string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return append([]string{}, l.all...)
}

// receiver is a real one on loopback that takes down the id of each message and then answers as it is told; nil takes it.
func receiver(t testing.TB, answer http.HandlerFunc) (string, *notes) {
	got := &notes{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender has ended meanwhile
		}
		var b struct{ Data Message }
		_ = json.Unmarshal(body, &b) // of another format: got counts it
		got.add(b.Data.ID)
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/hooks/hush-hush-key?token=hush-hush-token", got
}

// queued are the ids that wait, receiver by receiver.
func queued(t testing.TB, s *Spool) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(s.dir, "*", "*"+waiting))
	require.NoError(t, err)
	ids := []string{}
	for _, path := range paths {
		slip, _, ok := parseSlip(filepath.Base(path))
		require.True(t, ok, path)
		ids = append(ids, slip.id)
	}
	return ids
}

// eventually polls, with a bound, for what another goroutine or process is about to do.
func eventually(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, 20*time.Second, 5*time.Millisecond, what)
}

// playDeliverer delivers a folder to an address, and says so before and after.
func playDeliverer(args []string) error {
	s := Open(args[0], func(line string) { fmt.Println(line) })
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test lets all of them go at once
	err := s.Deliver(context.Background(), []Config{{Webhook: args[1], Format: JSON}}, Sender{Env: environment, Now: at(time.Minute)})
	fmt.Println("done")
	return err
}

// playVictim is killed after the receiver's answer, and before it could be written down.
func playVictim(args []string) error {
	s := Open(args[0], func(string) {})
	kill := Sender{Env: environment, Now: at(time.Minute), Transport: afterwards(func() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	})}
	return s.Deliver(context.Background(), []Config{{Webhook: args[1], Format: JSON}}, kill)
}

// afterwards does something between an answer and its being looked at.
type afterwards func()

func (a afterwards) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := http.DefaultTransport.RoundTrip(r)
	a()
	return answer, err
}

func at(later time.Duration) func() time.Time { return func() time.Time { return date.Add(later) } }

// process is the test binary in another role.
type process struct {
	*exec.Cmd
	lines *bufio.Scanner
	stdin io.Closer
}

func start(t *testing.T, role string, args ...string) *process {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &process{cmd, bufio.NewScanner(out), in}
	t.Cleanup(func() { _ = p.kill() })
	return p
}

// kill is kill -9, and waits for the end. It may be called again.
func (p *process) kill() error {
	_ = p.Process.Kill()
	_ = p.stdin.Close()
	for p.lines.Scan() { // until the other end of the pipe is closed
	}
	return p.Wait()
}

// rest is what it still says until it ends.
func (p *process) rest() string {
	var all []string
	for p.lines.Scan() {
		all = append(all, p.lines.Text())
	}
	return strings.Join(all, "\n")
}
