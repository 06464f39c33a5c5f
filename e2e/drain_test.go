package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/e2e/stage"
)

// upgrades is a location that lets WebSockets through, and what it needs in http { }.
const upgrades = `        location / {
            proxy_pass %s;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $upgrading;
            proxy_read_timeout 10m;
        }`

const upgrading = "    map $http_upgrade $upgrading { default upgrade; '' ''; }"

// draining is what the scenes read of the section of that name in `status --json`.
type draining struct {
	Workers []struct {
		PID         int           `json:"pid"`
		Age         time.Duration `json:"age"`
		Connections int           `json:"connections"`
	} `json:"workers"`
	Connections map[string]int `json:"connections"`
}

func (s *scene) drains() draining {
	s.t.Helper()
	var found struct {
		Draining draining `json:"draining"`
	}
	s.reads(s.types(0, "status", "--json").Stdout, &found)
	return found.Draining
}

// withSockets sets a stage up on which WebSockets pass, and nginx itself cuts none off.
func withSockets(t *testing.T, name, config string) *scene {
	t.Helper()
	return set(t, stage.Options{
		Name: name, Config: config, Stacks: "  keep_warm: 1s\n", Shutdown: "0", Head: upgrading, Server: fmt.Sprintf(upgrades, webOf(name)),
	})
}

// A WebSocket stays where it is until it ends: the old release that has it is kept up, and status says for what. When it has ended the
// next command retires. Where switches are reloads an old worker has it, else one of now.
func TestDrain_AWebSocketStaysUntilItEnds(t *testing.T) {
	t.Parallel()
	for _, way := range []struct {
		name, config, says string
		held               int // by old workers
	}{
		{"reload", brief, `(?m)^drain \d+ old workers? \(oldest \d+.*\), 1 connection to blue$`, 1},
		{"live", brief + "environments: { prod: { nginx: { switch: live } } }\n", `(?m)^drain 1 connection to blue$`, 0},
	} {
		t.Run(way.name, func(t *testing.T) {
			t.Parallel()
			s := withSockets(t, "socket-"+way.name, way.config)
			ws := s.upgraded()
			require.Equal(t, first.Tag, ws.echoes("before"))
			s.types(0, "promote", "--tag", good.Tag)
			pass(t, time.Second)
			until(t, "status says why it is not finished", func() bool {
				return strings.Contains(s.status().Why, "nginx has not let go of the old release")
			})
			require.True(t, s.status().runs("blue", "web"))
			require.Equal(t, first.Tag, ws.echoes("while it is kept"))
			require.Regexp(t, way.says, s.types(0, "status").Stdout)
			now := s.drains()
			require.Equal(t, map[string]int{"blue": 1}, now.Connections)
			held := 0
			for _, w := range now.Workers {
				require.Positive(t, w.PID)
				require.Positive(t, w.Age)
				held += w.Connections
			}
			require.Equal(t, way.held, held)
			require.Equal(t, first.Tag, ws.echoes("still"))

			ws.hangsUp()
			until(t, "a command retires", func() bool { return s.status().Phase == "idle" })
			require.False(t, s.status().runs("blue", "web"))
			until(t, "nothing is left to say", func() bool { return !strings.Contains(s.types(0, "status").Stdout, "drain") })
			require.Zero(t, s.load.Snapshot().Lost)
		})
	}
}

// A WebSocket that does not end keeps the old release up for no longer than nginx.drain. What ends with it is said and recorded.
func TestDrain_TheGraceEnds(t *testing.T) {
	t.Parallel()
	s := withSockets(t, "grace", brief+"environments: { prod: { nginx: { drain: 4s } } }\n")
	ws := s.upgraded()
	before := s.lastLine()
	watch := s.starts("status", "--watch")
	s.types(0, "promote", "--tag", good.Tag)
	require.Equal(t, first.Tag, ws.echoes("while it is warm"))
	pass(t, time.Second)
	until(t, "it is being finished", func() bool { return s.status().Phase == "finishing" })
	require.Equal(t, first.Tag, ws.echoes("within the grace"))
	until(t, "a command retires", func() bool { return s.status().Phase == "idle" })
	require.False(t, s.status().runs("blue", "web"))
	ws.isCutOff()
	watch.says("nginx.drain is over; open connections to blue that end with its stack: 1")

	severed, retired := 0, false
	for _, e := range s.events(before) {
		severed += e.Live.Severed
		retired = retired || e.Kind == "retired"
		require.False(t, e.Kind == "finished" && e.Live.Severed == 0, "nothing was waited for")
	}
	require.Equal(t, 1, severed)
	require.True(t, retired)
	require.Zero(t, s.load.Snapshot().Lost)
}

// socket is an upgraded connection of one user.
type socket struct {
	s    *scene
	conn net.Conn
	in   *bufio.Reader
}

// upgraded opens a connection as a browser opens a WebSocket.
func (s *scene) upgraded() *socket {
	s.t.Helper()
	conn, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Ports.Front)))
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(s.t, conn.SetDeadline(time.Now().Add(patience)))
	_, err = fmt.Fprint(conn, "GET /echo HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	require.NoError(s.t, err)
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusSwitchingProtocols, answer.StatusCode)
	return &socket{s: s, conn: conn, in: in}
}

// echoes sends a line, wants it back, and gives the release that it came from.
func (c *socket) echoes(line string) (release string) {
	c.s.t.Helper()
	_, err := fmt.Fprintln(c.conn, line)
	require.NoError(c.s.t, err)
	back, err := c.in.ReadString('\n')
	require.NoError(c.s.t, err)
	release, said, _ := strings.Cut(strings.TrimSpace(back), " ")
	require.Equal(c.s.t, line, said)
	return release
}

func (c *socket) hangsUp() { require.NoError(c.s.t, c.conn.Close()) }

// isCutOff wants the other side to have ended the connection, or to end it.
func (c *socket) isCutOff() {
	c.s.t.Helper()
	_, err := c.in.ReadByte()
	require.ErrorIs(c.s.t, err, io.EOF)
}
