package stacks

import (
	"strings"
	"testing"

	"github.com/docker/docker/client"
	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// TestBadFiles holds what a person can get wrong in the compose files: nothing may be started, and the error says what to mend.
func TestBadFiles(t *testing.T) {
	b := newBench(t, 20)
	const service = "services: { backend: { image: \"cutover-stacks-test:${TAG}\", pull_policy: never, ports: [\"127.0.0.1:${API_PORT}:8000\"] } }"
	address := b.Config.Web[0].Green
	_, port, _ := strings.Cut(address, ":")
	for name, c := range map[string]struct {
		file, tag string
		change    func(*Config)
		kind      traffic.Kind
		want      string
		hint      string
	}{
		"broken yaml":        {file: "services: [a", kind: traffic.Usage, want: "stacks.files: compose config for green: "},
		"unknown key":        {file: "services: { backend: { imag: x } }", kind: traffic.Usage, want: "imag"},
		"variable missing":   {file: strings.Replace(service, "${TAG}", "${REGISTRY:?no registry}", 1), kind: traffic.Usage, want: "no registry"},
		"no such file":       {change: func(c *Config) { c.Files = []string{"nowhere.yml"} }, kind: traffic.Usage, want: "stacks.files[0]: open "},
		"no such env file":   {change: func(c *Config) { c.EnvFile = ".env.prod" }, kind: traffic.Usage, want: "stacks.env_file: open "},
		"unknown service":    {change: func(c *Config) { c.Workers = []string{"worker"} }, kind: traffic.Usage, want: "service worker is not in compose.yml", hint: "The services there: backend."},
		"tag not used":       {file: strings.Replace(service, "${TAG}", "v2", 1), kind: traffic.Usage, want: "no web service's image has the tag v1", hint: "${TAG}"},
		"open to everybody":  {file: strings.Replace(service, "127.0.0.1:", "", 1), kind: traffic.Preflight, want: "publishes port 8000 on *:" + port, hint: `ports: !override ["127.0.0.1:${API_PORT}:8000"]`},
		"on all addresses":   {file: strings.Replace(service, "127.0.0.1:", "0.0.0.0:", 1), kind: traffic.Preflight, want: "publishes port 8000 on 0.0.0.0:" + port},
		"joined ports":       {file: strings.Replace(service, "ports: [", "ports: [\"8000:8000\", ", 1), kind: traffic.Preflight, want: "publishes port 8000 on *:8000"},
		"another port":       {file: strings.Replace(service, "${API_PORT}", "24099", 1), kind: traffic.Preflight, want: "does not publish " + address},
		"no port":            {file: strings.Replace(service, ", ports: [\"127.0.0.1:${API_PORT}:8000\"]", "", 1), kind: traffic.Preflight, want: "does not publish " + address, hint: port + " for green"},
		"image missing":      {tag: "v77", kind: traffic.NotReady, want: "green/backend: image cutover-stacks-test:v77 is not on this host"},
		"worker's missing":   {file: service[:len(service)-1] + ", worker: { image: cutover-stacks-test:none, pull_policy: never } }", change: func(c *Config) { c.Workers = []string{"worker"} }, kind: traffic.NotReady, want: "green/worker: image cutover-stacks-test:none"},
		"address not ours":   {change: func(c *Config) { c.Web[0].Green = "192.0.2.1:24099" }, file: strings.Replace(service, "127.0.0.1:", "192.0.2.1:", 1), kind: traffic.Preflight, want: "192.0.2.1:24099 cannot be used"},
		"secret in env file": {change: func(c *Config) { c.EnvFile = "bad.env" }, kind: traffic.Usage, want: "bad.env: line 2 cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			o := b.Options
			o.Config.Web = []Web{b.Config.Web[0]}
			if c.file == "" {
				c.file = service
			}
			if c.tag == "" {
				c.tag = "v1"
			}
			if c.change != nil {
				c.change(&o.Config)
			}
			b.write("compose.yml", c.file)
			b.write("bad.env", "GOOD=1\nDB!PASSWORD=hunter2\n")
			_, err := NewCompose(o).Prepare(b.ctx(), traffic.Green, c.tag)
			f := fault(t, err, c.kind)
			require.ErrorContains(t, f, c.want)
			require.Contains(t, f.Hint, c.hint)
			require.NotContains(t, f.Error()+strings.Join(f.Detail, ""), "hunter2")
		})
	}
	require.Empty(t, b.states(traffic.Green))
}

// One pull is tried before an image counts as missing; 127.0.0.1:24096 is a registry where nobody is.
func TestPullFails(t *testing.T) {
	b := newBench(t, 21)
	b.write("compose.yml", strings.NewReplacer("cutover-stacks-test:${TAG}", "127.0.0.1:24096/shop:${TAG}", "    pull_policy: never\n", "").Replace(composeFile))
	_, err := NewCompose(b.Options).Prepare(b.ctx(), traffic.Green, "v1")
	f := fault(t, err, traffic.NotReady)
	require.ErrorContains(t, f, "image 127.0.0.1:24096/shop:v1 is not on this host")
	require.Contains(t, strings.Join(f.Detail, "\n"), "connection refused")
}

func TestPortTakenByAContainer(t *testing.T) {
	b := newBench(t, 22)
	b.Config.Blue.Env = map[string]string{"BLUE_PORT": "x"}
	b.write("compose.yml", strings.Replace(composeFile, "${API_PORT}", "${ANY_PORT:-24045}", 1))
	b.Config.Web[0].Green = "127.0.0.1:24045"
	b.byHand(traffic.Blue, "v1", "up", "-d", "backend")
	err := NewCompose(b.Options).Preflight(b.ctx(), traffic.Green, "v1")
	f := fault(t, err, traffic.Preflight)
	require.EqualError(t, f, "green/backend: 127.0.0.1:24045 is taken by container "+b.Config.Blue.Project+"-backend-1")
}

func TestEngineDead(t *testing.T) {
	b := newBench(t, 23)
	dead, err := client.NewClientWithOpts(client.WithHost("unix:///nowhere/docker.sock"), client.WithAPIVersionNegotiation())
	require.NoError(t, err, "nothing is connected yet")
	b.Engine = &Engine{docker: dead}
	t.Cleanup(func() { b.Engine.Close() })
	c := NewCompose(b.Options)
	_, err = c.Prepare(b.ctx(), traffic.Green, "v1")
	f := fault(t, err, traffic.Preflight)
	require.ErrorContains(t, f, "docker engine at unix:///nowhere/docker.sock")
	require.Contains(t, f.Hint, "systemctl start docker")
	fault(t, c.Retire(b.ctx(), traffic.Green), traffic.Preflight)
	_, err = c.Serving(b.ctx(), traffic.Green)
	fault(t, err, traffic.Preflight)
	// Compose would start the stack on an engine that is not the one asked here.
	fault(t, c.sameEngine(b.ctx(), c.stack(traffic.Green, "v1"), []string{"backend"}), traffic.Preflight)
}

func TestComposeMissing(t *testing.T) {
	b := newBench(t, 24)
	b.Compose = []string{"/nowhere/docker-compose"}
	f := fault(t, NewCompose(b.Options).Preflight(b.ctx(), traffic.Green, "v1"), traffic.Preflight)
	require.Contains(t, f.Hint, "Install Docker Compose v2")
}

func TestTagOf(t *testing.T) {
	for reference, tag := range map[string]string{
		"shop":                              "latest",
		"shop:v1.2.3":                       "v1.2.3",
		"localhost:5000/shop":               "latest",
		"localhost:5000/team/shop:v1":       "v1",
		"shop@sha256:0123":                  "sha256:0123",
		"ghcr.io/team/shop:v1@sha256:01234": "v1",
	} {
		require.Equal(t, tag, tagOf(reference), reference)
	}
}
