package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// farewell is how long requests that are being answered may take to end after SIGTERM.
const farewell = 900 * time.Millisecond

func main() {
	if err := run(os.Args[1:], os.Getenv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

func run(args []string, getenv func(string) string, out io.Writer) error {
	flags := flag.NewFlagSet("app", flag.ContinueOnError)
	listen := flags.String("listen", ":8000", "answer on this `address`")
	check := flags.String("healthcheck", "", "ask this `URL`, end with 0 if it answers below 400, and with 1 if not")
	version := flags.Bool("version", false, "print the release's tag and end")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *check != "" {
		return healthcheck(*check)
	}
	a, err := baked(getenv)
	if err != nil {
		return err
	}
	if *version {
		_, err := fmt.Fprintln(out, a.tag)
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", *listen, err)
	}
	fmt.Fprintf(out, "release %s (stack %s) answers on %s\n", a.tag, a.stack, listener.Addr())
	return serve(ctx, listener, a.handler())
}

// serve answers until ctx ends, then finishes what it is answering. No idle timeout: the application must outlive nginx on
// their shared kept-alive connections, or POSTs are lost. HTTP/2 without TLS is what nginx speaks for gRPC.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	err := server.Shutdown(last)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	<-ended
	return err
}

// healthcheck is the HEALTHCHECK of an image that has no shell and no curl.
func healthcheck(url string) error {
	client := http.Client{Timeout: 2 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	if err := answer.Body.Close(); err != nil {
		return err
	}
	if answer.StatusCode >= 400 {
		return fmt.Errorf("%s answers %s", url, answer.Status)
	}
	return nil
}
