package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/load"
	"cutover/e2e/stage"
)

// berth is a scene whose nginx.binary is a file of its own, by which another version takes the place of the one before.
type berth struct {
	*scene
	program string
	running *exec.Cmd
}

// debian is the nginx of a Debian release, as setup left it; none for the machine's own.
func debian(t *testing.T, release string) string {
	t.Helper()
	path, err := exec.LookPath(filepath.Join("..", ".tools", "nginx", release, "nginx"))
	if err != nil {
		if os.Getenv("CUTOVER_REQUIRE_REAL") != "" {
			t.Fatalf("the nginx of Debian %s is not here: sh e2e/setup.sh nginxes", release)
		}
		t.Skipf("NOT PLAYED: the nginx of Debian %s is not here: sh e2e/setup.sh nginxes", release)
	}
	path, err = filepath.Abs(path)
	require.NoError(t, err)
	return path
}

// installs replaces the program, as a package manager does: by one rename. What runs goes on.
func (b *berth) installs(script string) {
	b.t.Helper()
	require.NoError(b.t, os.WriteFile(b.program+".new", []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	require.NoError(b.t, os.Rename(b.program+".new", b.program))
}

// starts has the installed program serve; an error with what it said where it does not start.
func (b *berth) boots() error {
	b.t.Helper()
	c := exec.Command(b.program, "-p", filepath.Dir(b.NginxConf()), "-c", b.NginxConf(), "-g", "daemon off;")
	said := &transcript{}
	c.Stdout, c.Stderr = said, said
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(b.t, c.Start())
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	b.running = c
	b.t.Cleanup(func() { _ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }) // gone already is as good
	failed := error(nil)
	until(b.t, "nginx answers, or has ended", func() bool {
		select {
		case err := <-ended:
			failed = fmt.Errorf("nginx ended: %w: %s", err, said)
			return true
		default:
		}
		answer, err := http.Get(b.URL())
		if err != nil {
			return false
		}
		pid, _ := os.ReadFile(filepath.Join(b.Dir, "nginx", "nginx.pid")) // it comes after the first answer
		return answer.Body.Close() == nil && strings.TrimSpace(string(pid)) == fmt.Sprint(c.Process.Pid)
	})
	return failed
}

// halts ends what runs.
func (b *berth) halts() {
	b.t.Helper()
	group := -b.running.Process.Pid
	require.NoError(b.t, syscall.Kill(b.running.Process.Pid, syscall.SIGTERM))
	until(b.t, "nginx has ended", func() bool { return syscall.Kill(group, 0) != nil })
}

// Between two shifts nginx's program is replaced by another version: the next tree is rendered for what it is then, and proven.
func TestNginx_ItsProgramIsReplaced(t *testing.T) {
	for _, way := range switches {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			older, newer := debian(t, "bullseye"), debian(t, "forky")
			own, err := exec.LookPath("nginx")
			require.NoError(t, err)
			dir := t.TempDir()
			s := build(t, stage.Options{Name: "replaced-" + way, External: true, Config: attacked, Nginx: "  switch: " + way + "\n  binary: " + filepath.Join(dir, "nginx")})
			s.comes("blue", first)
			s.comes("green", good)
			b := &berth{scene: s, program: filepath.Join(dir, "nginx")}
			b.installs(`exec ` + own + ` "$@"`)
			s.types(0, "init", "--stable", "blue", "--tag", first.Tag)
			require.NoError(t, b.boots())
			s.welcomes(rate)
			shift := []string{"shift", "--to", "green", "--weight", "20", "--no-guard"}
			for _, program := range []string{newer, older} {
				b.installs(`exec ` + program + ` "$@"`)
				b.halts()
				if program == older {
					require.ErrorContains(t, b.boots(), "keepalive_min_timeout", "what the newer one was given keeps the older one from starting")
					s.types(0, "init", "--stable", "blue", "--tag", first.Tag)
				}
				require.NoError(t, b.boots())
				began := time.Now()
				s.types(0, shift...)
				s.carries(good.Tag)
				rendered := s.text(filepath.Join(s.Root(), "current", "server.conf"))
				require.Equal(t, program == newer, strings.Contains(rendered, "keepalive_min_timeout"), rendered)
				s.types(0, "back")
				s.none(time.Now(), good.Tag)
				require.Zero(t, s.since(began).Failed)
				if way == "live" {
					require.Zero(t, s.since(began).Lost)
				}
			}
			s.types(0, shift...)
			b.installs(`case "$*" in *-V*) echo "nginx version: nginx/1.16.1" >&2 ;; *) exec ` + own + ` "$@" ;; esac`)
			r := s.types(3, "shift", "--to", "green", "--weight", "50", "--no-guard")
			require.Contains(t, r.Stderr, "is version 1.16.1, cutover needs 1.18 or newer")
			s.carries(good.Tag)
			s.types(0, "back")
			s.none(time.Now(), good.Tag)
			s.journalIsWhole()
		})
	}
}

// Who may choose a color is limited to networks: the public's headers and cookies count for nothing.
func TestLive_OnlyNamedNetworksMayChoose(t *testing.T) {
	t.Parallel()
	for _, split := range []string{"request", "client"} {
		t.Run(split, func(t *testing.T) {
			t.Parallel()
			s := livens(t, stage.Options{Name: "networks-" + split, Nginx: "  split: " + split + "\n  override: { header: X-Release, cookie: release, networks: [127.0.0.2/32] }"})
			s.types(0, "shift", "--to", "green", "--weight", "1", "--no-guard")
			tester, public := from(t, "127.0.0.2"), from(t, "127.0.0.3")
			got := map[string]int{}
			for range 100 {
				require.Equal(t, load.Outcome{Status: http.StatusOK, Release: good.Tag}, s.views(tester, "green"))
				require.Equal(t, load.Outcome{Status: http.StatusOK, Release: first.Tag}, s.views(tester, "blue"))
				got[s.views(public, "green").Release]++
			}
			require.Less(t, got[good.Tag], 15, "the public got what it asked for: %v", got) // 1 % of 100: more than 9 once in 10^8
			log := s.text(s.AccessLog())
			require.Contains(t, log, `"override":"green"`)
			s.types(0, "back")
			require.Equal(t, first.Tag, s.views(tester, "green").Release, "who asks for what was taken back gets stable")
			s.none(time.Now(), good.Tag)
		})
	}
}

// from is a client whose requests come from the address, each on a connection of its own.
func from(t *testing.T, address string) *http.Client {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, to)
		}}}
}

// A share that no bucket can give is rounded towards stable, and said; less than the least is refused.
func TestLive_AShareBetweenTwoBuckets(t *testing.T) {
	t.Parallel()
	s := livens(t, stage.Options{Name: "between"})
	for _, c := range []struct {
		to, weight string
		served     float64
		says       string
	}{
		{"green", "33.4", 33, "33.4 % to 33 %: nginx.buckets is 100"},
		{"green", "33.99", 33, "33.99 % to 33 %: nginx.buckets is 100"},
		{"blue", "60.5", 39, "39.5 % to 39 %: nginx.buckets is 100"},
		{"green", "99.99", 99, "99.99 % to 99 %"},
		{"green", "7", 7, ""},
	} {
		r := s.types(0, "shift", "--to", c.to, "--weight", c.weight, "--no-guard")
		require.Contains(t, joined(r), c.says)
		require.Equal(t, c.says == "", !strings.Contains(joined(r), "rounded"), joined(r))
		require.Equal(t, c.served, s.status().Weight)
	}
	for _, least := range []string{"0.4", "0.99"} {
		r := s.types(2, "shift", "--to", "green", "--weight", least, "--no-guard")
		require.Contains(t, r.Stderr, "is less than one of nginx.buckets: 100 can give; the least is 1 %")
		require.Equal(t, 7.0, s.status().Weight, "nothing was changed")
	}
	s.types(0, "back")
}
