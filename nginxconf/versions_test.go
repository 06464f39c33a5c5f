package nginxconf

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// testNginx is the environment variable that names the nginx of this package's tests; unset, it is the machine's own.
const testNginx = "CUTOVER_TEST_NGINX"

// early has nginx write to a log of ours what it says before it has read its configuration. Before 1.19.5 it cannot be told.
func early(t *testing.T, binary, log string) []string {
	t.Helper()
	build, err := ReadBuild(t.Context(), &realHost{}, binary)
	require.NoError(t, err)
	if !build.AtLeast(1, 19, 5) {
		return nil
	}
	return []string{"-e", log}
}

// realVersions are those that the tests run on, each the binary of a Debian release; `sh e2e/setup.sh nginxes` fetches what is not
// the machine's own. What newer ones and forks would get is only rendered: see TestRenderGolden_OfVersions.
var realVersions = []struct {
	release string
	version *regexp.Regexp
}{
	{"bullseye", regexp.MustCompile(`^1\.18\.`)},
	{"bookworm", regexp.MustCompile(`^1\.22\.`)},
	{"trixie", regexp.MustCompile(`^1\.26\.`)},
	// Not released yet: its version grows. It is the first with keepalive_min_timeout.
	{"forky", regexp.MustCompile(`^1\.[3-9]\d\.`)},
}

// nginxOf finds the nginx of a Debian release; without it a test is skipped, unless the run demands it.
func nginxOf(t *testing.T, release string, version *regexp.Regexp) string {
	t.Helper()
	fetched, err := filepath.Abs(filepath.Join("..", ".tools", "nginx", release, "nginx"))
	require.NoError(t, err)
	for _, candidate := range []string{fetched, "nginx", "/usr/sbin/nginx"} {
		path, err := exec.LookPath(candidate)
		if err != nil {
			continue
		}
		if build, err := ReadBuild(t.Context(), &realHost{}, path); err == nil && version.MatchString(build.Version) {
			t.Logf("%s is nginx %s", path, build.Version)
			return path
		}
	}
	if os.Getenv("CUTOVER_REQUIRE_REAL") != "" {
		t.Fatalf("the nginx of Debian %s is not here, and this run demands the real one: sh e2e/setup.sh nginxes", release)
	}
	t.Skipf("NOT TESTED: the nginx of Debian %s is not here: sh e2e/setup.sh nginxes", release)
	return ""
}

// TestVersions runs on each version what cutover promises of every nginx.
func TestVersions(t *testing.T) {
	contract := []struct {
		name string
		run  func(*testing.T)
	}{
		{"reads words as we do", TestWordsAsNginxReadsThem},
		{"reads files in our order", TestNginxOpensTheSameFilesInTheSameOrder},
		{"accepts what is rendered", TestRenderIsAcceptedByNginx},
		{"first tree", TestBaseReloadsAnNginxThatIncludesIt},
		{"shares under load", TestRaiseGivesTheShareUnderLoad},
		{"refused tree", TestRefusedTreeChangesNothing},
		{"ignored reload", TestIgnoredReloadIsUndone},
		{"cutback under load", TestCutUnderLoad},
		{"cutback of a fixed name", TestFixed_ACutbackSparesNoConnection},
		{"shares switched live", TestLive_SharesAreWhatTheyShouldBe},
		{"cutback of a live switch", TestLive_CutUnderLoad},
		{"shares of clients", TestClients_AreMonotone},
		{"finish", TestFinishMakesTheCandidateTheDefault},
		{"idle connections", TestReloadCosts},
	}
	for _, v := range realVersions {
		t.Run(v.release, func(t *testing.T) {
			t.Setenv(testNginx, nginxOf(t, v.release, v.version))
			for _, c := range contract {
				t.Run(c.name, c.run)
			}
		})
	}
}

// idler is a user whose connection is open and idle.
type idler struct {
	net.Conn
	reader *bufio.Reader
}

// ask sends one request on the connection and gives the color that answered; an error where nginx has closed it.
func (u idler) ask() (string, error) {
	if _, err := fmt.Fprint(u, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
		return "", err
	}
	response, err := http.ReadResponse(u.reader, nil)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	color, err := io.ReadAll(response.Body)
	return string(color), err
}

// idlers opens connections and has one request answered on each.
func (r *rig) idlers(n int) []idler {
	r.t.Helper()
	var all []idler
	for range n {
		connection, err := net.DialTimeout("tcp", r.site, 5*time.Second)
		require.NoError(r.t, err)
		r.t.Cleanup(func() { _ = connection.Close() })
		require.NoError(r.t, connection.SetDeadline(time.Now().Add(30*time.Second)))
		u := idler{connection, bufio.NewReader(connection)}
		_, err = u.ask()
		require.NoError(r.t, err)
		all = append(all, u)
	}
	return all
}

// answered asks on each connection and gives the colors of those that nginx has not closed.
func answered(users []idler) []string {
	var colors []string
	for _, u := range users {
		if color, err := u.ask(); err == nil {
			colors = append(colors, color)
		}
	}
	return colors
}

// What ReloadCosts says of a version is what its users see. A connection that outlives the reload is answered by a worker of
// before, which obeys a cutback all the same.
func TestReloadCosts(t *testing.T) {
	r := serving(t)
	build, err := ReadBuild(t.Context(), r.host, r.options.Config.Binary)
	require.NoError(t, err)
	costs, remedy := build.ReloadCosts(r.options.Config)
	id := r.open()
	r.raise(id, 20)
	first := r.idlers(16)
	r.raise(id, 100)
	second := r.idlers(16)
	if costs == "" {
		require.Len(t, answered(first), len(first))
	} else {
		require.Empty(t, answered(first))
		require.Contains(t, costs, build.Version)
		require.NotEmpty(t, remedy)
	}
	r.raise(id, 50)
	_, err = r.proxy.Cut(t.Context(), id, "")
	require.NoError(t, err)
	colors := answered(second)
	require.NotContains(t, colors, string(traffic.Green))
	require.Equal(t, costs == "", len(colors) == len(second))
}

// With a fixed name nothing but a reload cuts back, so it must close what workers of before would answer.
func TestFixed_ACutbackSparesNoConnection(t *testing.T) {
	r := servingFixed(t)
	id := r.open()
	r.raise(id, 100)
	users := r.idlers(16)
	r.back()
	require.Empty(t, answered(users))
}

// sayingVersion is a Host whose nginx says of itself what the file holds. Nothing runs.
func sayingVersion(t *testing.T, name string) saying {
	t.Helper()
	output, err := os.ReadFile(filepath.Join("testdata", "versions", name+".txt"))
	require.NoError(t, err)
	return saying{output: string(output)}
}

// Golden only: these have never been run, they only say so. What nginx 1.27.4 and newer get more is run on forky's, in TestVersions.
func TestRenderGolden_OfVersions(t *testing.T) {
	for _, name := range []string{"nginx-1.27.4", "nginx-1.31.5", "openresty-1.27.1.2"} {
		t.Run(name, func(t *testing.T) {
			conf := filepath.Join(t.TempDir(), "nginx.conf")
			put(t, conf, "events {} http { access_log /var/log/nginx/access.log combined; }")
			golden(t, name, renderCase{adapt: func(o *Options) {
				o.Config.Conf, o.Host = conf, sayingVersion(t, name)
			}, split: traffic.Split{Rollout: 17, Stable: traffic.Blue, Weight: 500, Releases: tags}, number: 124})
		})
	}
}

func golden(t *testing.T, name string, c renderCase) {
	t.Helper()
	p := c.proxyFor("/srv/cutover")
	files, err := p.Render(c.split, c.number, p.ServerLines(t.Context()))
	require.NoError(t, err)
	for _, f := range files {
		path := filepath.Join("testdata", "render", name, f.Name)
		if *update {
			put(t, path, string(f.Data))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), string(f.Data))
	}
}

func TestReloadCosts_ByVersionAndWay(t *testing.T) {
	for _, c := range []struct{ version, by, pass, remedy string }{
		{"1.18.0", SwitchReload, PassVariable, "Upgrade nginx to 1.27.4"},
		{"1.27.3", SwitchReload, PassVariable, "Upgrade nginx to 1.27.4"},
		{"1.27.4", SwitchReload, PassVariable, ""},
		{"1.31.5", SwitchReload, PassVariable, ""},
		{"1.22.1", SwitchLive, PassVariable, ""},
		{"1.22.1", SwitchReload, PassName, "Set nginx.pass to variable"},
		{"1.31.5", SwitchReload, PassName, "Set nginx.pass to variable"},
	} {
		costs, remedy := Build{Version: c.version}.ReloadCosts(Config{Switch: c.by, Pass: c.pass})
		require.Contains(t, remedy, c.remedy, "%+v", c)
		require.Equal(t, c.remedy == "", remedy == "", "%+v", c)
		require.Equal(t, remedy == "", costs == "", "%+v", c)
	}
}

func TestReadBuild_VersionsThatAreTooOld(t *testing.T) {
	r := newRig(t)
	r.options.Config.Binary = filepath.Join(r.folder, "old-nginx")
	said, err := filepath.Abs("testdata/versions/nginx-1.16.1.txt")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(r.options.Config.Binary, []byte("#!/bin/sh\ncat "+said+" >&2\n"), 0o755))
	p := New(r.options)
	for name, err := range map[string]error{"base": p.Base(t.Context(), traffic.Blue, tags), "preflight": p.Preflight(t.Context())} {
		fault, ok := errors.AsType[*traffic.Fault](err)
		require.True(t, ok, "%s: %v", name, err)
		require.Equal(t, traffic.Preflight, fault.Kind, name)
		require.EqualError(t, fault, "nginx: "+r.options.Config.Binary+" is version 1.16.1, cutover needs 1.18 or newer", name)
		require.Contains(t, fault.Hint, "Nothing that cutover renders was tried with an older one", name)
	}
	require.NoDirExists(t, filepath.Join(r.root, "gen", "000001"))
}

// The user's own keepalive_min_timeout holds, wherever it stands.
func TestServerLines_LeaveIdleConnectionsToTheUser(t *testing.T) {
	const ours = `keepalive_min_timeout 5s; # so a reload closes no connection that a user is about to use`
	for name, c := range map[string]struct {
		http, server, location, elsewhere string
		want                              []string
	}{
		"nowhere":              {want: []string{ours}},
		"in http":              {http: "keepalive_min_timeout 1s;"},
		"in our server":        {server: "keepalive_min_timeout 1s;"},
		"in a location":        {location: "keepalive_min_timeout 1s;", want: []string{ours}},
		"in another server":    {elsewhere: "keepalive_min_timeout 1s;", want: []string{ours}},
		"in what was rendered": {server: "include @ROOT@/cutover/blog/current/server.conf;", want: []string{ours}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			put(t, root+"/cutover/shop/current/server.conf", ours)
			put(t, root+"/cutover/blog/current/server.conf", ours)
			put(t, root+"/nginx.conf", strings.ReplaceAll(fmt.Sprintf(`events {} http { %s
				server { include @ROOT@/cutover/shop/current/server.conf; %s location / { %s } }
				server { %s } }`, c.http, c.server, c.location, c.elsewhere), "@ROOT@", root))
			p := renderCase{adapt: func(o *Options) {
				o.Config.Conf, o.Host = root+"/nginx.conf", sayingVersion(t, "nginx-1.27.4")
			}}.proxyFor(root + "/cutover")
			require.Equal(t, c.want, p.ServerLines(t.Context()))
		})
	}
}

// nginx refuses a keepalive_min_timeout that a user writes beside the one in server.conf. The remedy that we give is one.
func TestFindings_TwoIdleTimes(t *testing.T) {
	newest := realVersions[len(realVersions)-1]
	t.Setenv(testNginx, nginxOf(t, newest.release, newest.version))
	r := serving(t)
	id := r.open()
	first := r.raise(id, 5)
	const own, beside = "keepalive_min_timeout 9s;", "location / {"
	r.edit(beside, own+" "+beside)
	found, err := r.proxy.Findings(t.Context())
	require.NoError(t, err)
	require.Contains(t, fmt.Sprint(found), "keepalive_min_timeout stands beside server.conf")
	require.ErrorContains(t, r.proxy.Preflight(t.Context()), "keepalive_min_timeout stands beside server.conf")

	r.edit(own+" "+beside, beside)
	r.edit("http {", "http { "+own)
	require.NoError(t, r.proxy.Preflight(t.Context()))
	second := r.raise(id, 20)
	for gen, has := range map[traffic.Generation]bool{first.Generation: true, second.Generation: false} {
		text, err := os.ReadFile(filepath.Join(r.proxy.trees.folder(gen), "server.conf"))
		require.NoError(t, err)
		require.Equal(t, has, strings.Contains(string(text), idleTime))
	}
}
