package nginxconf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"cutover/traffic"
)

// Container is what the engine tells of the container that nginx runs in.
//
// Its files are read and written through the root of its first process, so that nothing is guessed from how folders are mounted; that
// our folders are the same ones in there is seen by their inodes. nginx's program is run, and its master told to reload, by the engine. A
// cutback needs neither: it renames in our own file system and asks the probe, whose port is published on loopback.
type Container struct {
	// Init is its first process, by its number on this host.
	Init int
	// Published holds the addresses of this host that lead to each of its TCP ports.
	Published map[int][]string
}

var containerName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

func (c Config) validateContainer() error {
	_, err := netip.ParseAddrPort(c.Probe)
	switch {
	case c.Container == "":
		return nil
	case err != nil:
		return fmt.Errorf("nginx.probe: %q must have a port number", c.Probe)
	case !containerName.MatchString(c.Container):
		return fmt.Errorf("nginx.container: %q is not the name of a container", c.Container)
	case c.Pass == PassName:
		return fmt.Errorf("nginx.pass: with a fixed name a cutback must reach nginx's master, which in a container (nginx.container) it cannot without the engine")
	}
	return nil
}

// probeListen is where nginx listens for the probe. A published port leads to the container's address in its network, which nobody
// knows beforehand, and never to its loopback.
func (c Config) probeListen() string {
	if c.Container == "" {
		return c.Probe
	}
	return strconv.Itoa(c.probePort())
}

func (c Config) probePort() int { return int(netip.MustParseAddrPort(c.Probe).Port()) } // Validate has parsed it

// reachable refuses addresses that are other ones inside of nginx's container.
func (o Options) reachable(u Upstream, c traffic.Color) error {
	address, err := netip.ParseAddrPort(u.address(c))
	if err != nil || o.Config.Container == "" || !address.Addr().IsLoopback() {
		return err
	}
	return fmt.Errorf("stacks.web: %s of %s: to nginx in a container %s is the container itself; publish the port on the gateway of a network that %s is on "+
		"(docker network inspect -f '{{(index .IPAM.Config 0).Gateway}}' NETWORK), or give each color a fixed address there (ipv4_address)", c, u.Route, address, o.Config.Container)
}

// look finds out where nginx sees its files; it asks the engine where it runs in a container.
func (p *Proxy) look(ctx context.Context) (view, error) {
	name := p.options.Config.Container
	if name == "" {
		return view{}, nil
	}
	if p.options.Container == nil {
		return view{}, fmt.Errorf("nobody can ask about container %s", name)
	}
	c, err := p.options.Container(ctx)
	if err != nil {
		return view{}, err
	}
	v := view{container: c, root: filepath.Join(p.procs.folder, strconv.Itoa(c.Init), "root"), owner: int(p.procs.owner(c.Init)), ours: p.options.Config.Dir}
	if _, err := os.Stat(v.root + "/"); err != nil {
		hint := "Run as root."
		if errors.Is(err, fs.ErrNotExist) {
			hint = "The engine must run on this host: see DOCKER_HOST."
		}
		return view{}, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("look into container %s: %w", name, err), Hint: hint}
	}
	return v, nil
}

// enclosed makes sure that the container sees our folders, and goes on seeing what is put in place by a rename.
func (p *Proxy) enclosed(i instance) error {
	if !i.view.inside() {
		return nil
	}
	folders := []string{p.options.Config.Dir, filepath.Dir(p.options.AccessLog)}
	if _, err := os.Stat(p.root); err == nil { // not before the first tree
		folders = append(folders, p.root)
	}
	for _, shared := range folders {
		if err := p.shared(i.view, shared); err != nil {
			return err
		}
	}
	if err := p.noFileMounts(i); err != nil {
		return err
	}
	if err := p.testable(i); err != nil {
		return err
	}
	return p.probePublished(i.view.container.Published)
}

// shared makes sure that a folder is the very same in the container. The inode tells: one that was replaced since it was mounted is
// another one, whatever its name.
func (p *Proxy) shared(v view, folder string) error {
	name := p.options.Config.Container
	ours, err := os.Stat(folder)
	if err != nil {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("share a folder with %s: %w", name, err), Hint: "Make it, and mount it into the container at the same path."}
	}
	hint := fmt.Sprintf("Mount it under the same name, in its compose file: volumes: [\"%s:%s\"], then recreate the container.", folder, folder)
	real, err := v.real(folder)
	if err != nil {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("container %s has no folder %s: it is not mounted there", name, folder), Hint: hint}
	}
	theirs, err := os.Stat(v.root + real)
	if err != nil {
		return fmt.Errorf("share %s with container %s: %w", folder, name, err)
	}
	if !os.SameFile(ours, theirs) {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s of container %s is another folder than this host's", folder, name), Hint: hint}
	}
	return nil
}

// noFileMounts refuses single files that are mounted: the container keeps the old one when a rename has put another in its place, until
// it starts again, with what nobody has tested.
func (p *Proxy) noFileMounts(i instance) error {
	mounts, err := p.procs.mounts(i.view.container.Init)
	if err != nil {
		return fmt.Errorf("mounts of container %s: %w", p.options.Config.Container, err)
	}
	refused := func(path string) error {
		return &traffic.Fault{Kind: traffic.Preflight,
			Err:  fmt.Errorf("%s is mounted into container %s as a single file: the container would keep the old one when it is replaced", path, p.options.Config.Container),
			Hint: fmt.Sprintf("Mount its folder %s instead, then recreate the container.", filepath.Dir(path))}
	}
	for _, mount := range mounts {
		info, err := os.Lstat(i.view.root + mount)
		if err == nil && !info.IsDir() && strings.HasPrefix(mount, p.options.Config.Dir+"/") {
			return refused(mount)
		}
	}
	if i.chain == nil {
		return nil
	}
	for _, f := range i.chain.Files {
		if real, err := i.view.real(f.Path); err == nil && slices.Contains(mounts, real) {
			return refused(real)
		}
	}
	return nil
}

// testable wants the folder of nginx.conf to be one that can be written to, for the copies by which a tree is tested.
func (p *Proxy) testable(i instance) error {
	if i.chain == nil {
		return nil
	}
	folder := filepath.Dir(i.chain.Main.Path)
	real, err := i.view.real(folder)
	if err != nil {
		return err
	}
	var at unix.Statfs_t
	if err := unix.Statfs(i.view.root+real, &at); err != nil || at.Flags&unix.ST_RDONLY == 0 {
		return err
	}
	return &traffic.Fault{Kind: traffic.Preflight,
		Err:  fmt.Errorf("container %s has %s read-only: a tree is tested by a copy of nginx.conf beside it", p.options.Config.Container, folder),
		Hint: "Mount that folder without `:ro`, then recreate the container. nginx's own user needs no right to write there."}
}

// mounts are the places where something is mounted, as the process sees them.
func (p processes) mounts(pid int) ([]string, error) {
	file, err := os.Open(filepath.Join(p.folder, strconv.Itoa(pid), "mountinfo"))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	plain := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var places []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		// Number, parent, device, root, place.
		if fields := strings.Fields(lines.Text()); len(fields) > 4 {
			places = append(places, plain.Replace(fields[4]))
		}
	}
	return places, lines.Err()
}

// probePublished wants the probe's port where cutover asks for it, and nowhere that other machines reach.
func (p *Proxy) probePublished(published map[int][]string) error {
	c := p.options.Config
	hint := fmt.Sprintf("In its compose file: ports: [\"%s:%d\"], then recreate the container. It needs a network of its own (no network_mode: host).", c.Probe, c.probePort())
	addresses := published[c.probePort()]
	if !slices.Contains(addresses, c.Probe) {
		return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("container %s does not publish the probe %s", c.Container, c.Probe), Hint: hint}
	}
	for _, address := range addresses {
		if a, err := netip.ParseAddrPort(address); err != nil || !a.Addr().IsLoopback() {
			return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("container %s publishes the probe on %s, where other machines may reach it", c.Container, address), Hint: hint}
		}
	}
	return nil
}

// reachPatience bounds one connection from inside of the container.
const reachPatience = 2 * time.Second

// Reaches makes sure that nginx's container gets to each web service of the color. Where nginx runs on this host itself there is nothing
// to be proven.
func (p *Proxy) Reaches(ctx context.Context, color traffic.Color) error {
	if p.options.Config.Container == "" {
		return nil
	}
	for _, u := range p.options.Web {
		bounded, cancel := context.WithTimeout(ctx, reachPatience)
		connection, err := p.Dial(bounded, "tcp", u.address(color))
		cancel()
		if err != nil {
			return &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("container %s does not reach %s of %s: %w", p.options.Config.Container, u.Service, color, err),
				Hint: "Publish it on the gateway of a network that the container is on, and let no firewall of this host drop what comes from there; " +
					"or give it a fixed address in that network."}
		}
		_ = connection.Close() // nothing was sent
	}
	return nil
}

// Dial connects from where nginx is: in a container, from the container's network.
func (p *Proxy) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	v, err := p.look(ctx)
	if err != nil {
		return nil, err
	}
	if !v.inside() {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	if network == "unix" {
		address = v.entry(address)
	}
	type result struct {
		connection net.Conn
		err        error
	}
	dialed := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which is in another network from here on, ends with this function
		if err := enterNetwork(filepath.Join(p.procs.folder, strconv.Itoa(v.container.Init), "ns", "net")); err != nil {
			dialed <- result{err: fmt.Errorf("enter the container's network: %w", err)}
			return
		}
		connection, err := (&net.Dialer{}).DialContext(ctx, network, address)
		dialed <- result{connection, err}
	}()
	r := <-dialed
	return r.connection, r.err
}

// enterNetwork puts the calling thread into the network that the file stands for.
func enterNetwork(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
}
