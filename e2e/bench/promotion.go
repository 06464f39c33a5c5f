package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cutover/e2e/load"
)

// promotion is a promoter at work.
type promotion struct {
	command *exec.Cmd
	said    bytes.Buffer
}

// promote starts one. end must be called.
func (b *bench) promote(ctx context.Context, flags ...string) (*promotion, error) {
	args := append([]string{"promote", "--tag", candidate.Tag, "--yes", "--wait", "30s"}, flags...)
	p := &promotion{command: b.Command(ctx, args...)}
	p.command.Stdout, p.command.Stderr = &p.said, &p.said
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is ours to pass on, once
	patiently(p.command)
	return p, p.command.Start()
}

// kill ends it without a word.
func (p *promotion) kill() error { return p.command.Process.Kill() }

// end has it cut back, where it was not killed, and waits for it. What it said explains an error of the measurement.
func (p *promotion) end(failed error) error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		failed = errors.Join(failed, err)
	}
	_ = p.command.Wait() // killed or cut back, it is no success
	if failed != nil {
		return fmt.Errorf("%w; cutover promote (%s) said: %s", failed, p.command.ProcessState, p.said.Bytes())
	}
	return nil
}

// loaded is how long a promotion works under load before it is weighed.
const loaded = 5 * time.Second

// promotionSize weighs a promoter and its guardian at their largest.
func (b *bench) promotionSize(ctx context.Context) (rows []row, failed error) {
	users, err := load.Start(ctx, at(b.URL()))
	if err != nil {
		return nil, err
	}
	defer users.Stop()
	p, err := b.promote(ctx, "--env", "careful")
	if err != nil {
		return nil, err
	}
	defer func() { failed = p.end(failed) }()
	raised := func() bool { return users.Snapshot().Releases[candidate.Tag].Answers > 0 }
	if err := until(ctx, "the candidate got its share", raised); err != nil {
		return nil, err
	}
	if err := pause(ctx, loaded); err != nil {
		return nil, err
	}
	promoter := p.command.Process.Pid
	size, err := largest(promoter)
	if err != nil {
		return nil, err
	}
	for _, pid := range b.Guardians() {
		parent, err := statusNumber(pid, "PPid")
		if err != nil || parent != promoter {
			continue // one that waits for what an earlier promotion has left
		}
		guardian, err := largest(pid)
		return []row{alone("promote_rss", "MB", size, 1), alone("promote_guardian_rss", "MB", guardian, 1)}, err
	}
	return nil, errors.New("the promotion has no guardian")
}

// largest is the most memory that the process has had, in MB of 10^6 bytes.
func largest(pid int) (float64, error) {
	kibibytes, err := statusNumber(pid, "VmHWM")
	return float64(kibibytes) * 1024 / 1e6, err
}

// statusNumber reads a number from what the kernel says about a process.
func statusNumber(pid int, key string) (int, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/status"
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == key+":" {
			return strconv.Atoi(fields[1])
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, key)
}
