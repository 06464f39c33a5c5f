package verdict

import (
	"fmt"
	"time"
)

// Probe is what stable answered when it was asked beside the traffic. At the full share it has none of its own, and nothing else
// tells an outage that both releases share from the candidate's.
type Probe struct {
	At time.Time
	// Failed says how it did not answer; empty where it did.
	Failed string
}

// sharedFor is how long after a failed probe whatever fails is taken to be shared. It spans some probes, a second or two apart.
const sharedFor = 5 * time.Second

// outage is what the probes of stable have shown.
type outage struct {
	until moment
	why   string
}

// foldProbe hears how stable is. What the candidate does plays no part in it, so that leaving those seconds out is fair to its bets.
func (j *Judge) foldProbe(p Probe) {
	if p.Failed == "" {
		return
	}
	j.outage = outage{until: max(j.outage.until, j.clock.stamp(p.At).after(sharedFor)), why: p.Failed}
}

// shared tells that stable does not answer either, where it has no traffic that would show it.
func (j *Judge) shared() bool { return j.share >= 1 && j.clock.latest < j.outage.until }

func (o outage) reason() string {
	return fmt.Sprintf("stable, asked beside the traffic, does not answer either (%s): the trouble is shared, and going back would not help", o.why)
}
