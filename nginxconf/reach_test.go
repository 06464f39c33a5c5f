package nginxconf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// reachable is a folder three deep that anybody may read; every folder above it is open too.
func reachable(t *testing.T) (top, dir string) {
	t.Helper()
	top, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	dir = filepath.Join(top, "cutover", "shop")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.Chmod(filepath.Dir(top), 0o755))
	require.NoError(t, os.Chmod(top, 0o755))
	return top, dir
}

func TestCheckReachNamesTheFolderAndItsChmod(t *testing.T) {
	tests := []struct {
		name          string
		top, mid, dir fs.FileMode
		err, hint     string // empty where it is reached
	}{
		{"open", 0o755, 0o755, 0o755, "", ""},
		{"to be passed only", 0o711, 0o711, 0o755, "", ""},
		{"barred at the top", 0o700, 0o700, 0o755, "who cannot enter TOP (drwx------)", "`chmod o+x TOP`"},
		{"barred in the middle", 0o755, 0o744, 0o755, "who cannot enter TOP/cutover (drwxr--r--)", "`chmod o+x TOP/cutover`"},
		{"not readable", 0o755, 0o755, 0o751, "who cannot read TOP/cutover/shop (drwxr-x--x)", "`chmod o+r TOP/cutover/shop`"},
		{"closed", 0o755, 0o755, 0o750, "who cannot enter or read TOP/cutover/shop (drwxr-x---)", "`chmod o+rx TOP/cutover/shop`"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			top, dir := reachable(t)
			require.NoError(t, os.Chmod(dir, test.dir))
			require.NoError(t, os.Chmod(filepath.Dir(dir), test.mid))
			require.NoError(t, os.Chmod(top, test.top))
			t.Cleanup(func() { require.NoError(t, errors.Join(os.Chmod(top, 0o700), os.Chmod(filepath.Dir(dir), 0o700))) })
			err := CheckReach(dir, "nobody")
			require.NoError(t, CheckReach(dir, "root"))
			require.NoError(t, CheckReach(dir, ""))
			if test.err == "" {
				require.NoError(t, err)
				return
			}
			fault, ok := errors.AsType[*traffic.Fault](err)
			require.True(t, ok)
			require.Equal(t, traffic.Preflight, fault.Kind)
			require.Contains(t, err.Error(), strings.ReplaceAll(test.err, "TOP", top))
			require.Contains(t, fault.Hint, strings.ReplaceAll(test.hint, "TOP", top))
		})
	}
}

// The way through a symbolic link is barred where its target is.
func TestCheckReachFollowsLinks(t *testing.T) {
	top, dir := reachable(t)
	link := filepath.Join(top, "link")
	require.NoError(t, os.Symlink(filepath.Dir(dir), link))
	require.NoError(t, CheckReach(link+"/shop", "nobody"))
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o700))
	require.ErrorContains(t, CheckReach(link+"/shop", "nobody"), "cannot enter "+link+" ")
}

func TestCheckReachOfWhatIsNotThere(t *testing.T) {
	_, dir := reachable(t)
	require.ErrorIs(t, CheckReach(dir+"/gone", "nobody"), fs.ErrNotExist)
	require.Equal(t, traffic.Preflight, traffic.KindOf(CheckReach(dir+"/gone", "nobody")))
	require.ErrorContains(t, CheckReach(dir, "no-such-user"), "nginx's worker user no-such-user")
}

// The kernel is asked too: a process of that user tries to pass, for every owner and many modes.
func TestCheckReachAgreesWithTheKernel(t *testing.T) {
	needsRoot(t, "not root: no process of another user can be started to ask the kernel")
	nobody, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.Atoi(nobody.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(nobody.Gid)
	require.NoError(t, err)
	top, dir := reachable(t)
	for _, owner := range [][2]int{{0, 0}, {uid, 0}, {0, gid}, {uid, gid}} {
		for _, mode := range []fs.FileMode{0o755, 0o700, 0o070, 0o007, 0o711, 0o050, 0o005, 0o500, 0o010, 0o001, 0o100, 0o400, 0o677, 0o767, 0o776, 0} {
			for _, path := range []string{dir, filepath.Dir(dir)} {
				require.NoError(t, os.Chown(path, owner[0], owner[1]))
				require.NoError(t, os.Chmod(path, mode))
				try := exec.Command("/bin/sh", "-c", `cd "$0" && ls .`, dir)
				try.Dir = "/"
				try.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
				said, real := try.CombinedOutput()
				got := CheckReach(dir, "nobody")
				require.Equal(t, real == nil, got == nil, fmt.Sprintf("%s %v %s: %v, %s", path, owner, mode, got, said))
				require.NoError(t, os.Chown(path, 0, 0))
				require.NoError(t, os.Chmod(path, 0o755))
			}
		}
	}
	require.NoError(t, CheckReach(top, "nobody"))
}
