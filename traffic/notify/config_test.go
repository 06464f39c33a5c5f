package notify

import (
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

func TestConfigIsReadAsItIsDocumented(t *testing.T) {
	var configs []Config
	text := `
- { webhook: https://example.com/hook, format: json, secret_env: CUTOVER_WEBHOOK_SECRET }
- { webhook_env: SLACK_HOOK, format: slack, on: [reverted, guardian, approval] }
- { webhook: "http://127.0.0.1:28000/robot/send?access_token=x", format: dingtalk, secret_env: DING }
- { webhook_env: LARK, format: feishu, secret_env: LARK_SECRET }
- { webhook_env: WECOM, format: wecom }
`
	require.NoError(t, yaml.UnmarshalWithOptions([]byte(text), &configs, yaml.Strict()))
	require.NoError(t, Validate(configs))
	require.True(t, configs[0].wants(Finished))
	require.True(t, configs[1].wants(Guardian))
	require.False(t, configs[1].wants(Finished))
	require.Equal(t, "json https://example.com", configs[0].name())
	require.Equal(t, "slack $SLACK_HOOK", configs[1].name())
}

func TestConfigThatCannotBeMeantIsNamedByItsField(t *testing.T) {
	hook := "https://example.com/hook"
	for want, c := range map[string]Config{
		`format: "" is none of json, slack, feishu, dingtalk, wecom`:       {Webhook: hook},
		`format: "teams" is none of`:                                       {Webhook: hook, Format: "teams"},
		`webhook: name the address to post to`:                             {Format: JSON},
		`webhook: must begin with https:// or http://`:                     {Webhook: "ftp://hush.example.com/x", Format: JSON},
		`webhook: must begin with https:// or http:// and a host`:          {Webhook: "https:///hush", Format: JSON},
		`webhook: is no address`:                                           {Webhook: "https://hush example.com\x7f/", Format: JSON},
		`webhook: must hold no user and password`:                          {Webhook: "https://bot:hush@example.com/", Format: JSON},
		`webhook_env: the address is in webhook already`:                   {Webhook: hook, WebhookEnv: "HOOK", Format: JSON},
		`webhook_env: must be the name of an environment variable`:         {WebhookEnv: "https://hush.example.com", Format: JSON},
		`secret_env: must be the name of an environment variable, of A-Z,`: {Webhook: hook, Format: JSON, SecretEnv: "whsec_hush"},
		`secret_env: slack signs nothing`:                                  {Webhook: hook, Format: Slack, SecretEnv: "KEY"},
		`secret_env: wecom signs nothing`:                                  {Webhook: hook, Format: WeCom, SecretEnv: "KEY"},
		`on[1]: "reverts" is none of reverted, held, aborted,`:             {Webhook: hook, Format: JSON, On: []Kind{Held, "reverts"}},
	} {
		err := Validate([]Config{{Webhook: hook, Format: JSON}, c})
		require.ErrorContains(t, err, "notify[1]."+want)
		require.NotContains(t, err.Error(), "hush")
	}
}

// A queue has to be found again by a process that was started with another order of receivers, or in between two keys of one host.
func TestFolderNamesTheReceiverAndHidesItsKey(t *testing.T) {
	a := Config{Webhook: "https://example.com/key-1", Format: Slack}
	b := Config{Webhook: "https://example.com/key-2", Format: Slack}
	filtered := a
	filtered.On = []Kind{Held}
	require.NotEqual(t, a.folder(), b.folder())
	require.Equal(t, a.folder(), filtered.folder())
	require.Regexp(t, `^slack-[0-9a-f]{12}$`, a.folder())
}

func TestMessageThatCouldNotBeSentIsRefused(t *testing.T) {
	require.NoError(t, reverted().Validate())
	for want, spoil := range map[string]func(m *Message){
		"the id must be":       func(m *Message) { m.ID = "a.b" },
		`message ""`:           func(m *Message) { m.ID = "" },
		"no time":              func(m *Message) { m.At = m.At.AddDate(-100, 0, 0) },
		"no time that":         func(m *Message) { m.At = m.At.AddDate(8000, 0, 0) },
		"must not be empty":    func(m *Message) { m.Text = "" },
		"outside 0 to 100":     func(m *Message) { m.Weight = 101 },
		"weight -1 is outside": func(m *Message) { m.Weight = -1 },
	} {
		m := reverted()
		spoil(&m)
		require.ErrorContains(t, m.Validate(), want)
	}
}

func TestEnvironTellsAProgramWhatHappened(t *testing.T) {
	m := reverted()
	m.Text = "4.18 %\x00 = bad"
	require.Equal(t, []string{
		"CUTOVER_ID=web-1-shop-000017-reverted", "CUTOVER_AT=2026-03-01T03:12:04Z", "CUTOVER_APP=shop", "CUTOVER_ENV=prod",
		"CUTOVER_HOST=web-1", "CUTOVER_ROLLOUT=000017", "CUTOVER_TAG=v1.4.0", "CUTOVER_KIND=reverted", "CUTOVER_TEXT=4.18 % = bad",
		"CUTOVER_NEXT=cutover report 000017", "CUTOVER_WEIGHT=20", "CUTOVER_EXIT=8",
	}, m.Environ())
}
