package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/rogpeppe/go-internal/diff"

	"cutover/nginxconf"
	"cutover/traffic"
)

// propose reads nginx's files and puts the edit that they need into the document.
func (s *session) propose(ctx context.Context, doc *initDocument) (nginxconf.Edit, error) {
	doc.Interrupted = s.proxy.Unfinished()
	edit, err := s.proxy.Propose(ctx)
	if err != nil {
		return edit, err
	}
	doc.Left = edit.Left
	for _, f := range edit.Files {
		doc.Result = "proposed"
		doc.Files = append(doc.Files, f.Path)
		doc.Diff += unified(f)
	}
	return edit, nil
}

// unified is the edit of one file as `patch` reads it.
func unified(f nginxconf.FileEdit) string {
	text := diff.Diff(f.Path, f.Before, f.Path, f.After)
	_, hunks, _ := bytes.Cut(text, []byte("\n")) // without the line that repeats the command
	return string(hunks)
}

// forbidden tells that the files may not be read by this user, which no advice about their lines mends.
func forbidden(err error) bool { return errors.Is(err, fs.ErrPermission) }

// apply makes the edit. A signal has it put back.
func (s *session) apply(ctx context.Context, doc *initDocument, edit nginxconf.Edit) error {
	if s.state.Open != nil {
		return &traffic.Fault{
			Kind: traffic.Busy, Err: fmt.Errorf("%s is open", s.state.Open.Name()), Hint: "`cutover back` or `cutover accept` first.",
		}
	}
	if len(edit.Files) == 0 && len(doc.Interrupted) == 0 {
		return nil
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	applied, err := s.proxy.Apply(ctx, edit)
	if err != nil {
		return err
	}
	doc.Result, doc.Backup, doc.Loaded = "applied", applied.Backup, applied.Running
	if doc.Backup == "" {
		doc.Backup = doc.Interrupted[0]
	}
	doc.Interrupted = nil
	return nil
}

// explain tells people what nginx's files need, or what was done to them. The reason is set where they could not be read.
func (s *session) explain(doc initDocument, edit nginxconf.Edit, reason error) {
	o := s.out
	o.line("%s", doc.Path)
	if doc.Stable != "" {
		o.line("stable is %s", spaced(string(doc.Stable), doc.Release))
	}
	for _, folder := range doc.Interrupted {
		o.line("\nAn edit of nginx's files was interrupted; as they were they lie in %s.", folder)
	}
	switch {
	case reason != nil:
		o.line("\nnginx's files could not be read: %v", reason)
		s.explainLines(doc)
	case doc.Result == "ready" && needsHand(doc.Left):
		s.explainLeft(doc.Left)
		s.explainLines(doc)
	case doc.Result == "ready" && len(doc.Interrupted) > 0:
		o.line("All of it is there. `cutover init --apply` has nginx load it.")
	case doc.Result == "ready":
		o.line("\nnginx's files have what cutover needs: nothing is to be done there. Ask `cutover doctor` about the rest.")
		s.explainLeft(doc.Left)
	default:
		s.explainEdit(doc, edit)
	}
}

// needsHand tells whether anything is left to be written by hand.
func needsHand(left []nginxconf.Finding) bool {
	for _, l := range left {
		if l.Severity == nginxconf.Refuse {
			return true
		}
	}
	return false
}

// explainEdit shows an edit, and what comes next.
func (s *session) explainEdit(doc initDocument, edit nginxconf.Edit) {
	o := s.out
	o.line("")
	for _, f := range edit.Files {
		if f.Opened != f.Path {
			o.line("%s leads to %s", f.Opened, f.Path)
		}
	}
	o.line("%s", doc.Diff)
	s.explainLeft(doc.Left)
	switch {
	case doc.Result == "applied" && doc.Loaded:
		o.line("applied: nginx has loaded it, proven.\nThe files as they were lie in %s. Now ask `cutover doctor`.", doc.Backup)
	case doc.Result == "applied":
		o.line("applied: nginx accepts it and does not run; it starts with it.\nThe files as they were lie in %s.", doc.Backup)
	case doc.Stable == "" && s.config.Nginx.Container == "":
		o.line("`cutover init --stable COLOR --apply` says which color is stable and makes this edit.")
	case s.config.Nginx.Container != "":
		o.line("Nothing was changed. Make this edit in the folder that is mounted into %s, then have nginx reload.", s.config.Nginx.Container)
	default:
		o.line("Nothing was changed. `cutover init --apply` makes this edit: tested first, backed up, put back if nginx refuses it.")
	}
}

// explainLeft names what an edit leaves to people.
func (s *session) explainLeft(left []nginxconf.Finding) {
	for _, part := range []struct {
		severity nginxconf.Severity
		heading  string
	}{{nginxconf.Refuse, "To be done by hand:"}, {nginxconf.Warn, "To be known:"}} {
		heading := part.heading
		for _, l := range left {
			if l.Severity != part.severity {
				continue
			}
			if heading != "" {
				s.out.line("\n%s", heading)
				heading = ""
			}
			s.out.line("  %s:%d: %s", l.File, l.Line, l.What)
			if l.Remedy != "" {
				s.out.line("    → %s", l.Remedy)
			}
		}
	}
	if len(left) > 0 {
		s.out.line("")
	}
}

// explainLines shows the lines that nginx's files need, for who writes them by hand.
func (s *session) explainLines(doc initDocument) {
	o := s.out
	o.line("\nnginx needs, once in http { }:\n\n    %s\n", doc.HTTP)
	if doc.Server == "" {
		o.line("and nothing else: the servers come from routes in %s.", configName)
	} else {
		o.line("and as the first line of each server { } that proxies to the app:\n\n    %s\n", doc.Server)
		o.line("with, in its locations, instead of the old proxy_pass:\n")
		for _, pass := range doc.Pass {
			o.line("    %s", pass)
		}
		o.line("")
	}
	o.line("Then test and reload nginx, and ask `cutover doctor`.")
}
