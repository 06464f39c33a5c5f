package nginxconf

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// Links in a container lead to the container's own files, however far up they point.
func TestView_FollowsLinksInside(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"etc/nginx/sites-available", "etc/nginx/sites-enabled", "srv"} {
		require.NoError(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	require.NoError(t, os.WriteFile(root+"/etc/nginx/sites-available/shop", []byte("inside"), 0o644))
	for link, target := range map[string]string{
		"etc/nginx/sites-enabled/absolute": "/etc/nginx/sites-available/shop",
		"etc/nginx/sites-enabled/above":    "../../../../../../etc/nginx/sites-available/shop",
		"srv/conf":                         "/etc/nginx",
		"srv/passwd":                       "/etc/passwd", // not the one of this host
		"srv/round":                        "/srv/round",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(root, link)))
	}
	v := view{container: Container{Init: 7}, root: root, ours: "/srv/cutover"}
	for _, path := range []string{"/etc/nginx/sites-enabled/absolute", "/etc/nginx/sites-enabled/above", "/srv/conf/sites-available/shop", "/srv/conf/sites-enabled/../sites-enabled//absolute"} {
		real, err := v.real(path)
		require.NoError(t, err)
		require.Equal(t, "/etc/nginx/sites-available/shop", real, path)
	}
	require.Equal(t, root+"/etc/nginx/sites-enabled/absolute", v.entry("/srv/conf/sites-enabled/absolute"))
	require.Equal(t, root+"/no/such/file", v.entry("/no/such/file"))
	require.Equal(t, "/srv/cutover/shop/gen", v.entry("/srv/cutover/shop/gen"))
	for _, path := range []string{"/srv/passwd", "/srv/round", "/srv/gone", "/etc/nginx/sites-available/shop/below"} {
		_, err := v.real(path)
		require.Error(t, err, path)
	}
	found, err := v.expandPattern("/srv/conf/sites-enabled/a*")
	require.NoError(t, err)
	require.Equal(t, []string{"/srv/conf/sites-enabled/above", "/srv/conf/sites-enabled/absolute"}, found)
}

// A process of a container is found by its number in there, and one of another container with the same number is not.
func TestProcesses_Outside(t *testing.T) {
	procs := processes{t.TempDir()}
	for pid, p := range map[int]struct{ space, numbers string }{
		40: {"pid:[1]", "40\t1"}, 41: {"pid:[1]", "41\t7"}, 50: {"pid:[2]", "50\t7"}, 60: {"pid:[2]", "60\t1"},
	} {
		folder := filepath.Join(procs.folder, strconv.Itoa(pid))
		require.NoError(t, os.MkdirAll(folder+"/ns", 0o755))
		require.NoError(t, os.Symlink(p.space, folder+"/ns/pid"))
		require.NoError(t, os.WriteFile(folder+"/status", []byte("Name:\tnginx\nNSpid:\t"+p.numbers+"\n"), 0o644))
	}
	for _, c := range []struct{ init, inside, want int }{{40, 1, 40}, {40, 7, 41}, {60, 7, 50}, {60, 1, 60}} {
		got, err := procs.outside(view{container: Container{Init: c.init}}, c.inside)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	_, err := procs.outside(view{container: Container{Init: 40}}, 8)
	require.ErrorContains(t, err, "no process of the container has the number 8")
	here, err := procs.outside(view{}, 8)
	require.NoError(t, err)
	require.Equal(t, 8, here)
}

// inContainer are options of an app whose nginx runs in a container, which answers as it is told.
func inContainer(t *testing.T, c Container) Options {
	t.Helper()
	config := DefaultConfig()
	config.Container, config.Dir = "shop-nginx", t.TempDir()
	return Options{Config: config, App: "shop", Env: "prod", AccessLog: filepath.Join(t.TempDir(), "shop.log"),
		Web:       []Upstream{{Route: "web", Service: "web", Blue: "172.20.0.1:18000", Green: "172.20.0.1:28000"}},
		Container: func(context.Context) (Container, error) { return c, nil }}
}

// What a container cannot have is refused by the configuration already.
func TestContainer_Validate(t *testing.T) {
	require.NoError(t, inContainer(t, Container{}).Validate())
	for says, change := range map[string]func(*Options){
		"is the container itself":           func(o *Options) { o.Web[0].Green = "127.0.0.1:28000" },
		"stacks.web: blue of web: to nginx": func(o *Options) { o.Web[0].Blue = "[::1]:18000" },
		"nginx.container: \"a b\"":          func(o *Options) { o.Config.Container = "a b" },
		"must have a port number":           func(o *Options) { o.Config.Probe = "127.0.0.1:http" },
		"nginx.pass":                        func(o *Options) { o.Config.Pass = PassName },
	} {
		o := inContainer(t, Container{})
		change(&o)
		require.ErrorContains(t, o.Validate(), says)
	}
}

// nginx listens for the probe on its container's address, and the container publishes that on loopback and nowhere else.
func TestContainer_Probe(t *testing.T) {
	for says, published := range map[string][]string{
		"":                         {"127.0.0.1:18999"},
		"does not publish":         nil,
		"does not publish the":     {"127.0.0.1:18000"},
		"publishes the probe on 0": {"127.0.0.1:18999", "0.0.0.0:18999"},
	} {
		err := New(inContainer(t, Container{})).probePublished(map[int][]string{18999: published})
		if says == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, says)
		require.Equal(t, traffic.Preflight, traffic.KindOf(err))
	}
	files, err := New(inContainer(t, Container{})).Render(traffic.Split{Stable: traffic.Blue}, 1, nil)
	require.NoError(t, err)
	require.Contains(t, string(files[0].Data), "listen \"18999\";")
}

// A folder is shared where it is the same one, not where it has the same name.
func TestContainer_SharedFolder(t *testing.T) {
	p := New(inContainer(t, Container{}))
	folder := p.options.Config.Dir
	v := view{container: Container{Init: 7}, root: t.TempDir()}
	require.ErrorContains(t, p.shared(v, folder), "it is not mounted there")
	require.NoError(t, os.MkdirAll(v.root+folder, 0o755))
	require.ErrorContains(t, p.shared(v, folder), "is another folder than this host's")
	v.root = "/" // what a bind mount would show
	require.NoError(t, p.shared(v, folder))
	require.ErrorContains(t, p.shared(v, folder+"/gone"), "no such file or directory")
}
