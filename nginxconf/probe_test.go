package nginxconf

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// answering puts a program on a port that writes the same bytes to everybody.
func answering(t *testing.T, text string) string {
	t.Helper()
	listener, err := net.Listen("tcp", freePort(t))
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = conn.Write([]byte(text))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { require.NoError(t, listener.Close()); <-done })
	return listener.Addr().String()
}

// ok is an HTTP answer with this body.
func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body)
}

func TestWhoAnswersTheProbe(t *testing.T) {
	const ours = `{"app":"shop","generation":124,"rollout":"000017","stable":"blue","weight":0.5,"releases":{"green":"v2"},"pool":"%s"}`
	split := traffic.Split{Rollout: 17, Stable: traffic.Blue, Weight: 50, Releases: map[traffic.Color]string{traffic.Green: "v2"}}
	for name, c := range map[string]struct {
		text string
		want traffic.Live
		says string
	}{
		"stable":         {ok(fmt.Sprintf(ours, "stable")), traffic.Live{Generation: 124, Split: split}, ""},
		"split":          {ok(fmt.Sprintf(ours, "split")), traffic.Live{Generation: 124, Split: split, Open: true}, ""},
		"finishing":      {ok(fmt.Sprintf(ours, "candidate")), traffic.Live{Generation: 124, Split: split, Finished: true}, ""},
		"another app":    {ok(`{"app":"blog","generation":1,"stable":"blue","weight":0}`), traffic.Live{}, "knows app blog but not shop"},
		"a web page":     {ok("<html>welcome</html>"), traffic.Live{}, "answered by something else"},
		"other JSON":     {ok(`{"status":"up"}`), traffic.Live{}, "answered by something else"},
		"a bad split":    {ok(`{"app":"shop","stable":"red"}`), traffic.Live{}, "answered by something else"},
		"endless JSON":   {ok(`{"app":"` + strings.Repeat("x", 1<<17) + `"}`), traffic.Live{}, "answered by something else"},
		"not found":      {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", traffic.Live{}, "404 Not Found"},
		"a redirect":     {"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n", traffic.Live{}, "302 Found"},
		"another speech": {"SSH-2.0-OpenSSH_9.2\r\n", traffic.Live{}, "malformed HTTP"},
		"nothing":        {"", traffic.Live{}, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProbe("", answering(t, c.text), "shop", time.Now)
			live, err := p.ask(t.Context())
			if c.says != "" {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			require.False(t, live.At.IsZero())
			live.At = time.Time{}
			require.Equal(t, c.want, live)
		})
	}
}

func TestFreeTellsANeighbourFromAStranger(t *testing.T) {
	nobody := newProbe("", freePort(t), "shop", time.Now)
	require.NoError(t, nobody.free(t.Context()))
	neighbour := newProbe("", answering(t, ok(`{"app":"blog","generation":1,"stable":"blue","weight":0}`)), "shop", time.Now)
	require.NoError(t, neighbour.free(t.Context()), "nginx itself has the port, for another app")
	for _, text := range []string{"SSH-2.0-OpenSSH_9.2\r\n", ok("hello"), ""} {
		stranger := newProbe("", answering(t, text), "shop", time.Now)
		require.Equal(t, traffic.Preflight, traffic.KindOf(stranger.free(t.Context())), text)
	}
}

func TestLiveWithoutNginx(t *testing.T) {
	r := serving(t)
	r.kill()
	_, err := r.proxy.Live(t.Context())
	var fault *traffic.Fault
	require.ErrorAs(t, err, &fault)
	require.Equal(t, traffic.Unproven, fault.Kind)
	require.Contains(t, fault.Hint, "Nobody listens")
}

// Two apps share one nginx, one probe port and one lock; each moves alone.
func TestTwoAppsInOneNginx(t *testing.T) {
	r := serving(t)
	r.raise(r.open(), 20)
	blog := r.options
	blog.App, blog.AccessLog = "blog-2", filepath.Join(r.folder, "blog.log")
	p := New(blog)
	require.NoError(t, p.Base(t.Context(), traffic.Green, tags), "its includes are not there yet")
	root := filepath.Join(blog.Config.Dir, "blog-2")
	site := freePort(t)
	r.write("foreign/blog.conf", fmt.Sprintf(`include %s/current/http.conf;
		server { listen %s; include %s/current/server.conf; location / { proxy_pass http://$cutover_blog_2_web; } }`, root, site, root))
	require.NoError(t, p.Base(t.Context(), traffic.Green, tags), "now it is loaded")
	live, err := p.Live(t.Context())
	require.NoError(t, err)
	require.Equal(t, traffic.Full, live.Share(traffic.Green))
	response, err := client.Get("http://" + site)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	_, err = Back(t.Context(), root, &realHost{}, time.Now)
	require.NoError(t, err)
	require.InDelta(t, 20, r.share(200), 6, "the neighbour keeps its share")
}

// A pid file that was left over may hold anybody's number: that process must never be told to hang up.
func TestPidFileOfSomebodyElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nginx.pid")
	procs := processes{"/proc"}
	for name, text := range map[string]string{"ours": strconv.Itoa(os.Getpid()), "none": "999999999", "no number": "x", "empty": "", "a group": "-1"} {
		require.NoError(t, os.WriteFile(path, []byte(text+"\n"), 0o644))
		_, err := procs.master(view{}, path)
		require.Equal(t, traffic.Preflight, traffic.KindOf(err), name)
	}
}

func TestProcessesAreReadWhateverTheirName(t *testing.T) {
	procs := processes{t.TempDir()}
	put := func(pid, name, title string) {
		folder := filepath.Join(procs.folder, pid)
		require.NoError(t, os.MkdirAll(folder, 0o755))
		stat := pid + " (" + name + ") S 7 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 290883 0 0"
		require.NoError(t, os.WriteFile(filepath.Join(folder, "stat"), []byte(stat), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(folder, "cmdline"), []byte(title), 0o644))
	}
	_, err := procs.workers(7)
	require.ErrorIs(t, err, errHidden)
	put("8", "nginx", "nginx: worker process\x00")
	put("9", "a) S 1 (b", "nginx: worker process is shutting down\x00\x00")
	put("10", "nginx", "nginx: cache manager process")
	all, err := procs.workers(7)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, []process{{pid: 9, parent: 7, start: "290883"}}, procs.leaving(all))
	require.Equal(t, []process{{pid: 8, parent: 7, start: "290883"}}, procs.accepting(all))
	require.NoError(t, os.RemoveAll(filepath.Join(procs.folder, "8")))
	require.Empty(t, procs.accepting(all))
	put("8", "nginx", "nginx: worker process")
	all[0].start, all[1].start = "1", "1"
	require.Empty(t, procs.accepting(all), "another process that got an old number is nobody's old worker")
}
