package stage

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Process is one color of a stage with external stacks: a release of the demo application as a local process.
type Process struct{ cmd *exec.Cmd }

// Run starts the binary as the color's release and waits until it answers.
func (s *Stage) Run(ctx context.Context, color, binary string) (*Process, error) {
	p := &Process{cmd: exec.Command(binary, "-listen", s.Address(color))}
	p.cmd.Env = append(os.Environ(), "STACK="+s.Name+"-"+color)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	for ctx.Err() == nil {
		if answer, err := http.Get("http://" + s.Address(color) + "/api/version"); err == nil {
			return p, answer.Body.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	return p, context.Cause(ctx)
}

// Stop ends the process as a container would be ended, and waits for it. It is fine on nil.
func (p *Process) Stop() error {
	if p == nil {
		return nil
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.cmd.Wait()
}
