package stacks

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestValidate(t *testing.T) {
	good := func() Config {
		c := DefaultConfig()
		c.Files = []string{"compose.yml"}
		c.Blue.Project, c.Green.Project = "shop-blue", "shop-green"
		c.Web = []Web{{Service: "backend", PortVariable: "API_PORT", Blue: "127.0.0.1:18000", Green: "127.0.0.1:28000"}}
		return c
	}
	require.NoError(t, good().Validate())
	for want, change := range map[string]func(*Config){
		"stacks.web: name at least":                      func(c *Config) { c.Web = nil },
		"stacks.driver: \"swarm\"":                       func(c *Config) { c.Driver = "swarm" },
		"stacks.files: name at least":                    func(c *Config) { c.Files = nil },
		"stacks.tag_variable: \"A-B\"":                   func(c *Config) { c.TagVariable = "A-B" },
		"stacks.green.project: \"Shop\"":                 func(c *Config) { c.Green.Project = "Shop" },
		"stacks.green.project: \"shop-blue\" is blue's":  func(c *Config) { c.Green.Project = "shop-blue" },
		"stacks.web[0].service":                          func(c *Config) { c.Web[0].Service = "-x" },
		"stacks.web[0].port_variable":                    func(c *Config) { c.Web[0].PortVariable = "" },
		"stacks.web[0].green: \"0.0.0.0:1\" would":       func(c *Config) { c.Web[0].Green = "0.0.0.0:1" },
		"stacks.web[0].green: \"shop:80\": \"shop\" is":  func(c *Config) { c.Web[0].Green = "shop:80" },
		"stacks.web[0].green: 127.0.0.1:18000 is":        func(c *Config) { c.Web[0].Green = c.Web[0].Blue },
		"stacks.web[0].ready.path":                       func(c *Config) { c.Web[0].Ready.Path = "healthz" },
		"stacks.smoke[0].path":                           func(c *Config) { c.Smoke = []Test{{Path: "version"}} },
		"stacks.smoke[0].service: \"db\"":                func(c *Config) { c.Smoke = []Test{{Path: "/", Service: "db"}} },
		"stacks.ready.timeout":                           func(c *Config) { c.Ready.Timeout = 0 },
		"stacks.ready.consecutive":                       func(c *Config) { c.Ready.Consecutive = 0 },
		"stacks.keep_warm, stacks.keep_failed":           func(c *Config) { c.KeepWarm = -time.Second },
		"stacks.hooks.before_switch[0]: needs a command": func(c *Config) { c.Hooks.BeforeSwitch = []Hook{{Service: "backend"}} },
		"stacks.hooks.on_revert[1].timeout: -1s is negative": func(c *Config) {
			c.Hooks.OnRevert = []Hook{{Run: []string{"true"}}, {Run: []string{"true"}, Timeout: -time.Second}}
		},
		"stacks.hooks.on_fail[0].service: external stacks": func(c *Config) {
			c.Driver, c.Workers, c.Singletons = DriverExternal, nil, nil
			c.Hooks.OnFail = []Hook{{Service: "backend", Run: []string{"true"}}}
		},
		"stacks.driver: external stacks have no workers": func(c *Config) { c.Driver, c.Workers = DriverExternal, []string{"worker"} },
	} {
		c := good()
		change(&c)
		require.ErrorContains(t, c.Validate(), want)
	}
}
