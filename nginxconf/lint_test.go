package nginxconf

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// flawless is a configuration without a finding. The tests below write something into the places marked by #.
var flawless = map[string]string{
	"nginx.conf": `worker_shutdown_timeout 60s; #top
events {}
http {
	include cutover/shop/current/http.conf; #http
	access_log /var/log/nginx/access.log;
	open_file_cache max=100; #cache
	include sites/*.conf;
}
`,
	"sites/shop.conf": `server { #first
	include cutover/shop/current/server.conf; #include
	listen 127.0.0.1:23001; #server
	access_log /var/log/nginx/shop.log;
	location / { #outer
		location /in/ { #inner
			proxy_pass http://$cutover_shop_web; #pass
			if ($arg_x) { } #if
		}
	}
	location /files/ { access_log off; open_file_cache max=10; root /srv; }
}
`,
	"sites/other.conf": `server { #other
	listen 127.0.0.1:23002;
	access_log off;
	location / { return 204; }
}
`,
	"cutover/shop/gen/000001/http.conf": `map "" $cutover_shop_web { default cutover_shop_web_blue; }
upstream cutover_shop_web_blue { server 127.0.0.1:23010; }
log_format cutover_shop "x";
server { listen 127.0.0.1:23020; include cutover/shop/gen/000001/server.conf; location / { access_log off; proxy_pass http://$cutover_shop_web; } }
`,
	"cutover/shop/gen/000001/server.conf": `open_file_cache off;
access_log /var/log/nginx/cutover-shop.log cutover_shop;
set $cutover_shop_web cutover_shop_web_blue;
`,
	"cutover/shop_api/gen/000001/http.conf": `map "" $cutover_shop_api_web { default cutover_shop_api_web_blue; }
upstream cutover_shop_api_web_blue { server 127.0.0.1:23011; }
server { listen 127.0.0.1:23020; server_name cutover-shop-api; return 204; }
`,
}

func shopSite(root string) Site {
	config := DefaultConfig()
	config.Probe = "127.0.0.1:23020"
	return Site{App: "shop", Root: root + "/cutover/shop", Config: config, Variables: []string{"cutover_shop_web"},
		AccessLog: "/var/log/nginx/cutover-shop.log"}
}

// Where locations pass to fixed names, each pass is told from one by variable.
func TestFindingsOfFixedNames(t *testing.T) {
	const pass = "http://$cutover_shop_web; #pass"
	for _, test := range []struct {
		name    string
		changes []change
		want    []string
	}{
		{"none", []change{{pass, "http://cutover_shop_web;"}}, nil},
		{"with a path", []change{{pass, "http://cutover_shop_web/prefix/;"}}, nil},
		{"by way of a variable of the user's", []change{{"#server", "set $to cutover_shop_web;"}, {pass, "http://$to;"}}, nil},
		{"after a rewrite", []change{{pass, "http://cutover_shop_web;"}, {"#first", "rewrite ^/x /y last;"}}, nil},
		{"another app's", []change{{pass, "http://cutover_shop_web;"}, {"return 204", "proxy_pass http://cutover_shop_api_web"},
			{"#cache", "include cutover/shop_api/current/http.conf;"}}, nil},
		{"the variable", nil, []string{"sites/shop.conf:7 refuse: proxy_pass names $cutover_shop_web, while nginx.pass is name"}},
		{"no route", []change{{pass, "http://cutover_shop_wbe;"}}, []string{
			"sites/shop.conf:7 refuse: proxy_pass names cutover_shop_wbe, which is no route of shop",
			"nginx.conf:3 refuse: nothing is split: no proxy_pass names cutover_shop_web"}},
		{"unseen", []change{{pass, "http://cutover_shop_web;"}, {"return 204", "proxy_pass http://cutover_shop_web"}},
			[]string{"sites/other.conf:1 warn: this server passes requests to shop and does not include server.conf: they are split, and nobody sees how it goes"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			tr := flawed(t, test.changes)
			c, err := ReadChain(tr.main(), tr.root)
			require.NoError(t, err)
			site := shopSite(tr.root)
			site.Config.Pass = PassName
			var got []string
			for _, f := range c.Findings(site) {
				require.NotEmpty(t, f.Remedy)
				got = append(got, fmt.Sprintf("%s:%d %s: %s", strings.TrimPrefix(f.File, tr.root+"/"), f.Line, f.Severity, f.What))
			}
			require.Equal(t, test.want, got)
		})
	}
}

// change is a marker (or any other text) of flawless and what stands there instead; lines keep their numbers.
type change struct{ from, to string }

func flawed(t *testing.T, changes []change) tree {
	t.Helper()
	tr := tree{root: t.TempDir()}
	for name, content := range flawless {
		for _, c := range changes {
			content = strings.Replace(content, c.from, c.to, 1)
		}
		put(t, filepath.Join(tr.root, name), content)
	}
	require.NoError(t, os.Symlink("gen/000001", tr.shop("current")))
	require.NoError(t, os.Symlink("gen/000001", filepath.Join(tr.root, "cutover/shop_api/current")))
	return tr
}

func TestFindings(t *testing.T) {
	const include = "include cutover/shop/current/server.conf;"
	tests := []struct {
		name    string
		changes []change
		want    []string
	}{
		{"none", nil, nil},
		{"http.conf missing", []change{{"include cutover/shop/current/http.conf;", ""}},
			[]string{"nginx.conf:3 refuse: http.conf is not included"}},
		{"http.conf twice", []change{{"#cache", "include cutover/shop/current/http.conf;"}},
			[]string{"nginx.conf:6 refuse: http.conf is included more than once"}},
		{"http.conf by a wildcard", []change{{"current/http.conf", "current/h*.conf"}},
			[]string{"nginx.conf:4 refuse: a wildcard includes http.conf of ROOT/cutover/shop/current"}},
		{"http.conf in a server", []change{{"#other", "include cutover/shop/current/http.conf;"}, {"include cutover/shop/current/http.conf; #http", ""}},
			[]string{"sites/other.conf:1 refuse: http.conf is not included directly in http { }"}},
		{"a generation instead of current", []change{{"shop/current/http.conf", "shop/gen/000001/http.conf"}},
			[]string{"nginx.conf:3 refuse: http.conf is not included"}},
		{"server.conf nowhere", []change{{include, ""}}, []string{
			"nginx.conf:3 refuse: server.conf is included in no server",
			"sites/shop.conf:1 warn: this server passes requests to shop and does not include server.conf: stable answers all of them, unseen"}},
		{"server.conf in a location", []change{{"#outer", include}},
			[]string{"sites/shop.conf:5 refuse: server.conf is not included directly in server { }"}},
		{"server.conf in http", []change{{"#cache", include}},
			[]string{"nginx.conf:6 refuse: server.conf is not included directly in server { }"}},
		{"server.conf twice in one server", []change{{"#server", include}},
			[]string{"sites/shop.conf:3 refuse: server.conf is included twice in one server"}},
		{"server.conf in two servers", []change{{"#other", include + " #"}, {"access_log off;\n\tlocation", "location"}},
			[]string{"sites/other.conf:1 warn: this server's requests no longer reach the access_log of http { } (ROOT/nginx.conf:5): another server of the app has its own"}},
		{"server.conf by a wildcard", []change{{"current/server.conf", "current/server.*"}},
			[]string{"sites/shop.conf:2 refuse: a wildcard includes server.conf of ROOT/cutover/shop/current"}},
		{"another server passes to us", []change{{"return 204", "proxy_pass http://${cutover_shop_web}/x"}},
			[]string{"sites/other.conf:1 warn: this server passes requests to shop and does not include server.conf: stable answers all of them, unseen"}},
		{"unknown route", []change{{"#pass", ""}, {"$cutover_shop_web", "$cutover_shop_wbe"}}, []string{
			"sites/shop.conf:7 refuse: proxy_pass names $cutover_shop_wbe, which is no route of shop",
			"nginx.conf:3 refuse: nothing is split: no proxy_pass names $cutover_shop_web"}},
		{"a name of cutover's that is no route", []change{{"#if", ""}, {"if ($arg_x) { }", "location /in/x { proxy_pass http://$cutover_shop_pool; }"}},
			[]string{"sites/shop.conf:8 refuse: proxy_pass names $cutover_shop_pool, which is no route of shop"}},
		{"another app's variable", []change{{"return 204", "proxy_pass http://$cutover_shop_api_web"}, {"#cache", "include cutover/shop_api/current/http.conf;"}}, nil},
		{"nothing is split", []change{{"http://$cutover_shop_web; #pass", "http://127.0.0.1:23010;"}},
			[]string{"nginx.conf:3 refuse: nothing is split: no proxy_pass names $cutover_shop_web"}},
		{"by way of a variable of the user's", []change{{"#server", "set $to http://$cutover_shop_web/x;"}, {"http://$cutover_shop_web; #pass", "$to;"}}, nil},
		{"a fixed name", []change{{"http://$cutover_shop_web; #pass", "http://cutover_shop_web/x;"}}, []string{
			"sites/shop.conf:7 refuse: proxy_pass names cutover_shop_web, while nginx.pass is variable",
			"nginx.conf:3 refuse: nothing is split: no proxy_pass names $cutover_shop_web"}},
		{"by gRPC", []change{{"proxy_pass http://$cutover_shop_web", "grpc_pass grpc://$cutover_shop_web"}}, nil},
		{"by another protocol", []change{{"proxy_pass http://$cutover_shop_web", "uwsgi_pass $cutover_shop_web"}}, nil},
		{"own log in the location", []change{{"#inner", "access_log /x.log;"}},
			[]string{"sites/shop.conf:6 refuse: requests to shop would not be seen: this access_log takes the place of /var/log/nginx/cutover-shop.log here"}},
		{"own log in the location around it", []change{{"#outer", "access_log /x.log;"}},
			[]string{"sites/shop.conf:5 refuse: requests to shop would not be seen: this access_log takes the place of /var/log/nginx/cutover-shop.log here"}},
		{"own log in an if", []change{{"if ($arg_x) { }", "if ($arg_x) { access_log off; }"}},
			[]string{"sites/shop.conf:8 refuse: requests to shop would not be seen: this access_log takes the place of /var/log/nginx/cutover-shop.log here"}},
		{"no log in the location", []change{{"#inner", "access_log off;"}},
			[]string{"sites/shop.conf:6 refuse: requests to shop would not be seen: this access_log takes the place of /var/log/nginx/cutover-shop.log here"}},
		{"own log and ours in the location", []change{{"#inner", "access_log /x.log; access_log /var/log/nginx/cutover-shop.log cutover_shop buffer=64k flush=100ms;"}}, nil},
		{"ours restored further in", []change{{"#outer", "access_log off;"}, {"#inner", "access_log /var/log/nginx/cutover-shop.log cutover_shop;"}}, nil},
		{"our file in another format", []change{{"#inner", "access_log /var/log/nginx/cutover-shop.log combined;"}},
			[]string{"sites/shop.conf:6 refuse: requests to shop would not be seen: this access_log takes the place of /var/log/nginx/cutover-shop.log here"}},
		{"own log where nothing is passed", []change{{"#outer", "location /x { access_log off; return 204; }"}}, nil},
		{"the server's log off", []change{{"access_log /var/log/nginx/shop.log", "access_log off"}},
			[]string{"sites/shop.conf:4 refuse: access_log off silences the server's other logs too: requests would not be seen"}},
		{"open_file_cache beside the include", []change{{"#server", "open_file_cache max=10;"}},
			[]string{"sites/shop.conf:3 refuse: open_file_cache stands beside server.conf, which switches it off: nginx refuses the second one"}},
		{"open_file_cache in the location", []change{{"#inner", "open_file_cache max=10;"}}, nil},
		{"disable_symlinks", []change{{"#cache", "disable_symlinks on;"}},
			[]string{"nginx.conf:6 warn: disable_symlinks may hide a rollout's folder from nginx's workers"}},
		{"disable_symlinks off", []change{{"#cache", "disable_symlinks off;"}}, nil},
		{"not the first line", []change{{"#first", "if ($arg_y) { return 403; }"}},
			[]string{"sites/shop.conf:2 warn: server.conf is not the first line of its server: requests that a rewrite before it ends go to stable"}},
		{"no worker_shutdown_timeout", []change{{"worker_shutdown_timeout 60s;", ""}},
			[]string{"nginx.conf:1 warn: worker_shutdown_timeout is not set: a long connection keeps an old worker, and the old stack with it, for as long as it lasts"}},
		{"no second try", []change{{"#inner", "proxy_next_upstream off;"}},
			[]string{"sites/shop.conf:6 warn: proxy_next_upstream off: a request that the candidate does not answer is lost instead of going to stable"}},
		{"no second try for all", []change{{"#cache", "proxy_next_upstream off;"}},
			[]string{"nginx.conf:6 warn: proxy_next_upstream off: a request that the candidate does not answer is lost instead of going to stable"}},
		{"no second try elsewhere", []change{{"#other", "proxy_next_upstream off;"}}, nil},
		{"names of ours", []change{
			{"#cache", `log_format cutover_shops "z"; upstream cutover_shop_x { server 127.0.0.1:1; } log_format cutover_shop "z"; map $uri $cutover_shop_z { default 1; }`},
			{"#server", "set $cutover_shop_web x;"}}, []string{
			"nginx.conf:6 refuse: upstream defines cutover_shop_x, a name that cutover keeps for itself",
			"nginx.conf:6 refuse: log_format defines cutover_shop, a name that cutover keeps for itself",
			"nginx.conf:6 refuse: map defines cutover_shop_z, a name that cutover keeps for itself",
			"sites/shop.conf:3 refuse: set defines cutover_shop_web, a name that cutover keeps for itself"}},
		{"the probe's address", []change{{"listen 127.0.0.1:23002", "listen localhost:23020 default_server"}},
			[]string{"sites/other.conf:2 warn: this server listens on the probe's address 127.0.0.1:23020"}},
		{"the probe's port on all addresses", []change{{"listen 127.0.0.1:23002", "listen 23020"}},
			[]string{"sites/other.conf:2 warn: this server listens on the probe's address 127.0.0.1:23020"}},
		{"another app's probe", []change{{"#cache", "include cutover/shop_api/current/http.conf;"}}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tr := flawed(t, test.changes)
			c, err := ReadChain(tr.main(), tr.root)
			require.NoError(t, err)
			var got []string
			for _, f := range c.Findings(shopSite(tr.root)) {
				require.NotEmpty(t, f.Remedy)
				got = append(got, fmt.Sprintf("%s:%d %s: %s", strings.TrimPrefix(f.File, tr.root+"/"), f.Line, f.Severity, strings.ReplaceAll(f.What, tr.root, "ROOT")))
			}
			require.Equal(t, test.want, got)
		})
	}
}

// Where cutover renders the servers the user has nothing to include but http.conf.
func TestFindingsOfASiteThatCutoverRenders(t *testing.T) {
	tr := flawed(t, []change{{"\tinclude sites/*.conf;", ""}})
	c, err := ReadChain(tr.main(), tr.root)
	require.NoError(t, err)
	site := shopSite(tr.root)
	require.Len(t, c.Findings(site), 2)
	site.OwnsServers = true
	require.Empty(t, c.Findings(site))
}

// The archives of testdata/chain are set up as the guide says, by way of a snippet or a link too.
func TestNothingIsFoundInWhatIsSetUpWell(t *testing.T) {
	for _, tr := range shops(t) {
		t.Run(tr.name, func(t *testing.T) {
			c, err := ReadChain(tr.main(), tr.root)
			require.NoError(t, err)
			for _, f := range c.Findings(shopSite(tr.root)) {
				require.Contains(t, f.What, "worker_shutdown_timeout", "%+v", f)
			}
		})
	}
}

// Measured, because a finding hangs on it: a location's own open_file_cache hides no cutback, as long as the server has none.
func TestALocationsOpenFileCacheHidesNoCutback(t *testing.T) {
	root := t.TempDir()
	folder := filepath.Join(root, "000017", "green")
	require.NoError(t, os.MkdirAll(folder, 0o755))
	for dir := folder; dir != filepath.Dir(filepath.Dir(root)); dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	temp := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += kind + "_temp_path " + root + "/temp;\n"
	}
	const cache = "open_file_cache max=10 inactive=60s; open_file_cache_valid 60s;"
	pool := fmt.Sprintf("set $pool stable; if (-d %s/) { set $pool candidate; }", folder)
	put(t, root+"/nginx.conf", fmt.Sprintf(`daemon off; pid %[1]s/nginx.pid; worker_processes 1; events {}
http {
	%[2]s access_log off; %[3]s
	server { listen 127.0.0.1:23040; open_file_cache off; %[4]s location / { %[3]s return 200 $pool; } }
	server { listen 127.0.0.1:23041; %[4]s location / { return 200 $pool; } }
}`, root, temp, cache, pool))
	nginx := exec.Command(stockNginx(t), append(early(t, stockNginx(t), root+"/error.log"), "-p", root, "-c", root+"/nginx.conf")...)
	require.NoError(t, nginx.Start())
	t.Cleanup(func() {
		require.NoError(t, nginx.Process.Signal(os.Interrupt))
		require.NoError(t, nginx.Wait())
	})
	ask := func(port int) string {
		response, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		return string(body)
	}
	require.Eventually(t, func() bool { return ask(23040) == "candidate" }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, "candidate", ask(23041))
	require.NoError(t, os.Rename(filepath.Dir(folder), filepath.Dir(folder)+".cut"))
	require.Equal(t, "stable", ask(23040))
	require.Equal(t, "candidate", ask(23041), "without our own line the cutback would be hidden")
}
