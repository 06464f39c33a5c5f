package nginxconf

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"cutover/traffic"
)

// renderCase is one golden generation. Everything that a machine could make different stands in options.
type renderCase struct {
	name   string
	adapt  func(*Options)
	split  traffic.Split
	number traffic.Generation
	logs   []string
}

func renderCases() []renderCase {
	two := func(o *Options) {
		o.Web = []Upstream{
			{Route: "backend", Blue: "127.0.0.1:18000", Green: "127.0.0.1:28000"},
			{Route: "frontend", Blue: "127.0.0.1:18080", Green: "127.0.0.1:28080"},
		}
	}
	plain := func(*Options) {}
	fixed := func(o *Options) {
		two(o)
		o.Config.Pass = PassName
	}
	live := func(o *Options) {
		two(o)
		o.Config.Switch = SwitchLive
	}
	client := func(o *Options) { o.Config.Split, o.StickyFor = SplitClient, time.Hour }
	at := func(w traffic.Weight) traffic.Split {
		return traffic.Split{Rollout: 17, Stable: traffic.Blue, Weight: w, Releases: tags}
	}
	return []renderCase{
		{"no-rollout", plain, traffic.Split{Stable: traffic.Blue, Releases: tags}, 1, nil},
		{"no-releases", plain, traffic.Split{Stable: traffic.Green}, 2, nil},
		{"weight-0", plain, at(0), 123, nil},
		{"weight-0.01", plain, at(1), 123, nil},
		{"weight-5-two-routes", two, at(500), 124, nil},
		{"weight-20", plain, at(2000), 125, nil},
		{"weight-99.99", plain, at(9999), 126, nil},
		{"weight-100-two-routes", two, at(10000), 127, nil},
		{"green-is-stable", plain, traffic.Split{Rollout: 1234567, Stable: traffic.Green, Weight: 3300, Releases: tags}, 1234567, nil},
		{"odd-names", func(o *Options) {
			o.App, o.Env = "my-shop_2", `prod "east" {'1'}; \`
			o.Web = []Upstream{{Route: RouteName("API.v2-Läden"), Blue: "127.0.0.2:18000", Green: "[0:0::1]:28000"}}
		}, traffic.Split{Rollout: 17, Stable: traffic.Blue, Weight: 2500, Releases: map[traffic.Color]string{
			traffic.Blue: `v1 "2"; }`, traffic.Green: `it's a \ 1 <é>`}}, 128, nil},
		{"client-weight-5", client, at(500), 124, nil},
		{"client-weight-100", client, at(10000), 127, nil},
		{"client-by-header", func(o *Options) {
			client(o)
			o.Config.Sticky, o.Config.Rescue, o.Config.Assets = "header:X-User", false, nil
			o.Config.Override = Override{Cookie: "tester", Networks: []string{"10.0.0.0/8", "::1/128"}}
		}, at(500), 124, nil},
		{"live", live, at(500), 130, nil},
		{"live-client", func(o *Options) {
			live(o)
			client(o)
			o.Config.Buckets = 1000
		}, at(500), 130, nil},
		{"live-plain", func(o *Options) {
			live(o)
			o.Config.Rescue, o.Config.Assets, o.Config.Override = false, nil, Override{}
		}, at(500), 130, nil},
		{"fixed-no-rollout", fixed, traffic.Split{Stable: traffic.Blue, Releases: tags}, 1, nil},
		{"fixed-weight-0", fixed, at(0), 123, nil},
		{"fixed-weight-5", fixed, at(500), 124, nil},
		{"fixed-weight-100", fixed, at(10000), 127, nil},
		{"fixed-whole-site", func(o *Options) {
			fixed(o)
			o.Routes = []Route{{Listen: "127.0.0.1:18090", Host: "shop.example", Path: "/", Service: "frontend"}}
		}, traffic.Split{Rollout: 17, Stable: traffic.Green, Weight: 2000, Releases: tags}, 129, nil},
		{"judged-routes", func(o *Options) {
			two(o)
			o.GRPC = true
			o.Judged = []JudgedRoute{{"api", "/api/"}, {"checkout", "/api/checkout"}, {"odd", `/a.b+(c)$"\;{}`}}
		}, at(500), 124, nil},
		{"whole-site", func(o *Options) {
			two(o)
			o.Routes = []Route{
				{Listen: "127.0.0.1:18090", Host: "shop.example", Path: "/", Service: "frontend"},
				{Listen: "18091", Host: "_", Path: "/", Service: "frontend"},
				{Listen: "127.0.0.1:18090", Host: "shop.example", Path: "/api/", Service: "backend"},
			}
		}, at(500), 129, []string{`access_log "/tmp/access.log" "combined";`}},
	}
}

// proxyFor makes the Proxy of a case; folder is where everything would lie.
func (c renderCase) proxyFor(folder string) *Proxy {
	config := DefaultConfig()
	config.Dir = folder
	o := Options{Config: config, App: "shop", Env: "prod", AccessLog: filepath.Join(folder, "shop.log"),
		Web: []Upstream{{Route: "web", Blue: "127.0.0.1:18000", Green: "127.0.0.1:28000"}}}
	c.adapt(&o)
	return New(o)
}

func TestRenderGolden(t *testing.T) {
	for _, c := range renderCases() {
		t.Run(c.name, func(t *testing.T) {
			files, err := c.proxyFor("/srv/cutover").Render(c.split, c.number, c.logs)
			require.NoError(t, err)
			for _, f := range files {
				path := filepath.Join("testdata", "render", c.name, f.Name)
				if *update {
					require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
					require.NoError(t, os.WriteFile(path, f.Data, 0o644))
				}
				want, err := os.ReadFile(path)
				require.NoError(t, err)
				require.Equal(t, string(want), string(f.Data))
			}
		})
	}
}

// Each golden generation is one that the real nginx accepts, with the include lines that a user would write.
func TestRenderIsAcceptedByNginx(t *testing.T) {
	nginx := stockNginx(t)
	for _, c := range renderCases() {
		t.Run(c.name, func(t *testing.T) {
			folder := t.TempDir()
			p := c.proxyFor(folder)
			require.NoError(t, p.makeRoot())
			require.NoError(t, p.stage(c.split, c.number, c.logs))
			server := ""
			if len(p.options.Routes) == 0 {
				server = fmt.Sprintf("server { listen 127.0.0.1:18092; include %s/server.conf; location / { proxy_pass %s; } }",
					p.trees.folder(c.number), p.Passes()[0])
			}
			conf := filepath.Join(folder, "nginx.conf")
			require.NoError(t, os.WriteFile(conf, []byte(fmt.Sprintf("pid %s/nginx.pid; events {} http { access_log off; include %s/http.conf; %s }",
				folder, p.trees.folder(c.number), server)), 0o644))
			out, err := exec.Command(nginx, append(early(t, nginx, "stderr"), "-p", folder, "-t", "-c", conf)...).CombinedOutput()
			require.NoError(t, err, string(out))
		})
	}
}

func TestGenerationDescribesItself(t *testing.T) {
	for _, c := range renderCases() {
		files, err := c.proxyFor("/srv/cutover").Render(c.split, c.number, c.logs)
		require.NoError(t, err)
		got, err := describedSplit(files)
		require.NoError(t, err)
		if strings.HasPrefix(c.name, "live") {
			c.split = traffic.Split{Stable: traffic.Blue} // the links say the rest
		}
		require.True(t, sameSplit(c.split, got), c.name)
	}
}

// nginx refuses weight=0, and a share must be exactly the one that was asked for.
func TestWeightsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weight := traffic.Weight(rapid.IntRange(0, 10000).Draw(t, "weight"))
		view, err := renderCases()[0].proxyFor("/srv/cutover").view(traffic.Split{Rollout: 1, Stable: traffic.Blue, Weight: weight}, 1)
		require.NoError(t, err)
		var pool poolView
		for _, p := range view.Pools {
			if p.Name == "cutover_shop_web_"+view.OpenChoice {
				pool = p
			}
		}
		total, green := 0, 0
		for _, s := range pool.Servers {
			w := s.Weight
			if len(pool.Servers) == 1 {
				w = 1
			}
			require.Positive(t, w)
			total += w
			if s.Color == traffic.Green {
				green += w
			}
		}
		require.Equal(t, int(weight)*total, green*int(traffic.Full))
	})
}

func TestWhatCannotBeRendered(t *testing.T) {
	good := traffic.Split{Rollout: 17, Stable: traffic.Blue, Weight: 500, Releases: tags}
	for name, c := range map[string]struct {
		adapt func(*Options)
		split traffic.Split
		says  string
	}{
		"variable in a tag": {func(*Options) {}, traffic.Split{Stable: traffic.Blue, Releases: map[traffic.Color]string{traffic.Blue: "v$host"}}, "dollar sign"},
		"newline in a tag":  {func(*Options) {}, traffic.Split{Stable: traffic.Blue, Releases: map[traffic.Color]string{traffic.Blue: "v\n1"}}, "control character"},
		"variable in env":   {func(o *Options) { o.Env = "$env" }, good, "dollar sign"},
		"no stable":         {func(*Options) {}, traffic.Split{}, "no color"},
		"too much":          {func(*Options) {}, traffic.Split{Rollout: 1, Stable: traffic.Blue, Weight: 10001}, "outside 0 to 100"},
		"share of nobody":   {func(*Options) {}, traffic.Split{Stable: traffic.Blue, Weight: 5}, "needs a rollout"},
		"app":               {func(o *Options) { o.App = "shop;" }, good, "app:"},
		"app above":         {func(o *Options) { o.App = ".." }, good, "app:"},
		"reserved route":    {func(o *Options) { o.Web[0].Route = "pool" }, good, "cannot have the name"},
		"twin routes":       {func(o *Options) { o.Web = append(o.Web, o.Web[0]) }, good, "two services"},
		"no route":          {func(o *Options) { o.Web = nil }, good, "at least one"},
		"name for address":  {func(o *Options) { o.Web[0].Green = "green:80" }, good, "not an IP address"},
		"relative log":      {func(o *Options) { o.AccessLog = "shop.log" }, good, "absolute"},
		"unknown service":   {func(o *Options) { o.Routes = []Route{{Listen: "80", Host: "_", Path: "/", Service: "api"}} }, good, "routes[0].service"},
		"relative path":     {func(o *Options) { o.Routes = []Route{{Listen: "80", Host: "_", Path: "api", Service: "web"}} }, good, "routes[0].path"},
		"listen":            {func(o *Options) { o.Routes = []Route{{Listen: "80 ssl; }", Host: "_", Path: "/", Service: "web"}} }, good, "routes[0].listen"},
		"host":              {func(o *Options) { o.Routes = []Route{{Listen: "80", Host: "a b", Path: "/", Service: "web"}} }, good, "routes[0].host"},
		"judged name":       {func(o *Options) { o.Judged = []JudgedRoute{{"check out", "/"}} }, good, "verdict.routes[0].name"},
		"judged path":       {func(o *Options) { o.Judged = []JudgedRoute{{"a", "/"}, {"b", ""}} }, good, "verdict.routes[1].path"},
		"judged query":      {func(o *Options) { o.Judged = []JudgedRoute{{"a", "/a?b"}} }, good, "verdict.routes[0].path"},
		"twin places": {func(o *Options) {
			o.Routes = []Route{{Listen: "80", Host: "_", Path: "/", Service: "web"}, {Listen: "80", Host: "_", Path: "/", Service: "WEB"}}
		}, good, "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := renderCase{adapt: c.adapt}.proxyFor("/srv/cutover").Render(c.split, 1, nil)
			require.ErrorContains(t, err, c.says)
		})
	}
}

// Whatever a tag or an environment holds, what nginx reads stays one word.
func TestQuotedValuesStayOneWord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.String().Draw(t, "value")
		written, err := nginxString(value)
		if err != nil {
			require.True(t, strings.ContainsFunc(value, func(r rune) bool { return r == '$' || r < ' ' || r == 0x7f }))
			return
		}
		tokens, err := lex([]byte("set " + written + ";"))
		require.NoError(t, err)
		require.Len(t, tokens, 3)
		require.Equal(t, value, tokens[1].text)
	})
}
