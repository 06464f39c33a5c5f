package signal

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/prometheus/common/model"
)

const (
	// answerLimit bounds an answer, in bytes: some 30,000 series.
	answerLimit = 8 << 20
	// headerLimit bounds the header file, in bytes.
	headerLimit = 64 << 10
	// secondTry is how long a refused or broken query waits for its one repetition.
	secondTry = 250 * time.Millisecond
)

// promClient asks the HTTP API of one Prometheus.
type promClient struct {
	base       *url.URL
	headerFile string
	timeout    time.Duration
	transport  *http.Transport
}

// newPromClient reads the files that the section names, so that a mistake in them is known before it matters.
func newPromClient(c PrometheusConfig) (*promClient, error) {
	base, err := url.Parse(c.URL)
	if err != nil {
		return nil, errors.New("url: is no address")
	}
	p := &promClient{
		base: base.JoinPath("api/v1/query"), headerFile: c.HeaderFile, timeout: c.Timeout,
		transport: http.DefaultTransport.(*http.Transport).Clone(),
	}
	if _, err := p.header(); err != nil {
		return nil, err
	}
	if c.CAFile == "" {
		return p, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", c.CAFile)
	}
	p.transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	return p, nil
}

// header reads the header file. Its errors never repeat what is in it.
func (p *promClient) header() (http.Header, error) {
	if p.headerFile == "" {
		return http.Header{}, nil
	}
	file, err := os.Open(p.headerFile)
	if err != nil {
		return nil, fmt.Errorf("header_file: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, fmt.Errorf("header_file: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("header_file: %s is not a regular file", p.headerFile)
	case info.Mode().Perm()&0o007 != 0:
		return nil, fmt.Errorf("header_file: everybody may read %s; chmod 640 %s", p.headerFile, p.headerFile)
	}
	text, err := io.ReadAll(io.LimitReader(file, headerLimit))
	if err != nil {
		return nil, fmt.Errorf("header_file: %w", err)
	}
	whole := append(bytes.TrimSpace(text), "\n\n"...)
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(whole))).ReadMIMEHeader()
	if err != nil || len(header) == 0 {
		return nil, fmt.Errorf(`header_file: %s holds no lines such as "Authorization: Bearer …"`, p.headerFile)
	}
	return http.Header(header), nil
}

// query evaluates the expression at one instant. An error tells what there is to do, and holds neither header nor address.
func (p *promClient) query(ctx context.Context, expression string, at time.Time) (model.Vector, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	body, err := p.post(ctx, url.Values{
		"query":   {expression},
		"time":    {strconv.FormatFloat(float64(at.UnixMilli())/1000, 'f', 3, 64)},
		"timeout": {strconv.FormatInt(p.timeout.Milliseconds(), 10) + "ms"}, // what nobody waits for need not be computed
	})
	if err != nil {
		return nil, plainCause(ctx, err, p.timeout)
	}
	return parseAnswer(body)
}

func (p *promClient) post(ctx context.Context, form url.Values) ([]byte, error) {
	header, err := p.header()
	if err != nil {
		return nil, err
	}
	request, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, p.base.String(), []byte(form.Encode()))
	if err != nil {
		return nil, err
	}
	header.Set("Content-Type", "application/x-www-form-urlencoded")
	header.Set("Accept", "application/json")
	if host := header.Get("Host"); host != "" { // net/http sends it from here only
		request.Host = host
	}
	request.Header = header
	client := &retryablehttp.Client{
		HTTPClient:   &http.Client{Transport: p.transport, CheckRedirect: followNone},
		RetryWaitMin: secondTry, RetryWaitMax: secondTry, RetryMax: 1,
		CheckRetry: retryablehttp.DefaultRetryPolicy, Backoff: retryablehttp.LinearJitterBackoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	answer, err := client.Do(request)
	if err != nil {
		if answer != nil {
			_ = answer.Body.Close() // what counts is why there is no whole answer
		}
		return nil, err
	}
	defer answer.Body.Close()
	return readAnswer(answer)
}

// followNone: whoever redirects elsewhere would get the header file's secret.
func followNone(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// readAnswer gives the body of what may be an answer of the API, which says its own errors in JSON too.
func readAnswer(answer *http.Response) ([]byte, error) {
	code := answer.StatusCode
	switch {
	case code/100 == 3:
		return nil, fmt.Errorf("answered %d, a redirect; name the address where it ends", code)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return nil, fmt.Errorf("answered %d: it wants to know who asks; see header_file", code)
	}
	kind, _, _ := mime.ParseMediaType(answer.Header.Get("Content-Type"))
	if kind != "application/json" {
		return nil, fmt.Errorf("answered %d with %q, not JSON; is this the address of a Prometheus?", code, plainly(cmp.Or(kind, "no type")))
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, answerLimit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the answer broke off: %w", err)
	case len(body) > answerLimit:
		return nil, fmt.Errorf("the answer is longer than %d MB; ask for fewer series", answerLimit>>20)
	case code/100 != 2 && !bytes.Contains(body, []byte(`"errorType"`)):
		return nil, fmt.Errorf("answered %d", code)
	}
	return body, nil
}

// plainCause leaves out what net/http puts around an error: method and address.
func plainCause(ctx context.Context, err error, within time.Duration) error {
	switch outer, wrapped := errors.AsType[*url.Error](err); {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", within)
	case ctx.Err() != nil:
		return ctx.Err()
	case wrapped:
		err = outer.Err
	}
	if refused, ok := errors.AsType[*net.OpError](err); ok {
		return refused
	}
	return err
}
