package nginxconf

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// The values of nginx.split: whether each request is drawn anew, or each client once.
const (
	SplitRequest = "request"
	SplitClient  = "client"
)

// The values of nginx.sticky beside header:NAME: what a client is known by.
const (
	StickyCookie  = "cookie"
	StickyAddress = "address"
)

// Override lets testers choose a color by its name, while a rollout is open, whatever its share. Empty names switch a way off.
type Override struct {
	// Header and Cookie are the names whose value is blue or green.
	Header string `yaml:"header"`
	Cookie string `yaml:"cookie"`
	// Networks are those from which it is heard, as 10.0.0.0/8; none given means from everywhere.
	Networks []string `yaml:"networks"`
}

var (
	headerName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)
	cookieName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_]*$`)
)

// validateClients reports the first value that cannot be meant of what tells clients apart.
func (c Config) validateClients() error {
	if c.Split != SplitRequest && c.Split != SplitClient {
		return fmt.Errorf("nginx.split: %q is neither request nor client", c.Split)
	}
	if c.Split == SplitClient && c.Pass == PassName {
		return errors.New("nginx.split: client draws each client, which a fixed name cannot (nginx.pass: name)")
	}
	if header, ok := strings.CutPrefix(c.Sticky, "header:"); ok && !headerName.MatchString(header) || !ok && c.Sticky != StickyCookie && c.Sticky != StickyAddress {
		return fmt.Errorf("nginx.sticky: %q is none of cookie, address and header:NAME", c.Sticky)
	}
	for _, prefix := range c.Assets {
		if !strings.HasPrefix(prefix, "/") || strings.ContainsAny(prefix, " \t\n\"'{};$\\") {
			return fmt.Errorf("nginx.assets: %q is no path that begins with /", prefix)
		}
	}
	return c.Override.validate()
}

func (o Override) validate() error {
	if o.Header != "" && !headerName.MatchString(o.Header) {
		return fmt.Errorf("nginx.override.header: %q is no name of a header", o.Header)
	}
	if o.Cookie != "" && !cookieName.MatchString(o.Cookie) {
		return fmt.Errorf("nginx.override.cookie: %q: nginx knows only names of letters, digits and underscores", o.Cookie)
	}
	for _, network := range o.Networks {
		if _, err := netip.ParsePrefix(network); err != nil {
			return fmt.Errorf("nginx.override.networks: %q is no network such as 10.0.0.0/8", network)
		}
	}
	return nil
}

// overrideView is an override as nginx reads it.
type overrideView struct {
	HeaderVariable, CookieVariable string
	Networks                       []string
}

// view is nil where nobody may choose.
func (o Override) view() *overrideView {
	if o.Header == "" && o.Cookie == "" {
		return nil
	}
	v := &overrideView{Networks: o.Networks}
	if o.Header != "" {
		v.HeaderVariable = headerVariable(o.Header)
	}
	if o.Cookie != "" {
		v.CookieVariable = "$cookie_" + o.Cookie
	}
	return v
}

// headerVariable is nginx's variable of a request header.
func headerVariable(name string) string {
	return "$http_" + strings.ReplaceAll(strings.ToLower(name), "-", "_")
}

// clientKey is what is drawn by: the client, or each request by itself.
func (c Config) clientKey(app string) string {
	header, named := strings.CutPrefix(c.Sticky, "header:")
	switch {
	case c.Split != SplitClient:
		return "$request_id"
	case named:
		return headerVariable(header)
	case c.Sticky == StickyAddress:
		return "$remote_addr"
	}
	return "$cutover_" + app + "__id"
}
