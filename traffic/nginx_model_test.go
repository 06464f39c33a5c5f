package traffic_test

import (
	"time"

	"cutover/traffic"
)

// folder is what stands of a rollout on disk; a rollout that never made one has none.
type folder string

const (
	none     folder = ""
	standing folder = "standing"
	cut      folder = "cut"
	done     folder = "done"
)

// tree is one rendered nginx tree: everything to stable, but while its rollout's folder stands weight to the other color,
// and when that rollout is done everything to the other color.
type tree struct {
	rollout traffic.RolloutID
	stable  traffic.Color
	weight  traffic.Weight
}

// host models what cutover's effects leave behind: files, the nginx that read them at its last reload, and the stacks.
// It knows nothing of the machine.
type host struct {
	folders map[traffic.RolloutID]folder
	current tree // what the next reload reads
	loaded  tree // what nginx has read
	up      map[traffic.Color]bool
}

func newHost() host {
	fresh := tree{stable: traffic.Blue}
	return host{
		folders: map[traffic.RolloutID]folder{},
		current: fresh, loaded: fresh,
		up: map[traffic.Color]bool{traffic.Blue: true},
	}
}

// serves is the share that users' requests have of the color now.
func (h host) serves(c traffic.Color) traffic.Weight {
	share := traffic.Weight(0)
	switch h.folders[h.loaded.rollout] {
	case standing:
		share = h.loaded.weight
	case done:
		share = traffic.Full
	}
	if c == h.loaded.stable {
		return share.Rest()
	}
	return share
}

// live is what the probe answers.
func (h host) live(at time.Time) *traffic.Live {
	return &traffic.Live{
		Split:    traffic.Split{Rollout: h.loaded.rollout, Stable: h.loaded.stable, Weight: h.loaded.weight},
		Open:     h.folders[h.loaded.rollout] == standing,
		Finished: h.folders[h.loaded.rollout] == done,
		At:       at,
	}
}

// cutback is `back`: one rename for each standing folder, whoever asks.
func (h *host) cutback(id traffic.RolloutID) {
	if h.folders[id] == standing {
		h.folders[id] = cut
	}
}

// swap renames a tree out of the rollout's folder onto current; it fails where the folder is gone.
func (h *host) swap(id traffic.RolloutID, t tree) bool {
	if h.folders[id] != standing {
		return false
	}
	h.current = t
	return true
}

func (h *host) reload() { h.loaded = h.current }
