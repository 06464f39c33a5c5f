// Command testrun runs go test with the arguments that it is given and prints what go test itself prints, and also what a
// package prints on its own, the tests that took long, and each test that was skipped. A skipped test is a failure here: a
// check that did not run proves nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	code, err := run(os.Args[1:], os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
	}
	os.Exit(code)
}

// run hands SIGINT and SIGTERM on as go test knows them, and ends with the exit code of go test or, when tests were skipped, with 1.
func run(args []string, out io.Writer) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	test := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	test.Cancel = func() error { return test.Process.Signal(syscall.SIGINT) }
	test.Stderr = os.Stderr
	events, err := test.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := test.Start(); err != nil {
		return 1, err
	}
	skipped, readErr := retell(events, out)
	waitErr := test.Wait()
	var exit *exec.ExitError
	switch {
	case errors.As(waitErr, &exit):
		return max(exit.ExitCode(), 1), readErr
	case waitErr != nil || readErr != nil:
		return 1, errors.Join(waitErr, readErr)
	case len(skipped) > 0:
		return 1, fmt.Errorf("skipped, and therefore failed: %s", strings.Join(skipped, ", "))
	}
	return 0, nil
}
