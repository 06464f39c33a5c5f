package nginxconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// plainly is a rig whose nginx passes to blue's address, in a file of its own, as before cutover came. nginx runs.
func plainly(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	text, err := os.ReadFile(filepath.Join(r.folder, "nginx.conf"))
	require.NoError(t, err)
	head, _, _ := strings.Cut(string(text), "    include "+r.root)
	r.write("nginx.conf", head+"    include site.conf;\n}\n")
	r.write("site.conf", fmt.Sprintf("server {\n    listen %s;\n    location / {\n        proxy_pass http://%s;\n    }\n}\n", r.site, r.blue.address))
	require.NoError(t, os.Chmod(filepath.Join(r.folder, "site.conf"), 0o640))
	r.start()
	return r
}

func (r *rig) propose() Edit {
	r.t.Helper()
	e, err := r.proxy.Propose(r.t.Context())
	require.NoError(r.t, err)
	return e
}

// files are all files of the user's, by name, and whatever lies beside them.
func (r *rig) files() map[string]string {
	r.t.Helper()
	all := map[string]string{}
	entries, err := os.ReadDir(r.folder)
	require.NoError(r.t, err)
	for _, e := range entries {
		if strings.Contains(e.Name(), ".conf") {
			text, err := os.ReadFile(filepath.Join(r.folder, e.Name()))
			require.NoError(r.t, err)
			all[e.Name()] = string(text)
		}
	}
	return all
}

func TestApplyLeadsTheTrafficToCutover(t *testing.T) {
	r := plainly(t)
	before := r.files()
	l := r.load()
	l.more(t, 50)
	e := r.propose()
	require.Len(t, e.Files, 2)
	require.Empty(t, e.Left)
	require.Equal(t, before, r.files(), "a proposal changes nothing")

	applied, err := r.proxy.Apply(t.Context(), e)
	require.NoError(t, err, r.errors())
	require.True(t, applied.Running)
	live, err := r.proxy.Live(t.Context())
	require.NoError(t, err)
	require.Equal(t, traffic.Generation(1), live.Generation)
	l.more(t, 50)
	l.stop()
	require.Zero(t, l.failed.Load())

	require.Len(t, r.files(), len(before), "nothing is left beside the files")
	for _, f := range e.Files {
		saved, err := os.ReadFile(filepath.Join(applied.Backup, f.Path))
		require.NoError(t, err)
		require.Equal(t, string(f.Before), string(saved))
	}
	info, err := os.Stat(filepath.Join(r.folder, "site.conf"))
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o640), info.Mode())
	require.Empty(t, r.proxy.Unfinished())
	require.Empty(t, r.propose().Files)
	require.NoError(t, r.proxy.Preflight(t.Context()))
	r.raise(r.open(), 100)
	require.Equal(t, 100.0, r.share(20))
}

func TestApplyKeepsTheOwner(t *testing.T) {
	needsRoot(t, "only root may give files away")
	r := plainly(t)
	site := filepath.Join(r.folder, "site.conf")
	require.NoError(t, os.Chown(site, 4711, 4712))
	_, err := r.proxy.Apply(t.Context(), r.propose())
	require.NoError(t, err)
	info, err := os.Stat(site)
	require.NoError(t, err)
	require.Equal(t, uint32(4711), info.Sys().(*syscall.Stat_t).Uid)
	require.Equal(t, uint32(4712), info.Sys().(*syscall.Stat_t).Gid)
	require.Equal(t, fs.FileMode(0o640), info.Mode())
}

func TestApplyWhereNginxDoesNotRun(t *testing.T) {
	r := plainly(t)
	r.kill()
	require.NoError(t, os.Remove(filepath.Join(r.folder, "nginx.pid")))
	applied, err := r.proxy.Apply(t.Context(), r.propose())
	require.NoError(t, err)
	require.False(t, applied.Running)
	r.start()
	live, err := r.proxy.Live(t.Context())
	require.NoError(t, err)
	require.Equal(t, traffic.Generation(1), live.Generation)
}

// What nginx does not take is put back, byte for byte, and it serves on.
func TestApplyIsPutBack(t *testing.T) {
	for _, c := range []struct {
		name     string
		disturb  func(*rig)
		hangups  int32
		says     string
		kind     traffic.Kind
		patience bool
	}{
		{"refused aside", func(r *rig) { r.breakForeign() }, 0, "nginx refuses the edit", traffic.Refused, false},
		{"refused in place", func(r *rig) {
			r.host.beforeRun = func(argv []string) {
				if slices.Contains(argv, r.options.Config.Conf) {
					r.breakForeign()
				}
			}
		}, 0, "every file is as it was before", traffic.Refused, false},
		{"refused by the reload", func(r *rig) { r.host.beforeHangup = r.breakForeign }, 2, "nginx takes no reload: it serves on", traffic.Refused, true},
		{"somebody has the probe's port", func(r *rig) { r.proxy.probe = newProbe("", r.green.address, "shop", r.options.Now) }, 0, "answered by something else", traffic.Preflight, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := plainly(t)
			if c.patience {
				r.proxy.patience = 1e9
			}
			before := r.files()
			e := r.propose()
			l := r.load()
			c.disturb(r)
			_, err := r.proxy.Apply(t.Context(), e)
			require.ErrorContains(t, err, c.says)
			require.Equal(t, c.kind, traffic.KindOf(err))
			require.Equal(t, c.hangups, r.host.hangups.Load())
			require.Equal(t, before, r.files())
			require.Empty(t, r.proxy.Unfinished())
			l.more(t, 50)
			l.stop()
			require.Zero(t, l.failed.Load())
			require.Equal(t, e.Files, r.propose().Files, "it can be tried again")
		})
	}
}

// A generation that is loaded and never becomes the only one is unloaded again.
func TestApplyIsUnloadedWhereItIsNotProven(t *testing.T) {
	r := plainly(t)
	before := r.files()
	r.host.beforeHangup = func() {
		if r.host.hangups.Load() == 1 {
			r.proxy.probe.app = "another"
		}
	}
	r.proxy.patience = 2e9
	_, err := r.proxy.Apply(t.Context(), r.propose())
	require.ErrorContains(t, err, "nginx has loaded them again")
	require.Equal(t, int32(2), r.host.hangups.Load())
	require.Equal(t, before, r.files())
	r.proxy.probe.app = "shop"
	eventually(t, func() bool { _, err := r.proxy.Live(t.Context()); return err != nil }, func() string { return "the edit is still loaded" })
	require.Zero(t, r.share(20))
}

func TestApplyRefusesWhatWasChanged(t *testing.T) {
	r := plainly(t)
	e := r.propose()
	r.write("site.conf", string(e.Files[1].Before)+"# a colleague was here\n")
	before := r.files()
	_, err := r.proxy.Apply(t.Context(), e)
	require.ErrorContains(t, err, "site.conf was changed by somebody else")
	require.Equal(t, traffic.Preflight, traffic.KindOf(err))
	require.Equal(t, before, r.files())
	require.NoDirExists(t, r.proxy.backups())
}

// A colleague who writes between the renames keeps what was written; the other files are put back.
func TestApplyPutsBackOnlyItsOwn(t *testing.T) {
	r := plainly(t)
	e := r.propose()
	main := string(e.Files[0].Before)
	r.host.beforeHangup = func() { r.write("site.conf", "colleague;") }
	r.proxy.patience = 1e9
	_, err := r.proxy.Apply(t.Context(), e)
	require.ErrorContains(t, err, "site.conf was changed by somebody else")
	require.ErrorContains(t, err, r.proxy.Unfinished()[0])
	require.Equal(t, "colleague;", r.files()["site.conf"])
	require.Equal(t, main, r.files()["nginx.conf"])
}

// Who may not write is told so before anything is touched.
func TestApplyWithoutRights(t *testing.T) {
	needsRoot(t, "only root can become somebody else")
	r := plainly(t)
	e := r.propose()
	before := r.files()
	require.NoError(t, os.Chmod(filepath.Join(r.options.Config.Dir, ".lock"), 0o666))
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine, its user with it
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0)
		_, err := r.proxy.Apply(t.Context(), e)
		failed <- err
	}()
	err := <-failed
	require.ErrorIs(t, err, fs.ErrPermission)
	require.Equal(t, traffic.Preflight, traffic.KindOf(err))
	fault, _ := errors.AsType[*traffic.Fault](err)
	require.Contains(t, fault.Hint, "sudo cutover init")
	require.Equal(t, before, r.files())
	require.NoDirExists(t, r.proxy.backups())
}

// Killed anywhere, the edit leaves files that nginx reads, says that it was interrupted, and is completed by the next one.
func TestApplyIsCompletedAfterAKill(t *testing.T) {
	killed := func(r *rig, when func(argv []string) bool) {
		e := r.propose()
		ended := make(chan struct{})
		r.host.beforeRun = func(argv []string) {
			if when(argv) {
				runtime.Goexit() // nothing is put back
			}
		}
		go func() { defer close(ended); _, _ = r.proxy.Apply(r.t.Context(), e) }()
		<-ended
		r.host.beforeRun = nil
	}
	completed := func(r *rig, files int) {
		require.Len(r.t, r.proxy.Unfinished(), 1)
		i, err := r.proxy.configured(r.t.Context())
		require.NoError(r.t, err)
		require.NoError(r.t, r.proxy.testCurrent(r.t.Context(), i))
		e := r.propose()
		require.Len(r.t, e.Files, files)
		_, err = r.proxy.Apply(r.t.Context(), e)
		require.NoError(r.t, err, r.errors())
		require.Empty(r.t, r.proxy.Unfinished())
		_, err = r.proxy.Live(r.t.Context())
		require.NoError(r.t, err)
		require.Len(r.t, r.files(), 2, "what lay beside the files is gone")
	}
	t.Run("after the last file", func(t *testing.T) {
		r := plainly(t)
		killed(r, func(argv []string) bool { return slices.Contains(argv, r.options.Config.Conf) })
		completed(r, 0)
	})
	t.Run("between two files", func(t *testing.T) {
		r := plainly(t)
		w, err := r.proxy.write(r.propose())
		require.NoError(t, err)
		w.files = w.files[:1]
		require.NoError(t, w.replace())
		completed(r, 1)
	})
}

// Another server joins later, while the tree is still that of a rollout which was cut back.
func TestApplyAfterACutback(t *testing.T) {
	r := serving(t)
	id := r.open()
	r.raise(id, 20)
	_, err := r.proxy.Cut(t.Context(), id, "a test")
	require.NoError(t, err)
	second := freePort(t)
	now := strings.TrimSuffix(r.files()["nginx.conf"], "}\n")
	r.write("nginx.conf", now+fmt.Sprintf("    server { listen %s; location / { proxy_pass http://%s; } }\n}\n", second, r.blue.address))
	e := r.propose()
	require.Len(t, e.Files, 1)
	applied, err := r.proxy.Apply(t.Context(), e)
	require.NoError(t, err, r.errors())
	require.True(t, applied.Running)
	r.site = second
	require.Zero(t, r.share(20))
}
