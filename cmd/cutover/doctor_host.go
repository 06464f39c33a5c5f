package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"cutover/stacks"
	"cutover/traffic"
)

// serving is what a color answered.
type serving struct {
	release traffic.Release
	err     error
}

func (d *checkup) asks(ctx context.Context, color traffic.Color) serving {
	release, err := d.stacks.Serving(ctx, color)
	return serving{release, err}
}

// lookAtEngine asks engine and Compose for their versions, and which ports of the colors are open past nginx.
func (d *checkup) lookAtEngine(ctx context.Context) []finding {
	const what = "engine"
	if d.config.Stacks.Driver == stacks.DriverExternal {
		return []finding{{What: what, Level: fine, Says: "not needed: the stacks are external"}}
	}
	engine, err := stacks.NewEngine()
	if err != nil {
		return []finding{look(what, "", err)}
	}
	defer engine.Close()
	version, err := engine.Ping(ctx)
	if err != nil {
		return []finding{look(what, "", err)}
	}
	found := []finding{d.lookAtPorts(ctx, engine)}
	out, err := command(ctx, append(d.compose(), "version", "--short")).Output()
	if err != nil {
		err = &traffic.Fault{
			Kind: traffic.Preflight, Err: fmt.Errorf("engine %s answers, but `docker compose version` does not: %w", version, err),
			Hint: "Install the Compose v2 plugin (docker-compose-plugin or docker-compose-v2).",
		}
	}
	return append([]finding{look(what, fmt.Sprintf("docker %s, compose %s", version, trimLine(out)), err)}, found...)
}

// lookAtPorts finds web containers that other machines reach past nginx.
func (d *checkup) lookAtPorts(ctx context.Context, engine *stacks.Engine) finding {
	var services, open []string
	for _, w := range d.config.Stacks.Web {
		services = append(services, w.Service)
	}
	for _, color := range []traffic.Color{traffic.Blue, traffic.Green} {
		exposed, err := engine.Exposed(ctx, d.config.Stacks.Slot(color).Project, services...)
		if err != nil {
			return look("ports", "", err)
		}
		for _, one := range exposed {
			if !d.forContainer(color, one) {
				open = append(open, one)
			}
		}
	}
	if len(open) > 0 {
		return finding{What: "ports", Level: warning, Says: "reachable from outside, past nginx: " + strings.Join(open, ", "),
			Remedy: "Publish on loopback, \"127.0.0.1:${PORT}:8000\"; a second compose file needs `ports: !override [...]`."}
	}
	return finding{What: "ports", Level: fine, Says: "no web service can be reached past nginx"}
}

// forContainer tells that what is exposed is an address which nginx in a container is given: the gateway's, in the engine's own network.
func (d *checkup) forContainer(color traffic.Color, exposed string) bool {
	return d.config.Nginx.Container != "" && slices.ContainsFunc(d.config.Stacks.Web, func(w stacks.Web) bool {
		return strings.HasSuffix(exposed, " at "+w.Address(color))
	})
}

// lookAtStacks tells what each color runs. Stable must serve, and so must the color to which a cutback would lead.
func (d *checkup) lookAtStacks() []finding {
	var all []finding
	for _, color := range []traffic.Color{traffic.Blue, traffic.Green} {
		err := d.unready[color]
		f := look(string(color), "runs "+orDash(d.release[color].Tag), err)
		switch needed := color == d.state.Stable || color == d.refuge(); {
		case err == nil:
		case traffic.KindOf(err) != traffic.NotReady:
			f = finding{What: string(color), Level: warning, Says: "could not be asked: " + firstLine(err.Error()), Remedy: "See the finding about the engine."}
		case !needed:
			f = finding{What: string(color), Level: fine, Says: "does not answer; it is not stable"}
		case f.Remedy == "":
			f.Remedy = fmt.Sprintf("Users get its answers: look with `docker compose -p %s ps`, and bring it up as it was.", d.config.Stacks.Slot(color).Project)
		}
		all = append(all, f)
	}
	if d.state.Stable == "" && d.unread == nil && d.damage == nil {
		all = append(all, finding{What: "stable", Level: bad, Says: "nobody has said which color is stable", Remedy: "Say it once with `cutover init --stable blue` (or green)."})
	}
	return all
}

// mostSkew is how far clocks may be apart: the judge orders evidence by the times in the log.
const mostSkew = 2 * time.Second

// lookAtClock compares this host's clock with nginx's lines and the journal's.
func (d *checkup) lookAtClock() finding {
	f := finding{What: "clock", Level: fine, Says: "the log's and the journal's times agree with it"}
	if skew := d.skew(); skew > mostSkew {
		f.Level, f.Says = bad, fmt.Sprintf("nginx's log is %v off: a share's evidence would be counted at the wrong time", skew.Round(time.Second))
		f.Remedy = "Let nginx and cutover run by the same clock; `timedatectl` shows whether it is synchronized."
		return f
	}
	entries, _ := d.journal.Read() // the finding about the journal tells what is wrong with it
	if n := len(entries); n > 0 {
		if ahead := entries[n-1].Time.Sub(d.now()); ahead > mostSkew {
			f.Level, f.Says = warning, fmt.Sprintf("the journal's last line is %v in the future: the clock was set back", ahead.Round(time.Second))
			f.Remedy = "Synchronize the clock (`timedatectl`); until then the times in the history are wrong."
		}
	}
	return f
}

// space is what is left of one file system.
type space struct {
	free, all          uint64 // bytes
	freeInodes, inodes uint64 // zero where it does not count them
}

// What one rollout needs with room to spare, and below what little is left of a disk that is not huge.
const (
	neededBytes  = 10 << 20
	neededInodes = 200
	littlePart   = 20 // a twentieth
	plentyBytes  = 5 << 30
)

// judge says whether a rollout fits, and whether it soon might not.
func (s space) judge() level {
	switch {
	case s.free < neededBytes, s.inodes > 0 && s.freeInodes < neededInodes:
		return bad
	case s.free < s.all/littlePart && s.free < plentyBytes, s.freeInodes < s.inodes/littlePart:
		return warning
	}
	return fine
}

func (s space) String() string {
	text := fmt.Sprintf("%s of %s free", bytesText(s.free), bytesText(s.all))
	if s.inodes > 0 {
		text += fmt.Sprintf(", %d of %d inodes", s.freeInodes, s.inodes)
	}
	return text
}

// bytesText gives a size as people read it.
func bytesText(n uint64) string {
	size, unit := float64(n), "B"
	for _, larger := range []string{"kB", "MB", "GB", "TB"} {
		if size < 1024 {
			break
		}
		size, unit = size/1024, larger
	}
	return fmt.Sprintf("%.3g %s", size, unit)
}

// lookAtDisks asks each file system that a rollout writes to, once.
func (d *checkup) lookAtDisks() []finding {
	var all []finding
	seen := map[syscall.Fsid]bool{}
	for _, path := range []string{d.config.Nginx.Dir, d.dir, filepath.Dir(d.config.accessLog())} {
		left, id, err := spaceOf(path)
		if err == nil && seen[id] {
			continue
		}
		seen[id] = err == nil
		f := look("disk", fmt.Sprintf("%s: %s", path, left), err)
		if err == nil {
			f.Level = left.judge()
		}
		if f.Level != fine {
			f.Remedy = "Make room: a full disk refuses rollouts, and hides from the judge what users get. A cutback needs none."
		}
		all = append(all, f)
	}
	return all
}

// spaceOf asks for the file system of a folder, or of the nearest one above it that is there.
func spaceOf(path string) (space, syscall.Fsid, error) {
	for {
		var s syscall.Statfs_t
		err := syscall.Statfs(path, &s)
		if errors.Is(err, fs.ErrNotExist) && path != filepath.Dir(path) {
			path = filepath.Dir(path)
			continue
		}
		if err != nil {
			return space{}, s.Fsid, &os.PathError{Op: "statfs", Path: path, Err: err}
		}
		unit := uint64(s.Bsize)
		return space{free: s.Bavail * unit, all: s.Blocks * unit, freeInodes: s.Ffree, inodes: s.Files}, s.Fsid, nil
	}
}

// firstLine is what stands before the first line break.
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
