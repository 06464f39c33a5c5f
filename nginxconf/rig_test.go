package nginxconf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"cutover/traffic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// realHost runs programs on this machine. The hooks, where set, come before an effect.
type realHost struct {
	hangups      atomic.Int32
	beforeRun    func(argv []string)
	beforeHangup func()
}

func (h *realHost) Run(ctx context.Context, argv ...string) ([]byte, error) {
	if h.beforeRun != nil {
		h.beforeRun(argv)
	}
	return exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
}

func (h *realHost) Hangup(pid int) error {
	h.hangups.Add(1)
	if h.beforeHangup != nil {
		h.beforeHangup()
	}
	return syscall.Kill(pid, syscall.SIGHUP)
}

var lastPort atomic.Int32

// portBlock is where this process has a hundred loopback ports. A listener in front of them keeps them from other runs of these tests.
var portBlock = sync.OnceValues(func() (first int, err error) {
	for block := range 30 {
		if _, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 21960+block)); err == nil { // for as long as the process lives
			return 22000 + 100*block, nil
		}
	}
	return 0, err
})

// freePort gives a loopback address that nobody else has.
func freePort(t *testing.T) string {
	t.Helper()
	first, err := portBlock()
	require.NoError(t, err)
	for range 300 {
		address := fmt.Sprintf("127.0.0.1:%d", first+int(lastPort.Add(1))%100)
		if l, err := net.Listen("tcp", address); err == nil {
			require.NoError(t, l.Close())
			return address
		}
	}
	t.Fatalf("no port is free from %d to %d", first, first+99)
	return ""
}

// release is a tiny upstream of one color. It counts what it gets, and apart what began after a cutback.
type release struct {
	address string
	server  *http.Server
	// late counts requests that a client began after it knew of the cutback, slow those to /slow.
	all, late, slow atomic.Int64
	// stall, where set, keeps answers to /slow back until it is closed.
	stall chan struct{}
}

// afterCut marks requests that begin after the cutback.
const afterCut = "X-After-Cut"

func newRelease(t *testing.T, c traffic.Color) *release {
	t.Helper()
	r := &release{address: freePort(t), stall: make(chan struct{})}
	listener, err := net.Listen("tcp", r.address)
	require.NoError(t, err)
	r.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.all.Add(1)
		if q.Header.Get(afterCut) != "" {
			r.late.Add(1)
		}
		if q.URL.Path == "/slow" {
			r.slow.Add(1)
			select {
			case <-r.stall:
			case <-q.Context().Done():
			}
		}
		fmt.Fprint(w, c)
	})}
	var served sync.WaitGroup
	served.Go(func() { _ = r.server.Serve(listener) })
	t.Cleanup(func() { require.NoError(t, r.server.Close()); served.Wait() })
	return r
}

// rig is a real nginx with its own tree, two releases behind it, and the Proxy that moves its traffic.
type rig struct {
	t           *testing.T
	folder      string
	root        string
	site        string
	blue, green *release
	host        *realHost
	options     Options
	proxy       *Proxy
	nginx       *exec.Cmd
}

// newRig prepares everything; nginx is not started, and has no tree yet.
func newRig(t *testing.T) *rig {
	t.Helper()
	binary := stockNginx(t)
	folder := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(folder), 0o755)) // testing makes it for its owner only
	r := &rig{t: t, folder: folder, site: freePort(t), blue: newRelease(t, traffic.Blue), green: newRelease(t, traffic.Green), host: &realHost{}}
	config := DefaultConfig()
	config.Dir, config.Binary, config.Probe = filepath.Join(folder, "cutover"), binary, freePort(t)
	config.Conf, config.Prefix = filepath.Join(folder, "nginx.conf"), folder
	r.options = Options{
		Config: config, App: "shop", Env: "test", Host: r.host, Now: time.Now, AccessLog: filepath.Join(folder, "cutover-shop.log"),
		Web: []Upstream{{Route: "web", Blue: r.blue.address, Green: r.green.address}},
	}
	r.root = filepath.Join(config.Dir, "shop")
	r.proxy = New(r.options)
	require.NoError(t, os.Mkdir(filepath.Join(folder, "foreign"), 0o755))
	r.configure(currentUser())
	return r
}

// currentUser keeps nginx's workers from changing their user where the tests run as root.
func currentUser() string {
	if os.Geteuid() == 0 {
		return "user root;"
	}
	return ""
}

// needsRoot leaves out what only root can try, and fails where the run demands everything.
func needsRoot(t *testing.T, why string) {
	t.Helper()
	if os.Geteuid() != 0 {
		require.Empty(t, os.Getenv("CUTOVER_REQUIRE_REAL"), "this run demands root")
		t.Skip("NOT TESTED: " + why)
	}
}

// unprivileged is the line by which nginx's workers become nobody.
func unprivileged(t *testing.T) string {
	t.Helper()
	needsRoot(t, "only root's nginx changes the user of its workers")
	nobody, err := user.Lookup("nobody")
	require.NoError(t, err)
	group, err := user.LookupGroupId(nobody.Gid)
	require.NoError(t, err)
	return "user nobody " + group.Name + ";"
}

// configure writes the user's own nginx.conf.
func (r *rig) configure(user string) {
	temporary := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += fmt.Sprintf("%s_temp_path %s/temp-%s;\n", kind, r.folder, kind)
	}
	r.write("nginx.conf", fmt.Sprintf(`%s
worker_processes 2;
pid nginx.pid;
error_log error.log notice;
events { worker_connections 512; }
http {
    %s
    access_log off;
    include foreign/*.conf;
    include %s/current/http.conf;
    server {
        listen %s;
        include %s/current/server.conf;
        location / {
            proxy_pass http://$cutover_shop_web;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    }
}
`, user, temporary, r.root, r.site, r.root))
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	require.NoError(r.t, os.WriteFile(filepath.Join(r.folder, name), []byte(text), 0o644))
}

// breakForeign puts a file into nginx's configuration that somebody else broke; mend takes it away.
func (r *rig) breakForeign() { r.write("foreign/broken.conf", "this is not nginx;\n") }

func (r *rig) mend() {
	require.NoError(r.t, os.Remove(filepath.Join(r.folder, "foreign", "broken.conf")))
}

// start runs nginx and waits until the site answers.
func (r *rig) start() {
	r.t.Helper()
	binary := r.options.Config.Binary
	r.nginx = exec.Command(binary, append(early(r.t, binary, "error.log"), "-p", r.folder, "-c", filepath.Join(r.folder, "nginx.conf"), "-g", "daemon off;")...)
	r.nginx.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said strings.Builder
	r.nginx.Stderr = &said
	require.NoError(r.t, r.nginx.Start())
	r.t.Cleanup(r.kill)
	eventually(r.t, func() bool {
		_, err := r.get("/")
		pid, _ := os.ReadFile(filepath.Join(r.folder, "nginx.pid")) // written after it listens
		return err == nil && len(pid) > 0
	}, func() string { return said.String() + r.errors() })
}

// kill ends nginx as a power loss would: the master and its workers at once.
func (r *rig) kill() {
	if r.nginx == nil {
		return
	}
	_ = syscall.Kill(-r.nginx.Process.Pid, syscall.SIGKILL)
	_ = r.nginx.Wait()
	r.nginx = nil
}

func (r *rig) restart() {
	r.t.Helper()
	r.kill()
	r.start()
}

// errors is nginx's error log.
func (r *rig) errors() string {
	text, _ := os.ReadFile(filepath.Join(r.folder, "error.log"))
	return string(text)
}

// client sends each request on a connection of its own.
var client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// get asks the site and gives the color that answered.
func (r *rig) get(path string, headers ...string) (string, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+r.site+path, nil)
	if err != nil {
		return "", err
	}
	for _, h := range headers {
		request.Header.Set(h, "1")
	}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = errors.New(response.Status)
	}
	return string(body), err
}

// share asks the site n times and gives green's part in percent. No request may fail.
func (r *rig) share(n int) float64 {
	r.t.Helper()
	green := 0
	for range n {
		color, err := r.get("/")
		require.NoError(r.t, err)
		if color == "green" {
			green++
		}
	}
	return 100 * float64(green) / float64(n)
}

// load sends requests from several clients until stopped. Requests that begin after mark was called say so.
type load struct {
	marked  atomic.Bool
	stopped chan struct{}
	clients sync.WaitGroup
	sent    atomic.Int64
	failed  atomic.Int64
}

func (r *rig) load() *load {
	l := &load{stopped: make(chan struct{})}
	for range 4 {
		l.clients.Go(func() {
			for {
				select {
				case <-l.stopped:
					return
				default:
				}
				var headers []string
				if l.marked.Load() {
					headers = append(headers, afterCut)
				}
				if _, err := r.get("/", headers...); err != nil {
					l.failed.Add(1)
				}
				l.sent.Add(1)
			}
		})
	}
	return l
}

// more waits until the clients have sent n requests more.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	from := l.sent.Load()
	eventually(t, func() bool { return l.sent.Load() >= from+n }, func() string { return "the load does not move" })
}

func (l *load) stop() {
	close(l.stopped)
	l.clients.Wait()
}

// eventually polls until the condition holds.
func eventually(t *testing.T, holds func() bool, otherwise func() string) {
	t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatal("never came true: " + otherwise())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var tags = map[traffic.Color]string{traffic.Blue: "v1.3.2", traffic.Green: "v1.4.0"}

// serving starts nginx with its first tree, blue stable.
func serving(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	r.start()
	return r
}

// open begins a rollout of green.
func (r *rig) open() traffic.RolloutID {
	r.t.Helper()
	id, err := r.proxy.Open(r.t.Context(), 0, split(0, 0))
	require.NoError(r.t, err)
	return id
}

// split gives green a share, in percent.
func split(id traffic.RolloutID, percent int) traffic.Split {
	return traffic.Split{Rollout: id, Stable: traffic.Blue, Weight: traffic.Weight(percent * 100), Releases: tags}
}

// raise gives green a share and expects it to be proven.
func (r *rig) raise(id traffic.RolloutID, percent int) traffic.Live {
	r.t.Helper()
	live, err := r.proxy.Raise(r.t.Context(), split(id, percent))
	require.NoError(r.t, err, r.errors())
	require.True(r.t, live.Open)
	require.Equal(r.t, traffic.Weight(percent*100), live.Share(traffic.Green))
	return live
}

// firstLine decodes the first line of a log.
func firstLine(path string, into any) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return json.Unmarshal([]byte(line), into)
}
