package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"cutover/e2e/images"
	"cutover/e2e/stage"
)

// What nginx asks for at each request in live mode is folders and links of files. Here they are taken away, replaced, mounted otherwise
// and led in circles while the candidate has 20 % of the traffic.

// liveFault is one thing that is done to the app's folder.
type liveFault struct {
	name string
	// strikes does it, and gives what brings the folder back; nil where it stays, and cutover has to do without.
	strikes func(s *scene) (mended func())
	// dark tells that nginx gives the candidate nothing from then on; else it keeps its share.
	dark bool
	// shift is the exit code of a shift to a larger share, says what it says where that is not zero.
	shift int
	says  string
	// back is the exit code of a cutback, admits what it says it could not do. stuck tells that the candidate keeps its share all the same.
	back   int
	admits string
	stuck  bool
	// again tells that the folder brings the share back with it: somebody has to go back again.
	again bool
	// init is what has to be typed before the next rollout; empty for nothing.
	init string
}

// livens makes a site with both colors up, of which blue is stable, and users on it. Shares change live.
func livens(t *testing.T, o stage.Options) *scene {
	t.Helper()
	o.External, o.Config, o.Nginx = true, attacked, "  switch: live\n"+o.Nginx
	s := build(t, o)
	for color, release := range map[string]images.Release{"blue": first, "green": good} {
		s.comes(color, release)
	}
	s.types(0, "init", "--stable", "blue", "--tag", first.Tag)
	require.NoError(t, s.StartNginx(t.Context()))
	s.welcomes(rate)
	return s
}

// suffers plays the faults one after the other.
func (s *scene) suffers(faults []liveFault) {
	for n, f := range faults {
		if !s.t.Run(f.name, func(t *testing.T) {
			s.in(t).suffer(f, []string{"21", "22", "23", "24", "25", "26", "27", "28", "29", "31", "32", "33", "34", "35"}[n])
		}) {
			return // the site is no longer what the next one needs
		}
	}
	s.journalIsWhole()
}

// suffer plays one fault; the larger share is one that has no set yet.
func (s *scene) suffer(f liveFault, larger string) {
	began := time.Now()
	shift := func(weight string) []string {
		return []string{"shift", "--to", "green", "--weight", weight, "--no-guard"}
	}
	s.types(0, shift("20")...)
	s.carries(good.Tag)
	mended := f.strikes(s)
	s.gives(f.dark)
	r := s.types(f.shift, shift(larger)...)
	if f.shift != 0 {
		require.Contains(s.t, joined(r), f.says)
	}
	s.gives(f.shift == 6 || f.shift != 0 && f.dark) // what could not be raised was cut back, what was refused before is as it was
	for range 2 {
		r = s.backs("")
		require.Equal(s.t, f.back, r.Exit, r.Stdout)
		require.Contains(s.t, joined(r), f.admits)
		s.gives(!f.stuck)
	}
	if mended != nil {
		mended()
		s.gives(!f.again)
	}
	if f.init != "" {
		s.types(0, strings.Fields(f.init)...)
	}
	if f.back != 0 || f.again {
		require.Contains(s.t, []int{0, 4}, s.backs("").Exit, "it is whole again")
	}
	now := s.status()
	require.Equal(s.t, "idle", now.Phase, "%+v", now)
	require.Empty(s.t, now.Warnings)
	require.Regexp(s.t, `^blue v1\.0\.0 100 % \(proven `, now.Truth)
	s.none(time.Now(), good.Tag)
	s.types(0, shift("20")...)
	s.carries(good.Tag)
	s.types(0, "back")
	s.none(time.Now(), good.Tag)
	seen := s.since(began)
	require.Zero(s.t, seen.Lost, "%+v", seen)
	require.Zero(s.t, seen.Failed, "%+v", seen)
}

// gives wants the candidate to have users, or none.
func (s *scene) gives(dark bool) {
	s.t.Helper()
	if dark {
		s.none(time.Now(), good.Tag)
	} else {
		s.carries(good.Tag)
	}
}

// joined is all that a command said, on one line.
func joined(r stage.Result) string { return strings.Join(strings.Fields(r.Stdout+r.Stderr), " ") }

// in the app's folder: the entry of that path is removed for good.
func removed(path string) func(*scene) func() {
	return func(s *scene) func() {
		require.NoError(s.t, os.RemoveAll(filepath.Join(s.Root(), path)))
		return nil
	}
}

// instead puts something in the place of the entry of that path. As long as the entry is aside it is not beside where it was: what lies
// in rollouts/ counts.
func instead(path string, put func(s *scene, at string)) func(*scene) func() {
	return func(s *scene) func() {
		at, aside := filepath.Join(s.Root(), path), filepath.Join(s.NginxDir(), "aside")
		require.NoError(s.t, os.Rename(at, aside))
		put(s, at)
		return func() {
			require.NoError(s.t, os.RemoveAll(at))
			require.NoError(s.t, os.Rename(aside, at))
		}
	}
}

// forGood is a fault that nobody brings back.
func forGood(strikes func(*scene) func()) func(*scene) func() {
	return func(s *scene) func() {
		strikes(s)
		require.NoError(s.t, os.RemoveAll(filepath.Join(s.NginxDir(), "aside")))
		return nil
	}
}

func aFile(s *scene, at string) { require.NoError(s.t, os.WriteFile(at, []byte("x"), 0o644)) }

func aFolder(s *scene, at string) { require.NoError(s.t, os.Mkdir(at, 0o755)) }

func aLoop(s *scene, at string) { require.NoError(s.t, os.Symlink(filepath.Base(at), at)) }

// theGreen does something to the candidate's link in the newest rollout's folder.
func theGreen(put func(s *scene, at string)) func(*scene) func() {
	return func(s *scene) func() {
		id, err := os.Readlink(filepath.Join(s.Root(), "rollouts", "open"))
		require.NoError(s.t, err)
		return forGood(instead(filepath.Join("rollouts", id, "green"), put))(s)
	}
}

// anew has the app's folder made again.
var anew = "init --stable blue --tag " + first.Tag

func TestLive_ItsFoldersAreBroken(t *testing.T) {
	t.Parallel()
	livens(t, stage.Options{Name: "broken-folders"}).suffers([]liveFault{
		{name: "sets/ is removed", strikes: removed("sets"), dark: true},
		{name: "sets/ is replaced by a file", strikes: instead("sets", aFile), dark: true, shift: 6, says: "sets/100: not a directory"},
		{name: "rollouts/ is removed", strikes: removed("rollouts"), dark: true, shift: 3, says: "`cutover init --stable COLOR` makes it anew", back: 4, init: anew},
		{name: "rollouts/ is replaced by a file", strikes: instead("rollouts", aFile), dark: true, shift: 3, says: "is no folder", back: 11, admits: "stable gets everything", again: true},
		{name: "stable is removed", strikes: removed("stable"), shift: 3, says: "stable: no such file"},
		{name: "stable is replaced by a file", strikes: forGood(instead("stable", aFile)), shift: 3, says: "cannot be read"},
		{name: "stable leads to itself", strikes: forGood(instead("stable", aLoop)), shift: 3, says: "cannot be read"},
		{name: "open leads to itself", strikes: forGood(instead("rollouts/open", aLoop)), dark: true},
		{name: "green leads to itself", strikes: theGreen(aLoop), dark: true},
		{name: "green is replaced by an empty folder", strikes: theGreen(aFolder), dark: true},
		{name: "current leads to itself", strikes: instead("current", aLoop), shift: 3, says: "too many links"},
		{name: "current is replaced by a file", strikes: instead("current", aFile), shift: 3, says: "not a directory"},
		{name: "the app's folder is removed", strikes: removed(""), dark: true, shift: 3, says: "no such file", back: 4, admits: "there is no", init: anew},
		{name: "the app's folder is replaced by a file", strikes: instead("", aFile), dark: true, shift: 3, says: "not a directory", back: 11, admits: "stable gets everything", again: true},
	})
}

func TestLive_ItsFoldersAreMountedOtherwise(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, unix.Mount("none", dir, "tmpfs", 0, "size=16m,nr_inodes=1k"), "a small disk needs root")
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	s := livens(t, stage.Options{Name: "mounts", Dir: filepath.Join(dir, "stage")})
	here := func(path string) func(*scene) func() {
		return func(s *scene) func() { return readOnly(s.t, filepath.Join(s.Root(), path)) }
	}
	s.suffers([]liveFault{
		{name: "sets/ is on another file system", strikes: elsewhere("sets")},
		{name: "rollouts/ is on another file system", strikes: elsewhere("rollouts"), shift: 3, says: "mounted by itself", again: true},
		{name: "sets/ is read-only", strikes: here("sets"), shift: 6, says: "read-only file system"},
		{name: "rollouts/ is read-only", strikes: here("rollouts"), shift: 3, says: "mount -o remount,rw", back: 11, admits: "mount -o remount,rw", stuck: true, again: true},
		{name: "the app's folder is read-only", strikes: here(""), shift: 3, says: "mount -o remount,rw", back: 11, admits: "mount -o remount,rw", stuck: true, again: true},
		{name: "the disk has no inode left", strikes: func(s *scene) func() {
			crowd := filepath.Join(dir, "crowd")
			require.NoError(s.t, os.Mkdir(crowd, 0o755))
			var err error
			for n := 0; err == nil; n++ {
				err = os.WriteFile(filepath.Join(crowd, strconv.Itoa(n)), nil, 0o644)
			}
			require.ErrorIs(s.t, err, unix.ENOSPC)
			return func() { require.NoError(s.t, os.RemoveAll(crowd)) }
		}, shift: 6, says: "no space left"},
	})
}

// elsewhere mounts another file system over the folder, with a copy of what is in it.
func elsewhere(path string) func(*scene) func() {
	return func(s *scene) func() {
		s.t.Helper()
		at, copied := filepath.Join(s.Root(), path), s.t.TempDir()
		require.NoError(s.t, os.CopyFS(copied, os.DirFS(at)))
		require.NoError(s.t, unix.Mount("none", at, "tmpfs", 0, "size=4m,mode=755"))
		mended := sync.OnceFunc(func() { require.NoError(s.t, unix.Unmount(at, unix.MNT_DETACH)) })
		s.t.Cleanup(mended)
		require.NoError(s.t, os.CopyFS(at, os.DirFS(copied)))
		return mended
	}
}
