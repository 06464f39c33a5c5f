package nginxconf

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cutover/traffic"
)

// Draining is what nginx still has from before a switch: workers that were told to go, and connections that are still open.
type Draining struct {
	// Workers are those that were told to go and answer whom they still have, the oldest first.
	Workers []OldWorker `json:"workers,omitempty"`
	// Connections counts what nginx has open to a color; one without any is left out.
	Connections map[traffic.Color]int `json:"connections,omitempty"`
}

// OldWorker is a worker of nginx that was told to go.
type OldWorker struct {
	PID int `json:"pid"`
	// Age is the time since it was started, which is before it was told to go.
	Age time.Duration `json:"age"`
	// Connections counts what it has open to the colors that were asked for, as far as that can be seen.
	Connections int `json:"connections"`
}

// Over tells that nothing is left from before.
func (d Draining) Over() bool { return len(d.Workers) == 0 && len(d.Connections) == 0 }

// String is for people: "2 old workers (oldest 4m0s), 3 connections to blue".
func (d Draining) String() string {
	var parts []string
	if n := len(d.Workers); n > 0 {
		parts = append(parts, fmt.Sprintf("%s (oldest %v)", counted(n, "old worker"), d.Workers[0].Age.Round(time.Second)))
	}
	for _, c := range []traffic.Color{traffic.Blue, traffic.Green} {
		if n := d.Connections[c]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s to %s", counted(n, "connection"), c))
		}
	}
	return strings.Join(parts, ", ")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Draining tells what nginx still has from before: its old workers, and its connections to the colors. It reads the process table
// and nothing else, and finds nothing where no rollout was opened yet.
func (p *Proxy) Draining(ctx context.Context, colors ...traffic.Color) (Draining, error) {
	card, err := ReadCard(p.root)
	if errors.Is(err, fs.ErrNotExist) || err == nil && card.Pid == "" {
		return Draining{}, nil
	}
	if err != nil {
		return Draining{}, err
	}
	v, err := p.look(ctx)
	if err != nil {
		return Draining{}, err
	}
	master, err := p.procs.master(v, card.Pid)
	if err != nil {
		return Draining{}, err
	}
	return p.draining(master, colors...)
}

func (p *Proxy) draining(master int, colors ...traffic.Color) (Draining, error) {
	workers, err := p.procs.workers(master)
	if err != nil {
		return Draining{}, err
	}
	open, err := p.procs.connections(master, workers, p.addresses(colors))
	if err != nil {
		return Draining{}, err
	}
	d := Draining{}
	for _, w := range p.procs.leaving(workers) {
		old := OldWorker{PID: w.pid, Age: p.procs.age(w)}
		for _, c := range open {
			if c.worker == w.pid {
				old.Connections++
			}
		}
		d.Workers = append(d.Workers, old)
	}
	slices.SortStableFunc(d.Workers, func(a, b OldWorker) int { return int(b.Age - a.Age) })
	for _, c := range open {
		if d.Connections == nil {
			d.Connections = map[traffic.Color]int{}
		}
		d.Connections[c.color]++
	}
	return d, nil
}

// addresses are those of the colors' web services, as the kernel writes them.
func (p *Proxy) addresses(colors []traffic.Color) map[string]traffic.Color {
	all := map[string]traffic.Color{}
	for _, c := range colors {
		for _, u := range p.options.Web {
			address, err := netip.ParseAddrPort(u.address(c))
			if err != nil {
				continue // refused by Validate
			}
			for _, written := range kernelAddresses(address) {
				all[written] = c
			}
		}
	}
	return all
}

// kernelAddresses are the ways in which the kernel's tables of connections write an address: as IPv4, and as what it is to a socket of
// IPv6.
func kernelAddresses(a netip.AddrPort) []string {
	inHex := func(address []byte) string {
		var text strings.Builder
		for word := range slices.Chunk(address, 4) {
			fmt.Fprintf(&text, "%08X", binary.NativeEndian.Uint32(word))
		}
		return fmt.Sprintf("%s:%04X", text.String(), a.Port())
	}
	ip := a.Addr().Unmap()
	wide := ip.As16()
	written := []string{inHex(wide[:])}
	if ip.Is4() {
		written = append(written, inHex(ip.AsSlice()))
	}
	return written
}

// connection is one that nginx has open to a color.
type connection struct {
	// worker is zero where nobody could see which one has it.
	worker int
	color  traffic.Color
}

// connections lists what the workers have open to the addresses. Other programs ask there too (a probe, a scraper), and do not count.
// Where we may not see what a worker has open, the connections of its user's that nobody else was seen to have count as nginx's.
//
// Kept-alive connections without a request count as well: nginx closes them within a second after the last one.
func (p processes) connections(master int, workers []process, addresses map[string]traffic.Color) ([]connection, error) {
	open, err := p.sockets(master, addresses)
	if err != nil || len(open) == 0 {
		return nil, err
	}
	var found []connection
	unseen := map[string]bool{}
	for _, w := range workers {
		inodes, err := p.held(w.pid)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) { // one that is gone has nothing
			unseen[strconv.FormatUint(uint64(p.owner(w.pid)), 10)] = true
		}
		for _, inode := range inodes {
			if s, ours := open[inode]; ours {
				found = append(found, connection{worker: w.pid, color: s.color})
				delete(open, inode)
			}
		}
	}
	for _, s := range open {
		if unseen[s.user] {
			found = append(found, connection{color: s.color})
		}
	}
	return found, nil
}

// socket is one side of a connection, with its user's number.
type socket struct {
	color traffic.Color
	user  string
}

// sockets lists what any process in the master's network has open to the addresses, by inode.
func (p processes) sockets(master int, addresses map[string]traffic.Color) (map[string]socket, error) {
	open := map[string]socket{}
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(filepath.Join(p.folder, strconv.Itoa(master), "net", table))
		if table == "tcp6" && errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, fmt.Errorf("nginx's connections: %w", err)
		}
		for line := range bytes.Lines(text) {
			// Number, own address, the other side's, state, two queues, retransmissions, user, timeout, inode.
			fields := bytes.Fields(line)
			if len(fields) < 10 {
				continue
			}
			color, ours := addresses[string(fields[2])]
			if inode := string(fields[9]); ours && inode != "0" { // without an inode nobody has it any more
				open[inode] = socket{color: color, user: string(fields[7])}
			}
		}
	}
	return open, nil
}

// held are the inodes of the sockets that the process has open.
func (p processes) held(pid int) ([]string, error) {
	folder := filepath.Join(p.folder, strconv.Itoa(pid), "fd")
	entries, err := os.ReadDir(folder)
	var inodes []string
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(folder, e.Name()))
		if inode, is := strings.CutPrefix(target, "socket:["); err == nil && is {
			inodes = append(inodes, strings.TrimSuffix(inode, "]"))
		}
	}
	return inodes, err
}
