package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// golden compares with a file that a person has read.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

// printed is a request as a person can read it: a signature is over the body as it is sent, which is the last line.
func printed(t *testing.T, r Request) []byte {
	t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s\n", r.URL)
	for _, key := range slices.Sorted(maps.Keys(r.Header)) {
		fmt.Fprintf(&b, "%s: %s\n", key, r.Header.Get(key))
	}
	b.WriteString("\n")
	require.NoError(t, json.Indent(&b, r.Body, "", "  "))
	fmt.Fprintf(&b, "\n\n%s\n", r.Body)
	return b.Bytes()
}

func TestBodies(t *testing.T) {
	nasty := reverted()
	nasty.ID, nasty.Kind, nasty.Next = "web-1-shop-000017-approval", Approval, ""
	nasty.Release = "v1_*4*`0`"
	nasty.Text = "<!channel> <at user_id=\"all\">all</at> <@U1> & [pay](https://example.com) ![](x) \\*worse_by\\* #1 `rm`\n\n# head\x1b[31m\u202e | ~~no~~"
	finished := reverted()
	finished.ID, finished.Kind, finished.Exit, finished.Weight = "web-1-shop-000017-finished", Finished, 0, 100
	finished.Text, finished.Next = "blau v1.3.2 ist abgelöst, 旧版本已停止", ""
	for name, c := range map[string]Config{
		"json":     {Webhook: "https://example.com/hook", Format: JSON, SecretEnv: "HOOK_SECRET"},
		"slack":    {Webhook: "https://hooks.slack.com/services/T000/B000/XXXX", Format: Slack},
		"feishu":   {Webhook: "https://open.feishu.cn/open-apis/bot/v2/hook/xxxx", Format: Feishu, SecretEnv: "LARK_SECRET"},
		"dingtalk": {Webhook: "https://oapi.dingtalk.com/robot/send?access_token=xxxx", Format: DingTalk, SecretEnv: "DING_SECRET"},
		"wecom":    {Webhook: "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=xxxx", Format: WeCom},
	} {
		for what, m := range map[string]Message{"reverted": reverted(), "nasty": nasty, "finished": finished} {
			t.Run(name+"-"+what, func(t *testing.T) {
				resolved, secret, err := c.resolve(environment)
				require.NoError(t, err)
				r, err := Body(resolved, m, secret, date)
				require.NoError(t, err)
				golden(t, name+"-"+what+".txt", printed(t, r))
			})
		}
	}
}

// The signatures of the specifications: the first is the test vector of Standard Webhooks itself, the others were worked out
// with another program from what DingTalk and Feishu document.
func TestSignatures(t *testing.T) {
	signature, err := signStandard("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	require.NoError(t, err)
	require.Equal(t, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", signature)
	_, err = signStandard("whsec_hush*hush", "id", "1", nil)
	require.ErrorContains(t, err, "is not base64")
	require.NotContains(t, err.Error(), "hush")

	u, err := parseAddress("https://oapi.dingtalk.com/robot/send?access_token=xxxx")
	require.NoError(t, err)
	require.Equal(t, "https://oapi.dingtalk.com/robot/send?access_token=xxxx&sign=V7gHnd2MSbQf6Gzw2iU0T3A1kigGtgjo6D2KiWsvAsw%3D&timestamp=1772334724000",
		signDingTalk(*u, "SECsecret", date))

	body := feishuBody(reverted(), "feishu-secret", date)
	require.Equal(t, "1772334724", body["timestamp"])
	require.Equal(t, "8GUHgaqRvimx7758KNL9WN2TSvcUWAffSbGytHHGmzc=", body["sign"])
	require.NotContains(t, feishuBody(reverted(), "", date), "sign")
}

// texts are the strings of a body that a person sees, in the order of the format.
func texts(t testing.TB, f Format, body []byte) (title, text string) {
	var b struct {
		Text        string
		Attachments []struct{ Text string }
		Content     struct {
			Post struct {
				ZhCN struct {
					Title   string
					Content [][]struct{ Tag, Text string }
				} `json:"zh_cn"`
			}
		}
		Markdown struct{ Title, Text, Content string }
	}
	require.NoError(t, json.Unmarshal(body, &b))
	switch f {
	case Slack:
		return "", b.Text + "\n" + b.Attachments[0].Text
	case Feishu:
		all := []string{}
		for _, line := range b.Content.Post.ZhCN.Content {
			require.Len(t, line, 1)
			require.Equal(t, "text", line[0].Tag)
			all = append(all, line[0].Text)
		}
		return b.Content.Post.ZhCN.Title, strings.Join(all, "\n")
	case DingTalk:
		return b.Markdown.Title, b.Markdown.Text
	}
	return "", b.Markdown.Content
}

// unescaped undoes an escape, as the service does.
func unescaped(f Format, text string) string {
	switch f {
	case Slack:
		return html.UnescapeString(text)
	case DingTalk:
		return regexp.MustCompile(`\\([\\*_\x60])`).ReplaceAllString(text, "$1")
	}
	return text
}

// narrow undoes twins, as a reader's eye does.
func narrow(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '！' && r <= '～' {
			return r - '！' + '!'
		}
		return r
	}, text)
}

// active are the characters that a format acts upon; our own few are the only ones that may stand in a body.
var active = map[Format]struct {
	characters string
	ours       int
}{
	Slack:    {"<>", 0},
	DingTalk: {"<>[]#", 4},   // the heading
	WeCom:    {"<>[]*`#", 4}, // <font> and </font>
}

// Whatever stands in a tag, a name or a reason: the body is whole, within its service's limit, shows that text, and does nothing else.
func FuzzEscapes(f *testing.F) {
	f.Add("shop", "v1.4.0", "4.18 % > 0.06 %", "cutover back")
	f.Add("<!here>", "`_*~", "[a](b) ![c](d) <at user_id=\"all\"></at> <@all> <font color=\"info\">", "\\`x\\`")
	f.Add("a", "b", "\xff\x00\u202e\u2028# x\r\n> y", "＜｀＊\\\\")
	f.Add("a", strings.Repeat("*", 500), strings.Repeat("漢&<*", 1000), strings.Repeat("\\", 500))
	f.Fuzz(func(t *testing.T, app, release, text, next string) {
		m := reverted()
		m.App, m.Release, m.Text, m.Next = app, release, text, next
		if m.Validate() != nil {
			t.Skip()
		}
		for _, format := range formats {
			r, err := Body(Config{Webhook: "https://example.com/a?b=c", Format: format}, m, "", date)
			require.NoError(t, err)
			require.True(t, json.Valid(r.Body))
			require.True(t, utf8.Valid(r.Body))
			if format == JSON {
				continue
			}
			title, seen := texts(t, format, r.Body)
			require.LessOrEqual(t, len(title)+len(seen), 4096, format)
			require.NotContains(t, seen, "\r")
			if a, has := active[format]; has {
				found := 0
				for _, c := range a.characters {
					found += strings.Count(seen, string(c))
				}
				require.Equal(t, a.ours, found, "%s: %s", format, seen)
			}
			if format == DingTalk {
				bare := strings.NewReplacer(`\\`, "", `\*`, "", `\_`, "", "\\`", "").Replace(seen)
				require.Zero(t, strings.Count(bare, "*")+strings.Count(bare, "_")+strings.Count(bare, "`")+strings.Count(bare, `\`), seen)
			}
			if plain := long(text, asItIs); !strings.Contains(seen, "…") {
				require.Contains(t, narrow(unescaped(format, seen)), narrow(plain), format)
			}
		}
	})
}
