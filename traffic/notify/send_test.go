package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// soon is a deadline that a test with a good receiver never meets.
func soon(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// inTurn answers the first requests with these codes, and the later ones with 204.
func inTurn(codes ...int) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, _ *http.Request) {
		if i := int(n.Add(1)) - 1; i < len(codes) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(codes[i])
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func TestReceiverInTroubleIsTriedAgain(t *testing.T) {
	for _, codes := range [][]int{{}, {500, 502}, {429}, {503}} {
		t.Run(fmt.Sprint(codes), func(t *testing.T) {
			t.Parallel()
			address, got := receiver(t, inTurn(codes...))
			require.NoError(t, sender(t).Send(soon(t, 20*time.Second), Config{Webhook: address, Format: JSON}, reverted()))
			require.Equal(t, slices.Repeat([]string{reverted().ID}, len(codes)+1), got.list())
		})
	}
}

func says(code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(text))
	}
}

// hang answers nothing until the sender has gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// tear ends the connection after half an answer.
func tear(w http.ResponseWriter, _ *http.Request) {
	c, buffer, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = buffer.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"errcode\":")
	_ = buffer.Flush()
	_ = c.Close()
}

func TestAnswerThatTakesTheMessage(t *testing.T) {
	for name, c := range map[string]struct {
		format Format
		answer http.HandlerFunc
	}{
		"slack":                  {Slack, says(200, "ok")},
		"created":                {JSON, says(201, `{"errcode":1}`)},
		"feishu":                 {Feishu, says(200, `{"code":0,"msg":"success","StatusCode":0,"StatusMessage":"success"}`)},
		"dingtalk":               {DingTalk, says(200, `{"errcode":0,"errmsg":"ok"}`)},
		"a relay":                {WeCom, says(202, `queued`)},
		"half an answer is one":  {JSON, tear},
		"an endless one as well": {JSON, says(200, strings.Repeat("x", answerLimit*2))},
	} {
		t.Run(name, func(t *testing.T) {
			address, _ := receiver(t, c.answer)
			require.NoError(t, sender(t).Send(soon(t, 20*time.Second), Config{Webhook: address, Format: c.format}, reverted()))
		})
	}
}

func TestAnswerThatDoesNot(t *testing.T) {
	echo := func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, "no %s with %s here\n", r.URL.RequestURI(), r.URL.Query().Get("token"))
	}
	for name, c := range map[string]struct {
		format  Format
		answer  http.HandlerFunc
		want    string
		refused bool
	}{
		"slack":         {Slack, says(404, "no_service\n"), "answered 404: no_service", true},
		"gone":          {JSON, says(410, ""), "answered 410", true},
		"feishu":        {Feishu, says(200, `{"code":19021,"msg":"sign match fail"}`), "answered code 19021: sign match fail", true},
		"feishu of old": {Feishu, says(200, `{"StatusCode":9499}`), "answered code 9499", true},
		"dingtalk":      {DingTalk, says(200, `{"errcode":310000,"errmsg":"keywords not in content"}`), "code 310000: keywords not", true},
		"wecom":         {WeCom, says(200, `{"errcode":93000,"errmsg":"invalid webhook url"}`), "answered code 93000", true},
		"half a chat":   {WeCom, tear, "the answer broke off: unexpected EOF", false},
		"much later": {JSON, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "3600")
			says(429, "")(w, r)
		}, "asks to wait 1h0m0s: answered 429", false},
		"echo of the key":  {JSON, echo, "answered 403: no … with … here", true},
		"to another host":  {JSON, http.RedirectHandler("http://localhost:1/hush-hush-key", http.StatusTemporaryRedirect).ServeHTTP, "redirects to another host", false},
		"to a GET":         {JSON, http.RedirectHandler("/elsewhere", http.StatusFound).ServeHTTP, "or to a GET", false},
		"in circles":       {JSON, http.RedirectHandler("/hooks/hush-hush-key", http.StatusPermanentRedirect).ServeHTTP, "redirects", false},
		"nonsense address": {JSON, http.RedirectHandler("http://a b/hush-hush-key", http.StatusTemporaryRedirect).ServeHTTP, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			address, got := receiver(t, c.answer)
			err := sender(t).Send(soon(t, 20*time.Second), Config{Webhook: address, Format: c.format}, reverted())
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "notify "+string(c.format)+" http://127.0.0.1:")
			require.NotContains(t, err.Error(), "hush")
			_, refused := errors.AsType[refusal](err)
			require.Equal(t, c.refused, refused)
			require.LessOrEqual(t, len(got.list()), redirects+1)
		})
	}
}

func TestRedirectOnTheSameHostKeepsTheMessage(t *testing.T) {
	address, got := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/there" {
			http.Redirect(w, r, "/there", http.StatusPermanentRedirect)
		}
	})
	require.NoError(t, sender(t).Send(soon(t, 20*time.Second), Config{Webhook: address, Format: JSON}, reverted()))
	require.Equal(t, []string{reverted().ID, reverted().ID}, got.list())
}

func TestReceiverThatIsNotThereCostsNoMoreThanTheDeadline(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())
	slow, _ := receiver(t, hang)
	for _, address := range []string{"http://" + closed.Addr().String() + "/hush-hush-key", slow} {
		began := time.Now()
		err = sender(t).Send(soon(t, 200*time.Millisecond), Config{Webhook: address, Format: JSON}, reverted())
		require.ErrorContains(t, err, "no answer in the time that was left")
		require.Less(t, time.Since(began), 5*time.Second)
		require.NotContains(t, err.Error(), "hush")
	}
}

// The cause is told without the address, which net/url puts before it.
func TestErrorsOfTheTransportHideTheAddress(t *testing.T) {
	s := Sender{Env: environment, Now: at(0), Transport: failing{errors.New("lookup failed for https://hooks.example.com/services/T000/hush-hush-key")}}
	err := s.Send(soon(t, 100*time.Millisecond), Config{WebhookEnv: "HOOK", Format: JSON}, reverted())
	require.NotContains(t, err.Error(), "hush")

	synctest.Test(t, func(t *testing.T) {
		err := s.Send(t.Context(), Config{WebhookEnv: "HOOK", Format: JSON, SecretEnv: "PLAIN_SECRET"}, reverted())
		require.EqualError(t, err, "notify json $HOOK: lookup failed for …")
	})
}

type failing struct{ error }

func (f failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, f.error }

func TestWhatIsNotConfiguredIsNotSent(t *testing.T) {
	s := Sender{Env: environment, Now: at(0), Transport: failing{errors.New("was sent")}}
	for want, c := range map[string]Config{
		"json $NOWHERE: the environment variable NOWHERE, which holds the address, is not set":       {WebhookEnv: "NOWHERE", Format: JSON},
		"json $HOOK: the environment variable NO_SECRET, which holds the signing secret, is not set": {WebhookEnv: "HOOK", Format: JSON, SecretEnv: "NO_SECRET"},
		"json $PLAIN_SECRET: the address must begin with https:// or http:// and a host":             {WebhookEnv: "PLAIN_SECRET", Format: JSON},
		"json $HOOK: the signing secret is not base64 after whsec_":                                  {WebhookEnv: "HOOK", Format: JSON, SecretEnv: "BAD_SECRET"},
		` https://example.com: unknown format ""`:                                                    {Webhook: "https://example.com"},
	} {
		require.EqualError(t, s.Send(t.Context(), c, reverted()), "notify "+want)
	}
}

// silent takes each request and never answers.
type silent struct{ tries atomic.Int64 }

func (s *silent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.tries.Add(1)
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// later asks for a number of seconds, each time.
type later struct {
	seconds string
	tries   atomic.Int64
}

func (l *later) RoundTrip(r *http.Request) (*http.Response, error) {
	l.tries.Add(1)
	return &http.Response{StatusCode: 429, Header: http.Header{"Retry-After": {l.seconds}}, Body: http.NoBody, Request: r}, nil
}

// Without any deadline of the caller a message ends within the time for which its signature is good.
func TestTriesEndByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, s, l := time.Now(), &silent{}, &later{seconds: "30"}
		err := Sender{Env: environment, Now: at(0), Transport: s}.Send(t.Context(), Config{WebhookEnv: "HOOK", Format: JSON}, reverted())
		require.EqualError(t, err, "notify json $HOOK: no answer within 10s")
		require.EqualValues(t, retries+1, s.tries.Load())
		err = Sender{Env: environment, Now: at(0), Transport: l}.Send(t.Context(), Config{WebhookEnv: "HOOK", Format: JSON}, reverted())
		require.EqualError(t, err, "notify json $HOOK: asks to wait 30s: answered 429")
		require.EqualValues(t, retries+1, l.tries.Load())
		require.Less(t, time.Since(began), 5*time.Minute)
	})
}

func TestTLSIsChecked(t *testing.T) {
	server := httptest.NewUnstartedServer(says(200, ""))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of the handshake that is meant to fail
	server.StartTLS()
	t.Cleanup(server.Close)
	c := Config{Webhook: server.URL, Format: JSON}
	require.ErrorContains(t, sender(t).Send(soon(t, 20*time.Second), c, reverted()), "certificate")
	require.NoError(t, Sender{Env: environment, Now: at(0), Transport: server.Client().Transport}.Send(soon(t, 20*time.Second), c, reverted()))
}
