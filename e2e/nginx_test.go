package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// staged is a plan that takes its second step while the scene has had time to break something.
const staged = `rollout:
  steps: [{ weight: 20, soak: 3s }, { weight: 50, soak: 3s }, { weight: 100 }]
  bake: 3s
verdict:
  warm_up: 0s
  inconclusive: { after: 3s, then: proceed }
`

// Law 4: a configuration that nginx refuses never reaches it. The next raise is refused, and everything goes to stable.
func TestLaw4_AForeignBrokenFileInTheMiddle(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "broken", Config: staged, Head: "    include conf.d/*.conf;"})
	foreign := s.foreign()
	began := time.Now()
	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 20)
	mended := s.writes(foreign, "oops on;\n")
	said := p.ends(6)
	require.Contains(t, said, "foreign.conf", "who is to blame is named")
	require.Contains(t, said, "blue v1.0.0 100 %")
	s.none(time.Now(), good.Tag)
	require.Zero(t, s.since(began).Lost, "nginx never left off")
	require.Equal(t, "declined", s.history()[0].Result)

	// before the first raise nothing is touched
	before := time.Now()
	r := s.types(6, "promote", "--tag", next.Tag)
	require.Contains(t, r.Stderr, "foreign.conf")
	s.none(before, next.Tag)
	require.False(t, strings.Contains(r.Stdout, "starting"), "no stack is started for it: %s", r.Stdout)

	mended()
	s.types(0, "promote", "--tag", good.Tag)
	s.journalIsWhole()
}

// Law 3: a reload whose exit code is 0, and which nginx's master then ignores, raises nothing: here a port that somebody has.
func TestLaw3_AReloadThatIsIgnored(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "ignored", Config: staged, Head: "    include conf.d/*.conf;"})
	foreign := s.foreign()
	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 20)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	mended := s.writes(foreign, "server { listen "+taken.Addr().String()+"; }\n")
	said := p.ends(6)
	require.Contains(t, said, "ignored the reload")
	s.none(time.Now(), good.Tag)
	now := s.status()
	require.Equal(t, "idle", now.Phase)
	require.Regexp(t, `^blue v1\.0\.0 100 % \(proven `, now.Truth)
	require.NotContains(t, s.history()[0].steps(), 50.0, "a raise counts when nginx answered with it")

	mended()
	s.types(0, "promote", "--tag", next.Tag)
}

// Law 4: nginx comes up in every state of a rollout, and serves in it what it served before.
func TestLaw4_NginxIsRestartedInEveryState(t *testing.T) {
	t.Parallel()
	s := set(t, stage.Options{Name: "restart", Config: staged})
	s.restarts()
	s.share(good.Tag, 0) // before the first rollout

	p := s.starts("promote", "--tag", good.Tag)
	p.reaches("raised", 20)
	s.types(0, "pause", "--why", "nginx is being upgraded")
	s.restarts()
	s.share(good.Tag, 20)
	s.types(0, "resume")
	p.ends(0)
	s.restarts()
	s.share(good.Tag, 100) // accepted, and blue warm

	s.types(0, "back")
	s.restarts()
	s.share(good.Tag, 0) // cut back

	s.types(0, "promote", "--tag", next.Tag)
	s.types(0, "down")
	s.restarts()
	s.share(next.Tag, 100) // finished
	require.Equal(t, "idle", s.status().Phase)

	require.NoError(t, s.StopNginx())
	r := s.types(3, "promote", "--tag", good.Tag)
	require.Contains(t, r.Stderr, "nginx")
	require.Contains(t, s.types(0, "status").Stdout, "NOT proven")
	require.NoError(t, s.StartNginx(t.Context()))
	s.journalIsWhole()
}

// foreign makes the folder of other people's files and gives the path of one.
func (s *scene) foreign() string {
	s.t.Helper()
	dir := filepath.Join(s.Dir, "nginx", "conf.d")
	require.NoError(s.t, os.Mkdir(dir, 0o755))
	return filepath.Join(dir, "foreign.conf")
}

func (s *scene) restarts() {
	s.t.Helper()
	require.NoError(s.t, s.StopNginx())
	require.NoError(s.t, s.StartNginx(s.t.Context()))
}

func (p past) steps() []float64 {
	var all []float64
	for _, step := range p.Steps {
		all = append(all, step.Weight)
	}
	return all
}
