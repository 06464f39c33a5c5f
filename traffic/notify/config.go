package notify

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Format is the shape of the body that a receiver takes.
type Format string

// The formats.
const (
	JSON     Format = "json"     // our own shape, signed as Standard Webhooks are
	Slack    Format = "slack"    // also Mattermost and others that take Slack's shape
	Feishu   Format = "feishu"   // also Lark
	DingTalk Format = "dingtalk" // custom robot of a group
	WeCom    Format = "wecom"    // robot of a group
)

var formats = []Format{JSON, Slack, Feishu, DingTalk, WeCom}

// Config is one receiver of the section notify of cutover.yaml, which is a list of them.
type Config struct {
	// Webhook is the address, http or https. With the chat services it is a secret: use WebhookEnv where the file is shared.
	Webhook string `yaml:"webhook"`
	// WebhookEnv names the environment variable that holds the address. Exactly one of the two is set.
	WebhookEnv string `yaml:"webhook_env"`
	Format     Format `yaml:"format"`
	// SecretEnv names the environment variable that holds the signing secret; empty: nothing is signed.
	// Only json, feishu and dingtalk sign.
	SecretEnv string `yaml:"secret_env"`
	// On limits the receiver to some kinds; empty means all.
	On []Kind `yaml:"on"`
}

// Validate reports the first receiver that cannot be meant, with the path of the field.
func Validate(configs []Config) error {
	for i, c := range configs {
		if err := c.Validate(); err != nil {
			return fmt.Errorf("notify[%d].%w", i, err)
		}
	}
	return nil
}

// variableForm is stricter than a shell is: what people paste by mistake, a secret itself, mostly has small letters.
// It is compiled when it is asked for: each start of cutover would pay for it, that of a cutback too.
var variableForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Z_][A-Z0-9_]{0,63}$`) })

// Validate reports a receiver that cannot be meant. The error begins with the field and repeats neither address nor secret.
func (c Config) Validate() error {
	if !slices.Contains(formats, c.Format) {
		return fmt.Errorf("format: %q is none of %s", c.Format, join(formats))
	}
	switch {
	case c.Webhook == "" && c.WebhookEnv == "":
		return errors.New("webhook: name the address to post to, or in webhook_env the variable that holds it")
	case c.Webhook != "" && c.WebhookEnv != "":
		return errors.New("webhook_env: the address is in webhook already")
	case c.WebhookEnv != "" && !variableForm().MatchString(c.WebhookEnv):
		return errors.New("webhook_env: must be the name of an environment variable, of A-Z, 0-9 and _, not the address itself")
	case c.SecretEnv != "" && !variableForm().MatchString(c.SecretEnv):
		return errors.New("secret_env: must be the name of an environment variable, of A-Z, 0-9 and _, not the secret itself")
	case c.SecretEnv != "" && (c.Format == Slack || c.Format == WeCom):
		return fmt.Errorf("secret_env: %s signs nothing; its key is part of the address", c.Format)
	}
	if c.Webhook != "" {
		if _, err := parseAddress(c.Webhook); err != nil {
			return fmt.Errorf("webhook: %w", err)
		}
	}
	for i, kind := range c.On {
		if !slices.Contains(Kinds(), kind) {
			return fmt.Errorf("on[%d]: %q is none of %s", i, kind, join(Kinds()))
		}
	}
	return nil
}

func join[S ~string](words []S) string {
	parts := make([]string, len(words))
	for i, w := range words {
		parts[i] = string(w)
	}
	return strings.Join(parts, ", ")
}

// parseAddress does not repeat the address in its errors, as net/url does.
func parseAddress(address string) (*url.URL, error) {
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return nil, errors.New("is no address such as https://hooks.example.com/cutover")
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, errors.New("must begin with https:// or http:// and a host")
	case u.User != nil:
		return nil, errors.New("must hold no user and password; sign with secret_env")
	}
	return u, nil
}

// wants tells whether the receiver asked for the kind.
func (c Config) wants(kind Kind) bool { return len(c.On) == 0 || slices.Contains(c.On, kind) }

// name is how lines and errors call the receiver: without what may be its key.
func (c Config) name() string {
	if c.WebhookEnv != "" {
		return string(c.Format) + " $" + c.WebhookEnv
	}
	u, err := parseAddress(c.Webhook)
	if err != nil {
		return string(c.Format)
	}
	return string(c.Format) + " " + u.Scheme + "://" + u.Host
}

// folder names the receiver's queue. It stays the same when the list is reordered, and a key in the address cannot be read from it.
func (c Config) folder() string {
	sum := sha256.Sum256([]byte(string(c.Format) + "\x00" + c.Webhook + "\x00" + c.WebhookEnv))
	return string(c.Format) + "-" + hex.EncodeToString(sum[:6])
}

// resolve takes address and secret out of the environment. A secret that is named but not there is an error: a receiver
// that checks signatures would refuse, and one that does not would go on without anybody noticing.
func (c Config) resolve(env func(string) string) (resolved Config, secret string, err error) {
	if c.WebhookEnv != "" {
		c.Webhook = strings.TrimSpace(env(c.WebhookEnv))
		if c.Webhook == "" {
			return c, "", fmt.Errorf("the environment variable %s, which holds the address, is not set", c.WebhookEnv)
		}
	}
	if c.SecretEnv != "" {
		secret = strings.TrimSpace(env(c.SecretEnv))
		if secret == "" {
			return c, "", fmt.Errorf("the environment variable %s, which holds the signing secret, is not set", c.SecretEnv)
		}
	}
	return c, secret, nil
}
