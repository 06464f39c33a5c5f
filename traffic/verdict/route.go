package verdict

import "math"

// route is one named route, heard like the whole: in buckets, and by the two runs.
type route struct {
	part
	open   bucket
	opened moment
	last   moment // of the last request in the open bucket
	total  totalFailure
	severe severe
	// stable is what the baseline did here since the first share, the warm-up included, and lately what it did in the last buckets.
	// The runs ask both: a route that always fails, or fails now because of what both releases need, convicts nobody. At the full share
	// stable's record is the only witness that is left.
	stable Tally
	lately
}

// routeRecord is how many requests of stable in a route are a witness.
const routeRecord = 8

// never is a moment that does not come.
const never = moment(math.MaxInt64)

// due is when the open bucket closes if nothing more comes: by the rule of closeDue. At the full share never, for there is nothing
// to compare with.
func (r *route) due() moment {
	if r.open.errors.nc == 0 || r.open.errors.nb == 0 {
		return never
	}
	return max(r.opened.after(bucketLength), r.last)
}

// discard forgets the open bucket and opens the next.
func (r *route) discard(opened moment) { r.open, r.opened = bucket{}, opened }

// runs takes one attempt at its moment and names the run that it completes; empty if none.
//
// What a run can get wrong does not grow by the number of routes: a request belongs to one of them, so that N requests have N
// chances of eight failures in a row, however they are sorted. But p may be far higher in a route than in the whole, where good
// requests of others lie in between, and its witnesses are few. So stable must have been within the ceiling here over the rollout,
// lately, and in at least eight requests during the run. At 10 % of failures in both the chance is N·1e-8; in an outage of what the
// route needs on both releases it is at most p^8·(1-p)^8 for each request, 1.5e-5, until stable has been seen to fail.
func (r *route) runs(at moment, s Sample, share, neverAbove float64) string {
	if s.Arm == Baseline {
		r.stable.Requests++
		if s.Bad {
			r.stable.Errors++
		}
	}
	alone := share >= 1
	total, severe := r.total.observe(at, s, share), r.severe.observe(at, s, share)
	switch {
	case !total && !severe, !within(neverAbove, r.stable), !alone && r.baselineOver(neverAbove):
		return ""
	case total && (alone || within(neverAbove, r.total.seen)):
		return RuleTotalFailure
	case severe && (alone || within(neverAbove, r.severe.seen)):
		return RuleSevere
	}
	return ""
}

// within tells whether stable answered often enough to be a witness, and failed no more than the limit.
func within(limit float64, stable Tally) bool {
	return stable.Requests >= routeRecord && float64(stable.Errors) <= limit*float64(stable.Requests)
}

// observeRoute takes one attempt in its route, if it is one that is judged on its own. logged is its own time.
// At the full share there is nothing to bet on: only the runs watch a route there.
func (j *Judge) observeRoute(s Sample, at, logged moment) {
	if int(s.Route) > len(j.routes) {
		return
	}
	r := &j.routes[s.Route-1]
	if logged >= j.countFrom {
		if r.count(&s); j.share < 1 {
			r.open.add(&s)
			r.last = at
			j.routesDue = min(j.routesDue, r.due())
		}
	}
	if rule := r.runs(at, s, j.share, float64(j.cfg.Errors.NeverAbove)); rule != "" && !j.baselineOver() {
		j.convictOf(rule, r.name, r.runReason(rule, at))
	}
}

// closeRoutes closes the buckets that are due up to a moment, the earliest first, so that nothing hangs on how often it is asked.
func (j *Judge) closeRoutes(until moment) {
	for j.routesDue <= until && !j.convicted() {
		for i := range j.routes {
			r := &j.routes[i]
			if r.due() == j.routesDue {
				j.closeRoute(r, j.routesDue)
				break
			}
		}
		j.routesDue = never
		for i := range j.routes {
			j.routesDue = min(j.routesDue, j.routes[i].due())
		}
	}
}

func (j *Judge) closeRoute(r *route, due moment) {
	b := r.open
	b.seconds = bucketSeconds(due.since(r.opened))
	r.discard(due)
	r.remember(b.errors, b.seconds)
	if r.fold(b); r.convicts() {
		rule := r.rule()
		j.convictOf(rule, r.name, r.failedReason(rule))
	}
}
