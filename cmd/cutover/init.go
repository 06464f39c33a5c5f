package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"

	"cutover/nginxconf"
	"cutover/traffic"
)

const initHelp = `
Without a cutover.yaml: reads the folder's compose files and writes a
cutover.yaml to be looked through; services that publish a port become the
web services, and a project that runs already becomes blue. A cutover.yaml
that is there is never written over. --container names the one that nginx
runs in: the web services go on the gateway of its network then.

With one: makes, by --stable, cutover's folders and the first nginx tree, in
which everything goes to the stable color. Then it reads nginx's own files
and shows, as a diff, the lines that lead the app's requests to cutover. They
never change afterwards. What it cannot change without changing what is
passed on is named, with what to write by hand.

--apply makes that edit: nginx tests it aside first, each file is kept in a
backup and replaced by one rename, then nginx is reloaded and asked. If it
refuses, every file is put back. An edit that was interrupted is completed by
the next --apply.

EXAMPLES
   cutover init                          # writes cutover.yaml
   cutover init --container shop-nginx   # for an nginx in a container
   cutover init --stable blue            # the first tree; shows nginx's edit
   cutover init --apply                  # makes it
   cutover init --stable blue --tag v1.3.2`

func (i *invocation) initCommand() *cli.Command {
	return i.command(commandSpec{
		name: "init", usage: "write cutover.yaml; with --stable the first nginx tree", help: initHelp,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "stable", Usage: "the `COLOR` that carries the accepted release"},
			&cli.StringFlag{Name: "tag", Usage: "its release `TAG`, if its containers do not tell"},
			&cli.BoolFlag{Name: "apply", Usage: "make the edit of nginx's files", DisableDefaultText: true},
			&cli.StringFlag{Name: "app", Usage: "the app's `NAME` in a new cutover.yaml"},
			&cli.StringFlag{Name: "container", Usage: "nginx's `CONTAINER`, in a new cutover.yaml"},
		},
		run: i.runInit,
	})
}

func (i *invocation) runInit(c *cli.Context) error {
	debug.SetGCPercent(400) // it ends soon: for a site of a thousand routes, tidying memory up would be a tenth of its time
	var color traffic.Color
	if c.IsSet("stable") {
		var err error
		if color, err = colorFlag(c, "stable"); err != nil {
			return err
		}
	}
	path, err := findConfig(i.configOf(c), i.dir)
	if err == nil {
		_, err = os.Lstat(path)
	}
	switch {
	case err != nil && (color != "" || c.Bool("apply")):
		return usagef("init --stable, --apply: there is no %s yet; `cutover init` writes one", configName)
	case err != nil:
		return i.writeConfig(c.Context, c.String("app"), c.String("container"))
	case c.IsSet("app"), c.IsSet("container"):
		return usagef("init --app, --container: they are for a new %s, and %s is there already", configName, path)
	}
	s, err := i.start(c)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.hold(c.Context, 0); err != nil {
		return err
	}
	if color != "" {
		if err := s.initStable(c.Context, color, c.String("tag")); err != nil {
			return err
		}
	}
	doc := s.initDocument()
	edit, err := s.propose(c.Context, &doc)
	if c.Bool("apply") && err == nil {
		err = s.apply(c.Context, &doc, edit)
	}
	if err != nil && (c.Bool("apply") || forbidden(err)) {
		return err
	}
	s.explain(doc, edit, err)
	s.out.result(doc)
	return nil
}

// initDocument is what `init --json` prints.
type initDocument struct {
	// Result is written, with Path the new cutover.yaml; ready, where nginx's files need no edit or none can be made; proposed, with
	// the edit in Diff; or applied.
	Result  string        `json:"result"`
	Path    string        `json:"path"`
	Stable  traffic.Color `json:"stable,omitempty"`
	Release string        `json:"release,omitempty"`
	// HTTP goes into http { } once, Server first into each server { }, and Pass in the place of the old proxy_pass lines. Server and
	// Pass are empty where cutover renders the servers itself.
	HTTP   string   `json:"http,omitempty"`
	Server string   `json:"server,omitempty"`
	Pass   []string `json:"pass,omitempty"`
	// Diff is the edit of nginx's Files. Left is what it leaves: to be written by hand (refuse), or to be known (warn).
	Diff  string              `json:"diff,omitempty"`
	Files []string            `json:"files,omitempty"`
	Left  []nginxconf.Finding `json:"left,omitempty"`
	// Backup is the folder with the files as they were, Interrupted those of edits that did not come to their end.
	Backup      string   `json:"backup,omitempty"`
	Interrupted []string `json:"interrupted,omitempty"`
	// Loaded tells that a running nginx has loaded the applied edit, proven; otherwise it starts with it.
	Loaded bool `json:"loaded,omitempty"`
}

func (s *session) initDocument() initDocument {
	doc := initDocument{Result: "ready", Path: s.path, Stable: s.state.Stable, Release: s.state.Tag(s.state.Stable)}
	root := filepath.Join(s.config.Nginx.Dir, s.config.App)
	doc.HTTP = fmt.Sprintf("include %s/current/http.conf;", root)
	if len(s.config.Routes) == 0 {
		doc.Server = fmt.Sprintf("include %s/current/server.conf;", root)
		for _, pass := range s.proxy.Passes() {
			doc.Pass = append(doc.Pass, fmt.Sprintf("proxy_pass %s;", pass))
		}
	}
	return doc
}

// initStable says once which color is stable, and makes the tree that sends everything to it.
func (s *session) initStable(ctx context.Context, color traffic.Color, tag string) error {
	if r := s.state.Open; r != nil && s.razed() {
		gone := traffic.Event{Kind: traffic.CutSeen, Rollout: r.ID, Why: "the folders of all rollouts are gone: somebody removed them"}
		if err := s.record(ctx, gone); err != nil {
			return err
		}
		s.carry(ctx, nil)
	}
	if s.state.Open != nil {
		return &traffic.Fault{
			Kind: traffic.Busy, Err: fmt.Errorf("%s is open", s.state.Open.Name()), Hint: "`cutover back` or `cutover accept` first.",
		}
	}
	release, err := s.stacks.Serving(ctx, color)
	if err != nil && tag == "" {
		return &traffic.Fault{
			Kind: traffic.NotReady, Err: fmt.Errorf("which release runs on %s cannot be asked: %w", color, err),
			Hint: "Start it, or say the release with --tag.",
		}
	}
	release.Tag = orElse(tag, release.Tag)
	return s.setStable(ctx, color, release)
}

// razed tells that no folder of any rollout is left, as after a removal of the app's whole folder: of the open one there is nothing to be
// taken back, nor for `back` to find, and only the journal still has it.
func (s *session) razed() bool {
	last, err := s.proxy.Fence().Last()
	return err == nil && last.State == nginxconf.FolderNone
}

func trimLine(b []byte) string { return strings.TrimSpace(string(b)) }
