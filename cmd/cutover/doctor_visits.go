package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"

	"cutover/nginxconf"
)

const (
	// visitPatience bounds one request, linePatience the wait for the lines of all: nginx holds them back for 100 ms.
	visitPatience = 3 * time.Second
	linePatience  = 2 * time.Second
	// mostVisits bounds one round, and mostFindings what is told of it.
	mostVisits   = 60
	mostFindings = 5
)

// visit is one request of doctor's own through a server of the user's, and the line that nginx wrote about it.
type visit struct {
	entrance nginxconf.Entrance
	path     string
	// mark is what its line is found by.
	mark string
	// from connects from where nginx is.
	from       func(ctx context.Context, network, address string) (net.Conn, error)
	sent, over time.Time
	// failed says why no answer came.
	failed error
	// seen tells that its line was found; line is zero otherwise.
	seen bool
	line logLine
}

// logLine is what doctor reads of a line of the access log.
type logLine struct {
	Mark string `json:"mark"`
	Time string `json:"ts"`
	// Pool is stable, split or candidate; Color is who answered, empty where nginx asked no upstream of ours.
	Pool   string `json:"pool"`
	Color  string `json:"color"`
	Status int    `json:"status"`
}

func (v visit) String() string {
	return fmt.Sprintf("GET %s as %s (server at %s)", v.path, v.entrance.Host, v.entrance.Place)
}

// visits are the rounds of one call of doctor.
type visits struct {
	// entrances are the servers of the app. closed is the round with no rollout open, open the one while the rehearsed
	// rollout stood; empty where there was none.
	entrances    []nginxconf.Entrance
	open, closed []visit
	// dated tells that the log has no marks: the tree was rendered by an older cutover.
	dated bool
}

// visit sends one request to each path of each entrance, and finds their lines.
func (d *checkup) visit(ctx context.Context) []visit {
	var err error
	if d.entrances, err = d.proxy.Entrances(ctx); err != nil {
		return nil // Examine says why
	}
	files, _, err := d.proxy.Current()
	d.dated = true
	for _, f := range files {
		d.dated = d.dated && !bytes.Contains(f.Data, []byte(`"mark":`))
	}
	if err != nil || d.dated {
		return nil
	}
	var round []visit
	for _, e := range d.entrances {
		for _, path := range e.Paths {
			if e.Closed == "" && len(round) < mostVisits {
				round = append(round, visit{entrance: e, path: path, mark: newMark(), from: d.proxy.Dial})
			}
		}
	}
	log := d.config.accessLog()
	from := sizeOf(log)
	var running sync.WaitGroup
	for n := range round {
		running.Go(func() { round[n].send(ctx, d.now) })
	}
	running.Wait()
	for until := d.now().Add(linePatience); ; {
		if findLines(log, from, round) || !d.now().Before(until) || pause(ctx, 50*time.Millisecond) != nil {
			return round
		}
	}
}

func newMark() string {
	random := make([]byte, 8)
	_, _ = rand.Read(random) // it never fails
	return hex.EncodeToString(random)
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// send asks once, on a connection of its own. Whose certificate it is does not matter, and a redirect is an answer.
func (v *visit) send(ctx context.Context, now func() time.Time) {
	ctx, cancel := context.WithTimeout(ctx, visitPatience)
	defer cancel()
	scheme := "http"
	if v.entrance.TLS {
		scheme = "https"
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, ServerName: v.entrance.Host},
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return v.dial(ctx) },
	}
	target := url.URL{Scheme: scheme, Host: v.entrance.Host, Path: v.path}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		v.failed = err
		return
	}
	request.Header.Set("X-Cutover-Doctor", v.mark)
	request.Header.Set("User-Agent", "cutover-doctor")
	v.sent = now()
	answer, err := transport.RoundTrip(request)
	if err == nil {
		const most = 1 << 20
		_, err = io.Copy(io.Discard, io.LimitReader(answer.Body, most))
		_ = answer.Body.Close()
	}
	v.over, v.failed = now(), err
}

func (v *visit) dial(ctx context.Context) (net.Conn, error) {
	conn, err := v.from(ctx, v.entrance.Network, v.entrance.Address)
	if err != nil || !v.entrance.Announced {
		return conn, err
	}
	_, err = io.WriteString(conn, "PROXY UNKNOWN\r\n")
	return conn, err
}

// findLines reads what was written to the log since it had that size, or all of a new one, and tells whether each visit has its line.
func findLines(path string, from int64, round []visit) bool {
	file, err := os.Open(path)
	if err != nil {
		return len(round) == 0
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() && info.Size() >= from {
		_, _ = file.Seek(from, io.SeekStart) // from its beginning nothing is missed either
	}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	left := len(round)
	for lines.Scan() {
		if bytes.Contains(lines.Bytes(), []byte(`"mark":""`)) {
			continue
		}
		var line logLine
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue // somebody else's
		}
		for n := range round {
			if round[n].mark == line.Mark {
				round[n].seen, round[n].line = true, line
			}
		}
	}
	for _, v := range round {
		if v.seen {
			left--
		}
	}
	return left == 0
}

// asked tells that requests were sent, or that there is nobody to send them to.
func (d *checkup) asked() bool { return !d.dated && d.nginx.Unreadable == nil }

// reached tells that an answer of the app was seen.
func (d *checkup) reached() bool {
	for _, v := range d.closed {
		if v.line.Color != "" {
			return true
		}
	}
	return false
}

// deafRemedy is for a server that a cutback does not reach.
const deafRemedy = "Look for an open_file_cache that is in effect there, and for a proxy_pass that does not take its upstream from server.conf."

// deaf finds a request that got the pool of a rollout that was cut back.
func (d *checkup) deaf() (visit, bool) {
	for _, v := range d.closed {
		if d.state.Open == nil && v.line.Pool == "split" {
			return v, true
		}
	}
	return visit{}, false
}

// lookAtVisits tells what became of the requests.
func (d *checkup) lookAtVisits() []finding {
	const what = "requests"
	switch {
	case d.nginx.Unreadable != nil:
		return nil
	case len(d.entrances) == 0:
		return []finding{{What: what, Level: bad, Says: "no server includes server.conf, so there is nobody to ask", Remedy: "The include goes into each server of the app, as its first line; `cutover init` prints it."}}
	case d.dated:
		return []finding{{What: what, Level: warning, Says: "not asked: the tree was rendered by an older cutover, whose log has no marks", Remedy: "A rehearsal or the next rollout renews it."}}
	}
	var found []finding
	for _, e := range d.entrances {
		if e.Closed != "" {
			found = append(found, finding{What: what, Level: warning, Says: fmt.Sprintf("the server at %s was not asked: %s", e.Place, e.Closed), Remedy: "Give it one plain name in server_name, and doctor asks it by that."})
		}
	}
	for _, v := range d.closed {
		found = append(found, d.lookAtVisit(v)...)
	}
	for _, v := range d.open {
		// Where shares are switched live, a share of nothing has no pool of its own.
		if d.config.Nginx.Switch != nginxconf.SwitchLive && v.line.Color != "" && v.line.Pool != "split" {
			found = append(found, finding{What: what, Level: bad, Says: fmt.Sprintf("%s does not see an open rollout: stable would answer all of it", v),
				Remedy: "The include of server.conf must come before anything that ends the server's rewriting."})
		}
	}
	if len(d.closed) > 0 && !d.reached() {
		found = append([]finding{{What: what, Level: bad, Says: fmt.Sprintf("of %d requests none was seen to reach %s", len(d.closed), d.config.App),
			Remedy: "A location must `proxy_pass` to cutover's variable; `cutover init` prints the line."}}, found...)
	}
	if more := len(found) - mostFindings; more > 0 {
		found = append(found[:mostFindings], finding{What: what, Level: worst(found[mostFindings:]), Says: fmt.Sprintf("%d more like these", more)})
	}
	if len(found) == 0 {
		found = []finding{{What: what, Level: fine, Says: fmt.Sprintf("%d requests through %d servers, each with its line in the log", len(d.closed), len(d.entrances))}}
	}
	return found
}

// lookAtVisit tells what is wrong about one request with no rollout open.
func (d *checkup) lookAtVisit(v visit) []finding {
	f := finding{What: "requests", Level: warning}
	switch {
	case !v.seen:
		f.Level, f.Says = bad, fmt.Sprintf("%s left no line in %s", v, d.config.accessLog())
		f.Remedy = "An access_log in the location, or in an if, takes the place of ours: move it to server { }. Was nginx reloaded since the include was written?"
		if v.failed != nil {
			f.Says += fmt.Sprintf(": %v", v.failed)
			f.Remedy = "Does nginx listen there? Reload it if the server is new. " + f.Remedy
		}
	case v.line.Color == "" && v.line.Status >= 300 && v.line.Status < 400:
		return nil // a redirect, to https most often
	case v.line.Color == "":
		f.Says = fmt.Sprintf("%s was answered %d by nginx itself, not by %s", v, v.line.Status, d.config.App)
		f.Remedy = "If it should go to the app, write `proxy_pass` with cutover's variable there; else nothing is wrong."
	case v.line.Status >= 500:
		f.Says = fmt.Sprintf("%s was answered %d by %s", v, v.line.Status, v.line.Color)
		f.Remedy = "The judge counts such answers: look at the app's own log."
	default:
		return nil
	}
	return []finding{f}
}

// skew is the largest difference between a line's time and the time in which its request was made.
func (d *checkup) skew() time.Duration {
	most := time.Duration(0)
	for _, v := range d.closed {
		seconds, err := strconv.ParseFloat(v.line.Time, 64)
		if !v.seen || err != nil {
			continue
		}
		whole, part := math.Modf(seconds)
		at := time.Unix(int64(whole), int64(part*1e9))
		most = max(most, v.sent.Sub(at), at.Sub(v.over))
	}
	return most
}
