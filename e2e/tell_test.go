package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The secret by which messages are signed, and the variable that holds it.
const (
	secretVariable = "CUTOVER_E2E_SECRET"
	secret         = "hush, hush"
)

// message is what the scenes read of a body of format json.
type message struct {
	Type string `json:"type"`
	Data struct {
		ID      string  `json:"id"`
		App     string  `json:"app"`
		Rollout string  `json:"rollout"`
		Release string  `json:"release"`
		Kind    string  `json:"kind"`
		Text    string  `json:"text"`
		Next    string  `json:"next"`
		Weight  float64 `json:"weight"`
		Exit    int     `json:"exit"`
	} `json:"data"`
}

// receiver is a webhook that takes messages, and wants each to be signed.
type receiver struct {
	t        *testing.T
	mu       sync.Mutex
	messages []message
}

// receives listens for messages on the address until the scene is over.
func receives(t *testing.T, address string) *receiver {
	t.Helper()
	r := &receiver{t: t}
	listens(t, address, r)
	return r
}

func listens(t *testing.T, address string, h http.Handler) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	server := &http.Server{Handler: h}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
}

func (r *receiver) ServeHTTP(_ http.ResponseWriter, q *http.Request) {
	body, err := io.ReadAll(q.Body)
	var m message
	if err != nil || json.Unmarshal(body, &m) != nil {
		r.t.Errorf("received no message: %v %s", err, body)
	}
	h := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(h, "%s.%s.%s", m.Data.ID, q.Header.Get("webhook-timestamp"), body)
	if signed := "v1," + base64.StdEncoding.EncodeToString(h.Sum(nil)); q.Header.Get("webhook-signature") != signed {
		r.t.Errorf("not signed as it should be: %v", q.Header)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, m)
}

// of are the messages about a rollout, in the order in which they came.
func (r *receiver) of(rollout string) []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []message
	for _, m := range r.messages {
		if m.Data.Rollout == rollout {
			all = append(all, m)
		}
	}
	return all
}

// gets waits for the one message of that kind about a rollout.
func (r *receiver) gets(rollout, kind string) message {
	r.t.Helper()
	var found []message
	until(r.t, fmt.Sprintf("%s is told of rollout %s", kind, rollout), func() bool {
		found = nil
		for _, m := range r.of(rollout) {
			if m.Data.Kind == kind {
				found = append(found, m)
			}
		}
		return len(found) > 0
	})
	require.Len(r.t, found, 1, "told once")
	require.Equal(r.t, "rollout."+kind, found[0].Type)
	return found[0]
}

// portBeside is an address of the scene that nothing of the stage uses.
func (s *scene) portBeside(n int) string { return "127.0.0.1:" + strconv.Itoa(s.Ports.Further+8+n) }

// hook is a receiver as cutover.yaml has it.
func hook(address string) string {
	return fmt.Sprintf("{ webhook: 'http://%s/hook', format: json, secret_env: %s }", address, secretVariable)
}

// Somebody is told of whatever a person has to know, with the one sentence and its numbers, signed, each thing once; and the
// command of on_end gets the same.
func TestTell_WhatHappens(t *testing.T) {
	t.Parallel()
	require.NoError(t, os.Setenv(secretVariable, secret)) // every scene has the same one
	o := nightly("tell", night+`  bold: { rollout: { steps: [{ weight: 20, soak: 10m }, { weight: 100 }] } }
  asks: { rollout: { approve: [{ at: start }] } }
on_end: [sh, -c, "env | grep ^CUTOVER_ > ../ended.$CUTOVER_ROLLOUT"]
`)
	o.Stacks = "  keep_warm: 1s\n"
	s := build(t, o)
	s.adds("notify: [" + hook(s.portBeside(0)) + "]\n")
	r := receives(t, s.portBeside(0))
	s.opens()

	s.types(8, "promote", "--env", "bold", "--tag", dead.Tag)
	m := r.gets("000001", "reverted")
	require.Regexp(t, `^rollout 000001 \(v1\.3\.0 on green\) reverted by the verdict at 20 % \d\d:\d\d:\d\d: .*failed.*\d`, m.Data.Text)
	require.Contains(t, m.Data.Text, s.history()[0].Why)
	require.Equal(t, 8, m.Data.Exit)
	require.Equal(t, dead.Tag, m.Data.Release)
	require.Equal(t, s.Name, m.Data.App)
	ended := s.ended("000001")
	require.Contains(t, ended, "CUTOVER_KIND=reverted\n")
	require.Contains(t, ended, "CUTOVER_EXIT=8\n")
	require.Contains(t, ended, "CUTOVER_TAG=v1.3.0\n")
	require.Contains(t, ended, "CUTOVER_TEXT="+m.Data.Text+"\n")

	p := s.starts("promote", "--env", "asks", "--tag", good.Tag)
	require.Contains(t, r.gets("000002", "approval").Data.Text, "waits for `cutover approve` before the start")
	s.types(0, "abort", "--why", "not tonight")
	p.ends(10)
	require.Contains(t, r.gets("000002", "aborted").Data.Text, "not tonight")

	p = s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 5)
	p.gets(syscall.SIGKILL)
	require.Regexp(t, `cut back at 5 % \d\d:\d\d:\d\d: .*guardian`, r.gets("000003", "guardian").Data.Text)
	require.Contains(t, s.ended("000003"), "CUTOVER_KIND=aborted\n")

	s.types(0, "promote", "--env", "quickly", "--tag", good.Tag, "--wait", "1m")
	m = r.gets("000004", "promoted")
	require.Equal(t, 100.0, m.Data.Weight)
	require.Regexp(t, `^rollout 000004 \(v1\.1\.0 on green\) promoted \d\d:\d\d:\d\d: `, m.Data.Text)
	require.NotContains(t, m.Data.Text, "00:00:00")
	require.Contains(t, m.Data.Next, "cutover back")
	require.Contains(t, s.ended("000004"), "CUTOVER_KIND=promoted\n")
	r.gets("000004", "finished") // by the guardian: nobody has typed anything
	require.Empty(t, s.queued())
}

// A receiver that is gone, or takes its time, neither delays a rollout nor fails it, and hears of it later.
func TestTell_NobodyWaitsForAReceiver(t *testing.T) {
	t.Parallel()
	require.NoError(t, os.Setenv(secretVariable, secret))
	s := build(t, nightly("late", night))
	silent, gone, slow := "", hook(s.portBeside(0)), hook(s.portBeside(1))
	for name, receiver := range map[string]string{"silent": silent, "gone": gone, "slow": slow} {
		s.adds(fmt.Sprintf("  %s: { rollout: { steps: [{ weight: 50, soak: 1s }, { weight: 100 }], bake: 1s }, "+
			"verdict: { inconclusive: { after: 1s, then: proceed } }, notify: [%s] }\n", name, receiver))
	}
	over := make(chan struct{})
	listens(t, s.portBeside(1), http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		select {
		case <-over:
		case <-q.Context().Done():
		}
	}))
	t.Cleanup(func() { close(over) })
	s.opens()

	took := map[string]time.Duration{}
	for n, env := range []string{"silent", "gone", "slow"} {
		tag := []string{good.Tag, next.Tag}[n%2]
		began := time.Now()
		r := s.types(0, "promote", "--env", env, "--tag", tag)
		took[env] = time.Since(began)
		require.Equal(t, env != "silent", strings.Contains(r.Stderr, "queued: 1"), r.Stderr)
		lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
		require.Regexp(t, `100 % \(proven `, lines[len(lines)-1], "the last line is the truth, whatever is queued")
		s.types(0, "down") // each begins with nothing to finish
	}
	t.Logf("a promotion took %v", took)
	for _, env := range []string{"gone", "slow"} { // one that waited for its receiver would take the tries of a minute
		require.Less(t, took[env], 3*took["silent"], env)
	}
	require.Len(t, s.queued(), 2, "what two receivers have not heard")

	r := receives(t, s.portBeside(0))
	s.types(0, "status", "--env", "gone")
	r.gets("000002", "promoted")
	s.types(0, "history", "--env", "gone")
	require.Len(t, r.of("000002"), 1, "told once")
	require.Len(t, s.queued(), 1)
}

// ended is what the command of on_end has left of its environment.
func (s *scene) ended(rollout string) string {
	s.t.Helper()
	return s.text(filepath.Join(s.Dir, "ended."+rollout))
}

// queued are the messages that wait on disk.
func (s *scene) queued() []string {
	s.t.Helper()
	all, err := filepath.Glob(filepath.Join(s.StateDir(), "notify", "*", "*.json"))
	require.NoError(s.t, err)
	return all
}
