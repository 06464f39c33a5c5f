package nginxconf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"
	"time"

	"cutover/traffic"
)

// description is what a generation says about itself: it heads http.conf, and the probe answers with it.
type description struct {
	App        string             `json:"app"`
	Generation traffic.Generation `json:"generation"`
	// Pass is PassName where locations pass to a fixed name, and empty otherwise.
	Pass string `json:"pass,omitempty"`
	// Buckets is how many there are where shares are switched live, and zero otherwise.
	Buckets int `json:"buckets,omitempty"`
	traffic.Split
}

// fixed tells that what the generation gives to the candidate holds until nginx loads another one.
func (d description) fixed() bool { return d.Pass == PassName }

// answer is a description by the probe, with what holds at that moment.
type answer struct {
	description
	// Pool is what a request gets right now: poolStable, poolSplit or poolCandidate. Where locations pass to a fixed name it is the
	// generation's own, whatever became of the rollout's folder: poolSplit for a share, poolStable for the tree of its cutback.
	Pool string `json:"pool"`
	// Choice is what a request of the bucket that was asked for gets; only where shares are switched live.
	Choice string `json:"choice,omitempty"`
}

// The values of $cutover_<app>_pool.
const (
	poolStable    = "stable"
	poolSplit     = "split"
	poolCandidate = "candidate"
)

// probeHost is the app's server_name on the probe's port.
func probeHost(app string) string { return "cutover-" + app }

// probe asks the running nginx what it serves. Each question has a connection of its own: one that is kept alive would
// hold an old worker, and would be answered by it.
type probe struct {
	root, address, app, host string
	// published tells that the address leads into a container: there the engine takes connections, whether nginx does or not.
	published bool
	client    *http.Client
	now       func() time.Time
}

// askTimeout bounds one question. nginx answers from memory; only a stranger, or a stopped nginx, needs longer.
const askTimeout = 500 * time.Millisecond

func newProbe(root, address, app string, now func() time.Time) probe {
	return probe{root: root, address: address, app: app, host: probeHost(app), now: now, client: &http.Client{
		Transport: direct{}, Timeout: askTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// strangerError tells that the probe's address is answered by something that is not cutover's server in nginx.
type strangerError struct{ address, what string }

func (e *strangerError) Error() string {
	return fmt.Sprintf("probe %s is answered by something else: %s", e.address, e.what)
}

// otherAppError tells that nginx has cutover's server for another app there, but not yet for this one.
type otherAppError struct{ address, app, other string }

func (e *otherAppError) Error() string {
	return fmt.Sprintf("probe %s knows app %s but not %s", e.address, e.other, e.app)
}

// ask finds out what nginx serves.
func (p probe) ask(ctx context.Context) (traffic.Live, error) {
	a, err := p.question(ctx, "/")
	if err != nil {
		return traffic.Live{}, err
	}
	if a.Buckets > 0 {
		return p.askLive(ctx, a)
	}
	return traffic.Live{Generation: a.Generation, Split: a.Split, Open: a.Pool == poolSplit, Finished: a.Pool == poolCandidate, At: p.now()}, nil
}

// question asks once.
func (p probe) question(ctx context.Context, path string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path, nil)
	if err != nil {
		return answer{}, err
	}
	request.Host = p.host
	response, err := p.client.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("probe: %w", err)
	}
	defer response.Body.Close()
	const most = 64 << 10
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return answer{}, fmt.Errorf("probe %s: %w", p.address, err)
	}
	var a answer
	if err := json.Unmarshal(body, &a); response.StatusCode != http.StatusOK || err != nil || a.App == "" || validateSplit(a.Split) != nil {
		return answer{}, &strangerError{p.address, fmt.Sprintf("%s, %.60q", response.Status, body)}
	}
	if a.App != p.app {
		return answer{}, &otherAppError{p.address, p.app, a.App}
	}
	return a, nil
}

// askPause lies between two questions.
const askPause = 10 * time.Millisecond

// pause waits between two looks; the context's error when it ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// await asks until the answer is enough. When the context ends first it gives the last answer that was heard, and the context's
// error with that of the last question, if that one had failed by itself.
func (p probe) await(ctx context.Context, enough func(traffic.Live) bool) (traffic.Live, error) {
	return p.awaitAfter(ctx, enough, func() error { return pause(ctx, askPause) })
}

// awaitAfter is await with a rest of the caller's own between two questions. It must end with the context.
func (p probe) awaitAfter(ctx context.Context, enough func(traffic.Live) bool, rest func() error) (traffic.Live, error) {
	var heard traffic.Live
	var failed error
	for {
		live, err := p.ask(ctx)
		switch {
		case err == nil && enough(live):
			return live, nil
		case err == nil:
			heard, failed = live, nil
		case ctx.Err() == nil:
			failed = err
		}
		if ended := rest(); ended != nil {
			return heard, errors.Join(failed, ended)
		}
	}
}

// settled awaits that nothing but answers that are enough came for a while. It is the proof where workers cannot be seen:
// nginx's master waits 100 ms before it quits the old ones, and their last answers came after 112 ms.
func (p probe) settled(ctx context.Context, enough func(traffic.Live) bool) (traffic.Live, error) {
	return p.await(ctx, lasting(enough))
}

// lasting tells when nothing but answers that are enough came for a while.
func lasting(enough func(traffic.Live) bool) func(traffic.Live) bool {
	const quiet, least = 150 * time.Millisecond, 5 // questions that got no answer prove nothing
	var since time.Time
	answers := 0
	return func(live traffic.Live) bool {
		if !enough(live) {
			answers = 0
			return false
		}
		if answers++; answers == 1 {
			since = live.At
		}
		return answers >= least && live.At.Sub(since) >= quiet
	}
}

// free makes sure that the probe's address is nginx's or nobody's. A generation that listens where somebody else does passes
// `nginx -t`, but is not loaded by a reload, and keeps nginx from starting.
func (p probe) free(ctx context.Context) error {
	var last error
	for range 3 { // one answer may be lost while nginx reloads
		_, err := p.ask(ctx)
		var other *otherAppError
		if broken, ok := errors.AsType[*linkError](err); ok {
			return &traffic.Fault{Kind: traffic.Preflight, Err: broken, Hint: broken.hint}
		}
		if err == nil || errors.As(err, &other) || errors.Is(err, syscall.ECONNREFUSED) || p.published && !isStranger(err) && ctx.Err() == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		last = err
	}
	return &traffic.Fault{Kind: traffic.Preflight, Err: last,
		Hint: fmt.Sprintf("Find it with `ss -ltnp`, or give nginx.probe another port: nginx could not start while something else has %s.", p.address)}
}

// Live asks the running nginx. An error is a fault of kind Unproven.
func (p *Proxy) Live(ctx context.Context) (traffic.Live, error) {
	live, err := p.probe.ask(ctx)
	if err != nil && ctx.Err() == nil && !isStranger(err) {
		live, err = p.probe.ask(ctx) // nginx 1.22 drops some connections while it reloads
	}
	if err != nil {
		return traffic.Live{}, unproven("ask nginx what it serves", err)
	}
	return live, nil
}

func isStranger(err error) bool {
	var stranger *strangerError
	var other *otherAppError
	return errors.As(err, &stranger) || errors.As(err, &other)
}

// unproven makes a fault that says that nobody can tell what nginx serves.
func unproven(what string, err error) error {
	hint := "See nginx's error log, and whether it runs."
	broken, linked := errors.AsType[*linkError](err)
	switch {
	case linked:
		hint = broken.hint
	case isStranger(err):
		hint = "nginx has not loaded cutover's files: see its error log, and whether http.conf is included."
	case errors.Is(err, syscall.ECONNREFUSED):
		hint = "Nobody listens on the probe's port: nginx is stopped, or has not loaded cutover's http.conf."
	}
	return &traffic.Fault{Kind: traffic.Unproven, Err: fmt.Errorf("%s: %w", what, err), Hint: hint}
}
