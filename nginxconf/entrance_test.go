package nginxconf

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDialable(t *testing.T) {
	for listen, want := range map[string]string{
		"80": "tcp 127.0.0.1:80", "*:8080": "tcp 127.0.0.1:8080", "0.0.0.0:443": "tcp 127.0.0.1:443", "127.0.0.1:9000": "tcp 127.0.0.1:9000",
		"[::]:443": "tcp [::1]:443", "[::1]": "tcp [::1]:80", "10.1.2.3": "tcp 10.1.2.3:80", "localhost:8000": "tcp localhost:8000",
		"unix:/run/shop.sock": "unix /run/shop.sock",
	} {
		network, address := dialable(listen)
		require.Equal(t, want, network+" "+address, listen)
	}
}

func TestAskable(t *testing.T) {
	for _, c := range []struct {
		names []string
		want  string
	}{
		{nil, "_"}, {[]string{"_"}, "_"}, {[]string{"shop.example", "www.shop.example"}, "shop.example"}, {[]string{".shop.example"}, "shop.example"},
		{[]string{`~^shop\d`, "*.shop.example"}, "cutover-doctor.shop.example"}, {[]string{`~^shop\d`, "", "shop.*"}, ""},
	} {
		require.Equal(t, c.want, askable(c.names), "%q", c.names)
	}
}

func TestEntrances(t *testing.T) {
	r := newRig(t)
	require.NoError(t, os.MkdirAll(filepath.Join(r.root, "current"), 0o755))
	for _, name := range []string{"http.conf", "server.conf"} {
		require.NoError(t, os.WriteFile(filepath.Join(r.root, "current", name), nil, 0o644))
	}
	pass := "proxy_pass http://$cutover_shop_web;"
	r.write("nginx.conf", fmt.Sprintf(`events { }
http {
    include %[1]s/current/http.conf;
    server { listen 80; location / { return 301 https://shop.example; } }
    server {
        listen [::]:443 ssl; listen 443 ssl; listen 443 quic; server_name shop.example;
        include %[1]s/current/server.conf;
        location / { root /srv; location /api/ { %[2]s } }
        location = /exact { %[2]s }
        location ^~/glued { %[2]s }
        location ~ \.php$ { %[2]s }
        location @named { %[2]s }
        location /hidden { internal; %[2]s }
        location /if { if ($arg_x) { %[2]s } }
        location /static/ { root /srv; }
    }
    server { listen unix:/run/shop.sock proxy_protocol; server_name ~^shop; include %[1]s/current/server.conf; }
    server { include %[1]s/current/server.conf; }
}
`, r.root, pass))
	found, err := r.proxy.Entrances(t.Context())
	require.NoError(t, err)
	conf := filepath.Join(r.folder, "nginx.conf")
	require.Equal(t, []Entrance{
		{Place: conf + ":5", Network: "tcp", Address: "127.0.0.1:443", Host: "shop.example", TLS: true, Paths: []string{"/", "/api/", "/exact", "/glued", "/if"}},
		{Place: conf + ":17", Network: "unix", Address: "/run/shop.sock", Announced: true, Paths: []string{"/"}, Closed: "its names are patterns: ~^shop"},
		{Place: conf + ":18", Network: "tcp", Address: "127.0.0.1:80", Host: "_", Paths: []string{"/"}},
	}, found)

	r.options.Routes = []Route{{Listen: "8080", Host: "_", Path: "/", Service: "web"}, {Listen: "8080", Host: "_", Path: "/api/", Service: "web"}}
	r.options.Config.Assets = nil
	found, err = New(r.options).Entrances(t.Context())
	require.NoError(t, err)
	require.Equal(t, []Entrance{{Place: "routes", Network: "tcp", Address: "127.0.0.1:8080", Host: "_", Paths: []string{"/", "/api/"}}}, found)
}
