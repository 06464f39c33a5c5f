package nginxconf

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// fakeProc is a process table with nginx's master 7, whose workers are 8 and, told to go, 9; 10 is somebody else's.
type fakeProc struct {
	t      *testing.T
	folder string
}

func newFakeProc(t *testing.T) fakeProc {
	f := fakeProc{t, t.TempDir()}
	f.put("uptime", "1000.50 2000.00\n")
	for pid, title := range map[string]string{"7": "nginx: master process", "8": "nginx: worker process", "9": "nginx: " + leaving, "10": "scraper"} {
		parent := "7"
		if pid == "7" || pid == "10" {
			parent = "1"
		}
		f.put(pid+"/stat", pid+" (nginx) S "+parent+" 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 90050 0 0")
		f.put(pid+"/cmdline", title+"\x00")
	}
	f.table("tcp")
	return f
}

func (f fakeProc) put(name, text string) {
	path := filepath.Join(f.folder, name)
	require.NoError(f.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(f.t, os.WriteFile(path, []byte(text), 0o644))
}

// table writes a table of connections; a line is the other side's address, the state, the user and the inode.
func (f fakeProc) table(name string, lines ...string) {
	text := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for n, line := range lines {
		p := strings.Fields(line)
		text += fmt.Sprintf("%4d: 0100007F:9C40 %s %s 00000000:00000000 00:00000000 00000000 %5s        0 %s 1 0000000000000000 20 4 30 10 -1\n", n, p[0], p[1], p[2], p[3])
	}
	f.put("7/net/"+name, text)
}

// holds gives a process sockets among its open files.
func (f fakeProc) holds(pid string, inodes ...string) {
	folder := filepath.Join(f.folder, pid, "fd")
	require.NoError(f.t, os.MkdirAll(folder, 0o755))
	require.NoError(f.t, os.Symlink("/dev/null", filepath.Join(folder, "0")))
	for n, inode := range inodes {
		require.NoError(f.t, os.Symlink("socket:["+inode+"]", filepath.Join(folder, strconv.Itoa(n+3))))
	}
}

func TestConnectionsOfNginxOnly(t *testing.T) {
	us := strconv.Itoa(os.Getuid()) // whose the folders of the fake processes are
	const blue, blueWide, green = "0100007F:4650", "0000000000000000FFFF00000100007F:4650", "0100007F:6D60"
	for name, test := range map[string]struct {
		tcp, tcp6 []string
		held      map[string][]string
		hidden    []string
		want      string
	}{
		"none": {},
		"of both workers": {tcp: []string{blue + " 01 33 100", blue + " 01 33 101"}, held: map[string][]string{"8": {"100", "555"}, "9": {"101"}},
			want: "1 old worker (oldest 1m40s) with 1, 2 connections to blue"},
		"of a worker that stays": {tcp: []string{blue + " 01 33 100"}, held: map[string][]string{"8": {"100"}},
			want: "1 old worker (oldest 1m40s) with 0, 1 connection to blue"},
		"of a program that is not nginx":              {tcp: []string{blue + " 01 " + us + " 100"}, held: map[string][]string{"10": {"100"}, "8": {}, "9": {}}},
		"closed by its worker":                        {tcp: []string{blue + " 06 0 0", blue + " 04 33 0"}, held: map[string][]string{"9": {"0"}}},
		"to the other color, which was not asked for": {tcp: []string{green + " 01 33 100"}, held: map[string][]string{"9": {"100"}}},
		"of a socket of IPv6": {tcp6: []string{blueWide + " 01 33 100"}, held: map[string][]string{"9": {"100"}},
			want: "1 old worker (oldest 1m40s) with 1, 1 connection to blue"},
		"unseen, of the workers' user": {tcp: []string{blue + " 01 " + us + " 100", blue + " 01 77777 101"}, hidden: []string{"8", "9"},
			want: "1 old worker (oldest 1m40s) with 0, 1 connection to blue"},
		"half of them unseen": {tcp: []string{blue + " 01 " + us + " 100", blue + " 01 " + us + " 101"}, hidden: []string{"8"}, held: map[string][]string{"9": {"100"}},
			want: "1 old worker (oldest 1m40s) with 1, 2 connections to blue"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFakeProc(t)
			f.table("tcp", test.tcp...)
			if test.tcp6 != nil {
				f.table("tcp6", test.tcp6...)
			}
			for pid, inodes := range test.held {
				f.holds(pid, inodes...)
			}
			for _, pid := range test.hidden {
				f.put(pid+"/fd", "this is no folder: it cannot be read")
			}
			p := Proxy{procs: processes{f.folder}, options: Options{Web: []Upstream{{Route: "web", Blue: "127.0.0.1:18000", Green: "127.0.0.1:28000"}}}}
			d, err := p.draining(7, traffic.Blue)
			require.NoError(t, err)
			require.Len(t, d.Workers, 1)
			require.Equal(t, 9, d.Workers[0].PID)
			said := strings.Replace(d.String(), ")", fmt.Sprintf(") with %d", d.Workers[0].Connections), 1)
			if test.want == "" {
				test.want = "1 old worker (oldest 1m40s) with 0"
			}
			require.Equal(t, test.want, said)
		})
	}
}

// Before the binary of a running nginx was replaced its workers were those of another master, which no reload reaches.
func TestDrainingOfAReplacedBinary(t *testing.T) {
	f := newFakeProc(t)
	for pid, title := range map[string]string{"3": "nginx: master process nginx", "7": "nginx: master process", "4": "nginx: worker process"} {
		parent := map[string]string{"3": "1", "7": "3", "4": "3"}[pid]
		f.put(pid+"/stat", pid+" (nginx) S "+parent+" 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 90050 0 0")
		f.put(pid+"/cmdline", title+"\x00")
	}
	p := Proxy{procs: processes{f.folder}}
	d, err := p.draining(7, traffic.Blue)
	require.NoError(t, err)
	require.ElementsMatch(t, []int{4, 9}, []int{d.Workers[0].PID, d.Workers[1].PID})
	all, err := p.procs.workers(7)
	require.NoError(t, err)
	require.Len(t, p.procs.accepting(all), 2, "4 and 8")

	f.put("3/cmdline", "systemd\x00")
	d, err = p.draining(7, traffic.Blue)
	require.NoError(t, err)
	require.Len(t, d.Workers, 1, "another parent's children are nobody's workers")
}

func TestConnectionsThatCannotBeRead(t *testing.T) {
	f := newFakeProc(t)
	p := Proxy{procs: processes{f.folder}}
	require.NoError(t, os.Remove(filepath.Join(f.folder, "7", "net", "tcp")))
	_, err := p.draining(7, traffic.Blue)
	require.ErrorIs(t, err, os.ErrNotExist, "what cannot be seen is not over")
	_, err = p.draining(99, traffic.Blue)
	require.ErrorIs(t, err, errHidden)
}

// The kernel's own tables, on sockets of this process.
func TestConnectionsInTheKernelsTables(t *testing.T) {
	us := []process{{pid: os.Getpid()}}
	procs := processes{"/proc"}
	for _, host := range []string{"127.0.0.1", "::1"} {
		listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		require.NoError(t, err, "this test needs the loopback address %s", host)
		address := netip.MustParseAddrPort(listener.Addr().String())
		to := map[string]traffic.Color{}
		for _, written := range kernelAddresses(address) {
			to[written] = traffic.Blue
		}
		found := func(workers []process) []connection {
			open, err := procs.connections(os.Getpid(), workers, to)
			require.NoError(t, err)
			return open
		}
		require.Empty(t, found(us), "a listener is no connection")
		conn, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		accepted, err := listener.Accept()
		require.NoError(t, err)
		require.Equal(t, []connection{{os.Getpid(), traffic.Blue}}, found(us), "the accepted side is not one to the address")
		require.Empty(t, found([]process{{pid: os.Getppid()}}), "our parent has none of it")
		require.NoError(t, conn.Close())
		require.Empty(t, found(us))
		require.NoError(t, accepted.Close())
		require.NoError(t, listener.Close())
	}
	age := procs.age(mustRead(t, procs, os.Getpid()))
	require.Positive(t, age)
	require.Less(t, age, time.Hour, "this test is younger")
}

func mustRead(t *testing.T, procs processes, pid int) process {
	t.Helper()
	p, err := procs.read(pid)
	require.NoError(t, err)
	return p
}

// heldByNow gives a rig whose rollout is finished but for a request that is open to blue through a worker of now, which no reload made
// go. It ends with its answer when blue's stall is closed.
func heldByNow(t *testing.T) (r *rig, id traffic.RolloutID, ended <-chan string) {
	t.Helper()
	r = newRig(t)
	address := freePort(t)
	r.write("foreign/straight.conf", fmt.Sprintf("server { listen %s; location / { proxy_pass http://%s; } }\n", address, r.blue.address))
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	r.start()
	id = r.open()
	r.raise(id, 100)
	_, i, err := r.proxy.makeDefault(t.Context(), split(id, 100))
	require.NoError(t, err)
	eventually(t, func() bool {
		d, err := r.proxy.draining(i.master, traffic.Blue)
		return err == nil && d.Over()
	}, r.errors)
	answers := make(chan string, 1)
	go func() {
		patient := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := patient.Get("http://" + address + "/slow")
		if err != nil {
			answers <- err.Error()
			return
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		answers <- string(text)
	}()
	eventually(t, func() bool { return r.blue.slow.Load() == 1 }, r.errors)
	return r, id, answers
}

// A request that is open to the old color through a worker of now keeps the old stack as well as an old worker does.
func TestFinishWaitsForConnections(t *testing.T) {
	r, id, ended := heldByNow(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err := r.proxy.Finish(ctx, split(id, 100))
	require.ErrorIs(t, err, ErrDraining)
	require.ErrorContains(t, err, "nginx has not let go of the old release: 1 connection to blue; waits for ")
	require.Equal(t, traffic.Busy, traffic.KindOf(err))
	require.DirExists(t, r.proxy.fence.doneFolder(id))
	d, err := r.proxy.Draining(t.Context(), traffic.Blue, traffic.Green)
	require.NoError(t, err)
	require.Equal(t, Draining{Connections: map[traffic.Color]int{traffic.Blue: 1}}, d)

	close(r.blue.stall)
	require.Equal(t, "blue", <-ended)
	live, err := r.proxy.Finish(briefly(t), split(id, 100))
	require.NoError(t, err)
	require.Zero(t, live.Severed)
	require.NoDirExists(t, r.proxy.fence.doneFolder(id))
}

// When the grace is over the old stack is free, and the connections that end with it are counted.
func TestFinishWhenTheGraceIsOver(t *testing.T) {
	r, id, ended := heldByNow(t)
	r.proxy.options.Config.Drain = 2 * time.Second
	r.proxy.options.Now = func() time.Time { return time.Now().Add(-time.Hour) }
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := r.proxy.Finish(ctx, split(id, 100))
	require.ErrorIs(t, err, ErrDraining)
	r.proxy.options.Now = time.Now
	live, err := r.proxy.Finish(briefly(t), split(id, 100))
	require.NoError(t, err)
	require.Equal(t, 1, live.Severed)
	require.NoDirExists(t, r.proxy.fence.doneFolder(id))
	close(r.blue.stall)
	require.Equal(t, "blue", <-ended, "nginx itself cuts nobody off")
}

func TestNothingDrainsBeforeTheFirstRollout(t *testing.T) {
	r := newRig(t)
	d, err := r.proxy.Draining(t.Context(), traffic.Blue)
	require.NoError(t, err)
	require.True(t, d.Over())
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	d, err = r.proxy.Draining(t.Context(), traffic.Blue)
	require.NoError(t, err)
	require.True(t, d.Over())
}

func TestAGraceHasALength(t *testing.T) {
	c := DefaultConfig()
	require.NoError(t, c.Validate())
	c.Drain = 0
	require.ErrorContains(t, c.Validate(), "nginx.drain: must be above 0s")
}
