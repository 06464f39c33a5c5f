package nginxconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"cutover/traffic"
)

// Card is back.json: all that a cutback needs to know, so that it works when everything else is gone.
// It is written before the first raise of each rollout, and when a promotion is finished.
type Card struct {
	App string `json:"app"`
	// Probe is the address to ask, Host the name to ask for there.
	Probe string `json:"probe"`
	Host  string `json:"host"`
	// Stable is the color that gets everything where no folder of a rollout stands.
	Stable traffic.Color `json:"stable"`
	// Releases are the tags that the colors run.
	Releases map[traffic.Color]string `json:"releases,omitempty"`
	// Rollout is the newest one that was opened; zero before the first, and after a promotion was finished.
	Rollout traffic.RolloutID `json:"rollout,omitzero"`
	// Finished is the newest rollout that became stable for good: a cutback of an older one is history. Zero means none.
	Finished traffic.RolloutID `json:"finished,omitzero"`
	// Previous is the tag that was stable before Finished: what a rollback would bring again. Empty means none.
	Previous string `json:"previous,omitempty"`
	// State is the folder of the app's journal. Empty means that nobody said.
	State string `json:"state,omitempty"`
	// Pid is nginx's pid file, to tell an nginx that is stopped from one that does not answer. Empty when unknown.
	Pid string `json:"pid,omitempty"`
	// Container is the one that nginx runs in, and Pid a path in it. Empty where nginx runs on the host itself.
	Container string `json:"container,omitempty"`
	// Stacks are the web services of the colors. Empty where a cutback never has to stop any: where each request asks for the folder.
	Stacks map[traffic.Color]WebStack `json:"stacks,omitempty"`
}

// WebStack is what a color answers users with.
type WebStack struct {
	// Project is the Compose project; empty where somebody else runs the stack.
	Project string `json:"project,omitempty"`
	// Services and Addresses are in the order of cutover.yaml.
	Services  []string `json:"services"`
	Addresses []string `json:"addresses"`
}

// Tag is the release that the color runs, and "" when nobody said.
func (c Card) Tag(color traffic.Color) string { return c.Releases[color] }

func cardPath(root string) string { return filepath.Join(root, "back.json") }

// ReadCard reads back.json of the app whose folder is root. fs.ErrNotExist where none was written.
func ReadCard(root string) (Card, error) {
	data, err := os.ReadFile(cardPath(root))
	if err != nil {
		return Card{}, err
	}
	var c Card
	if err := json.Unmarshal(data, &c); err != nil {
		return Card{}, fmt.Errorf("read %s: %w", cardPath(root), err)
	}
	if c.App == "" || c.Probe == "" || c.Host == "" {
		return Card{}, fmt.Errorf("read %s: it names no app or no probe", cardPath(root))
	}
	return c, nil
}

// writeCard replaces back.json with what the split says; what became of earlier rollouts is kept.
func (p *Proxy) writeCard(s traffic.Split, change func(*Card)) error {
	earlier, err := ReadCard(p.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		earlier = Card{} // a torn one tells nothing; the new one is whole
	}
	c := Card{
		App: p.options.App, Probe: p.options.Config.Probe, Host: probeHost(p.options.App), Stable: s.Stable, Releases: s.Releases,
		Rollout: s.Rollout, Finished: earlier.Finished, Previous: earlier.Previous, State: p.options.State, Pid: earlier.Pid,
		Container: p.options.Config.Container, Stacks: p.webStacks(),
	}
	change(&c)
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := writeSynced(cardPath(p.root), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write what a cutback needs: %w", err)
	}
	return syncFolder(p.root)
}

// webStacks are what a cutback may have to stop.
func (p *Proxy) webStacks() map[traffic.Color]WebStack {
	if !p.fixed() {
		return nil
	}
	stacks := map[traffic.Color]WebStack{}
	for _, c := range []traffic.Color{traffic.Blue, traffic.Green} {
		stack := WebStack{Project: p.options.Projects[c]}
		for _, u := range p.options.Web {
			stack.Services, stack.Addresses = append(stack.Services, u.Service), append(stack.Addresses, u.address(c))
		}
		stacks[c] = stack
	}
	return stacks
}
