package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"cutover/traffic/journal"
)

// The scripts type commands at a small site of external stacks. Some have a real nginx, none has an engine.
func TestScript(t *testing.T) {
	if _, err := exec.LookPath("nginx"); err != nil && os.Getenv("CUTOVER_REQUIRE_REAL") != "" {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", Setup: site, UpdateScripts: *update, RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await, "exits": exits, "hold": hold, "narrow": narrow, "sees": sees,
		},
	})
}

var sites atomic.Int64

// site gives each script loopback addresses of its own, and a folder with a cutover.yaml and an nginx.conf where it brings none.
func site(env *testscript.Env) error {
	ip := fmt.Sprintf("127.70.%d.%d", os.Getpid()%250+1, sites.Add(1))
	env.Setenv("IP", ip)
	env.Setenv("BLUE", ip+":18000")
	env.Setenv("GREEN", ip+":28000")
	env.Setenv("FRONT", ip+":8080")
	env.Setenv("PROBE", ip+":18999")
	env.Setenv("CUTOVER_ACTOR", "ann@host")
	env.Setenv("GORACE", "atexit_sleep_ms=0") // the race detector would let each command last a second longer
	env.Cd = filepath.Join(env.WorkDir, "site")
	for name, text := range map[string]string{"site/cutover.yaml": siteConfig, "nginx/nginx.conf": siteNginx} {
		path := filepath.Join(env.WorkDir, name)
		if _, err := os.Stat(path); err == nil {
			continue
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			return err
		}
	}
	return errors.Join(fillIn(env, "site/*.yaml"), fillIn(env, "nginx/*.conf"), os.MkdirAll(filepath.Join(env.WorkDir, "nginx", "logs"), 0o755))
}

// fillIn puts the script's variables into files; other dollar signs stay.
func fillIn(env *testscript.Env, pattern string) error {
	files, err := filepath.Glob(filepath.Join(env.WorkDir, pattern))
	for _, path := range files {
		text, readErr := os.ReadFile(path)
		filled := os.Expand(string(text), func(name string) string { return orElse(env.Getenv(name), "$"+name) })
		err = errors.Join(err, readErr, os.WriteFile(path, []byte(filled), 0o644))
	}
	return err
}

const siteConfig = `app: shop
state: $WORK/state
stacks:
  driver: external
  web: [{ service: web, blue: $BLUE, green: $GREEN }]
  ready: { timeout: 5s, consecutive: 1 }
  smoke: [{ path: /, contains: "{{.Tag}}" }]
nginx:
  dir: $WORK/nginx/cutover
  conf: $WORK/nginx/nginx.conf
  prefix: $WORK/nginx
  probe: $PROBE
signals:
  access_log: { path: $WORK/nginx/logs/cutover.log }
`

const siteNginx = `user root;
pid $WORK/nginx/nginx.pid;
error_log $WORK/nginx/logs/error.log;
worker_shutdown_timeout 5s;
events { }
http {
    access_log off;
    client_body_temp_path $WORK/nginx/body;
    proxy_temp_path $WORK/nginx/proxy;
    fastcgi_temp_path $WORK/nginx/fastcgi;
    uwsgi_temp_path $WORK/nginx/uwsgi;
    scgi_temp_path $WORK/nginx/scgi;
    include $WORK/nginx/cutover/shop/current/http.conf;
    server {
        listen $FRONT;
        include $WORK/nginx/cutover/shop/current/server.conf;
        location / { proxy_pass http://$cutover_shop_web; }
    }
}
`

// patience bounds what a script waits for.
const patience = time.Minute

// await waits until something listens at the address.
func await(ts *testscript.TestScript, _ bool, args []string) {
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if conn, err := net.DialTimeout("tcp", args[0], time.Second); err == nil {
			ts.Check(conn.Close())
			return
		}
	}
	ts.Fatalf("nothing listens at %s", args[0])
}

// hold holds the rollout lock in the folder until the script ends, as bob.
func hold(ts *testscript.TestScript, _ bool, args []string) {
	lock, err := journal.TryLock(ts.MkAbs(args[0]), journal.Holder{
		PID: 4711, Actor: "bob@ci", Command: "cutover promote --tag v9.9.9", Rollout: "000009", Since: time.Now(),
	})
	ts.Check(err)
	ts.Defer(func() { ts.Check(lock.Unlock()) })
}

// exits runs a command and wants its exit code: exits 2 cutover shift.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	code := 0
	err := ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code, err = exit.ExitCode(), nil
	}
	ts.Check(err)
	if want := args[0]; want != strconv.Itoa(code) {
		ts.Fatalf("exit code %d, not %s", code, want)
	}
}

// narrow wants that each line of the file fits the columns.
func narrow(ts *testscript.TestScript, _ bool, args []string) {
	for line := range strings.SplitSeq(ts.ReadFile(args[0]), "\n") {
		if n := len([]rune(line)); n > backColumns {
			ts.Fatalf("%d columns: %q", n, line)
		}
	}
}

// sees repeats a command until what it says on standard output matches: sees 'at 20 %' cutover status.
func sees(ts *testscript.TestScript, _ bool, args []string) {
	wanted := regexp.MustCompile("(?m)" + args[0])
	for until := time.Now().Add(patience); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if wanted.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("%s was never seen", args[0])
}
