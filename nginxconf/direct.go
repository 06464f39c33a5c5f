package nginxconf

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
)

// direct carries one question over a connection of its own, from the goroutine that asks. http.Transport starts two for each, and takes
// longer to do so than nginx to answer: a cutback's proof would take twice as long.
type direct struct{}

// mostSaid bounds an answer with its headers, which may be a stranger's.
const mostSaid = 128 << 10

// RoundTrip asks for a path, by the request's Host. It sends no other header and no body.
func (direct) RoundTrip(r *http.Request) (*http.Response, error) {
	var dialer net.Dialer
	connection, err := dialer.DialContext(r.Context(), "tcp", r.URL.Host)
	if err != nil {
		return nil, err
	}
	response, err := exchange(connection, r)
	if err != nil {
		_ = connection.Close() // what counts is why there was no answer
		return nil, err
	}
	return response, nil
}

func exchange(connection net.Conn, r *http.Request) (*http.Response, error) {
	if deadline, ok := r.Context().Deadline(); ok {
		if err := connection.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if _, err := fmt.Fprintf(connection, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", r.URL.RequestURI(), r.Host); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(bufio.NewReader(io.LimitReader(connection, mostSaid)), r)
	if err != nil {
		return nil, err
	}
	response.Body = answerBody{response.Body, connection}
	return response, nil
}

// answerBody ends the connection with the answer.
type answerBody struct {
	io.Reader
	io.Closer
}
