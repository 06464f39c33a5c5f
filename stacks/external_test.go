package stacks

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

func TestExternal(t *testing.T) {
	var tag atomic.Value
	tag.Store("v1")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, tag.Load()) }))
	defer server.Close()
	config := DefaultConfig()
	config.Driver = DriverExternal
	config.Ready = Ready{Timeout: 5 * time.Second, Consecutive: 2}
	config.Web = []Web{{Service: "backend", Blue: "127.0.0.1:24090", Green: strings.TrimPrefix(server.URL, "http://"), Ready: Test{Path: "/healthz"}}}
	require.NoError(t, config.Validate())
	var said []string
	o := Options{Config: config, Now: time.Now, Say: func(line string) {
		said = append(said, line)
		if strings.Contains(line, `without "v2"`) {
			tag.Store("v2") // somebody else brings the release up while we wait
		}
	}}
	driver, err := Open(o)
	require.NoError(t, err)
	require.NoError(t, driver.Preflight(t.Context(), traffic.Green, "v2"))

	_, err = driver.Prepare(t.Context(), traffic.Green, "v1")
	require.NoError(t, err)
	require.Contains(t, strings.Join(said, "\n"), "nothing proves that it runs v1")

	o.Config.Smoke = []Test{{Path: "/version", Contains: "{{.Tag}}"}}
	x := NewExternal(o)
	f := fault(t, x.Check(t.Context(), traffic.Green, "v2"), traffic.NotReady)
	require.EqualError(t, f, "green/backend: GET "+server.URL+`/version answered 200 without "v2"`)
	release, err := x.Prepare(t.Context(), traffic.Green, "v2")
	require.NoError(t, err)
	require.Equal(t, traffic.Release{Tag: "v2"}, release)
	require.NoError(t, x.Check(t.Context(), traffic.Green, "v2"))

	standing, err := x.Describe(t.Context(), traffic.Blue)
	require.NoError(t, err)
	require.Equal(t, []Standing{{Service: "backend", State: "silent", Address: "127.0.0.1:24090"}}, standing)
	_, err = x.Serving(t.Context(), traffic.Blue)
	fault(t, err, traffic.NotReady)
	_, err = x.Serving(t.Context(), traffic.Green)
	require.NoError(t, err)

	said = nil
	require.NoError(t, x.HandOver(t.Context(), traffic.Green, "v2"))
	require.NoError(t, x.Retire(t.Context(), traffic.Blue))
	require.Len(t, said, 2, "they say that they do nothing")
}

func TestOpen(t *testing.T) {
	driver, err := Open(Options{Config: DefaultConfig()})
	require.NoError(t, err)
	require.IsType(t, &Compose{}, driver.Stacks)
	_, err = Open(Options{Config: Config{Driver: "swarm"}})
	require.ErrorContains(t, err, `stacks.driver: "swarm"`)
}
