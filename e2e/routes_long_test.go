package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"

	"github.com/stretchr/testify/require"
)

// A WebSocket stays where it is through a shift and a cutback, on the candidate too; a new one goes where the switch left the app.
func (s *site) socketsStay() {
	old := s.upgraded()
	require.Equal(s.t, first.Tag, old.echoes("before"))
	s.shifts(100)
	require.Equal(s.t, first.Tag, old.echoes("after the shift"))
	newer := s.upgraded()
	require.Equal(s.t, good.Tag, newer.echoes("opened after the shift"))
	s.types(0, "back")
	require.Equal(s.t, good.Tag, newer.echoes("after the cutback"))
	require.Equal(s.t, first.Tag, old.echoes("after the cutback"))
	newest := s.upgraded()
	require.Equal(s.t, first.Tag, newest.echoes("opened after the cutback"))
	for _, ws := range []*socket{old, newer, newest} {
		ws.hangsUp()
	}
}

// streaming is an answer on its way.
type streaming struct {
	release string
	whole   chan error
}

// streams begins an answer of 5 s, and waits for its first part.
func (s *site) streams(client *http.Client, url string) streaming {
	s.t.Helper()
	answer, err := client.Get(url + "?ms=5000")
	require.NoError(s.t, err)
	begin := make([]byte, 1)
	_, err = io.ReadFull(answer.Body, begin)
	require.NoError(s.t, err)
	on := streaming{answer.Header.Get("X-Release"), make(chan error, 1)}
	go func() {
		defer answer.Body.Close()
		rest, err := io.ReadAll(answer.Body)
		if text := string(begin) + string(rest); err == nil && (strings.Count(text, "\n") != 101 || !strings.HasSuffix(text, on.release+" end\n")) {
			err = fmt.Errorf("%d lines, the last bytes %q", strings.Count(text, "\n"), text[max(0, len(text)-40):])
		}
		on.whole <- err
	}()
	return on
}

// An answer that was begun before a switch ends whole, over HTTP/1.1 and over HTTP/2.
func (s *site) streamsEndWhole() {
	both := func(tag string) (all []streaming) {
		for _, url := range []string{s.URL() + "stream", s.secure("/stream")} {
			on := s.streams(s.client(), url)
			require.Equal(s.t, tag, on.release)
			all = append(all, on)
		}
		return all
	}
	begun := both(first.Tag)
	s.shifts(100)
	begun = append(begun, both(good.Tag)...)
	s.types(0, "back")
	for _, on := range begun {
		require.NoError(s.t, <-on.whole)
	}
}

const uploaded = 100 << 20

// upload is a request of 100 MB on its way.
type upload struct {
	s      *site
	out    *io.PipeWriter
	body   []byte
	answer chan error
	got    struct {
		Release string
		Bytes   int
		SHA256  string
	}
}

// uploads begins one, and sends the first half.
func (s *site) uploads(path string, body []byte) *upload {
	s.t.Helper()
	in, out := io.Pipe()
	u := &upload{s: s, out: out, body: body, answer: make(chan error, 1)}
	request, err := http.NewRequest(http.MethodPost, s.URL()+path, in)
	require.NoError(s.t, err)
	request.ContentLength = int64(len(body))
	client := s.client()
	go func() {
		answer, err := client.Do(request)
		if err == nil {
			defer answer.Body.Close()
			err = json.NewDecoder(answer.Body).Decode(&u.got)
		}
		_ = in.CloseWithError(io.ErrClosedPipe) // who still writes is told
		u.answer <- err
	}()
	u.sends(body[:len(body)/2])
	return u
}

func (u *upload) sends(part []byte) {
	u.s.t.Helper()
	_, err := io.Copy(u.out, bytes.NewReader(part))
	require.NoError(u.s.t, err)
}

// arrives sends the other half, and wants the release to have got the whole.
func (u *upload) arrives(tag string) {
	u.s.t.Helper()
	u.sends(u.body[len(u.body)/2:])
	require.NoError(u.s.t, u.out.Close())
	require.NoError(u.s.t, <-u.answer)
	require.Equal(u.s.t, tag, u.got.Release)
	require.Equal(u.s.t, len(u.body), u.got.Bytes)
	require.Equal(u.s.t, fmt.Sprintf("%x", sha256.Sum256(u.body)), u.got.SHA256)
}

// What is being uploaded while the switch happens arrives whole where it was begun, whether nginx keeps it until it has all of it or not.
func (s *site) uploadsArrive() {
	body := make([]byte, uploaded)
	_, _ = rand.NewChaCha8([32]byte{}).Read(body) // it never fails
	both := func() []*upload {
		return []*upload{s.uploads("held/upload", body), s.uploads("passed/upload", body)}
	}
	begun := both()
	s.shifts(100)
	for _, u := range begun {
		u.arrives(first.Tag)
	}
	begun = both()
	s.types(0, "back")
	for _, u := range begun {
		u.arrives(good.Tag)
	}
}
