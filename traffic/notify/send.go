package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	retries    = 3
	firstWait  = 500 * time.Millisecond
	longerWait = 5 * time.Second
	// tryLimit holds for one try, from the dial to the end of the answer.
	tryLimit = 10 * time.Second
	// patience is the longest Retry-After that is waited for; the queue keeps a message better than a sleeping process does.
	// Invariant: all tries together stay well below the 5 minutes for which receivers take one signature.
	patience = 30 * time.Second
	// answerLimit and causeLimit are in bytes.
	answerLimit = 64 << 10
	causeLimit  = 300
	redirects   = 3
)

// Sender posts messages. It holds what a caller injects, and no state.
type Sender struct {
	// Env reads the environment variables that configurations name.
	Env func(string) string
	// Now is the time of a try, which is signed, and by which messages are too old.
	Now func() time.Time
	// Transport carries the requests; nil means Go's own, with its certificates (SSL_CERT_FILE) and proxies.
	Transport http.RoundTripper
}

// refusal is an answer that says no to this one message: the next one may fare better.
type refusal struct{ error }

// Send posts one message, with a few tries where the receiver is out of reach or in trouble, and returns nil once it was taken.
// It looks at no filter and at no queue. The error names the receiver and holds neither its address nor its secret.
func (s Sender) Send(ctx context.Context, c Config, m Message) error {
	if err := s.send(ctx, c, m); err != nil {
		return fmt.Errorf("notify %s: %w", c.name(), err)
	}
	return nil
}

func (s Sender) send(ctx context.Context, c Config, m Message) error {
	c, secret, err := c.resolve(s.Env)
	if err != nil {
		return err
	}
	r, err := Body(c, m, secret, s.Now())
	if err != nil {
		return err
	}
	err = s.post(ctx, c.Format, r)
	if err == nil {
		return nil
	}
	// Only the text of the cause is kept, and cleaned before it is cut: net/url quotes the address, and so may a receiver.
	plain := errors.New(fit(scrub(cause(ctx, err), slices.Concat(pieces(c.Webhook), pieces(r.URL), []string{secret})), asItIs, causeLimit))
	if _, refused := errors.AsType[refusal](err); refused {
		return refusal{plain}
	}
	return plain
}

func (s Sender) post(ctx context.Context, f Format, r Request) error {
	request, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, r.URL, r.Body)
	if err != nil {
		return err
	}
	request.Header = r.Header
	client := &retryablehttp.Client{
		HTTPClient:   &http.Client{Transport: s.Transport, Timeout: tryLimit, CheckRedirect: sameHost},
		RetryWaitMin: firstWait, RetryWaitMax: longerWait, RetryMax: retries,
		CheckRetry: worthwhile, Backoff: retryablehttp.DefaultBackoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
	answer, err := client.Do(request)
	if err != nil {
		if answer != nil {
			_ = answer.Body.Close() // what counts is why there is no whole answer
		}
		return err
	}
	defer answer.Body.Close()
	return judge(f, answer)
}

// sameHost follows no redirect to another host, which would get the message and its signature, none to plain text, and
// none that makes a GET of the POST: its 200 would look like a message that was taken.
func sameHost(next *http.Request, via []*http.Request) error {
	first := via[0]
	if len(via) > redirects || next.Method != first.Method || next.URL.Scheme != first.URL.Scheme || next.URL.Host != first.URL.Host {
		return http.ErrUseLastResponse
	}
	return nil
}

// worthwhile is the library's policy, but for a receiver that asks for more time than a process should spend on it.
func worthwhile(ctx context.Context, answer *http.Response, err error) (bool, error) {
	if answer != nil && asksFor(answer) > patience {
		return false, ctx.Err()
	}
	return retryablehttp.DefaultRetryPolicy(ctx, answer, err)
}

// asksFor is the Retry-After of an answer, and zero where there is none.
func asksFor(answer *http.Response) time.Duration {
	return retryablehttp.DefaultBackoff(0, 0, 0, answer)
}

// judge tells whether the receiver took the message.
func judge(f Format, answer *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, answerLimit))
	switch {
	case answer.StatusCode/100 == 2 && (f == JSON || f == Slack):
		return nil // whatever became of the rest: the receiver has it
	case answer.StatusCode/100 == 2 && err != nil:
		return fmt.Errorf("the answer broke off: %w", err)
	case answer.StatusCode/100 == 2:
		return answered(body)
	}
	said := fmt.Errorf("answered %d%s", answer.StatusCode, quote(string(body)))
	switch {
	case answer.StatusCode/100 == 3:
		return errors.New("redirects to another host, or to a GET; name the address where it ends")
	case answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode >= 500:
		if wait := asksFor(answer); wait > 0 {
			return fmt.Errorf("asks to wait %s: %w", wait, said)
		}
		return said
	}
	return refusal{said}
}

// answered reads the code of a chat service. An answer without one comes from a relay of somebody's own, which has said 2xx.
func answered(body []byte) error {
	var a struct {
		Code       int64  `json:"code"`       // Feishu
		StatusCode int64  `json:"StatusCode"` // Feishu of old
		ErrCode    int64  `json:"errcode"`    // DingTalk, WeCom
		Msg        string `json:"msg"`
		ErrMsg     string `json:"errmsg"`
	}
	if json.Unmarshal(body, &a) != nil {
		return nil
	}
	if code := cmp.Or(a.Code, a.StatusCode, a.ErrCode); code != 0 {
		return refusal{fmt.Errorf("answered code %d%s", code, quote(cmp.Or(a.Msg, a.ErrMsg)))}
	}
	return nil
}

func quote(said string) string {
	if said = strings.TrimSpace(said); said == "" {
		return ""
	}
	return ": " + said
}

// cause is what went wrong, in words that a person can use, without the method and address before it.
func cause(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return "no answer in the time that was left"
	}
	if trouble, is := errors.AsType[*url.Error](err); is {
		if trouble.Timeout() {
			return "no answer within " + tryLimit.String()
		}
		err = trouble.Err
	}
	return err.Error()
}

// pieces are the parts of an address that may be its key.
func pieces(address string) []string {
	u, err := url.Parse(address)
	if err != nil {
		return []string{address}
	}
	parts := []string{address, u.RequestURI(), u.RawQuery}
	parts = append(parts, strings.Split(u.EscapedPath(), "/")...)
	parts = append(parts, strings.Split(u.Path, "/")...)
	for _, values := range u.Query() {
		parts = append(parts, values...)
	}
	return parts
}

// shortestKey is in bytes: what is shorter is a word of the path, and would make holes in every sentence.
const shortestKey = 6

// scrub takes keys out of a text, wherever it got them from.
func scrub(text string, keys []string) string {
	for _, key := range keys {
		if len(key) >= shortestKey {
			text = strings.ReplaceAll(text, key, "…")
		}
	}
	return text
}
