package e2e

import (
	"net"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// plain is a running site whose nginx passes to the application's address, as before cutover came, with users on it.
func plain(t *testing.T, name string) (s *scene, foreign, before string) {
	t.Helper()
	s = build(t, stage.Options{Name: name, Plain: true, Head: "    include conf.d/*.conf;"})
	require.NoError(t, s.Compose(t.Context(), "blue", first.Tag, "up", "-d", "--wait"))
	foreign = s.foreign()
	require.NoError(t, s.StartNginx(t.Context()))
	s.welcomes(rate)
	return s, foreign, s.text(s.NginxConf())
}

// proposal is what `init --json` prints.
type proposal struct {
	Result, Diff, Backup string
	Files, Interrupted   []string
	Loaded               bool
}

func (s *scene) proposal(args ...string) proposal {
	s.t.Helper()
	var p proposal
	s.reads(s.types(0, append([]string{"init", "--json"}, args...)...).Stdout, &p)
	return p
}

// The way from a site without cutover to the first promotion, while users are on it: proposed, applied, and nothing left to do.
func TestInit_EditsNginxUnderLoad(t *testing.T) {
	t.Parallel()
	s, _, before := plain(t, "init")
	began := time.Now()
	said := s.types(0, "init", "--stable", "blue", "--tag", first.Tag).Stdout
	require.Contains(t, said, "\n-            proxy_pass http://"+s.Address("blue")+";\n")
	require.Contains(t, said, "\n+            proxy_pass http://$cutover_")
	proposed := s.proposal()
	require.Equal(t, "proposed", proposed.Result)
	require.Equal(t, []string{s.NginxConf()}, proposed.Files)
	require.Equal(t, before, s.text(s.NginxConf()), "a proposal changes nothing")

	applied := s.proposal("--apply")
	require.Equal(t, "applied", applied.Result)
	require.True(t, applied.Loaded)
	require.Equal(t, proposed.Diff, applied.Diff)
	require.Equal(t, before, s.text(applied.Backup+s.NginxConf()))
	s.serves(rate)
	require.Zero(t, s.since(began).Lost)
	require.Equal(t, "ready", s.proposal().Result)
	require.Equal(t, "ready", s.proposal("--apply").Result)

	s.types(0, "doctor")
	s.types(0, "promote", "--tag", good.Tag)
	s.share(good.Tag, 100)
	s.types(0, "back")
	s.none(time.Now(), good.Tag)
	require.Zero(t, s.since(began).Lost)
	s.journalIsWhole()
}

// Law 4: an edit that nginx does not take is put back byte for byte, and users notice nothing.
func TestLaw4_AnEditThatNginxRefuses(t *testing.T) {
	t.Parallel()
	s, foreign, before := plain(t, "refuse")
	began := time.Now()
	s.types(0, "init", "--stable", "blue", "--tag", first.Tag)

	// somebody else has the probe's port
	taken, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(s.Ports.Probe))
	require.NoError(t, err)
	require.Contains(t, s.types(3, "init", "--apply").Stderr, "another port")
	require.Equal(t, before, s.text(s.NginxConf()))
	require.NoError(t, taken.Close())

	// a file of somebody else's is broken
	mended := s.writes(foreign, "oops on;\n")
	require.Contains(t, s.types(6, "init", "--apply").Stderr, "foreign.conf")
	require.Equal(t, before, s.text(s.NginxConf()))
	mended()

	// nginx -t accepts it, and the master ignores the reload
	taken, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	mended = s.writes(foreign, "server { listen "+taken.Addr().String()+"; }\n")
	r := s.types(6, "init", "--apply")
	require.Contains(t, r.Stderr, "every file is as it was before")
	require.Equal(t, before, s.text(s.NginxConf()))
	require.Empty(t, s.proposal().Interrupted)
	require.NoError(t, taken.Close())
	mended()

	s.serves(rate)
	require.Zero(t, s.since(began).Lost)
	s.types(0, "init", "--apply")
	s.share(first.Tag, 100)
	require.Zero(t, s.since(began).Lost)
}

// Killed after the files were replaced: nginx serves on, the next init says so, and its --apply goes on where it ended.
func TestInit_KilledInTheMiddle(t *testing.T) {
	t.Parallel()
	s, foreign, before := plain(t, "initkill")
	began := time.Now()
	s.types(0, "init", "--stable", "blue", "--tag", first.Tag)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	mended := s.writes(foreign, "server { listen "+taken.Addr().String()+"; }\n") // so that it waits for a proof that does not come

	p := s.starts("init", "--apply")
	until(t, "the file is replaced", func() bool { return s.text(s.NginxConf()) != before })
	p.gets(syscall.SIGKILL)
	p.ends(-1)
	mended()
	interrupted := s.proposal()
	require.Len(t, interrupted.Interrupted, 1)
	require.Equal(t, before, s.text(interrupted.Interrupted[0]+s.NginxConf()))

	applied := s.proposal("--apply")
	require.Equal(t, "applied", applied.Result)
	require.True(t, applied.Loaded)
	require.Empty(t, s.proposal().Interrupted)
	s.share(first.Tag, 100)
	require.Zero(t, s.since(began).Lost)
	left, err := os.ReadDir(s.Dir + "/nginx")
	require.NoError(t, err)
	for _, e := range left {
		require.NotContains(t, e.Name(), ".nginx.conf.cutover", "nothing is left beside the file")
	}
}
