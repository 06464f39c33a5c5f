package notify

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestQueueIsSentOldestFirstAndOnce(t *testing.T) {
	s, said := spool(t)
	address, got := receiver(t, nil)
	configs := []Config{{Webhook: address, Format: JSON}}
	for _, n := range []int{3, 1, 2, 1} { // the last is the same event, told again
		require.NoError(t, s.Put(configs, numbered(n)))
	}
	require.Equal(t, []string{"m-1", "m-2", "m-3"}, queued(t, s))
	for range 2 {
		require.NoError(t, s.Deliver(t.Context(), configs, sender(t)))
		require.Equal(t, []string{"m-1", "m-2", "m-3"}, got.list())
	}
	again := numbered(2)
	again.At = again.At.Add(time.Second) // seen by another process, a little later
	require.NoError(t, s.Put(configs, again))
	require.NoError(t, s.Deliver(t.Context(), configs, sender(t)))
	require.Len(t, got.list(), 3)
	require.Empty(t, queued(t, s))
	require.Empty(t, said.list())
}

func TestPutAsksTheFilterAndWritesNoSecret(t *testing.T) {
	s, _ := spool(t)
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	configs := []Config{
		{Webhook: "https://example.com/hush-1", Format: JSON, On: []Kind{Held, Reverted}},
		{Webhook: "https://example.com/hush-2", Format: Slack, On: []Kind{Finished}},
		{WebhookEnv: "HOOK", Format: WeCom},
	}
	require.NoError(t, s.Put(configs, reverted()))
	require.Equal(t, []string{reverted().ID, reverted().ID}, queued(t, s))
	require.NoError(t, filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		require.NotContains(t, path, "hush")
		if d.IsDir() {
			require.Equal(t, folderMode, info.Mode().Perm(), path)
			return nil
		}
		require.Equal(t, fileMode, info.Mode().Perm(), path)
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotContains(t, string(text), "hush")
		return nil
	}))
	require.ErrorContains(t, s.Put(configs, Message{ID: "x"}), "no time")
}

func TestQueueIsBounded(t *testing.T) {
	s, said := spool(t)
	configs := []Config{{WebhookEnv: "HOOK", Format: JSON}}
	for n := range capacity + 3 {
		require.NoError(t, s.Put(configs, numbered(n)))
	}
	ids := queued(t, s)
	require.Len(t, ids, capacity)
	require.Equal(t, "m-3", ids[0])
	require.Equal(t, "notify json $HOOK: dropped message m-0: more than 200 are waiting", said.list()[0])
	require.Len(t, said.list(), 3)
}

func TestOldMessagesAreDroppedAloud(t *testing.T) {
	s, said := spool(t)
	address, got := receiver(t, nil)
	here, removed := Config{Webhook: address, Format: JSON}, Config{WebhookEnv: "HOOK", Format: Slack}
	require.NoError(t, s.Put([]Config{here, removed}, numbered(0)))
	require.NoError(t, s.Put([]Config{here, removed}, numbered(7200)))
	day := sender(t)
	day.Now = at(keep + time.Hour)
	require.NoError(t, s.Deliver(t.Context(), []Config{here}, day))
	require.Equal(t, []string{"m-7200"}, got.list())
	require.Len(t, said.list(), 2)
	require.Contains(t, said.list()[0], "dropped message m-0: nobody took it for 24 hours")
	require.Contains(t, said.list()[1], "notify "+removed.folder()+": dropped message m-0")
	require.Equal(t, []string{"m-7200"}, queued(t, s), "what waits for the other receiver")

	day.Now = at(3 * keep)
	require.NoError(t, s.Put([]Config{here}, numbered(0)))
	require.NoError(t, s.Deliver(t.Context(), []Config{here}, day))
	left, err := filepath.Glob(filepath.Join(s.dir, "*", "*"))
	require.NoError(t, err)
	require.Empty(t, left, "memory of what was taken ends too")
}

func TestWhatIsNoMessageIsDroppedAndWhatIsNotOursIsLeft(t *testing.T) {
	s, said := spool(t)
	address, got := receiver(t, nil)
	c := Config{Webhook: address, Format: JSON}
	require.NoError(t, s.Put([]Config{c}, numbered(5)))
	q := s.queue(c)
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(q.dir, name), []byte(text), 0o644))
	}
	write(slip{date, "torn"}.file(waiting), `{"id":"to`)
	write(slip{date, "empty"}.file(waiting), ``)
	write(slip{date, "renamed"}.file(waiting), `{"id":"other","at":"2026-03-01T03:12:04Z","app":"a","kind":"held","text":"t"}`)
	write(".000001772334724000-temporary.json123", ``)
	write("README", ``)
	require.NoError(t, s.Deliver(t.Context(), []Config{c}, sender(t)))
	require.Equal(t, []string{"m-5"}, got.list())
	require.Len(t, said.list(), 3)
	require.Contains(t, strings.Join(said.list(), "\n"), "dropped message torn: the file does not hold it")
	require.FileExists(t, filepath.Join(q.dir, "README"))
}

func TestBrokenReceiverKeepsItsMessagesAndDelaysNobody(t *testing.T) {
	s, _ := spool(t)
	slow, _ := receiver(t, hang)
	fast, got := receiver(t, nil)
	configs := []Config{{Webhook: slow, Format: JSON}, {WebhookEnv: "NOWHERE", Format: JSON}, {Webhook: fast, Format: JSON}}
	for n := range 3 {
		require.NoError(t, s.Put(configs, numbered(n)))
	}
	ended := make(chan error)
	go func() { ended <- s.Deliver(soon(t, 2*time.Second), configs, sender(t)) }()
	eventually(t, func() bool { return len(got.list()) == 3 }, "the good receiver has all")
	select {
	case <-ended:
		t.Fatal("the slow receiver was not waited for: nothing was shown")
	default:
	}
	err := <-ended
	require.ErrorContains(t, err, "no answer in the time that was left; queued: 3")
	require.ErrorContains(t, err, "notify json $NOWHERE: the environment variable NOWHERE, which holds the address, is not set; queued: 3")
	require.Len(t, queued(t, s), 6)
}

func TestReceiverThatComesBackGetsWhatWasKept(t *testing.T) {
	s, _ := spool(t)
	var up atomic.Bool
	address, got := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	configs := []Config{{Webhook: address, Format: JSON}}
	require.NoError(t, s.Put(configs, numbered(1)))
	require.NoError(t, s.Put(configs, numbered(2)))
	require.ErrorContains(t, s.Deliver(soon(t, 20*time.Second), configs, sender(t)), "answered 502; queued: 2")
	require.Equal(t, slices.Repeat([]string{"m-1"}, retries+1), got.list(), "the second waits for the first")
	up.Store(true)
	require.NoError(t, s.Deliver(soon(t, 20*time.Second), configs, sender(t)))
	require.Equal(t, []string{"m-1", "m-2"}, got.list()[retries+1:])
}

// A message that one receiver will never take must not hold up the cutback of the next night; a receiver that takes
// nothing must not be asked two hundred times.
func TestRefusedMessageIsPassed(t *testing.T) {
	s, _ := spool(t)
	var bad atomic.Pointer[[]string]
	bad.Store(&[]string{"m-1", "m-2"})
	address, got := receiver(t, nil)
	strict := sender(t)
	strict.Transport = refusing{strict.Transport, &bad}
	configs := []Config{{Webhook: address, Format: JSON}}
	for n := range 20 {
		require.NoError(t, s.Put(configs, numbered(n)))
	}
	require.ErrorContains(t, s.Deliver(t.Context(), configs, strict), "answered 400; queued: 2")
	require.Len(t, got.list(), 18)
	require.Equal(t, []string{"m-1", "m-2"}, queued(t, s))

	all := []string{"m-1", "m-2", "m-20", "m-21", "m-22"}
	bad.Store(&all)
	for n := range 3 {
		require.NoError(t, s.Put(configs, numbered(20+n)))
	}
	require.ErrorContains(t, s.Deliver(t.Context(), configs, strict), "answered 400; queued: 5")
}

// refusing answers 400 to some ids.
type refusing struct {
	http.RoundTripper
	ids *atomic.Pointer[[]string]
}

func (r refusing) RoundTrip(q *http.Request) (*http.Response, error) {
	if slices.Contains(*r.ids.Load(), q.Header.Get("webhook-id")) {
		return &http.Response{StatusCode: 400, Header: http.Header{}, Body: http.NoBody, Request: q}, nil
	}
	return r.RoundTripper.RoundTrip(q)
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	s, _ := spool(t)
	address, got := receiver(t, nil)
	configs := []Config{{Webhook: address, Format: JSON}}
	require.NoError(t, os.WriteFile(s.dir, nil, 0o644))
	err := s.Put(configs, reverted())
	require.ErrorContains(t, err, "queue message web-1-shop-000017-reverted for json http://127.0.0.1:")
	require.NotContains(t, err.Error(), "hush")
	require.Error(t, s.Deliver(t.Context(), configs, sender(t)))
	require.NoError(t, sender(t).Send(t.Context(), configs[0], reverted()), "without a disk it is still told")
	require.Len(t, got.list(), 1)
}

func TestRunSendsWhatIsPutAndTriesAgainEachMinute(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "notify")
	synctest.Test(t, func(t *testing.T) {
		said := &notes{}
		s := Open(dir, said.add)
		configs := []Config{{WebhookEnv: "HOOK", Format: JSON}}
		r := &recorder{}
		ctx, end := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.Run(ctx, configs, Sender{Env: environment, Now: at(0), Transport: r})
		}()
		synctest.Wait()

		require.NoError(t, s.Put(configs, numbered(1)))
		synctest.Wait()
		require.Equal(t, []string{"m-1"}, r.list(), "at once")

		r.down.Store(true)
		require.NoError(t, s.Put(configs, numbered(2)))
		time.Sleep(10 * time.Minute)
		require.Equal(t, []string{"notify json $HOOK: answered 500; queued: 1"}, said.list(), "trouble is said once")
		require.NoError(t, s.Put(configs, numbered(3)))
		r.down.Store(false)
		time.Sleep(again + time.Second)
		require.Equal(t, []string{"m-1", "m-2", "m-3"}, r.list())
		end()
		<-ended
	})
}

// recorder is a receiver without a network.
type recorder struct {
	notes
	down atomic.Bool
}

func (r *recorder) RoundTrip(q *http.Request) (*http.Response, error) {
	if r.down.Load() {
		return &http.Response{StatusCode: 500, Header: http.Header{}, Body: http.NoBody, Request: q}, nil
	}
	r.add(q.Header.Get("webhook-id"))
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: q}, nil
}

func TestPutWhileOthersDeliver(t *testing.T) {
	s, said := spool(t)
	address, got := receiver(t, nil)
	configs := []Config{{Webhook: address, Format: JSON}}
	post := sender(t)
	const writers, each = 4, 15
	ended := make(chan error)
	for w := range writers {
		go func() {
			for n := range each {
				m := numbered(n)
				m.ID = fmt.Sprintf("w%d-%d", w, n)
				if err := s.Put(configs, m); err != nil {
					ended <- err
					return
				}
			}
			ended <- s.Deliver(t.Context(), configs, post)
		}()
	}
	for range writers {
		require.NoError(t, <-ended)
	}
	ids := got.list()
	require.Len(t, ids, writers*each)
	slices.Sort(ids)
	require.Len(t, slices.Compact(ids), writers*each)
	require.Empty(t, queued(t, s))
	require.Empty(t, said.list())
}
