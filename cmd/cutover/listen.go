package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"cutover/traffic"
	"cutover/traffic/journal"
)

// steering are the events by which other commands steer a running rollout; they have journaled them.
var steering = map[traffic.EventKind]bool{
	traffic.Paused: true, traffic.Resumed: true, traffic.Approved: true, traffic.AbortAsked: true, traffic.CutSeen: true,
}

// question says whether Ctrl-C may ask what it means.
type question string

// mayAsk asks where somebody sits at the terminal; neverAsk takes it as back.
const (
	mayAsk   question = "may-ask"
	neverAsk question = "never-ask"
)

// answerWithin bounds the question that Ctrl-C asks: nobody there means back.
const answerWithin = 10 * time.Second

// listen brings signals and other people's commands to the controller until stop is called. A lost terminal is nobody's wish: hold
// and main ignore SIGHUP and SIGPIPE. SIGTERM is one, and Ctrl-C asks once which one.
func (s *session) listen(ctx context.Context, q question) (inbox <-chan traffic.Message, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	messages := make(chan traffic.Message)
	send := func(m traffic.Message) {
		select {
		case messages <- m:
		case <-ctx.Done():
		}
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	var running sync.WaitGroup
	running.Go(func() {
		for asked := false; ; {
			select {
			case <-ctx.Done():
				return
			case got := <-signals:
				if got == os.Interrupt && q == mayAsk && !asked && isTerminal(s.stdin) {
					asked = true
					running.Go(func() { s.askBack(ctx, send) })
					continue
				}
				send(s.abortBy("signal " + got.String()))
			}
		}
	})
	running.Go(func() {
		_ = s.journal.Watch(ctx, s.seen, func(entry journal.Entry) {
			if e, ok := eventOf(entry); ok && steering[e.Kind] {
				send(traffic.Message{Event: e, Recorded: true})
			}
		})
	})
	return messages, func() {
		cancel()
		signal.Stop(signals)
		running.Wait()
	}
}

func (s *session) abortBy(who string) traffic.Message {
	return traffic.Message{Event: traffic.Event{Kind: traffic.AbortAsked, At: s.now(), By: who, Why: "stopped by " + who}}
}

// askBack asks once what Ctrl-C was meant to say. The rollout goes on, judged, while the question stands.
func (s *session) askBack(ctx context.Context, send func(traffic.Message)) {
	_, _ = fmt.Fprintf(s.out.stderr, "\nCut back to stable? [Y]es, or [g]o on (yes in %v): ", answerWithin)
	answers := make(chan string, 1)
	go func() { // ends with the next line or with the process; a terminal cannot be read with a deadline
		line, _ := bufio.NewReader(s.stdin).ReadString('\n')
		answers <- line
	}()
	answer := ""
	select {
	case <-ctx.Done():
		return
	case answer = <-answers:
	case <-time.After(answerWithin):
	}
	if strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "g") {
		s.out.stamped(s.now(), "going on", "as %s said", s.actor)
		return
	}
	send(s.abortBy(s.actor + " (Ctrl-C)"))
}

// isTerminal tells whether somebody could answer.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull
}
