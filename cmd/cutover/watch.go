package main

import (
	"context"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"cutover/traffic"
	"cutover/traffic/journal"
)

const (
	// evidenceEvery is how often a watcher is told the evidence while a release is judged.
	evidenceEvery = 10 * time.Second
	// readerEvery is how often a watcher looks whether anybody still reads.
	readerEvery = time.Second
)

// watchOn tells what happens from now on, by the journal and the evidence that the promoter leaves, until nobody reads it any more.
func (s *session) watchOn(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	entries, ended := make(chan journal.Entry), make(chan struct{})
	var lost error // once ended is closed
	go func() {
		defer close(ended)
		lost = s.journal.Watch(ctx, s.seen, func(e journal.Entry) {
			select {
			case entries <- e:
			case <-ctx.Done():
			}
		})
	}()
	defer func() { stop(); <-ended }()
	ticker := time.NewTicker(readerEvery)
	defer ticker.Stop()
	told := s.now()
	for {
		select {
		case <-ended:
			return lost
		case entry := <-entries:
			if e, ok := eventOf(entry); ok {
				before := s.state
				s.state = traffic.Next(before, e)
				s.retell(before, s.state, e)
			}
		case <-ticker.C:
			if gone(os.Stdout) {
				return nil
			}
			if now := s.now(); now.Sub(told) >= evidenceEvery && s.isJudged() {
				told = now
				s.hear()
				s.out.stamped(now, s.state.Open.Actual.String(), "%s", traffic.Doing(s.state, now))
			}
		}
	}
}

// isJudged tells that users of an open rollout are watched by a judge.
func (s *session) isJudged() bool {
	r := s.state.Open
	return r != nil && r.Actual > 0 && r.HasJudge() && r.Ending == ""
}

// gone tells that the other end of a pipe or a terminal has been closed.
func gone(file *os.File) bool {
	poll := []unix.PollFd{{Fd: int32(file.Fd())}}
	_, err := unix.Poll(poll, 0)
	return err == nil && poll[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
}
