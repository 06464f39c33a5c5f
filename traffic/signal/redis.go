package signal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
)

const (
	// redisLine bounds one line of an answer, in bytes.
	redisLine = 4 << 10
	// passwordLimit bounds the password file, in bytes.
	passwordLimit = 4 << 10
)

// redisLength is the length of a list, by LLEN in Redis's protocol: https://redis.io/docs/latest/develop/reference/protocol-spec/
type redisLength struct{ GuardConfig }

// redisAt takes the address apart into host:port and the number of the database.
func (g GuardConfig) redisAt() (address string, database int, err error) {
	address, number, found := strings.Cut(g.Redis, "/")
	if !found {
		return "", 0, errors.New("no database")
	}
	if database, err = strconv.Atoi(number); err != nil || database < 0 {
		return "", 0, errors.New("no number of a database")
	}
	return address, database, nil
}

// Read asks the server, over a connection of its own.
func (g redisLength) Read(ctx context.Context) (value float64, text string, err error) {
	length, err := g.length(ctx)
	if err != nil {
		return 0, "", fmt.Errorf("redis %s: %w", g.Redis, err)
	}
	return float64(length), fmt.Sprintf("%d wait in %s (redis %s)", length, g.List, g.Redis), nil
}

func (g redisLength) length(ctx context.Context) (int64, error) {
	address, database, err := g.redisAt()
	if err != nil {
		return 0, err
	}
	commands := [][]string{{"SELECT", strconv.Itoa(database)}, {"LLEN", g.List}}
	password, err := g.password()
	if err != nil {
		return 0, err
	}
	if password != "" {
		commands = append([][]string{{"AUTH", password}}, commands...)
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return 0, plainCause(ctx, err, g.patience())
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	answers := bufio.NewReaderSize(conn, redisLine)
	var answer string
	for _, command := range commands { // one after the other: what follows a refused AUTH would be refused with less to say
		if _, err := io.WriteString(conn, redisCommand(command)); err != nil {
			return 0, plainCause(ctx, err, g.patience())
		}
		if answer, err = redisAnswer(answers); err != nil {
			return 0, fmt.Errorf("%s: %w", command[0], plainCause(ctx, err, g.patience()))
		}
	}
	length, err := strconv.ParseInt(strings.TrimPrefix(answer, ":"), 10, 64)
	if err != nil || answer[0] != ':' || length < 0 {
		return 0, fmt.Errorf("LLEN: answered %q, which is no length", plainly(answer))
	}
	return length, nil
}

// password reads the password file. Its errors never repeat what is in it.
func (g redisLength) password() (string, error) {
	if g.PasswordFile == "" {
		return "", nil
	}
	text, err := readSecret(g.PasswordFile, passwordLimit)
	if err != nil {
		return "", fmt.Errorf("password_file: %w", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" {
		return "", fmt.Errorf("password_file: %s is empty", g.PasswordFile)
	}
	return password, nil
}

// redisCommand is a command as an array of bulk strings.
func redisCommand(words []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(word), word)
	}
	return b.String()
}

// redisAnswer reads an answer of one line, a status or a number, with the byte that tells which. A refusal is an error.
func redisAnswer(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", errors.New("answered more than a line; is this a Redis?")
	}
	if errors.Is(err, io.EOF) {
		return "", errors.New("closed the connection")
	}
	if err != nil {
		return "", err
	}
	answer := strings.TrimSuffix(string(line), "\r\n")
	switch {
	case len(answer) == len(line) || answer == "":
	case answer[0] == '-':
		return "", fmt.Errorf("refused: %s", plainly(answer[1:]))
	case answer[0] == '+' || answer[0] == ':':
		return answer, nil
	}
	return "", fmt.Errorf("answered %q; is this a Redis?", plainly(string(line)))
}

// readSecret reads a small file that not everybody may read. Its errors never repeat what is in it.
func readSecret(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path) // before it is opened: opening a pipe would wait for a writer
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case info.Mode().Perm()&0o007 != 0:
		return nil, fmt.Errorf("everybody may read %s; chmod 640 %s", path, path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, limit))
}
