package stacks

import (
	"context"
	"fmt"
	"net"
	"slices"
)

// Exposed lists, as "container at host:port", where running containers of the project's services can be reached from other machines,
// past nginx: each address that is not a loopback one.
func (e *Engine) Exposed(ctx context.Context, project string, services ...string) ([]string, error) {
	boxes, err := e.boxes(ctx, project, services...)
	if err != nil {
		return nil, err
	}
	var open []string
	for _, b := range boxes {
		for _, address := range b.Published {
			host, _, err := net.SplitHostPort(address)
			if ip := net.ParseIP(host); b.running() && err == nil && (ip == nil || !ip.IsLoopback()) {
				open = append(open, fmt.Sprintf("%s at %s", b.Name, address))
			}
		}
	}
	slices.Sort(open)
	return open, nil
}
