package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// A leash freezes the built binary, unchanged, right before a system call that a scene names: a rename, a mkdir, a signal. The kernel
// asks us about each such call of the process and of its children (seccomp_unotify(2)), and the thread stands until we answer.
//
// The test's own program starts in the place of cutover, puts the filter on itself, hands the kernel's end of it to the scene, and
// becomes cutover then.

// leashed is the environment variable that has the program to be put on a leash.
const leashed = "CUTOVER_E2E_LEASHED"

// trapped are the calls that the kernel asks about. Go's rename and mkdir are these, on every architecture.
var trapped = []uint32{unix.SYS_RENAMEAT, unix.SYS_MKDIRAT, unix.SYS_KILL}

// joinLeash becomes the program on a leash, where that is what this process was started for.
func joinLeash() {
	if program := os.Getenv(leashed); program != "" {
		fmt.Fprintln(os.Stderr, "join the leash:", becomeLeashed(program))
		os.Exit(1)
	}
}

func becomeLeashed(program string) error {
	const scene = 3 // the socket
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}} // the call's number
	for n, number := range trapped {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: uint8(len(trapped) - n), K: number})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	rules := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	// WAIT_KILLABLE_RECV: Go's own signals must not make the kernel ask again for a call that we hold.
	listener, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&rules)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	if err := unix.Sendmsg(scene, []byte{0}, unix.UnixRights(int(listener)), nil, 0); err != nil {
		return err
	}
	unix.CloseOnExec(scene)
	environ := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, leashed+"=") })
	return syscall.Exec(program, os.Args, environ)
}

// call is what a process on a leash is about to do.
type call struct {
	name string // rename, mkdir or kill
	// from and to are a rename's; a mkdir has its folder in to.
	from, to string
	signal   syscall.Signal
}

// renames picks the rename of one name to another; both are patterns, without folders.
func renames(from, to string) func(call) bool {
	return func(c call) bool { return c.name == "rename" && named(from, c.from) && named(to, c.to) }
}

// makes picks the mkdir of such a name in such a folder.
func makes(folder, name string) func(call) bool {
	return func(c call) bool { return c.name == "mkdir" && named(folder, filepath.Dir(c.to)) && named(name, c.to) }
}

// hangsUp picks the signal that makes nginx reload.
func hangsUp(c call) bool { return c.name == "kill" && c.signal == syscall.SIGHUP }

func named(pattern, path string) bool {
	is, err := filepath.Match(pattern, filepath.Base(path))
	return is && err == nil
}

// second picks only the second of the calls.
func second(of func(call) bool) func(call) bool {
	seen := 0
	return func(c call) bool {
		if of(c) {
			seen++
			return seen == 2
		}
		return false
	}
}

// seccompNotif is struct seccomp_notif of linux/seccomp.h, seccompResp its seccomp_notif_resp.
type seccompNotif struct {
	id         uint64
	pid, flags uint32
	nr         int32
	arch       uint32
	pointer    uint64
	args       [6]uint64
}

type seccompResp struct {
	id    uint64
	val   int64
	error int32
	flags uint32
}

// leash holds the calls of one process and its children. It lives for as long as any of them: without it each call would fail.
type leash struct {
	listener int
	mu       sync.Mutex
	holds    []*hold
	loose    bool // nothing is held any more
}

// hold is one call that is stopped when it comes, once.
type hold struct {
	leash  *leash
	picks  func(call) bool
	frozen chan struct{} // closed when the call has come
	id     uint64        // of the kernel's question; set before frozen is closed
	over   bool          // it was let go
}

// before stops the first call from now on that the function picks.
func (l *leash) before(picks func(call) bool) *hold {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := &hold{leash: l, picks: picks, frozen: make(chan struct{})}
	l.holds = append(l.holds, h)
	return h
}

// attend answers the kernel until the last process on the leash has ended.
func (l *leash) attend() {
	defer unix.Close(l.listener)
	for {
		poll := []unix.PollFd{{Fd: int32(l.listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(poll, -1); err != nil {
			continue // a signal of Go's own
		}
		if poll[0].Revents&unix.POLLIN == 0 {
			return
		}
		asked := seccompNotif{}
		if err := l.control(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&asked)); err != nil {
			continue // it has ended meanwhile
		}
		c := asked.call()
		if l.control(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&asked.id)) == nil && !l.stops(c, asked.id) {
			l.answer(asked.id)
		}
	}
}

func (l *leash) stops(c call, id uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.holds {
		if h.id == 0 && !l.loose && h.picks(c) {
			h.id = id
			close(h.frozen)
			return true
		}
	}
	return false
}

// answer lets the call happen. One whose process was killed needs none.
func (l *leash) answer(id uint64) {
	_ = l.control(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&seccompResp{id: id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}))
}

func (l *leash) control(request uint, with unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l.listener), uintptr(request), uintptr(with)); errno != 0 {
		return errno
	}
	return nil
}

// loosen lets go of everything, now and later.
func (l *leash) loosen() {
	l.mu.Lock()
	l.loose = true
	holds := l.holds
	l.mu.Unlock()
	for _, h := range holds {
		h.letGo()
	}
}

func (h *hold) letGo() {
	h.leash.mu.Lock()
	defer h.leash.mu.Unlock()
	if h.id != 0 && !h.over {
		h.over = true
		h.leash.answer(h.id)
	}
}

// call reads what the process asked for, while it stands.
func (n *seccompNotif) call() call {
	switch n.nr {
	case unix.SYS_KILL:
		return call{name: "kill", signal: syscall.Signal(n.args[1])}
	case unix.SYS_MKDIRAT:
		return call{name: "mkdir", to: n.text(n.args[1])}
	}
	return call{name: "rename", from: n.text(n.args[1]), to: n.text(n.args[3])}
}

// text is what lies at an address of the process; empty where that cannot be read.
func (n *seccompNotif) text(address uint64) string {
	memory, err := os.Open("/proc/" + strconv.Itoa(int(n.pid)) + "/mem")
	if err != nil {
		return ""
	}
	defer memory.Close()
	found := make([]byte, unix.PathMax)
	length, _ := memory.ReadAt(found, int64(address)) // behind the text there may be nothing
	text, _, whole := bytes.Cut(found[:length], []byte{0})
	if !whole {
		return ""
	}
	return string(text)
}

// held is a command on a leash.
type held struct {
	*running
	*hold
}

// holds has a command typed that is to freeze before a call.
func (s *scene) holds(picks func(call) bool, args ...string) *held {
	s.t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(s.t, err)
	ours, theirs := os.NewFile(uintptr(ends[0]), "leash"), os.NewFile(uintptr(ends[1]), "leash")
	defer ours.Close()
	self, err := os.Executable()
	require.NoError(s.t, err)
	c := s.Command(context.WithoutCancel(s.t.Context()), args...)
	c.Env = append(c.Env, leashed+"="+c.Path)
	c.Path, c.ExtraFiles = self, []*os.File{theirs}
	r := s.launches(c)
	require.NoError(s.t, theirs.Close())
	l, err := takeLeash(ends[0])
	require.NoError(s.t, err, r.said.String())
	h := l.before(picks)
	go l.attend()
	s.t.Cleanup(l.loosen)
	return &held{r, h}
}

// takeLeash receives the kernel's end from a process that joins.
func takeLeash(socket int) (*leash, error) {
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, err
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("the process did not join the leash"), err)
	}
	found, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	return &leash{listener: found[0]}, nil
}

// freezes waits until the call has come.
func (h *held) freezes() *held {
	h.s.t.Helper()
	until(h.s.t, fmt.Sprintf("cutover %v freezes", h.args), func() bool {
		ended := h.hasEnded()
		select {
		case <-h.frozen:
			return true
		default:
		}
		if ended {
			h.s.t.Fatalf("cutover %v ended before it froze: %s", h.args, h.state)
		}
		return false
	})
	return h
}

// wakes lets the call happen.
func (h *held) wakes() { h.letGo() }

// wakesUntil lets the call happen, and freezes the command before another one.
func (h *held) wakesUntil(picks func(call) bool) {
	h.s.t.Helper()
	later := &held{h.running, h.leash.before(picks)}
	h.letGo()
	later.freezes()
	h.hold = later.hold
}
