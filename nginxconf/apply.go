package nginxconf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"cutover/traffic"
)

// Propose gives what the user's configuration needs, without changing anything. What the edited files would still lack is in its
// Left.
func (p *Proxy) Propose(ctx context.Context) (Edit, error) {
	if err := p.options.Validate(); err != nil {
		return Edit{}, &traffic.Fault{Kind: traffic.Usage, Err: err}
	}
	i, err := p.configured(ctx)
	if err != nil {
		return Edit{}, barred(err)
	}
	stable := traffic.Color("") // before the first tree nobody knows
	gen, err := p.trees.current()
	if err == nil {
		var split traffic.Split
		_, split, err = p.trees.read(gen)
		stable = split.Stable
	}
	e := i.chain.Edit(p.site(), p.targets(), stable)
	if err != nil || len(e.Files) == 0 {
		return e, nil // without a tree the edited files would lead to nothing
	}
	edited, err := i.chain.With(e)
	if err != nil {
		return e, err
	}
	for _, f := range edited.Findings(p.site()) {
		if f.Severity == Refuse {
			e.Left = append(e.Left, f)
		}
	}
	return e, nil
}

// targets are the web services with what the user's locations pass to.
func (p *Proxy) targets() []Target {
	var all []Target
	for n, pass := range p.Passes() {
		all = append(all, Target{p.options.Web[n], pass})
	}
	return all
}

// barred names what helps where files may not be read or written.
func barred(err error) error {
	hint := ""
	switch {
	case errors.Is(err, fs.ErrPermission):
		hint = "Run it as root: `sudo cutover init`. Nothing was changed."
	case errors.Is(err, syscall.EROFS):
		hint = "nginx's files lie on a file system that is mounted read-only. Nothing was changed."
	default:
		return err
	}
	return &traffic.Fault{Kind: traffic.Preflight, Err: err, Hint: hint}
}

// Applied is what became of an edit.
type Applied struct {
	// Backup is the folder with the files as they were; empty where none was replaced.
	Backup string
	// Running tells that nginx has loaded it, proven. Otherwise nginx does not run, and starts with it.
	Running bool
}

// Apply replaces the files of an edit: first all of it is tested aside and each file is written down, then each is replaced by one
// rename, tested in place, reloaded and proven. What cannot be proven is put back. Applying an edit without files has nginx load
// what lies there, which completes an edit that was interrupted.
func (p *Proxy) Apply(ctx context.Context, e Edit) (Applied, error) {
	if name := p.options.Config.Container; name != "" {
		return Applied{}, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("nginx's files are those of container %s: what is changed in there may be gone with it", name),
			Hint: "Make the edit that `cutover init` shows in the folder that is mounted there, then have nginx reload."}
	}
	gen, err := p.trees.current()
	if err != nil {
		return Applied{}, &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s has no generation that the edit could lead to: %w", p.root, err),
			Hint: "`cutover init --stable COLOR` writes the first one."}
	}
	unlock, err := p.lock(ctx)
	if err != nil {
		return Applied{}, barred(err)
	}
	defer unlock()
	p.tidy()
	m, err := p.rehearseEdit(ctx, e, gen)
	if err != nil {
		return Applied{}, barred(err)
	}
	w, err := p.write(e)
	if err != nil {
		return Applied{}, barred(fmt.Errorf("prepare the edit: %w", err))
	}
	applied := Applied{Backup: w.backup, Running: m.master != 0}
	if err := p.carryOut(ctx, w, m); err != nil {
		return Applied{}, p.putBack(ctx, w, m, err)
	}
	w.discard()
	return applied, p.settleEdits()
}

// rehearseEdit has nginx judge the edited files aside.
func (p *Proxy) rehearseEdit(ctx context.Context, e Edit, gen traffic.Generation) (move, error) {
	m := move{gen: gen} // of no rollout: whichever the tree is of may have been cut back
	i, err := p.configured(ctx)
	if err != nil {
		return m, err
	}
	for _, f := range e.Files {
		if err := f.unchanged(); err != nil {
			return m, err
		}
	}
	if i.chain, err = i.chain.With(e); err != nil {
		return m, err
	}
	if i.master, err = p.procs.master(i.view, i.chain.PidFile(i.build)); errors.Is(err, fs.ErrPermission) {
		return m, err
	} else if err != nil {
		i.master = 0 // not running: it starts with the edit
	}
	m.instance = i
	if err := p.probe.free(ctx); err != nil {
		return m, err
	}
	copied, err := i.chain.Substitute(filepath.Join(p.root, "current"), p.trees.folder(gen), p.trees.scratch(gen), p.wanted()...)
	if err != nil {
		return m, err
	}
	said, err := p.judge(ctx, copied.Main)
	if err != nil {
		err = refusal(err, "nginx refuses the edit", copied.Translate(said))
	}
	return m, errors.Join(err, copied.Remove())
}

// unchanged makes sure that the file is still the one that the edit was made for.
func (f FileEdit) unchanged() error {
	now, err := os.ReadFile(f.Path)
	if err == nil && !bytes.Equal(now, f.Before) {
		err = &traffic.Fault{Kind: traffic.Preflight, Err: fmt.Errorf("%s was changed by somebody else since it was read", f.Path),
			Hint: "Look at the edit again with `cutover init`."}
	}
	return err
}

// carryOut replaces the files, and has a running nginx load and prove them.
func (p *Proxy) carryOut(ctx context.Context, w *editing, m move) error {
	if err := w.replace(); err != nil {
		return err
	}
	if err := p.testCurrent(ctx, m.instance); err != nil || m.master == 0 {
		return err
	}
	w.told = true
	_, err := p.reload(ctx, m)
	return err
}

// putBack makes each file what it was, and has a running nginx load that.
func (p *Proxy) putBack(ctx context.Context, w *editing, m move, why error) error {
	if len(w.files) == 0 {
		return why
	}
	if err := w.putBack(); err != nil {
		return errors.Join(why, fmt.Errorf("put the files back: %w; as they were they lie in %s", err, w.backup))
	}
	w.discard()
	back := "every file is as it was before"
	if w.told {
		back += ", and " + p.loadAgain(ctx, m)
	}
	return errors.Join(why, errors.New(back), os.Remove(w.marker()), syncFolder(w.backup))
}

// loadAgain has nginx load the files that were put back, and says what it did.
func (p *Proxy) loadAgain(ctx context.Context, m move) string {
	workers, hidden := p.procs.workers(m.master)
	if err := p.options.Host.Hangup(m.master); err != nil {
		return fmt.Sprintf("nginx could not be told to load them again: %v", err)
	}
	patient, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.patience)
	defer cancel()
	for hidden == nil && len(p.procs.accepting(workers)) > 0 {
		if pause(patient, askPause) != nil {
			return "nginx takes no reload: it serves on with what it had loaded before"
		}
	}
	return "nginx has loaded them again"
}

// backups is the folder with what edits replaced.
func (p *Proxy) backups() string { return filepath.Join(p.root, "backup") }

// unfinished marks a backup whose edit was not carried out to its end. It lists the files.
const unfinished = "unfinished"

// Unfinished are the backups of edits that were interrupted.
func (p *Proxy) Unfinished() []string {
	var folders []string
	marks, _ := filepath.Glob(filepath.Join(p.backups(), "*", unfinished)) // the pattern is whole
	for _, mark := range marks {
		folders = append(folders, filepath.Dir(mark))
	}
	return folders
}

// tidy removes what an interrupted edit left beside the files.
func (p *Proxy) tidy() {
	for _, folder := range p.Unfinished() {
		text, _ := os.ReadFile(filepath.Join(folder, unfinished)) // one that cannot be read leaves litter
		for path := range strings.Lines(string(text)) {
			left, _ := filepath.Glob(literal(p.aside(strings.TrimSpace(path))) + "[0-9]*")
			for _, one := range left {
				_ = os.Remove(one)
			}
		}
	}
}

// settleEdits takes the marks away: what was begun is there as a whole now.
func (p *Proxy) settleEdits() error {
	var failed []error
	for _, folder := range p.Unfinished() {
		failed = append(failed, os.Remove(filepath.Join(folder, unfinished)), syncFolder(folder))
	}
	return errors.Join(failed...)
}

// aside begins the names of what is prepared beside a file. They are hidden: no wildcard of nginx includes them.
func (p *Proxy) aside(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".cutover-"+p.options.App+"-")
}
