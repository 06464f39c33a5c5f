package stacks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"cutover/traffic"
)

const (
	requestTimeout = 5 * time.Second
	// bodyLimit is how much of an answer is looked at, quoteLimit how much of it is shown.
	bodyLimit  = 64 << 10
	quoteLimit = 200
	// patientTries is for a request that is asked once: a refused connection is tried again, an answer is an answer.
	patientTries = 3
)

// prober asks an app directly, past nginx and past any proxy of the environment.
type prober struct {
	transport *http.Transport
	// grpc speaks HTTP/2 without TLS.
	grpc *http.Transport
}

// newProber keeps no connection alive: each request shows that a new client gets in.
func newProber() prober {
	dialer := net.Dialer{Timeout: requestTimeout}
	var onlyHTTP2 http.Protocols
	onlyHTTP2.SetUnencryptedHTTP2(true)
	return prober{
		transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext},
		grpc:      &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext, Protocols: &onlyHTTP2},
	}
}

// ready asks whether the service is, by its readiness test or by gRPC's health protocol.
func (p prober) ready(ctx context.Context, w Web, address string, fill *strings.Replacer, tries int) error {
	if w.GRPC && w.Ready.Path == "" {
		return p.askHealth(ctx, w.Service, address, tries)
	}
	return p.ask(ctx, w.Service, address, w.Ready, fill, tries)
}

// answers asks each of the color's web services once, whatever release it runs.
func (p prober) answers(ctx context.Context, c Config, color traffic.Color) error {
	for _, w := range c.Web {
		if err := p.ready(ctx, w.ofAnyRelease(), w.Address(color), fill("", stack{}), 1); err != nil {
			return err
		}
	}
	return nil
}

// ofAnyRelease is the service with a readiness test that does not ask which release it is.
func (w Web) ofAnyRelease() Web {
	w.Ready.Contains = ""
	return w
}

// ask makes one request to the address and judges the answer. What is wrong comes as *trouble.
func (p prober) ask(ctx context.Context, service, address string, t Test, fill *strings.Replacer, tries int) error {
	path := t.Path
	if path == "" {
		path = "/"
	}
	target := "http://" + address + path
	bad := &trouble{services: []string{service}}
	request, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		bad.err, bad.final = fmt.Errorf("GET %s: %w", target, err), true
		return bad
	}
	request.Host = t.Host
	request.Header.Set("User-Agent", "cutover")
	response, err := once(p.transport, tries).Do(request)
	if err != nil {
		bad.err = fmt.Errorf("GET %s: %w", target, bare(err))
		return bad
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit))
	if err != nil {
		bad.err = fmt.Errorf("GET %s: the answer %d broke off: %w", target, response.StatusCode, err)
		return bad
	}
	if len(body) > 0 {
		bad.detail = []string{fmt.Sprintf("answer: %.*q", quoteLimit, body)}
	}
	if !t.accepts(response.StatusCode) {
		bad.err = fmt.Errorf("GET %s answered %d (wanted %s)", target, response.StatusCode, t.wanted())
		bad.hint = hints[response.StatusCode]
		return bad
	}
	if text := fill.Replace(t.Contains); !strings.Contains(string(body), text) {
		bad.err = fmt.Errorf("GET %s answered %d without %q", target, response.StatusCode, text)
		return bad
	}
	return nil
}

// once asks for one answer: it tries again only where no answer came. It follows no redirect: that would ask something else than this container.
func once(transport *http.Transport, tries int) *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient: &http.Client{
			Transport:     transport,
			Timeout:       requestTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		RetryMax:     tries - 1,
		RetryWaitMin: pollEvery,
		RetryWaitMax: pollEvery,
		CheckRetry:   unanswered,
		Backoff:      retryablehttp.DefaultBackoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// unanswered wants another try where no answer came, but not where waiting for it took all the time that one request has.
func unanswered(ctx context.Context, _ *http.Response, err error) (bool, error) {
	late, ok := errors.AsType[net.Error](err)
	return err != nil && !(ok && late.Timeout()), ctx.Err()
}

// bare takes the method and the URL, which the message has already, out of the HTTP client's error.
func bare(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// hints are what an answer most often means, by its status.
var hints = map[int]string{
	http.StatusBadRequest: "An app that checks the name of the host (Django: ALLOWED_HOSTS) answers 400 to an address: set host: beside path:.",
	http.StatusNotFound:   "Name a path that answers when the app is ready: stacks.web[].ready.path.",
}

func (t Test) accepts(status int) bool {
	if t.Status != 0 {
		return status == t.Status
	}
	return status >= 200 && status < 400
}

func (t Test) wanted() string {
	if t.Status != 0 {
		return fmt.Sprint(t.Status)
	}
	return "200 to 399"
}

// namesTag tells whether the right answer proves which release gives it.
func (t Test) namesTag() bool {
	return fill("\x00", stack{}).Replace(t.Contains) != fill("", stack{}).Replace(t.Contains)
}

// fill puts the release into what an answer must contain.
func fill(tag string, s stack) *strings.Replacer {
	return strings.NewReplacer(
		"{{.Tag}}", tag, "{{ .Tag }}", tag,
		"{{.Color}}", string(s.color), "{{ .Color }}", string(s.color),
		"{{.Project}}", s.project, "{{ .Project }}", s.project,
	)
}

// smokeTarget is the service that a smoke test asks: the one that it names, else the first.
func (c Config) smokeTarget(t Test) Web {
	for _, w := range c.Web {
		if w.Service == t.Service {
			return w
		}
	}
	return c.Web[0]
}
