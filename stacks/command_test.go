package stacks

import (
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

func TestCommandNamesEverything(t *testing.T) {
	c := NewCompose(Options{
		Dir: "/srv/shop", Compose: []string{"docker", "compose"},
		Config: Config{
			Files: []string{"docker-compose.yml", "/etc/shop/prod.yml"}, EnvFile: ".env.prod", TagVariable: "TAG",
			Green: Slot{Project: "shop-green", Env: map[string]string{"CELERY_QUEUE": "green", "TAG": "never"}},
			Web: []Web{
				{Service: "backend", PortVariable: "API_PORT", Blue: "127.0.0.1:18000", Green: "127.0.0.1:28000"},
				{Service: "frontend", PortVariable: "WEB_PORT", Blue: "127.0.0.1:18080", Green: "127.0.0.1:28080"},
			},
		},
		Environ: []string{
			"PATH=/bin", "HOME=/root", "DOCKER_HOST=unix:///run/docker.sock", "https_proxy=http://proxy", "NO_PROXY=localhost", "LANG=C",
			"TAG=stray", "API_PORT=1", "COMPOSE_FILE=other.yml", "COMPOSE_PROFILES=all", "CUTOVER_WEBHOOK_SECRET=hush", "nonsense",
		},
	})
	s := c.stack(traffic.Green, "v1.4.0")
	require.Equal(t, []string{
		"docker", "compose", "--progress", "json", "-p", "shop-green", "--project-directory", "/srv/shop",
		"-f", "/srv/shop/docker-compose.yml", "-f", "/etc/shop/prod.yml", "--env-file", "/srv/shop/.env.prod", "up", "-d", "backend",
	}, c.argv(s, progressJSON, "up", "-d", "backend"))
	require.Equal(t, []string{
		"API_PORT=28000", "CELERY_QUEUE=green", "DOCKER_HOST=unix:///run/docker.sock", "HOME=/root", "NO_PROXY=localhost", "PATH=/bin",
		"TAG=v1.4.0", "WEB_PORT=28080", "https_proxy=http://proxy",
	}, c.environment(s))
}
