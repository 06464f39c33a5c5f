package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Request is one message as it goes to one receiver, by POST. URL and Header may hold secrets: never print them.
type Request struct {
	URL    string
	Header http.Header
	Body   []byte
}

// Body shapes and signs a message for a receiver, whose Webhook has to be filled in. It is pure: now is the time of the try.
// An empty secret leaves it unsigned.
func Body(c Config, m Message, secret string, now time.Time) (Request, error) {
	if err := m.Validate(); err != nil {
		return Request{}, err
	}
	address, err := parseAddress(c.Webhook)
	if err != nil {
		return Request{}, fmt.Errorf("the address %w", err)
	}
	r := Request{URL: c.Webhook, Header: http.Header{}}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("User-Agent", "cutover")
	switch c.Format {
	case JSON:
		err = r.standard(m, secret, now)
	case Slack:
		err = r.marshal(slackBody(m))
	case Feishu:
		err = r.marshal(feishuBody(m, secret, now))
	case DingTalk:
		if secret != "" {
			r.URL = signDingTalk(*address, secret, now)
		}
		err = r.marshal(dingTalkBody(m))
	case WeCom:
		err = r.marshal(weComBody(m))
	default:
		err = fmt.Errorf("unknown format %q", c.Format)
	}
	return r, err
}

func (r *Request) marshal(body any) (err error) {
	r.Body, err = json.Marshal(body)
	return err
}

// standard is the shape that doc.go documents.
func (r *Request) standard(m Message, secret string, now time.Time) error {
	m.At = m.At.UTC()
	err := r.marshal(struct {
		Type      string    `json:"type"`
		Timestamp time.Time `json:"timestamp"`
		Data      Message   `json:"data"`
	}{"rollout." + string(m.Kind), m.At, m})
	if err != nil {
		return err
	}
	timestamp := strconv.FormatInt(now.Unix(), 10)
	r.Header.Set("webhook-id", m.ID)
	r.Header.Set("webhook-timestamp", timestamp)
	if secret == "" {
		return nil
	}
	signature, err := signStandard(secret, m.ID, timestamp, r.Body)
	r.Header.Set("webhook-signature", signature)
	return err
}

func signStandard(secret, id, timestamp string, body []byte) (string, error) {
	key := []byte(secret)
	if encoded, is := strings.CutPrefix(secret, "whsec_"); is {
		var err error
		if key, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return "", errors.New("the signing secret is not base64 after whsec_") // the cause would quote it
		}
	}
	return "v1," + mac(key, id+"."+timestamp+"."+string(body)), nil
}

func mac(key []byte, content string) string {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(content))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

type object map[string]any

// slackBody has the sentence in text, because that is what a locked phone shows. mrkdwn off leaves * and _ alone;
// the escapes are needed all the same, against <!channel> and links.
func slackBody(m Message) object {
	_, mood := m.Kind.headline()
	color := map[tone]string{good: "#2eb67d", bad: "#e01e5a", attention: "#ecb22e"}[mood]
	below := strings.Join(lines(m, forSlack)[1:], "\n")
	return object{
		"text":   short(m.title(), forSlack) + "\n" + long(m.Text, forSlack),
		"mrkdwn": false,
		"attachments": []object{{
			"color": color, "text": below, "fallback": below, "mrkdwn_in": []string{},
		}},
	}
}

// feishuBody is a post, not a text: in a text, <at user_id="all"> would call everybody, in a post's text it is only text.
// The key of its signature is timestamp and secret, over nothing.
func feishuBody(m Message, secret string, now time.Time) object {
	content := [][]object{}
	for _, line := range lines(m, asItIs) {
		content = append(content, []object{{"tag": "text", "text": line}})
	}
	body := object{
		"msg_type": "post",
		"content":  object{"post": object{"zh_cn": object{"title": short(m.title(), asItIs), "content": content}}},
	}
	if secret != "" {
		timestamp := strconv.FormatInt(now.Unix(), 10)
		body["timestamp"], body["sign"] = timestamp, mac([]byte(timestamp+"\n"+secret), "")
	}
	return body
}

// dingTalkBody has the sentence in its title too, because that is what a locked phone shows.
func dingTalkBody(m Message) object {
	text := append([]string{"#### " + short(m.title(), forDingTalk)}, lines(m, forDingTalk)...)
	return object{
		"msgtype":  "markdown",
		"markdown": object{"title": short(m.title()+": "+m.Text, asItIs), "text": strings.Join(text, "\n\n")},
	}
}

// signDingTalk signs the timestamp, in milliseconds, with the secret, and puts both into the query.
func signDingTalk(u url.URL, secret string, now time.Time) string {
	timestamp := strconv.FormatInt(now.UnixMilli(), 10)
	query := u.Query()
	query.Set("timestamp", timestamp)
	query.Set("sign", mac([]byte(secret), timestamp+"\n"+secret))
	u.RawQuery = query.Encode()
	return u.String()
}

func weComBody(m Message) object {
	color := "warning"
	if _, mood := m.Kind.headline(); mood == good {
		color = "info"
	}
	title := `<font color="` + color + `">` + short(m.title(), forWeCom) + `</font>`
	return object{
		"msgtype":  "markdown",
		"markdown": object{"content": strings.Join(append([]string{title}, lines(m, forWeCom)...), "\n")},
	}
}

// lines are what stands below a title: the sentence, what to type, the circumstances.
func lines(m Message, e escape) []string {
	all := []string{long(m.Text, e)}
	if m.Next != "" {
		all = append(all, "→ "+short(m.Next, e))
	}
	return append(all, short(m.context(), e))
}
