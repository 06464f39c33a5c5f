package stacks

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	// healthCheck is gRPC's health protocol (grpc.health.v1) asking about the server as a whole.
	healthCheck = "/grpc.health.v1.Health/Check"
	// grpcOK and grpcUnimplemented are statuses of gRPC.
	grpcOK            = "0"
	grpcUnimplemented = "12"
)

var (
	// nothing is a message of no bytes: not compressed, length 0. serving is the answer's field status (1) with the value SERVING (1).
	nothing = make([]byte, 5)
	serving = []byte{0, 0, 0, 0, 2, 1 << 3, 1}
)

// askHealth asks a gRPC server whether it serves. One that does not know the protocol has answered, and counts as ready.
func (p prober) askHealth(ctx context.Context, service, address string, tries int) error {
	target := "http://" + address + healthCheck
	bad := &trouble{services: []string{service}}
	request, err := retryablehttp.NewRequestWithContext(ctx, http.MethodPost, target, nothing)
	if err != nil {
		bad.err, bad.final = fmt.Errorf("gRPC %s: %w", target, err), true
		return bad
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("TE", "trailers")
	response, err := once(p.grpc, tries).Do(request)
	if err != nil {
		bad.err = fmt.Errorf("gRPC %s: %w", target, bare(err))
		bad.hint = "It has to speak HTTP/2 without TLS on this address. Without grpc: true it is asked by HTTP/1."
		return bad
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit))
	if err != nil {
		bad.err = fmt.Errorf("gRPC %s: the answer broke off: %w", target, err)
		return bad
	}
	switch status := cmp.Or(response.Trailer.Get("Grpc-Status"), response.Header.Get("Grpc-Status")); {
	case response.StatusCode != http.StatusOK:
		bad.err = fmt.Errorf("gRPC %s answered %d", target, response.StatusCode)
	case status == grpcUnimplemented, status == grpcOK && bytes.Equal(body, serving):
		return nil
	case status == grpcOK:
		bad.err = fmt.Errorf("gRPC %s: it does not serve yet (%x)", target, body)
	default:
		bad.err = fmt.Errorf("gRPC %s: grpc-status %q", target, status)
	}
	return bad
}
