package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// Ending is how a request of a plain socket client ended.
type Ending string

// The endings. Only Reset is a request that the server took and never answered.
const (
	Answered Ending = "answered"
	// Reset: all bytes of the request were written to a connection that then ended before the first byte of an answer.
	Reset Ending = "reset"
	// Unsent: no connection could be had, or it ended before all bytes were written.
	Unsent Ending = "unsent"
	// Torn: the connection ended within the answer.
	Torn Ending = "torn"
	// Silent: the timeout was over before the answer was complete.
	Silent Ending = "silent"
)

// SocketOutcome is how one request ended, by the client's clock.
type SocketOutcome struct {
	Start, End time.Time
	Ending     Ending
}

// SocketReport is a run of plain socket clients, or a part of one.
type SocketReport struct {
	// Outcomes are in the order of their starts.
	Outcomes []SocketOutcome
}

// Count is the number of requests that ended so.
func (r SocketReport) Count(ending Ending) int {
	n := 0
	for _, o := range r.Outcomes {
		if o.Ending == ending {
			n++
		}
	}
	return n
}

// Between is the part of the report that started at from or later, and before to.
func (r SocketReport) Between(from, to time.Time) SocketReport {
	return SocketReport{between(r.Outcomes, func(o SocketOutcome) time.Time { return o.Start }, from, to)}
}

// SocketRun is a load of plain socket clients. Its methods may be called from any goroutine.
type SocketRun struct {
	plan    Plan
	address string
	request []byte
	crew    *crew

	mu       sync.Mutex
	outcomes []SocketOutcome
}

// StartSockets sends requests on plan.Workers kept-alive connections until ctx ends or Stop is called. Stop must be called in
// either case. A client writes without looking whether the server has closed its idle connection, and never sends a request
// again: the least patient client that there is.
func StartSockets(ctx context.Context, plan Plan) (*SocketRun, error) {
	plan, target, err := plan.checked()
	if err != nil {
		return nil, err
	}
	s := &SocketRun{plan: plan, address: target.Host}
	if target.Port() == "" {
		s.address = net.JoinHostPort(target.Hostname(), "80")
	}
	s.request = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: socket\r\n\r\n", target.RequestURI(), plan.Host)
	s.crew = muster(ctx, plan, s.work, func(time.Time) {}) // a client that is busy has nothing to lose
	return s, nil
}

// Stop sends no more requests, waits for those that are on their way, and reports the run. It may be called again.
func (s *SocketRun) Stop() SocketReport {
	s.crew.disband()
	return s.Report()
}

// Report is the run until now. Requests that are on their way are not in it yet.
func (s *SocketRun) Report() SocketReport {
	s.mu.Lock()
	report := SocketReport{slices.Clone(s.outcomes)}
	s.mu.Unlock()
	slices.SortStableFunc(report.Outcomes, func(a, b SocketOutcome) int { return a.Start.Compare(b.Start) })
	return report
}

// work is one client with one connection at a time.
func (s *SocketRun) work(jobs <-chan struct{}) {
	var l *line
	defer func() { l.hangUp() }()
	for range jobs {
		o := SocketOutcome{Start: time.Now()}
		if l == nil {
			l = s.dial()
		}
		o.Ending = l.ask(s.request, o.Start.Add(s.plan.Timeout))
		o.End = time.Now()
		if o.Ending != Answered || l.last {
			l.hangUp()
			l = nil
		}
		s.mu.Lock()
		s.outcomes = append(s.outcomes, o)
		s.mu.Unlock()
	}
}

// line is one connection; nil is one that could not be had.
type line struct {
	conn net.Conn
	in   *bufio.Reader
	last bool // the server closes after the answer, and says so
}

func (s *SocketRun) dial() *line {
	conn, err := net.DialTimeout("tcp", s.address, s.plan.Timeout)
	if err != nil {
		return nil
	}
	return &line{conn: conn, in: bufio.NewReader(conn)}
}

func (l *line) hangUp() {
	if l != nil {
		l.conn.Close()
	}
}

// ask sends one request and reads its answer to the end.
func (l *line) ask(request []byte, deadline time.Time) Ending {
	if l == nil || l.conn.SetDeadline(deadline) != nil {
		return Unsent
	}
	if _, err := l.conn.Write(request); err != nil {
		return Unsent
	}
	if _, err := l.in.Peek(1); err != nil {
		return unanswered(err, Reset)
	}
	answer, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return unanswered(err, Torn)
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return unanswered(err, Torn)
	}
	l.last = answer.Close
	return Answered
}

// unanswered tells a server that took too long from a connection that ended.
func unanswered(err error, ended Ending) Ending {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return Silent
	}
	return ended
}
