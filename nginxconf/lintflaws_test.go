package nginxconf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// looked is one of the user's configurations: what stands in http { } below the include of http.conf, as site.conf.
type looked struct {
	name  string
	adapt func(*Options)
	site  string
	want  []Finding // What and Remedy have words of what is said
	// refused tells that nginx itself does not take it.
	refused bool
}

func byClient(o *Options) { o.Config.Split = SplitClient }
func addSite(o *Options) {
	o.Web = append(o.Web, Upstream{Route: "site", Blue: "127.0.0.1:23014", Green: "127.0.0.1:23015"})
}
func byName(o *Options)   { o.Config.Pass = PassName }
func switched(o *Options) { live(&o.Config) }

// server is one of the app's; what stands in it begins at line 4.
func server(inner string) string {
	return "server {\n\tinclude cutover/shop/current/server.conf;\n\tlisten 127.0.0.1:23001;\n" + inner + "\n}\n"
}

const (
	joinedPass = "\tlocation / { proxy_pass http://$cutover_shop_web; }"
	unjoined   = "server { listen 127.0.0.1:23002; location / { proxy_pass http://$cutover_shop_web; } }\n"
	cachePath  = "proxy_cache_path cache keys_zone=pages:1m;\n"
)

var flaws = []looked{
	{name: "no server.conf", site: unjoined, want: []Finding{
		{Refuse, "nginx.conf", 4, "server.conf is included in no server", "as the first line of each server"},
		{Warn, "site.conf", 1, "does not include server.conf: stable answers all of them, unseen", "server.conf;` as its first line"}}},
	{name: "a server without server.conf", site: server(joinedPass) + unjoined, want: []Finding{
		{Warn, "site.conf", 6, "does not include server.conf: stable answers all of them, unseen", "server.conf;` as its first line"}}},
	{name: "the same, switched live", adapt: switched, site: server(joinedPass) + unjoined, want: []Finding{
		{Refuse, "site.conf", 6, "does not include server.conf: blue answers them, whichever color is stable", "server.conf;` as its first line"}}},
	{name: "the same, by a fixed name", adapt: byName, site: server("location / { proxy_pass http://cutover_shop_web; }") + strings.ReplaceAll(unjoined, "$", ""), want: []Finding{
		{Warn, "site.conf", 6, "they are split, and nobody sees how it goes", "server.conf;` as its first line"}}},
	{name: "server.conf by a wildcard", site: strings.Replace(server(joinedPass), "server.conf", "serv*.conf", 1), want: []Finding{
		{Refuse, "site.conf", 2, "a wildcard includes server.conf", "Name the file"}}},
	{name: "server.conf twice", site: server("include cutover/shop/current/server.conf;" + joinedPass), refused: true, want: []Finding{
		{Refuse, "site.conf", 4, "server.conf is included twice", "Remove this one"}}},
	{name: "a rewrite before it", site: "server {\n\trewrite ^/old /new last;\n\tinclude cutover/shop/current/server.conf;\n" + joinedPass + "}", want: []Finding{
		{Warn, "site.conf", 3, "a rewrite before it ends go to stable", "site.conf:2"}}},
	{name: "a rewrite before it, switched live", adapt: switched, site: "server {\n\tif ($arg_old) { rewrite ^ /new last; }\n\tinclude cutover/shop/current/server.conf;\n" + joinedPass + "}", want: []Finding{
		{Refuse, "site.conf", 3, "go to blue, whichever color is stable", "site.conf:2"}}},
	{name: "the pool is taken before it", site: "server {\n\tset $to $cutover_shop_web;\n\tinclude cutover/shop/current/server.conf;\n\tlocation / { proxy_pass http://$to; }\n}", want: []Finding{
		{Warn, "site.conf", 2, "set $to takes the pool before server.conf has chosen one", "Move it below the include"}}},
	{name: "past our names, by address", site: server(joinedPass + "\n\tlocation /api/ { proxy_pass http://localhost:23010; }"), want: []Finding{
		{Warn, "site.conf", 5, "proxy_pass goes to blue, past cutover", "`proxy_pass http://$cutover_shop_web;`"}}},
	{name: "past our names, by gRPC", site: server(joinedPass + "\n\tlocation /api/ { grpc_pass grpc://localhost:23010; }"), want: []Finding{
		{Warn, "site.conf", 5, "grpc_pass goes to blue, past cutover", "`grpc_pass grpc://$cutover_shop_web;`"}}},
	{name: "gRPC and HTTP in one pool", site: server(joinedPass + "\n\tlocation /api/ { grpc_pass grpc://${cutover_shop_web}; }"), want: []Finding{
		{Warn, "site.conf", 5, "site.conf:4) take each other's idle connections", "stacks.web"}}},
	{name: "past our names, in a server of its own", site: server(joinedPass) + "server { listen 127.0.0.1:23002; location / { proxy_pass http://127.0.0.1:23012; } }", want: []Finding{
		{Note, "site.conf", 6, "proxy_pass goes to green, past cutover", "`proxy_pass http://$cutover_shop_web;`"}}},
	{name: "past our names, to a pool of ours", site: server(joinedPass + "\n\tlocation /api/ { proxy_pass http://cutover_shop_web_blue; }"), want: []Finding{
		{Refuse, "site.conf", 5, "proxy_pass names cutover_shop_web_blue, which is no route of shop", "The routes are $cutover_shop_web."}}},
	{name: "a copy by hand without max_fails", site: "upstream own {\n\tserver 127.0.0.1:23010 weight=95;\n\tserver 127.0.0.1:23012 weight=5;\n}\n" +
		server(joinedPass+"\n\tlocation /api/ { proxy_pass http://own; }"), want: []Finding{
		{Warn, "site.conf", 9, "proxy_pass goes to blue, past cutover", "`proxy_pass http://$cutover_shop_web;`"},
		{Warn, "site.conf", 2, "upstream own is written by hand without max_fails=0", "max_fails=0"}}},
	{name: "a keep-alive longer than the application's", site: "upstream own {\n\tserver 127.0.0.1:23010;\n\tkeepalive 8;\n\tkeepalive_timeout 75;\n}\n" +
		server(joinedPass+"\n\tlocation /api/ { proxy_pass http://own/api/; }"), want: []Finding{
		{Warn, "site.conf", 10, "proxy_pass goes to blue, past cutover", "`proxy_pass http://$cutover_shop_web;`"},
		{Warn, "site.conf", 4, "upstream own keeps idle connections for 1m15s", "keepalive_timeout 1s;"}}},
	{name: "nginx's own keep-alive", site: "upstream own { server 127.0.0.1:23010;\n\tkeepalive 8;\n}\n" + server(joinedPass+"\n\tlocation /api/ { proxy_pass http://own; }"), want: []Finding{
		{Warn, "site.conf", 8, "proxy_pass goes to blue, past cutover", "`proxy_pass http://$cutover_shop_web;`"},
		{Warn, "site.conf", 2, "upstream own keeps idle connections for 1m0s", "keepalive_timeout 1s;"}}},
	{name: "a second try that hides errors", site: server("\tproxy_next_upstream error timeout http_500 http_502;\n" + joinedPass), want: []Finding{
		{Warn, "site.conf", 4, "proxy_next_upstream http_500 http_502: the other color is asked again, and hides from users", "`proxy_next_upstream error timeout;`"}}},
	{name: "a second try of POSTs", site: "proxy_next_upstream error timeout non_idempotent;\n" + server(joinedPass), want: []Finding{
		{Warn, "site.conf", 1, "a POST that one color began and did not answer is done again by the other", "Remove `non_idempotent`"}}},
	{name: "no second try", site: server("\tproxy_next_upstream off;\n" + joinedPass), want: []Finding{
		{Warn, "site.conf", 4, "proxy_next_upstream off: a request that the candidate does not answer is lost", "Remove it"}}},
	{name: "one try only", site: server("\tproxy_next_upstream_tries 1;\n" + joinedPass), want: []Finding{
		{Warn, "site.conf", 4, "proxy_next_upstream_tries 1: a request that the candidate does not answer is lost", "allow 2"}}},
	{name: "open_file_cache", site: server("\topen_file_cache max=10;\n" + joinedPass), refused: true, want: []Finding{
		{Refuse, "site.conf", 4, "open_file_cache stands beside server.conf", "locations that serve files"}}},
	{name: "disable_symlinks", site: server("\tdisable_symlinks on;\n" + joinedPass), want: []Finding{
		{Warn, "site.conf", 4, "disable_symlinks may hide a rollout's folder", "locations that serve files"}}},
	{name: "disable_symlinks, switched live", adapt: switched, site: "disable_symlinks on;\n" + server(joinedPass), want: []Finding{
		{Refuse, "site.conf", 1, "disable_symlinks hides the links", "locations that serve files"}}},
	{name: "a cache's key without the pool", adapt: switched, site: cachePath + server("\tproxy_cache_key $scheme$host$request_uri;\n\tproxy_cache pages;\n"+joinedPass), want: []Finding{
		{Refuse, "site.conf", 5, "the cache's key does not hold the pool", "Put $cutover_shop_web into proxy_cache_key"}}},
	{name: "a cache's key with the state instead of the pool", adapt: byClient, site: cachePath + server("\tproxy_cache_key $cutover_shop_pool$host$request_uri;\n\tproxy_cache pages;\n"+joinedPass), want: []Finding{
		{Refuse, "site.conf", 5, "a cutback does not take them back", "Put $cutover_shop_web into proxy_cache_key"}}},
	{name: "a cache of both colors' answers", site: cachePath + server("\tproxy_cache pages;\n"+joinedPass), want: []Finding{
		{Warn, "site.conf", 5, "both colors answer from one pool", "nginx.split to client, or nginx.switch to live"}}},
	{name: "a cache behind a fixed name", adapt: byName, site: cachePath + server("\tlocation / { proxy_pass http://cutover_shop_web; proxy_cache pages; }"), want: []Finding{
		{Refuse, "site.conf", 5, "the cache cannot tell the colors apart", "nginx.pass to variable"}}},
	{name: "a location's add_header", adapt: byClient, site: server("\tlocation / {\n\t\tadd_header X-Frame-Options DENY;\n\t\tproxy_pass http://$cutover_shop_web;\n\t}"), want: []Finding{
		{Warn, "site.conf", 5, "this add_header drops the cookie", "`add_header Set-Cookie $cutover_shop__set_cookie always;`"}}},
	{name: "an add_header in an if", adapt: byClient, site: server("\tlocation / {\n\t\tproxy_pass http://$cutover_shop_web;\n\t\tif ($arg_x) { add_header X-Debug 1; }\n\t}"), want: []Finding{
		{Warn, "site.conf", 6, "this add_header drops the cookie", "`add_header Set-Cookie $cutover_shop__set_cookie always;`"}}},
	{name: "an add_header of http that one of two servers inherits", adapt: byClient,
		site: "add_header X-Frame-Options DENY;\n" + server(joinedPass) + strings.ReplaceAll(server("\tadd_header X-Debug 1;\n"+joinedPass), "23001", "23002"), want: []Finding{
			{Warn, "site.conf", 2, "no longer have the add_header of http { } (", "Write that add_header into this server too"}}},
	{name: "auth_request that the app answers", site: server("\tauth_request /auth;\n" + joinedPass), want: []Finding{
		{Warn, "site.conf", 4, "auth_request and the request that it is for are drawn apart", "nginx.split to client"}}},
	{name: "a log without our format", site: server("\tlocation / {\n\t\taccess_log own.log;\n\t\tproxy_pass http://$cutover_shop_web;\n\t}"), want: []Finding{
		{Refuse, "site.conf", 5, "this access_log takes the place of", "Move it to server { }"}}},
	{name: "a browser's application beside its API", site: server("\tlocation / { root html; try_files $uri /index.html; }\n\tlocation /api/ { proxy_pass http://$cutover_shop_web; }"), want: []Finding{
		{Warn, "site.conf", 4, "calls both releases in turn", "Set nginx.split to client"}}},
	{name: "a front end drawn by request", adapt: func(o *Options) {
		o.Web = append(o.Web, Upstream{Route: "frontend", Blue: "127.0.0.1:23014", Green: "127.0.0.1:23015"})
	}, site: server("\tlocation / { proxy_pass http://$cutover_shop_frontend; }\n\tlocation /api/ { proxy_pass http://$cutover_shop_web; }"), want: []Finding{
		{Warn, "site.conf", 4, "a browser gets its page from one release and the rest from the other", "Set nginx.split to client"}}},
	{name: "a page of one service, its data of another", adapt: addSite, site: server("\tlocation / { proxy_pass http://$cutover_shop_site; }\n\tlocation /api/ { proxy_pass http://$cutover_shop_web; }"), want: []Finding{
		{Warn, "site.conf", 4, "/ is service site's and /api/ is web's: a browser gets its page from one release", "Set nginx.split to client"}}},
	{name: "only the API is split, beside pages of somebody else's", site: server("\tlocation / { proxy_pass http://127.0.0.1:4000; }\n\tlocation /api/v1/ { proxy_pass http://$cutover_shop_web; }"), want: []Finding{
		{Warn, "site.conf", 4, "only /api/v1/ is passed to the app, and pages come from elsewhere: the page from here calls both releases", "Set nginx.split to client"}}},
	{name: "only the API is split, beside files", site: server("\troot html;\n\tindex index.html;\n\tlocation = /api { return 204; }\n\tlocation / { try_files $uri =404; }\n\tlocation /graphql { proxy_pass http://$cutover_shop_web; }"), want: []Finding{
		{Warn, "site.conf", 7, "what they ask for under /graphql is not: the page from here calls both releases", "Let a web service of the release serve the pages too"}}},
	{name: "a page of no release, of clients", adapt: byClient, site: server("\tlocation / { root html; try_files $uri /index.html; }\n\tlocation /api/ { proxy_pass http://$cutover_shop_web; }"), want: []Finding{
		{Note, "site.conf", 4, "the page is of no release, and a new one asks the old release", "Let a web service of the release serve the pages too"}}},
	{name: "a page of one service, its data of another, in a server of cutover's", adapt: func(o *Options) {
		addSite(o)
		for path, service := range map[string]string{"/": "site", "/api/": "web"} {
			o.Routes = append(o.Routes, Route{Listen: "127.0.0.1:23001", Host: "shop.example", Path: path, Service: service})
		}
	}, want: []Finding{
		{Warn, "cutover/shop/current/http.conf", 0, "/ is service site's and /api/ is web's", "Set nginx.split to client"}}},
	{name: "assets of one color only", site: server(joinedPass + "\n\tlocation /static/ { proxy_pass http://$cutover_shop_web; }"), want: []Finding{
		{Note, "site.conf", 5, "files that only the other may have", "`proxy_pass http://$cutover_shop_web_assets;` and `proxy_next_upstream error timeout http_404;`"}}},
	{name: "assets that are not asked for twice", site: server(joinedPass + "\n\tlocation ^~ /assets/ { proxy_pass http://$cutover_shop_web_assets; }"), want: []Finding{
		{Note, "site.conf", 5, "files that only the other may have", "Write `proxy_next_upstream error timeout http_404;` beside it"}}},
}

// sound are configurations with which nothing is wrong, however alike they are to some above.
var sound = []looked{
	{name: "as init writes it", site: server(joinedPass)},
	{name: "listen before it", site: "server {\n\tlisten 127.0.0.1:23001;\n\tserver_name shop;\n\tset $x 1;\n\tinclude cutover/shop/current/server.conf;\n" + joinedPass + "}"},
	{name: "a server that only redirects", site: server(joinedPass) + "server { listen 127.0.0.1:23002; return 301 https://$host$request_uri; }"},
	{name: "other services", site: "upstream mail { server 127.0.0.1:9025; server 127.0.0.1:9026; keepalive 8; }\n" + cachePath +
		server(joinedPass+"\n\tlocation /mail/ { proxy_pass http://mail/; proxy_next_upstream error http_500 non_idempotent; proxy_cache pages; proxy_cache_key $uri; access_log off; add_header X-Mail 1; }")},
	{name: "an upstream that is left from before", site: "upstream own { server 127.0.0.1:23010; server 127.0.0.1:23012; keepalive 8; }\n" + server(joinedPass)},
	{name: "second tries as nginx has them", site: server("\tproxy_next_upstream error timeout;\n\tproxy_next_upstream_tries 2;\n" + joinedPass)},
	{name: "second tries where there is no other", adapt: func(o *Options) { byClient(o); o.Config.Rescue = false }, site: server("\tproxy_next_upstream error http_502;\n" + joinedPass)},
	{name: "disable_symlinks where files are served", adapt: switched, site: server(joinedPass + "\n\tlocation /files/ { root /srv; disable_symlinks on; open_file_cache max=10; }")},
	{name: "a cache with nginx's own key", adapt: byClient, site: cachePath + server("\tproxy_cache pages;\n"+joinedPass)},
	{name: "a cache with the pool in its key", adapt: switched, site: cachePath + server("\tproxy_cache pages;\n\tproxy_cache_key $cutover_shop_web$request_uri;\n"+joinedPass)},
	{name: "a cache switched off", site: cachePath + "proxy_cache pages;\n" + server("\tproxy_cache off;\n"+joinedPass)},
	{name: "our cookie beside another header", adapt: byClient,
		site: server("\tadd_header X-Debug 1;\n\tlocation / {\n\t\tadd_header X-Frame-Options DENY;\n\t\tadd_header Set-Cookie $cutover_shop__set_cookie always;\n\t\tproxy_pass http://$cutover_shop_web;\n\t}")},
	{name: "a header where no cookie is given", adapt: func(o *Options) { byClient(o); o.Config.Sticky = StickyAddress },
		site: server("\tlocation / { add_header X-Frame-Options DENY; proxy_pass http://$cutover_shop_web; }")},
	{name: "auth_request that another service answers", site: server("\tauth_request /auth;\n" + joinedPass + "\n\tlocation = /auth { proxy_pass http://127.0.0.1:4180; }")},
	{name: "auth_request of clients", adapt: byClient, site: server("\tauth_request /auth;\n" + joinedPass)},
	{name: "a browser's application of clients", adapt: func(o *Options) { addSite(o); byClient(o) },
		site: server("\tlocation / { proxy_pass http://$cutover_shop_site; }\n\tlocation /api/ { proxy_pass http://$cutover_shop_web; }")},
	{name: "an API without pages", site: server("\tlocation / { return 404; }\n\tlocation /api/ { proxy_pass http://$cutover_shop_web; }")},
	{name: "pages and data of one service", site: server(joinedPass + "\n\tlocation /api/ { proxy_pass http://$cutover_shop_web; }")},
	{name: "an API of somebody else's beside the app", site: server(joinedPass + "\n\tlocation /api/ { proxy_pass http://127.0.0.1:4000; }")},
	{name: "pages of another server", site: server("\tlocation /api/ { proxy_pass http://$cutover_shop_web; }") + "server { listen 127.0.0.1:23002; location / { root html; try_files $uri /index.html; } }"},
	{name: "a manual beside the app", site: server(joinedPass + "\n\tlocation /manual/ { root html; try_files $uri /manual/index.html; }")},
	{name: "a cache of assets", site: cachePath + server(joinedPass+"\n\tlocation /static/ { proxy_cache pages; proxy_cache_key $uri; proxy_pass http://$cutover_shop_web_assets; proxy_next_upstream error timeout http_404; }")},
	{name: "assets asked for twice", site: server(joinedPass + "\n\tlocation /static/ { proxy_pass http://$cutover_shop_web_assets; proxy_next_upstream error timeout http_404; }")},
	{name: "a fixed name", adapt: byName, site: server("\tlocation / { proxy_pass http://cutover_shop_web; }")},
}

func TestLint_TwentyBrokenConfigurations(t *testing.T) {
	for _, test := range flaws {
		t.Run(test.name, test.check)
	}
}

func TestLint_NothingIsWrong(t *testing.T) {
	for _, test := range sound {
		t.Run(test.name, test.check)
	}
}

// check compares what is found, and asks nginx about the configuration, while a rollout is open and while none is.
func (test looked) check(t *testing.T) {
	tr := tree{root: t.TempDir()}
	config := DefaultConfig()
	config.Dir, config.Conf, config.Prefix, config.Probe = filepath.Join(tr.root, "cutover"), tr.main(), tr.root, "127.0.0.1:23020"
	o := Options{Config: config, App: "shop", Env: "test", AccessLog: filepath.Join(tr.root, "cutover-shop.log"), Host: &realHost{},
		Web: []Upstream{{Route: "web", Blue: "127.0.0.1:23010", Green: "127.0.0.1:23012"}}}
	if test.adapt != nil {
		test.adapt(&o)
	}
	p := New(o)
	temporary := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temporary += kind + "_temp_path temp; "
	}
	put(t, tr.main(), fmt.Sprintf("worker_shutdown_timeout 60s; pid nginx.pid;\nevents {}\n\nhttp {\n\tinclude cutover/shop/current/http.conf;\n\tinclude site.conf;\n\taccess_log off; %s\n}\n", temporary))
	put(t, filepath.Join(tr.root, "site.conf"), test.site)
	require.NoError(t, os.MkdirAll(p.root, 0o755))
	require.NoError(t, os.Symlink("gen/000001", filepath.Join(p.root, "current")))
	for _, served := range []traffic.Split{split(0, 0), split(1, 5)} {
		files, err := p.Render(served, 1, nil)
		require.NoError(t, err)
		for _, f := range files {
			put(t, filepath.Join(p.trees.folder(1), f.Name), string(f.Data))
		}
		found, err := p.Findings(t.Context())
		require.NoError(t, err)
		test.compare(t, tr, found)
		_, output, err := tr.judge(t, tr.main())
		require.Equal(t, test.refused, err != nil, output)
	}
}

// Measured, because findings hang on it: what disable_symlinks hides of the links that nginx.switch: live gives shares by.
func TestLint_WhatDisableSymlinksHides(t *testing.T) {
	for _, c := range []struct {
		name, before, after string
		// proven tells that the probe sees the share, share what users see of it.
		proven bool
		share  float64
	}{
		{"http", "access_log off;", "disable_symlinks on;", false, 0},
		{"server", "location / {", "disable_symlinks on; location / {", true, 0},
		{"location", "location / {", "location / { disable_symlinks on;", true, 100},
		{"server, owned by the same", "location / {", "disable_symlinks if_not_owner; location / {", true, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			live(&r.options.Config)
			r.proxy = New(r.options)
			conf, err := os.ReadFile(r.options.Config.Conf)
			require.NoError(t, err)
			r.write("nginx.conf", strings.Replace(string(conf), c.before, c.after, 1))
			require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
			r.start()
			_, err = r.proxy.Raise(t.Context(), split(r.open(), 100))
			require.Equal(t, c.proven, err == nil, err)
			require.Equal(t, c.share, r.share(20))
		})
	}
}

// What http { } adds to answers is still added where server.conf adds the cookie.
func TestServerLines_RestateHeadersBesideTheCookie(t *testing.T) {
	r := newRig(t)
	r.options.Config.Split = SplitClient
	r.proxy = New(r.options)
	conf, err := os.ReadFile(r.options.Config.Conf)
	require.NoError(t, err)
	r.write("nginx.conf", strings.Replace(string(conf), "access_log off;", `access_log off; add_header X-Who "of $host; all" always;`, 1))
	require.NoError(t, r.proxy.Base(t.Context(), traffic.Blue, tags))
	r.start()
	for _, cookies := range []int{0, 1} {
		answer, err := client.Get("http://" + r.site)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, []string{"of 127.0.0.1; all"}, answer.Header.Values("X-Who"))
		require.Len(t, answer.Cookies(), cookies)
		if cookies == 0 {
			r.raise(r.open(), 5)
		}
	}
}

func (test looked) compare(t *testing.T, tr tree, found []Finding) {
	t.Helper()
	require.Len(t, found, len(test.want), "%+v", found)
	for n, want := range test.want {
		got := found[n]
		require.Equal(t, want.Severity, got.Severity, got.What)
		require.Equal(t, filepath.Join(tr.root, want.File), got.File, got.What)
		if want.Line != 0 { // of what cutover renders itself the line is nobody's concern
			require.Equal(t, want.Line, got.Line, got.What)
		}
		require.Contains(t, got.What, want.What)
		require.Contains(t, got.Remedy, want.Remedy)
	}
}
