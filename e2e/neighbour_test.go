package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// Two apps in one nginx have names, reloads and a probe's port in common, and nothing else: what becomes of one is nothing to the other.
func TestNeighbours_TwoAppsInOneNginx(t *testing.T) {
	t.Parallel()
	a := set(t, stage.Options{Name: "duo-a", Config: faulty, Head: "    include conf.d/*.conf;"})
	require.NoError(t, os.Mkdir(filepath.Join(a.NginxPrefix(), "conf.d"), 0o755))
	b := build(t, stage.Options{Name: "duo-b", Config: faulty, Beside: a.Stage})
	require.NoError(t, b.Compose(t.Context(), "blue", first.Tag, "up", "-d", "--wait"))
	b.types(0, "init", "--stable", "blue", "--tag", first.Tag)
	until(t, "nginx serves both", func() bool { return strings.Contains(b.status().Truth, "blue v1.0.0 100 % (proven ") })
	b.welcomes(rate)
	both := func(t *testing.T) (*scene, *scene) { return a.in(t), b.in(t) }
	began := time.Now()

	t.Run("a name that nginx could not tell from a neighbour's", func(t *testing.T) {
		_, b := both(t)
		alike := strings.Replace(b.Name, "-duo-", "_duo-", 1)
		config := strings.Replace(b.text(b.ConfigFile()), "app: "+b.Name, "app: "+alike, 1)
		path := filepath.Join(t.TempDir(), "cutover.yaml")
		require.NoError(t, os.WriteFile(path, []byte(config), 0o644))
		r := b.types(3, "init", "--config", path, "--stable", "blue", "--tag", first.Tag)
		require.Contains(t, r.Stderr, "app "+b.Name+" beside it has the same names in nginx")
		require.NoDirExists(t, filepath.Join(b.NginxDir(), alike))
	})
	t.Run("both are promoted at the same time", func(t *testing.T) {
		a, b := both(t)
		p, q := a.starts("promote", "--env", "quickly", "--tag", good.Tag), b.starts("promote", "--env", "quickly", "--tag", next.Tag)
		p.ends(0)
		q.ends(0)
		a.share(good.Tag, 100)
		b.share(next.Tag, 100)
		require.Zero(t, a.since(began).Lost)
		require.Zero(t, b.since(began).Lost)
	})
	t.Run("one is reverted, one goes back, one loses its promoter", func(t *testing.T) {
		a, b := both(t)
		q := b.starts("promote", "--env", "patient", "--tag", good.Tag)
		q.reaches("raised", 20)
		a.types(8, "promote", "--env", "patient", "--tag", dead.Tag)
		a.none(time.Now(), dead.Tag)
		b.share(good.Tag, 20)

		p := a.starts("promote", "--env", "patient", "--tag", next.Tag)
		p.reaches("raised", 20)
		require.Zero(t, a.backs("").Exit)
		p.ends(10)
		a.none(time.Now(), next.Tag)
		b.share(good.Tag, 20)

		p = a.starts("promote", "--env", "patient", "--tag", next.Tag, "--again", "--why", "nothing was wrong with it")
		p.reaches("raised", 20)
		a.carries(next.Tag)
		p.gets(syscall.SIGKILL)
		until(t, "its guardian has cut back", func() bool { return a.has(p.since, "cut-proven") })
		a.none(time.Now(), next.Tag)
		b.share(good.Tag, 20)

		require.Zero(t, b.backs("").Exit)
		q.ends(10)
		b.none(time.Now(), good.Tag)
		a.none(time.Now(), next.Tag)
	})
	t.Run("which one is meant must be said where nothing says it", func(t *testing.T) {
		a, b := both(t)
		c := a.Command(t.Context(), "back", "--dir", a.NginxDir())
		c.Dir = "/"
		said, err := c.CombinedOutput()
		require.Error(t, err)
		require.Equal(t, 2, c.ProcessState.ExitCode())
		text := strings.Join(strings.Fields(string(said)), "")
		require.Contains(t, text, "whichappismeant?")
		require.Contains(t, text, a.Name+","+b.Name)
		require.Contains(t, text, "cutoverback--app"+a.Name)
	})
	t.Run("nginx is reloaded by others and started anew", func(t *testing.T) {
		a, b := both(t)
		p, q := a.starts("promote", "--env", "quickly", "--tag", next.Tag, "--again", "--why", "nothing was wrong with it"), b.starts("promote", "--env", "patient", "--tag", first.Tag)
		for !p.hasEnded() { // as certbot would, only much more often
			require.NoError(t, syscall.Kill(a.NginxPID(), syscall.SIGHUP))
			pass(t, 300*time.Millisecond)
		}
		p.ends(0)
		q.reaches("raised", 20)
		a.restarts()
		a.share(next.Tag, 100)
		b.share(first.Tag, 20)
		q.gets(syscall.SIGTERM)
		q.ends(10)
		b.none(time.Now(), first.Tag)
	})
	t.Run("both are recovered after a reboot", func(t *testing.T) {
		a, b := both(t)
		p, q := a.starts("promote", "--env", "patient", "--tag", first.Tag), b.starts("promote", "--env", "patient", "--tag", first.Tag)
		p.reaches("raised", 20)
		q.reaches("raised", 20)
		q.dies()
		text := a.reboots(p)
		require.Contains(t, text, `"app": "`+a.Name+`"`)
		require.Contains(t, text, `"app": "`+b.Name+`"`)
		a.none(time.Now(), first.Tag)
		b.none(time.Now(), first.Tag)
		require.Equal(t, "idle", a.status().Phase)
		require.Equal(t, "idle", b.status().Phase)
	})
	a.journalIsWhole()
	b.journalIsWhole()
}
