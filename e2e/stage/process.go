package stage

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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

// Guardians are the process ids of the guardians that watch the stage's rollouts, or wait for what these have left to do.
func (s *Stage) Guardians() []int { return s.parts("guardian") }

// Guards are the process ids of those that judge a share that was left by hand.
func (s *Stage) Guards() []int { return s.parts("guard") }

// parts are the processes of that part of cutover at work on the stage.
func (s *Stage) parts(name string) []int {
	var found []int
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is whole
	for _, path := range lines {
		typed, _ := os.ReadFile(path) // one that has ended meanwhile reads as empty
		if args := strings.Split(string(typed), "\x00"); len(args) > 1 && args[1] == name && slices.Contains(args, s.Root()) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			found = append(found, pid)
		}
	}
	return found
}

// dismiss ends the guardians, who would stay for as long as an old stack is kept warm, and then the guards, who would be avenged.
func (s *Stage) dismiss() {
	for _, pid := range append(s.Guardians(), s.Guards()...) {
		_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is as good
	}
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
