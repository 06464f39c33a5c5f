package main

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A reader who stops reading (an SSH link that hangs, Ctrl-S, a suspended pager) blocks whoever writes to him. A command that only
// shows something waits for him; one that carries a rollout must not: while it hung, nobody would watch the candidate.

// stream is one of the process's two outputs. It writes straight through until it is loosened.
type stream struct {
	to io.Writer

	mu sync.Mutex
	// queue is nil until the stream is loosened, and after its end.
	queue   chan []byte
	dropped int // lines since the last that was queued
	// lost words what stands in the place of dropped lines.
	lost    func(lines int) string
	written atomic.Int64
	over    chan struct{}
}

const (
	// queued is how many writes wait for a reader. A whole promotion says less.
	queued = 1024
	// readerPatience is how long a command that has ended waits for a reader who takes nothing.
	readerPatience = 5 * time.Second
)

// loosen lets no later Write wait.
func (s *stream) loosen(lost func(lines int) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue != nil {
		return
	}
	s.queue, s.over, s.lost = make(chan []byte, queued), make(chan struct{}), lost
	go func(queue <-chan []byte) { // ends with the stream, or with the process where the reader never comes back
		defer close(s.over)
		for text := range queue {
			_, _ = s.to.Write(text)
			s.written.Add(1)
		}
	}(s.queue)
}

// Write never fails on a stream that is loosened: what finds no room is dropped, whole, and counted.
func (s *stream) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil {
		return s.to.Write(text)
	}
	if !s.admit(text) {
		s.dropped += max(1, strings.Count(string(text), "\n"))
	}
	return len(text), nil
}

// admit queues a text, and before it what was dropped before it. The caller holds the mutex.
func (s *stream) admit(text []byte) bool {
	if s.dropped > 0 {
		if len(s.queue)+2 > cap(s.queue) { // only this goroutine adds to it
			return false
		}
		s.queue <- []byte(s.lost(s.dropped))
		s.dropped = 0
	}
	select {
	case s.queue <- bytes.Clone(text):
		return true
	default:
		return false
	}
}

// end waits until the reader has everything, or has taken nothing for as long as patience says.
func (s *stream) end(patience time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue == nil {
		return
	}
	if s.dropped > 0 {
		select {
		case s.queue <- []byte(s.lost(s.dropped)):
		case <-time.After(patience):
		}
	}
	close(s.queue)
	s.queue = nil
	for before := int64(-1); before != s.written.Load(); {
		before = s.written.Load()
		select {
		case <-s.over:
			return
		case <-time.After(patience):
		}
	}
}
