package notify

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTwoProcessesSendEachMessageOnce(t *testing.T) {
	s, _ := spool(t)
	address, got := receiver(t, nil)
	want := []string{}
	for n := range 60 {
		require.NoError(t, s.Put([]Config{{Webhook: address, Format: JSON}}, numbered(n)))
		want = append(want, "m-"+strconv.Itoa(n))
	}
	var deliverers []*process
	for range 3 {
		p := start(t, "deliver", s.dir, address)
		require.True(t, p.lines.Scan())
		deliverers = append(deliverers, p)
	}
	for _, p := range deliverers {
		require.NoError(t, p.stdin.Close())
	}
	for _, p := range deliverers {
		require.Equal(t, "done", p.rest())
		require.NoError(t, p.Wait())
	}
	require.Equal(t, want, got.list())
	require.Empty(t, queued(t, s))
}

func TestCrashBetweenTheAnswerAndItsRecordSendsAgainUnderTheSameID(t *testing.T) {
	s, _ := spool(t)
	address, got := receiver(t, nil)
	configs := []Config{{Webhook: address, Format: JSON}}
	require.NoError(t, s.Put(configs, reverted()))
	victim := start(t, "die", s.dir, address)
	require.ErrorContains(t, victim.Wait(), syscall.SIGKILL.String())
	require.Equal(t, []string{reverted().ID}, queued(t, s))
	require.NoError(t, s.Deliver(t.Context(), configs, sender(t)))
	require.Equal(t, []string{reverted().ID, reverted().ID}, got.list())
	require.Empty(t, queued(t, s))
}

// Who is killed in the middle of a request leaves nothing that would have to be cleared away.
func TestLockOfAKilledProcessIsTakenAtOnce(t *testing.T) {
	s, _ := spool(t)
	var slow atomic.Bool
	slow.Store(true)
	address, got := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		if slow.Load() {
			hang(w, r)
		}
	})
	configs := []Config{{Webhook: address, Format: JSON}}
	require.NoError(t, s.Put(configs, reverted()))
	stuck := start(t, "deliver", s.dir, address)
	require.True(t, stuck.lines.Scan())
	require.NoError(t, stuck.stdin.Close())
	eventually(t, func() bool { return len(got.list()) == 1 }, "the other process is sending")

	err := s.Deliver(soon(t, 100*time.Millisecond), configs, sender(t))
	require.ErrorContains(t, err, "another process is sending, and did not end in the time that was left; queued: 1")
	slow.Store(false)
	require.Error(t, stuck.kill())
	require.NoError(t, s.Deliver(soon(t, 20*time.Second), configs, sender(t)))
	require.Equal(t, slices.Repeat([]string{reverted().ID}, 2), got.list(), fmt.Sprint(got.list()))
}
