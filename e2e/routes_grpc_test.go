package e2e

import (
	"bytes"
	endian "encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
)

// grpcCall is one gRPC call, which may send and receive many messages.
type grpcCall struct {
	out    *io.PipeWriter
	answer *http.Response
}

// calls begins a call of the method with a first message, and waits for the headers of its answer: nginx asks nobody before it has
// something of the body.
func (s *site) calls(method, message string) *grpcCall {
	s.t.Helper()
	more, out := io.Pipe()
	answer, err := s.posts(s.client(), method, io.MultiReader(bytes.NewReader(framed(message)), more))
	require.NoError(s.t, err)
	return &grpcCall{out, answer}
}

// posts sends the request that a call is.
func (s *site) posts(client *http.Client, method string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequest(http.MethodPost, s.secure("/demo.Echo/"+method), body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	answer, err := client.Do(request)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = errors.Join(errors.New(answer.Status), answer.Body.Close())
	}
	return answer, err
}

func framed(message string) []byte {
	head := append([]byte{0}, endian.BigEndian.AppendUint32(nil, uint32(len(message)))...)
	return append(head, message...)
}

// received reads one message, and tells the release that it comes from.
func received(from io.Reader) (release, message string, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(from, head); err != nil {
		return "", "", err
	}
	text := make([]byte, endian.BigEndian.Uint32(head[1:]))
	if _, err := io.ReadFull(from, text); err != nil {
		return "", "", err
	}
	release, message, _ = strings.Cut(string(text), " ")
	return release, message, nil
}

// says sends a message, and wants it back from the release.
func (c *grpcCall) says(s *site, message, tag string) {
	s.t.Helper()
	_, err := c.out.Write(framed(message))
	require.NoError(s.t, err)
	c.gives(s, message, tag)
}

// gives wants the message from the release.
func (c *grpcCall) gives(s *site, message, tag string) {
	s.t.Helper()
	release, got, err := received(c.answer.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, [2]string{tag, message}, [2]string{release, got})
}

// ends says that no more is sent, and wants so many messages that still come, and a good end by the trailers.
func (c *grpcCall) ends(s *site, messages int) {
	s.t.Helper()
	require.NoError(s.t, c.out.Close())
	got := 0
	_, _, err := received(c.answer.Body)
	for ; err == nil; _, _, err = received(c.answer.Body) {
		got++
	}
	require.ErrorIs(s.t, err, io.EOF)
	require.Equal(s.t, messages, got)
	require.Equal(s.t, "0", c.answer.Trailer.Get("Grpc-Status"))
	require.NoError(s.t, c.answer.Body.Close())
}

// once is a whole call with one message in either direction.
func (s *site) once(client *http.Client) (releases []string, err error) {
	answer, err := s.posts(client, "Say", bytes.NewReader(framed("hello")))
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if status := answer.Trailer.Get("Grpc-Status"); err != nil || status != "0" {
		return nil, fmt.Errorf("grpc-status %q: %w", status, err)
	}
	release, message, err := received(bytes.NewReader(text))
	if err == nil && message != "hello" {
		err = fmt.Errorf("%q came back", message)
	}
	return []string{release}, err
}

// parts are how many answers to one message the scenes ask for: 3 s of them.
const parts = "60"

// A call that is open stays where it is and ends well, single ones go where the switch left the app, and none fails.
func (s *site) callsGoOn() {
	users := s.crowd(4, s.once)
	users.areAll(time.Now(), first.Tag)
	talk, count := s.calls("Say", "before"), s.calls("Count", parts)
	talk.gives(s, "before", first.Tag)
	s.shifts(100)
	users.areAll(time.Now(), good.Tag)
	talk.says(s, "after the shift", first.Tag)

	other, recount := s.calls("Say", "on the candidate"), s.calls("Count", parts)
	other.gives(s, "on the candidate", good.Tag)
	s.types(0, "back")
	users.areAll(time.Now(), first.Tag)
	other.says(s, "after the cutback", good.Tag)
	talk.says(s, "after it all", first.Tag)

	talk.ends(s, 0)
	other.ends(s, 0)
	count.ends(s, 60)
	recount.ends(s, 60)
	for _, round := range users.closes() {
		require.NoError(s.t, round.err)
	}
}
