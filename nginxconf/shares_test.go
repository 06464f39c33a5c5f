package nginxconf

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"cutover/traffic"
)

// The share that clients see is the one asked for: over more than a hundred thousand requests it is off by no more than chance explains.
func TestShares_AreWithinTheSamplingError(t *testing.T) {
	const (
		connections = 35 // of each share, with a thousand requests on each
		// The χ² of one degree of freedom that chance goes beyond once in a million times.
		most = 23.93
	)
	for _, c := range []struct {
		name  string
		adapt func(*Config)
	}{
		{"reload", func(*Config) {}},
		{"reload, by client", func(c *Config) { c.Split = SplitClient }},
		{"live", live},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := adapted(t, c.adapt)
			id := r.open()
			for _, percent := range []int{5, 20, 50} {
				r.raise(id, percent)
				seen := r.floods(connections)
				n := seen[traffic.Blue] + seen[traffic.Green]
				require.Equal(t, float64(connections*perConnection), n, seen)
				wanted := n * float64(percent) / 100
				off := seen[traffic.Green] - wanted
				require.Less(t, off*off/wanted+off*off/(n-wanted), most, "%d %%: %v of %v requests", percent, seen[traffic.Green], n)
			}
		})
	}
}

// perConnection is how many requests nginx takes on one connection by default.
const perConnection = 1000

// floods fills as many connections with requests, and counts which color answered. Each request comes from a client without a cookie.
func (r *rig) floods(connections int) map[traffic.Color]float64 {
	r.t.Helper()
	var all sync.Mutex
	seen := map[traffic.Color]float64{}
	var clients sync.WaitGroup
	for range connections {
		clients.Go(func() {
			counted, err := converse(r.site)
			if err != nil {
				r.t.Errorf("%v", err)
			}
			all.Lock()
			defer all.Unlock()
			for color, count := range counted {
				seen[color] += count
			}
		})
	}
	clients.Wait()
	return seen
}

// converse sends batches of requests on one connection, each without waiting for the answers to those before it in its batch.
func converse(address string) (map[traffic.Color]float64, error) {
	const size = 125
	seen := map[traffic.Color]float64{}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return seen, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	asked := strings.Repeat("GET / HTTP/1.1\r\nHost: shop\r\n\r\n", size)
	for range perConnection / size {
		if _, err := io.WriteString(conn, asked); err != nil {
			return seen, err
		}
		for range size {
			answer, err := http.ReadResponse(in, nil)
			if err != nil {
				return seen, err
			}
			body, err := io.ReadAll(answer.Body)
			if err != nil {
				return seen, err
			}
			if answer.StatusCode != http.StatusOK {
				return seen, errors.New(answer.Status)
			}
			seen[traffic.Color(body)]++
		}
	}
	return seen, nil
}
