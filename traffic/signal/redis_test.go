package signal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// redisPort is what the Redis of this test listens on.
const redisPort = 21011

func TestRedisLengthByARealRedis(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CUTOVER_REQUIRE_REAL") == "" {
			t.Skip("NOT TESTED: a queue's length by a real Redis; there is none on this machine (sh e2e/setup.sh redis)")
		}
		require.NoError(t, err)
	}
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte("s3cr3t words\n"), 0o600))
	g := GuardConfig{Name: "queue", Redis: fmt.Sprintf("127.0.0.1:%d/3", redisPort), List: "celery", Above: "2", PasswordFile: password}
	server := exec.Command("redis-server", "--port", fmt.Sprint(redisPort), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(),
		"--requirepass", "s3cr3t words", "--loglevel", "warning")
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, server.Start())
	stop := func() { _ = server.Process.Kill(); _ = server.Wait() }
	defer stop()

	read := func(g GuardConfig) (float64, string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return redisLength{g}.Read(ctx)
	}
	require.Eventually(t, func() bool { _, _, err := read(g); return err == nil }, 20*time.Second, 50*time.Millisecond)
	ask := func(words ...string) {
		t.Helper()
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", redisPort))
		require.NoError(t, err)
		defer conn.Close()
		answers := bufio.NewReader(conn)
		for _, command := range [][]string{{"AUTH", "s3cr3t words"}, {"SELECT", "3"}, words} {
			_, err = io.WriteString(conn, redisCommand(command))
			require.NoError(t, err)
			_, err = redisAnswer(answers)
			require.NoError(t, err)
		}
	}
	wants := func(value float64, text string) {
		t.Helper()
		got, said, err := read(g)
		require.NoError(t, err)
		require.Equal(t, value, got)
		require.Contains(t, said, text)
	}
	wants(0, "0 wait in celery")
	ask("RPUSH", "celery", "a", "b", "c")
	wants(3, "3 wait in celery (redis 127.0.0.1:21011/3)")

	fails := func(want string, set func(*GuardConfig)) {
		t.Helper()
		other := g
		set(&other)
		_, _, err := read(other)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "s3cr3t")
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	require.NoError(t, os.WriteFile(wrong, []byte("s3cr3t\n"), 0o600))
	fails("AUTH: refused: WRONGPASS", func(g *GuardConfig) { g.PasswordFile = wrong })
	fails("SELECT: refused: NOAUTH", func(g *GuardConfig) { g.PasswordFile = "" })
	fails("SELECT: refused: ERR", func(g *GuardConfig) { g.Redis = "127.0.0.1:21011/99" })
	ask("SET", "word", "x")
	fails("LLEN: refused: WRONGTYPE", func(g *GuardConfig) { g.List = "word" })
	stop()
	fails("connection refused", func(*GuardConfig) {})
}

func TestRedisPasswordFile(t *testing.T) {
	dir := t.TempDir()
	path := func(name, text string, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(p, []byte(text), mode))
		return p
	}
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for file, want := range map[string]string{
		path("open", "secret", 0o644):  "everybody may read",
		path("empty", "\n", 0o600):     "is empty",
		filepath.Join(dir, "nowhere"):  "no such file",
		dir:                            "is not a regular file",
		pipe:                           "is not a regular file",
		path("right", "a b\r\n", 0600): "",
	} {
		password, err := redisLength{GuardConfig{PasswordFile: file}}.password()
		if want == "" {
			require.NoError(t, err)
			require.Equal(t, "a b", password)
			continue
		}
		require.ErrorContains(t, err, "password_file: ")
		require.ErrorContains(t, err, want)
		c := DefaultConfig()
		c.Guards = []GuardConfig{queueGuard, {PasswordFile: file}}
		require.EqualError(t, c.CheckFiles(), "signals.guards[1]."+err.Error())
		require.NotContains(t, err.Error(), "secret")
	}
}

// Whatever listens there, a reading ends, and an answer that is no length is none.
func TestRedisThatIsNone(t *testing.T) {
	defer goleak.VerifyNone(t)
	for name, c := range map[string]struct{ says, want string }{
		"silent":    {"", "no answer within 5s"}, // the guard's every; the deadline is the caller's
		"closes":    {"close", "SELECT: closed the connection"},
		"HTTP":      {"HTTP/1.1 400 Bad Request\r\n\r\n", "is this a Redis?"},
		"endless":   {strings.Repeat("x", 2*redisLine), "answered more than a line"},
		"bulk":      {"+OK\r\n$3\r\nabc\r\n", "is this a Redis?"},
		"status":    {"+OK\r\n+OK\r\n", "is no length"},
		"negative":  {"+OK\r\n:-1\r\n", "is no length"},
		"too large": {"+OK\r\n:99999999999999999999\r\n", "is no length"},
		"loading":   {"+OK\r\n-LOADING Redis is loading\r\n", "refused: LOADING"},
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			over := make(chan struct{})
			go func() {
				defer close(over)
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				if c.says == "close" {
					_, _ = bufio.NewReader(conn).Peek(1)
					return
				}
				_, _ = io.WriteString(conn, c.says)
				_, _ = io.Copy(io.Discard, conn) // until the reader hangs up
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			if c.says == "" {
				ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond)
			}
			defer cancel()
			_, _, err = redisLength{GuardConfig{Redis: listener.Addr().String() + "/0", List: "celery"}}.Read(ctx)
			require.NoError(t, listener.Close())
			<-over
			require.ErrorContains(t, err, c.want)
		})
	}
}

func FuzzRedisAnswer(f *testing.F) {
	for _, seed := range []string{":3\r\n", "+OK\r\n", "-ERR no\r\n", "$3\r\nabc\r\n", "\r\n", ":\r\n", "\n", strings.Repeat("x", 5000)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		answer, err := redisAnswer(bufio.NewReaderSize(strings.NewReader(string(data)), redisLine))
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			require.False(t, errors.Is(err, io.EOF))
			return
		}
		require.NotEmpty(t, answer)
		require.Contains(t, "+:", answer[:1])
		require.True(t, strings.HasPrefix(string(data), answer+"\r\n"))
	})
}
