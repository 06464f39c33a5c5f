package nginxconf

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Where the kernel lists a process's children, they are those that a look at every process finds.
func TestChildren_AreThoseOfTheWholeTable(t *testing.T) {
	parent := exec.Command("sh", "-c", "exec 3<&0; cat <&3 & cat <&3 & echo begun; wait")
	in, err := parent.StdinPipe()
	require.NoError(t, err)
	out, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = parent.Process.Kill()
		_ = parent.Wait()
	})
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	procs := processes{"/proc"}
	listed, known := procs.children(parent.Process.Pid)
	if !known {
		t.Fatal("this kernel lists no children: nothing was compared")
	}
	all, err := procs.all()
	require.NoError(t, err)
	found := slices.DeleteFunc(all, func(pid int) bool {
		p, err := procs.read(pid)
		return err != nil || p.parent != parent.Process.Pid
	})
	require.Len(t, listed, 2)
	require.ElementsMatch(t, found, listed)
	_, known = processes{t.TempDir()}.children(parent.Process.Pid)
	require.False(t, known, "an older kernel")
}

// A binary that is replaced is asked again after a moment, and always where there is no clock.
func TestBuild_IsAskedForAgain(t *testing.T) {
	now := time.Unix(0, 0)
	o := Options{Config: Config{Binary: "nginx", Dir: filepath.Join(t.TempDir(), "cutover")}, App: "shop", Now: func() time.Time { return now }}
	version := func(p *Proxy) string {
		b, err := p.build(t.Context())
		require.NoError(t, err)
		return b.Version
	}
	p := New(o)
	p.options.Host = saying{output: "nginx version: nginx/1.18.0\nconfigure arguments:\n"}
	require.Equal(t, "1.18.0", version(p))
	p.options.Host = saying{output: "nginx version: nginx/1.22.1\nconfigure arguments:\n"}
	require.Equal(t, "1.18.0", version(p), "one shift asks once")
	now = now.Add(askedFor)
	require.Equal(t, "1.22.1", version(p))
	p.options.Host = saying{output: "nginx version: nginx/1.26.0\nconfigure arguments:\n"}
	now = now.Add(-time.Hour)
	require.Equal(t, "1.26.0", version(p), "a clock that was set back says nothing of age")
	p.options.Now = nil
	p.options.Host = saying{output: "nginx version: nginx/1.30.0\nconfigure arguments:\n"}
	require.Equal(t, "1.30.0", version(p))
}

// An address is looked up without a pattern, unless it is another's too or too long for nginx's table.
func TestAttempts_AreAddressesOfTheirOwn(t *testing.T) {
	short, long := serverView{Address: "127.0.0.1:18000", Color: "blue"}, serverView{Address: "[2001:db8:1111:2222:3333:4444:5555:6666]:18000"}
	again := serverView{Address: short.Address, Color: "green"}
	longest := serverView{Address: "[2001:1db8:1111:2222:3333:4444:5555:6666]:18000"}
	require.Len(t, longest.Address, 47)
	require.Equal(t, []serverView{short, long}, attempts([]serverView{short, again, long, longest}))
}
