package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// vessel is an nginx that runs as a Compose service of its own, before the scene's colors.
type vessel struct {
	*scene
	network string
	// volumes are what of this host is mounted into it, user whom it runs as.
	volumes []string
	user    string
}

// embarks sets a scene whose nginx runs in a container that is made of the distribution's package. Its configuration lies as Debian
// lays it: under another path than on this host, with an absolute link among its sites.
func embarks(t *testing.T, user string, o stage.Options, changes ...func(*vessel)) *vessel {
	t.Helper()
	v := &vessel{network: called(o.Name) + "-front", user: user}
	o.Container = called(o.Name) + "-nginx"
	if lacking == "" {
		o.Gateway = hangsOut(t, v.network)
	}
	v.scene = build(t, o)
	for _, change := range changes {
		change(v)
	}
	makesNginxImage(t, o.Container, v.Dir)
	v.volumes = []string{v.etc() + ":/etc/nginx", v.NginxDir() + ":" + v.NginxDir() + ":ro", v.logs() + ":" + v.logs()}
	v.configures()
	v.sails()

	require.NoError(t, v.Compose(t.Context(), "blue", first.Tag, "up", "-d", "--wait"))
	v.types(0, "init", "--stable", "blue", "--tag", first.Tag)
	require.NoError(t, os.Symlink("/etc/nginx/sites-available/shop", filepath.Join(v.etc(), "sites-enabled", "shop")))
	v.docker("exec", v.Container, "nginx", "-s", "reload")
	until(t, "nginx in its container answers", v.answers)
	v.welcomes(rate)
	return v
}

func (v *vessel) etc() string  { return v.Stage.Dir + "/etc" }
func (v *vessel) logs() string { return filepath.Dir(v.AccessLog()) }

// docker has a docker command typed.
func (v *vessel) docker(args ...string) string {
	v.t.Helper()
	return dockers(v.t, nil, args...)
}

func dockers(t *testing.T, input io.Reader, args ...string) string {
	t.Helper()
	c := exec.CommandContext(context.WithoutCancel(t.Context()), "docker", args...)
	c.Stdin = input
	said, err := c.CombinedOutput()
	require.NoError(t, err, "docker %v: %s", args, said)
	return strings.TrimSpace(string(said))
}

var vessels atomic.Int64

// hangsOut makes a network and gives its gateway, which is this host's address in there.
func hangsOut(t *testing.T, network string) string {
	t.Helper()
	subnet := fmt.Sprintf("10.218.%d.", 20*lane+int(vessels.Add(1)))
	dockers(t, nil, "network", "create", "--subnet", subnet+"0/24", "--gateway", subnet+"1", network)
	t.Cleanup(func() { dockers(t, nil, "network", "rm", network) })
	return subnet + "1"
}

// makesNginxImage makes an image of the nginx that is installed here, with its libraries and the users that it knows.
func makesNginxImage(t *testing.T, name, dir string) {
	t.Helper()
	root := filepath.Join(dir, "image")
	for _, folder := range []string{"etc", "run", "tmp", "var/log/nginx", "var/lib/nginx", "usr/sbin"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, folder), 0o755))
	}
	program, err := exec.LookPath("nginx")
	require.NoError(t, err)
	linked, err := exec.CommandContext(t.Context(), "ldd", program).Output()
	require.NoError(t, err)
	wanted := map[string]string{program: "usr/sbin/nginx", "/etc/passwd": "etc/passwd", "/etc/group": "etc/group"}
	for word := range strings.FieldsSeq(string(linked)) {
		if filepath.IsAbs(word) {
			wanted[word] = word
		}
	}
	for from, to := range wanted {
		text, err := os.ReadFile(from)
		require.NoError(t, err)
		to = filepath.Join(root, to)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		require.NoError(t, os.WriteFile(to, text, 0o755))
	}
	for _, folder := range []string{"run", "var/lib/nginx"} { // whoever it runs as
		require.NoError(t, os.Chmod(filepath.Join(root, folder), 0o777))
	}
	packed, err := exec.CommandContext(t.Context(), "tar", "-C", root, "-c", ".").Output()
	require.NoError(t, err)
	dockers(t, bytes.NewReader(packed), "import", "-c", `ENTRYPOINT ["/usr/sbin/nginx", "-g", "daemon off;"]`, "-", name+":packaged")
	t.Cleanup(func() { dockers(t, nil, "rmi", name+":packaged") })
}

const vesselMain = `user www-data;
worker_processes 2;
worker_shutdown_timeout 10s;
pid /run/nginx.pid;
error_log %s/error.log notice;
events { worker_connections 2048; }
http {
    access_log off;
    include sites-enabled/*;
}
`

const vesselSite = `include %[1]s/current/http.conf;
server {
    listen 80;
    include %[1]s/current/server.conf;
    location / {
        proxy_pass %[2]s;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_read_timeout 5s;
    }
}
`

// configures writes nginx's files; the site is not enabled yet.
func (v *vessel) configures() {
	v.t.Helper()
	for _, folder := range []string{v.etc() + "/sites-enabled", v.etc() + "/sites-available", v.NginxDir()} {
		require.NoError(v.t, os.MkdirAll(folder, 0o755))
	}
	require.NoError(v.t, os.Chmod(v.logs(), 0o777))
	require.NoError(v.t, os.WriteFile(v.etc()+"/nginx.conf", fmt.Appendf(nil, vesselMain, v.logs()), 0o644))
	require.NoError(v.t, os.WriteFile(v.etc()+"/sites-available/shop", fmt.Appendf(nil, vesselSite, v.Root(), v.Upstream("web")), 0o644))
}

const vesselCompose = `services:
  nginx:
    image: %[1]s:packaged
    container_name: %[1]s
    user: "%[6]s"
    networks: [front]
    ports: ["127.0.0.1:%[2]d:80", "127.0.0.1:%[3]d:%[3]d"]
    volumes: ["%[4]s"]
networks: { front: { external: true, name: %[5]s } }
`

// sails has Compose bring nginx's container up, anew where something about it has changed.
func (v *vessel) sails() {
	v.t.Helper()
	file := filepath.Join(v.Dir, "front.yml")
	text := fmt.Appendf(nil, vesselCompose, v.Container, v.Ports.Front, v.Ports.Probe, strings.Join(v.volumes, `", "`), v.network, v.user)
	require.NoError(v.t, os.WriteFile(file, text, 0o644))
	project := []string{"compose", "-p", v.network, "-f", file}
	v.t.Cleanup(func() { dockers(v.t, nil, append(project, "down", "--timeout", "2")...) })
	v.docker(append(project, "up", "-d", "--wait")...)
}

// answers tells whether users get an answer of the app.
func (v *vessel) answers() bool {
	answer, err := http.Get(v.URL())
	if err != nil {
		return false
	}
	return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
}

// An nginx in a container is tested, reloaded and proven like one on the host, and nobody loses a request. The way back needs no engine.
func TestContainer_PromotesAndCutsBack(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"reload", "live"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			v := embarks(t, "root", stage.Options{Name: "boat-" + how, Nginx: "  switch: " + how})
			v.types(0, "doctor")
			began := time.Now()
			v.types(0, "promote", "--tag", good.Tag)
			seen := v.since(began)
			require.Zero(t, seen.Lost, "%+v", seen)
			require.Zero(t, seen.Failed, "%+v", seen)
			require.Equal(t, []float64{5, 20, 100}, v.history()[0].steps())
			v.none(time.Now(), first.Tag)

			r := v.backs("DOCKER_HOST=unix:///nowhere")
			require.Zero(t, r.Exit, r.Stdout)
			v.narrow(r, `blue v1\.0\.0 100 %`)
			v.none(time.Now(), good.Tag)
			require.Zero(t, v.since(began).Lost)
			v.isWell()
			v.journalIsWhole()
			v.begins()
		})
	}
}

// Colors with an address of their own in nginx's network publish nothing at all.
func TestContainer_FixedAddresses(t *testing.T) {
	t.Parallel()
	v := embarks(t, "root", stage.Options{Name: "dock"}, func(v *vessel) {
		inNetwork := strings.TrimSuffix(v.Gateway, ".1")
		addresses := map[string]string{"blue": inNetwork + ".100", "green": inNetwork + ".200"}
		text, err := os.ReadFile(v.ConfigFile())
		require.NoError(t, err)
		config := string(text)
		for color, address := range addresses {
			config = strings.Replace(config, v.Address(color), address+":8000", 1)
			config = strings.Replace(config, fmt.Sprintf("project: %s-%s }", v.Name, color), fmt.Sprintf("project: %s-%s, env: { WEB_ADDRESS: %s } }", v.Name, color, address), 1)
		}
		require.NoError(t, os.WriteFile(v.ConfigFile(), []byte(config), 0o644))
		text, err = os.ReadFile(v.composeFile())
		require.NoError(t, err)
		compose := strings.Replace(string(text), fmt.Sprintf(`ports: ["%s:${WEB_PORT}:8000"]`, v.Gateway),
			fmt.Sprintf("networks: { default: { ipv4_address: \"${WEB_ADDRESS:-%s}\" } }", addresses["blue"]), 1)
		compose += fmt.Sprintf("networks: { default: { external: true, name: %s } }\n", v.network)
		require.NoError(t, os.WriteFile(v.composeFile(), []byte(compose), 0o644))
	})
	began := time.Now()
	v.types(0, "promote", "--tag", good.Tag)
	require.Zero(t, v.since(began).Lost)
	v.none(time.Now(), first.Tag)
	require.Contains(t, v.types(0, "doctor").Stdout, "reaches green")
	v.narrow(v.types(0, "back"), `blue v1\.0\.0 100 %`)
	v.none(time.Now(), good.Tag)
}

// begins has a cutover.yaml written for the container, and wants addresses in it that are no loopback ones.
func (v *vessel) begins() {
	v.t.Helper()
	folder := filepath.Join(v.Dir, "site", "new")
	require.NoError(v.t, os.Mkdir(folder, 0o755))
	compose := `services: { web: { image: "shop:${TAG}", ports: ["${WEB_PORT}:8000"] } }`
	require.NoError(v.t, os.WriteFile(filepath.Join(folder, "compose.yml"), []byte(compose), 0o644))
	c := v.Command(v.t.Context(), "init", "--config", filepath.Join(folder, "cutover.yaml"), "--container", v.Container)
	c.Dir = folder
	said, err := c.CombinedOutput()
	require.NoError(v.t, err, "%s", said)
	text, err := os.ReadFile(filepath.Join(folder, "cutover.yaml"))
	require.NoError(v.t, err)
	require.Contains(v.t, string(text), "blue: "+v.Gateway+":18000, green: "+v.Gateway+":28000")
	require.Contains(v.t, string(text), "container: "+v.Container)
	c = v.Command(v.t.Context(), "config")
	c.Dir = folder
	said, err = c.CombinedOutput()
	require.NoError(v.t, err, "%s", said)
}

// A container that is started anew in the middle of a rollout has another first process and another process table, and the same share;
// after a cutback it comes up with stable. Nothing in this one runs as root.
func TestContainer_IsStartedAnew(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"reload", "live"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			v := embarks(t, "www-data", stage.Options{Name: "buoy-" + how, Nginx: "  switch: " + how, Config: strings.Replace(quick, "20, soak: 2s", "20, soak: 10m", 1)})
			p := v.starts("promote", "--tag", good.Tag)
			p.reaches("raised", 5)
			v.docker("restart", "-t", "2", v.Container)
			p.reaches("raised", 20)
			v.share(good.Tag, 20)
			v.docker("restart", "-t", "2", v.Container)
			until(t, "nginx answers again", v.answers)
			v.share(good.Tag, 20)
			require.Contains(t, v.types(0, "back").Stdout, "cut in")
			p.ends(10)
			v.none(time.Now(), good.Tag)
			v.docker("restart", "-t", "2", v.Container)
			until(t, "nginx answers again", v.answers)
			v.none(time.Now(), good.Tag)

			require.NoError(t, os.WriteFile(v.etc()+"/sites-enabled/broken", []byte("nonsense;\n"), 0o644))
			refused := v.types(6, "promote", "--tag", next.Tag)
			require.Contains(t, refused.Stderr, "/etc/nginx/sites-enabled/broken:1")
			require.NoError(t, os.Remove(v.etc()+"/sites-enabled/broken"))
			v.isWell()
			v.journalIsWhole()
		})
	}
}

// What the container would not see, or would see only until the next rename, is refused before anything is moved, with what to write.
func TestContainer_IsMountedOtherwise(t *testing.T) {
	t.Parallel()
	v := embarks(t, "root", stage.Options{Name: "wreck"})
	whole := v.volumes
	for _, wrong := range []struct {
		volumes      []string
		says, remedy string
	}{
		{append([]string{v.etc() + "/nginx.conf:/etc/nginx/nginx.conf"}, whole...), "/etc/nginx/nginx.conf is mounted into container", "Mount its folder /etc/nginx instead"},
		{append([]string{v.Root() + "/current/http.conf:" + v.Root() + "/gen/000001/http.conf"}, whole...), "http.conf is mounted into container", "as a single file"},
		{append([]string{v.etc() + ":/etc/nginx:ro"}, whole[1:]...), "has /etc/nginx read-only", "without `:ro`"},
		{append([]string{v.Dir + "/state:" + v.logs()}, whole[:2]...), v.logs() + " of container", "is another folder"},
	} {
		v.volumes = wrong.volumes
		v.sails()
		until(t, "nginx answers", v.answers)
		r := v.types(3, "promote", "--tag", good.Tag)
		require.Contains(t, r.Stderr, wrong.says)
		require.Contains(t, r.Stderr, wrong.remedy)
	}
	v.volumes = whole
	v.sails()
	until(t, "nginx answers", v.answers)

	// a folder that was replaced since it was mounted has the same name, and is another one
	require.NoError(t, os.Rename(v.logs(), v.logs()+".old"))
	require.NoError(t, os.Mkdir(v.logs(), 0o755))
	require.Contains(t, v.types(3, "promote", "--tag", good.Tag).Stderr, "is another folder than this host's")
	require.NoError(t, os.Remove(v.logs()))
	require.NoError(t, os.Rename(v.logs()+".old", v.logs()))

	// addresses that the container cannot reach
	config, err := os.ReadFile(v.ConfigFile())
	require.NoError(t, err)
	mended := v.writes(v.ConfigFile(), strings.ReplaceAll(string(config), v.Gateway, "127.0.0.1"))
	r := v.types(2, "promote", "--tag", good.Tag)
	require.Contains(t, r.Stderr, "is the container itself; publish the port on the gateway")
	mended()
	v.docker("network", "disconnect", v.network, v.Container)
	require.Contains(t, v.types(3, "doctor").Stdout, "does not reach web of blue")
	v.docker("network", "connect", v.network, v.Container)

	v.docker("stop", "-t", "2", v.Container)
	require.Contains(t, v.types(3, "promote", "--tag", good.Tag).Stderr, "does not run (exited)")
	v.docker("start", v.Container)
	until(t, "nginx answers", v.answers)
	v.types(0, "promote", "--tag", good.Tag)
	v.journalIsWhole()
}
