package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"cutover/e2e/stage"
)

// script is what people write without cutover: an upstream that a shell script edits, tests and reloads.
type script struct {
	*stage.Stage
	port int
	// old are the workers that it told to quit.
	old []int
}

// scriptFile is its part of nginx's configuration, beside nginx.conf.
const scriptFile = "script.conf"

// byHand proxies as the stage's server block does, and logs the same line as cutover's configuration.
var byHand = template.Must(template.New("script").Parse(`upstream script {
    zone script 64k;
    server {{.Blue}} weight=50;
    server {{.Green}} down;
    keepalive 16;
}
map $upstream_addr $script_color {
    default "";
    "{{.Blue}}" blue;
    "{{.Green}}" green;
}
map $upstream_addr $script_release {
    default "";
    "{{.Blue}}" "{{.Stable}}";
    "{{.Green}}" "{{.Candidate}}";
}
log_format script escape=json
    '{"ts":"$msec","app":"plain","env":"prod","rollout":"000001","generation":1,'
    '"pool":"split","color":"$script_color","release":"$script_release",'
    '"status":$status,"method":"$request_method","rt":$request_time,'
    '"us":"$upstream_status","ua":"$upstream_addr","ut":"$upstream_response_time","id":"$request_id","override":"","mark":""}';
server {
    listen 127.0.0.1:{{.Port}};
    access_log {{.Log}} script buffer=64k flush=100ms;
    location / {
        proxy_pass http://script;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_read_timeout 5s;
    }
}
`))

// switching is the script: blue, green or both get the traffic.
var switching = template.Must(template.New("switch").Parse(`#!/bin/sh
set -e
case $1 in
blue) blue='weight=50' green=down ;;
green) blue=down green='weight=50' ;;
both) blue='weight=50' green='weight=50' ;;
esac
sed -i -e "s/server {{.Blue}} .*;/server {{.Blue}} $blue;/" -e "s/server {{.Green}} .*;/server {{.Green}} $green;/" '{{.File}}'
nginx -q -p '{{.Prefix}}' -c '{{.Conf}}' -t && nginx -q -p '{{.Prefix}}' -c '{{.Conf}}' -s reload
`))

func (s *script) file(name string) string { return filepath.Join(s.NginxPrefix(), name) }

func (s *script) url() string { return "http://127.0.0.1:" + strconv.Itoa(s.port) + "/" }

// open writes both files and starts the nginx.
func (s *script) open(ctx context.Context) error {
	values := map[string]any{
		"Blue": s.Address("blue"), "Green": s.Address("green"), "Stable": stable.Tag, "Candidate": candidate.Tag,
		"Port": s.port, "Log": s.AccessLog(), "File": s.file(scriptFile), "Prefix": s.NginxPrefix(), "Conf": s.NginxConf(),
	}
	for path, text := range map[string]*template.Template{s.file(scriptFile): byHand, s.file("switch.sh"): switching} {
		var out strings.Builder
		if err := text.Execute(&out, values); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
			return err
		}
	}
	return s.StartNginx(ctx)
}

// to runs the script.
func (s *script) to(ctx context.Context, who string) error {
	var err error
	if s.old, err = workersOf(s.NginxPID()); err != nil {
		return err
	}
	return quietly(exec.CommandContext(ctx, "sh", s.file("switch.sh"), who))
}

// proven waits until new workers take connections, and no old one does.
func (s *script) proven(ctx context.Context) error {
	return until(ctx, "the old workers were told to quit", func() bool {
		workers, err := workersOf(s.NginxPID())
		return err == nil && len(workers) > 0 && !slices.ContainsFunc(workers, func(pid int) bool { return slices.Contains(s.old, pid) })
	})
}

// workersOf are the master's workers that take connections.
func workersOf(master int) ([]int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", master, master))
	if err != nil {
		return nil, err
	}
	var workers []int
	for _, field := range strings.Fields(string(text)) {
		title, err := os.ReadFile("/proc/" + field + "/cmdline")
		if err != nil || !strings.Contains(string(title), "worker process") || strings.Contains(string(title), "shutting down") {
			continue // ended meanwhile, or about to
		}
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		workers = append(workers, pid)
	}
	slices.Sort(workers)
	return workers, nil
}
