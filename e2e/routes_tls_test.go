package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// What the user's server block says of TLS stays as it is when its passes are led to cutover, those of gRPC too, and users notice nothing.
// doctor tells of a service that is asked in both ways.
func TestRoutes_InitLeavesTLSAlone(t *testing.T) {
	t.Parallel()
	s := grounds(t, stage.Options{Name: "tls", Plain: true, Also: []string{"rpc"}})
	require.NoError(t, s.Compose(t.Context(), "blue", first.Tag, "up", "-d", "--wait"))
	require.NoError(t, s.StartNginx(t.Context()))
	s.welcomes(rate)
	began, worn, before := time.Now(), s.wears(), s.text(s.NginxConf())
	calls := s.crowd(2, s.once)
	calls.areAll(began, first.Tag)
	s.types(0, "init", "--stable", "blue", "--tag", first.Tag, "--apply")
	after := s.text(s.NginxConf())
	require.Equal(t, worn, s.wears())
	for line := range strings.Lines(before) {
		if strings.Contains(line, "ssl") || strings.Contains(line, "listen") {
			require.Contains(t, after, line)
		}
	}
	require.Contains(t, after, "            grpc_pass grpc://"+s.variable("rpc")+";\n")
	require.NotContains(t, s.types(0, "doctor").Stdout, "past cutover")

	s.types(0, "up", "--to", "green", "--tag", good.Tag)
	s.shifts(100)
	calls.areAll(time.Now(), good.Tag)
	s.types(0, "back")
	calls.areAll(time.Now(), first.Tag)
	require.Equal(t, worn, s.wears())
	for _, round := range calls.closes() {
		require.NoError(t, round.err)
	}
	require.Zero(t, s.since(began).Lost)

	mixed := strings.Replace(after, "proxy_pass http://"+s.variable("web")+";", "proxy_pass http://"+s.variable("rpc")+";", 1)
	require.NoError(t, os.WriteFile(s.NginxConf(), []byte(mixed), 0o644))
	require.Contains(t, s.types(0, "doctor").Stdout, "take each other's idle connections")
}

// variable is what leads to the web service once cutover's lines are there.
func (s *site) variable(service string) string {
	joined := stage.Stage{Options: stage.Options{Name: s.Name}}
	return strings.TrimPrefix(joined.Upstream(service), "http://")
}

// wears tells what the site's TLS shows its clients: certificate, version, and the protocol that is agreed on with those of HTTP/2 and
// with those of HTTP/1.1.
func (s *site) wears() (shown []string) {
	s.t.Helper()
	for _, protocols := range [][]string{{"h2", "http/1.1"}, {"http/1.1"}} {
		offer := s.trusting()
		offer.NextProtos = protocols
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), offer)
		require.NoError(s.t, err)
		state := conn.ConnectionState()
		require.NoError(s.t, conn.Close())
		require.Equal(s.t, protocols[0], state.NegotiatedProtocol)
		shown = append(shown, fmt.Sprintf("%x %s %s", sha256.Sum256(state.PeerCertificates[0].Raw), tls.VersionName(state.Version), state.NegotiatedProtocol))
	}
	return shown
}
