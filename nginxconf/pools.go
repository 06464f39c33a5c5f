package nginxconf

import (
	"fmt"
	"path/filepath"

	"cutover/traffic"
)

// poolView is one upstream.
type poolView struct {
	Name    string
	Servers []serverView
}

type serverView struct {
	Address string
	// Weight is zero where the pool has one server only. Invariant: never written as zero, which nginx refuses.
	Weight int
	// Backup tells that the server only gets what the others did not answer.
	Backup  bool
	Color   traffic.Color
	Release string
}

// The kinds of pool that a color has beside its own: the candidate's with stable behind it, and, for assets, the color's with the other
// one behind it. What a request is given is a color, or one of these: $cutover_<app>_choice.
const (
	kindRescued = "_rescued"
	kindAssets  = "_assets"
	// Both colors with their weights; and both for who asks nobody.
	kindSplit  = "split"
	kindEither = "either"
)

// choices fills in what a request can be given, and what it depends on.
func (v *siteView) choices(p *Proxy, s traffic.Split) {
	v.Choice, v.DoneChoice = string(s.Stable), string(s.Candidate())
	c := p.options.Config
	v.Client = c.Split == SplitClient
	v.Key, v.Rescue = c.clientKey(v.Name), c.Rescue
	if v.Client && c.Sticky == StickyCookie {
		v.Cookie = max(int(p.options.StickyFor.Seconds()), 1)
	}
	switch {
	case p.live():
		v.chooseLive(p)
	case s.Rollout != 0:
		v.OpenFolder = p.fence.candidateFolder(s.Rollout, s.Candidate()) + "/" // the slash at the end: only a folder counts
		v.DoneFolder = p.fence.doneFolder(s.Rollout) + "/"
		v.AskedFolder = p.fence.askedFolder(s.Rollout.String(), v.Name)
		v.chooseLoaded(s)
	}
	v.Assets = len(c.Assets) > 0
	if v.OpenFolder != "" {
		v.Override = c.Override.view()
	} else {
		v.Cookie = 0
	}
}

// chooseLive lets each request ask the links.
func (v *siteView) chooseLive(p *Proxy) {
	b := p.buckets()
	v.Live, v.Buckets, v.BucketLines = true, b.count, b.lines()
	variable := func(name string) string { return "$cutover_" + v.Name + "__" + name }
	v.StableGreen = filepath.Join(p.fence.stableLink(), string(traffic.Green)) + "/"
	v.OpenFolder = p.fence.openLink() + "/"
	v.BucketFile = filepath.Join(p.fence.openLink(), variable("candidate"), variable("bucket"))
	v.AskedFolder = p.fence.askedFolder("open", v.Name)
	v.Choice = variable("stable")
	v.OpenChoice = variable("candidate")
	if v.Rescue {
		v.OpenChoice = fmt.Sprintf("${cutover_%s__candidate}%s", v.Name, kindRescued)
	}
	v.OpenAssets = fmt.Sprintf("${cutover_%s__stable}%s", v.Name, kindAssets)
}

// chooseLoaded is what the tree of one share gives while the rollout's folder stands.
func (v *siteView) chooseLoaded(s traffic.Split) {
	stable, candidate := string(s.Stable), string(s.Candidate())
	switch {
	case s.Weight == 0:
		v.OpenChoice, v.OpenAssets = stable, stable
	case s.Weight == traffic.Full:
		// Stable is out of the way: it may be broken, and the candidate's share must not hang on it.
		v.OpenChoice, v.OpenAssets = candidate, candidate+kindAssets
	case v.Client:
		v.OpenChoice = "$cutover_" + v.Name + "__draw"
		v.OpenAssets = fmt.Sprintf("${cutover_%s__draw}%s", v.Name, kindAssets)
		v.Drawn = fmt.Sprintf("%g%%", s.Weight.Fraction()*100)
	default:
		v.OpenChoice, v.OpenAssets = kindSplit, kindSplit
	}
}

// addRoute adds the route's pools.
func (v *siteView) addRoute(u Upstream, s traffic.Split) {
	name := func(kind string) string { return "cutover_" + v.Name + "_" + u.Route + "_" + kind }
	add := func(kind string, servers ...serverView) {
		v.Pools = append(v.Pools, poolView{Name: name(kind), Servers: servers})
	}
	backed := func(c traffic.Color) []serverView {
		other := serverOf(u, c.Other(), s)
		other.Backup = true
		return []serverView{serverOf(u, c, s), other}
	}
	route := routeView{Name: u.Route, Default: name(string(s.Stable))}
	for _, c := range []traffic.Color{traffic.Blue, traffic.Green} {
		// Stable's pool never names the candidate. Where the tree knows who that is, the candidate's own pool has stable behind it.
		if v.Rescue && v.Client && !v.Live && v.OpenFolder != "" && c == s.Candidate() {
			add(string(c), backed(c)...)
		} else {
			add(string(c), serverOf(u, c, s))
		}
		if v.Rescue && v.Live {
			add(string(c)+kindRescued, backed(c)...)
		}
		if v.Assets && v.OpenFolder != "" {
			add(string(c)+kindAssets, backed(c)...)
		}
	}
	if v.Live {
		route.Default = name(kindEither)
		add(kindEither, backed(traffic.Blue)...)
	}
	if v.OpenChoice == kindSplit {
		add(kindSplit, weighted(u, s)...)
	}
	v.Routes = append(v.Routes, route)
}

// addFixed adds the one pool of a route that locations pass to by its name.
func (v *siteView) addFixed(u Upstream, s traffic.Split) {
	pool := poolView{Name: "cutover_" + v.Name + "_" + u.Route}
	switch s.Weight {
	case 0:
		pool.Servers = []serverView{serverOf(u, s.Stable, s)}
	case traffic.Full:
		// Where a cutback has to stop the candidate, because nginx loads no other tree, stable answers.
		stable := serverOf(u, s.Stable, s)
		stable.Backup = true
		pool.Servers = []serverView{serverOf(u, s.Candidate(), s), stable}
	default:
		pool.Servers = weighted(u, s)
	}
	v.Pools = append(v.Pools, pool)
	v.Routes = append(v.Routes, routeView{Name: u.Route, Default: pool.Name})
}

// serverOf is the color's server of the route.
func serverOf(u Upstream, c traffic.Color, s traffic.Split) serverView {
	// nginx logs an address in its shortest form, which is what the color is looked up by.
	return serverView{Address: shortest(u.address(c)), Color: c, Release: s.Releases[c]}
}

// weighted are both servers with their parts of a split that gives each one some.
func weighted(u Upstream, s traffic.Split) []serverView {
	stable, candidate := serverOf(u, s.Stable, s), serverOf(u, s.Candidate(), s)
	divisor := gcd(int(s.Weight), int(s.Weight.Rest()))
	stable.Weight, candidate.Weight = int(s.Weight.Rest())/divisor, int(s.Weight)/divisor
	return []serverView{stable, candidate}
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
