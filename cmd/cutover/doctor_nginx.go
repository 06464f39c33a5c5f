package main

import (
	"fmt"
	"os"
	"strings"

	"cutover/nginxconf"
	"cutover/traffic"
)

// lookAtNginx tells what was found about nginx, its configuration, and the probe.
func (d *checkup) lookAtNginx() []finding {
	e := d.nginx
	if e.Unreadable != nil {
		return []finding{look("nginx", "", e.Unreadable), d.lookAtProbe()}
	}
	all := []finding{look("nginx", e.Version+" runs", e.Running), d.lookAtTest()}
	if d.config.Nginx.Container != "" {
		all = append(all, d.lookAtContainer()...)
	}
	clean := true
	for _, f := range e.Findings {
		one := finding{What: "includes", Level: warning, Says: fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.What), Remedy: f.Remedy}
		switch f.Severity {
		case nginxconf.Refuse:
			one.Level = bad
		case nginxconf.Note:
			one.Level = fine
		}
		clean = false
		all = append(all, one)
	}
	if clean {
		all = append(all, finding{What: "includes", Level: fine, Says: "the include chain is whole"})
	}
	if e.Tree != nil {
		all = append(all, look("tree", "", e.Tree))
	} else {
		all = append(all, look("workers", "they reach "+d.rollouts(), e.Reach))
		if e.Movable != nil {
			all = append(all, look("folders", "", e.Movable))
		}
	}
	if costs, remedy := (nginxconf.Build{Version: e.Version}).ReloadCosts(d.config.Nginx); costs != "" {
		all = append(all, finding{What: "reload", Level: warning, Says: costs, Remedy: remedy})
	}
	return append(all, look("names", "nobody else has them", e.Namesake), d.lookAtProbe())
}

// lookAtContainer tells whether nginx's container sees our folders, and reaches the colors that answer.
func (d *checkup) lookAtContainer() []finding {
	name := d.config.Nginx.Container
	all := []finding{look("container", name+" sees the same folders, and publishes the probe on loopback", d.nginx.Enclosed)}
	for _, color := range []traffic.Color{traffic.Blue, traffic.Green} {
		if err, asked := d.outOfReach[color]; asked {
			all = append(all, look("container", name+" reaches "+string(color), err))
		}
	}
	return all
}

// lookAtTest tells what `nginx -t` says. Who is not root may not open nginx's logs, and it refuses for that alone.
func (d *checkup) lookAtTest() finding {
	f := look("nginx -t", "accepts the configuration as it stands", d.nginx.Refused)
	if denied := strings.Contains(strings.Join(f.Detail, "\n"), "Permission denied"); denied && os.Geteuid() != 0 {
		f.Level, f.Remedy = warning, "As root, or by sudo, it can tell."
	}
	return f
}

func (d *checkup) lookAtProbe() finding {
	if d.nginx.Stranger != nil {
		return look("probe", "", d.nginx.Stranger)
	}
	return look("probe", fmt.Sprintf("generation %d answers on %s", d.live.Generation, d.config.Nginx.Probe), d.unheard)
}
