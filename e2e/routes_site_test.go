package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// site is a stage with all that one app may have: pages, an API, WebSockets, gRPC, uploads, answers that take their time, behind a
// user's server block with TLS and HTTP/2.
type site struct {
	*scene
	roots *x509.CertPool
	port  int // of TLS
}

// block is the rest of the user's server block. TLS stands for a port, WEB, API, WS and RPC for web services.
const block = `        listen 127.0.0.1:TLS ssl http2;
        server_name localhost;
        ssl_certificate site.pem;
        ssl_certificate_key site.pem;
        client_max_body_size 0;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        location / {
            proxy_pass http://WEB;
        }
        location /stream {
            proxy_pass http://WEB;
            proxy_buffering off;
        }
        location /api/ {
            proxy_pass http://API;
        }
        location = /echo {
            proxy_pass http://WS;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upgrading;
            proxy_read_timeout 10m;
        }
        location /held/ {
            rewrite ^/held(/.*)$ $1 break;
            proxy_pass http://API;
        }
        location /passed/ {
            rewrite ^/passed(/.*)$ $1 break;
            proxy_pass http://API;
            proxy_request_buffering off;
        }
        location /demo.Echo/ {
            grpc_pass grpc://RPC;
            grpc_set_header Host $host;
            grpc_read_timeout 10m;
            grpc_send_timeout 10m;
        }`

// grounds makes the site with the options' further web services, and nothing running. What has no service of its own is web's.
func grounds(t *testing.T, o stage.Options) *site {
	t.Helper()
	o.Head, o.Server, o.Shutdown = upgrading, block, "0"
	if o.Config == "" {
		o.Config = slow
	}
	s := build(t, o)
	in := &site{scene: s, port: s.Ports.Further + 2*len(o.Also)}
	words := []string{":TLS ", ":" + strconv.Itoa(in.port) + " "}
	for _, service := range []string{"web", "api", "ws", "rpc"} {
		serving := service
		if !slices.Contains(o.Also, service) {
			serving = "web"
		}
		words = append(words, "://"+strings.ToUpper(service)+";", strings.TrimPrefix(s.Upstream(serving), "http")+";")
	}
	s.configures(strings.NewReplacer(words...).Replace)
	in.roots = s.certifies(filepath.Join(s.NginxPrefix(), "site.pem"))
	return in
}

// furnished builds the site and opens it, with the next release up beside the first.
func furnished(t *testing.T, o stage.Options) *site {
	t.Helper()
	s := grounds(t, o)
	s.opens()
	s.types(0, "up", "--to", "green", "--tag", good.Tag)
	return s
}

// shifts gives the candidate a share. Nobody judges it: these scenes are about the switch alone.
func (s *site) shifts(weight int) {
	s.t.Helper()
	s.types(0, "shift", "--to", "green", "--weight", strconv.Itoa(weight), "--no-guard")
}

// on is the site as a subtest plays on it.
func (s *site) on(t *testing.T) *site {
	inner := *s
	inner.scene = s.in(t)
	return &inner
}

// certifies writes a certificate of the site's own with its key, and gives what clients trust it by.
func (s *scene) certifies(path string) *x509.CertPool {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(s.t, err)
	about := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	signed, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	require.NoError(s.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(s.t, err)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})
	trust := x509.NewCertPool()
	require.True(s.t, trust.AppendCertsFromPEM(text))
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	require.NoError(s.t, os.WriteFile(path, text, 0o600))
	return trust
}

// secure is the address of a path on the site's TLS port.
func (s *site) secure(path string) string { return fmt.Sprintf("https://127.0.0.1:%d%s", s.port, path) }

// trusting is what a client of the site brings to a handshake.
func (s *site) trusting() *tls.Config {
	return &tls.Config{RootCAs: s.roots, ServerName: "localhost", NextProtos: []string{"h2", "http/1.1"}}
}

// client makes a user of HTTP/2 with connections of its own.
func (s *site) client() *http.Client {
	transport := &http.Transport{TLSClientConfig: s.trusting(), ForceAttemptHTTP2: true}
	s.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}
