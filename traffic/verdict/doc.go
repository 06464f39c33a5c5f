// Package verdict tells from what users got whether a candidate is worse than stable, no worse, or not yet known.
//
// The story of one rollout, as a Judge hears it:
//
//  1. The controller has proven a share live and calls Shift. Evidence starts behind the warm-up (clock.go, judge.go).
//  2. A signal hands over batches of attempts. Each goes to the two runs at once (run.go) and into the open bucket.
//  3. A bucket closes after a second, as soon as both arms have answered in it. That rule looks at how many were asked,
//     never at how they fared: deciding on an outcome when to look would make chance look like proof.
//  4. A closed bucket is a round of betting (evidence.go). Bets on "the candidate is worse than the margin allows"
//     (component.go, process.go) and on "the candidate fails more than ever allowed" (ceiling.go) grow the evidence M;
//     bets on "it is not worse than the pass margin" (pass.go) grow the evidence for a pass, which starts anew at each step.
//  5. What belongs to a named route is heard once more on its own (route.go), so that a fault in a small one does not drown; what other
//     sources count is heard interval by interval (counted.go); and guards watch what cannot be counted at all (guard.go).
//  6. Result puts it into one decision with one sentence (standing.go, explain.go, notes.go).
//
// Decisions rank: failed, then every reason to hold, then passed. Failed is latched: no later evidence takes it back.
//
// # What the promise is
//
// Each bet is an e-value: its mean is at most 1 while the candidate keeps to the margin, whatever the baseline's own
// rate, which may drift and may fail. Products and averages of them are then supermartingales, and by Ville (1939) such
// a process ever reaches 1/alpha with probability at most alpha: one may look after every request, for hours, over all
// steps, and still at most alpha of the rollouts of good releases are reverted. Betting scores after Waudby-Smith and
// Ramdas (2020), two-sample e-values after Turner, Ly and Grünwald (2021), start mixtures after Shin, Ramdas and
// Rinaldo (2022); the closed form with margins is proven at the function ell.
//
// Errors, slow answers and the ceiling are folded at the same moments, and averaged. Routes and counted metrics move at moments of
// their own, and the average of such is not safe to stop at (Choe and Ramdas, Combining Evidence Across Filtrations, 2024). So
// alpha is divided among them (part.go): where there are routes, half for all requests and half for the routes in equal parts; where
// metrics are counted, a fifth of all for those. Each reaches its own limit with no more than its share, and all together, by the
// union bound, with no more than alpha, whatever they have in common. Without routes and metrics all of alpha is for all requests.
// What it costs is little, for evidence grows exponentially: with 32 routes a fault that all of them share is seen a few
// seconds later, and one in 5 % of the traffic, beside errors of 1 %, in half the time.
//
// Where slowness is not measured, its three tenths of the average would be worth 1 whatever happens: budget that nothing spends. A second
// test of errors has them then (patientBetting in process.go), against the same margin and folded at the same moments, so
// that the average is an e-process as before and the promise stands. It bets on fewer effects, enters within twenty minutes instead of
// an hour, and grows slowly: it makes faults of a few per cent known earlier by about a twentieth, near the margin by a tenth, and
// hardly changes what bursts do to the judge. As fast as the first it would save a second where a fault is found in ten, and
// revert up to a quarter more of the good releases whose requests fail in bursts.
//
// A pass is the business of all requests. A route or a metric stays silent while it has too little, which is said in Result.Notes, and
// holds a pass only while the evidence in it is suspicious. The runs of failures and the guards are outside of alpha: the runs by the
// odds that are reckoned in run.go and route.go, the guards because nothing is known of what they read. A guard is believed to
// speak of the candidate; one on what both releases share, a queue or a database, takes back a release for stable's trouble, and
// should only observe. A named route with few clients is a weak witness: one of them that repeats what the candidate
// alone refuses looks like a dead route.
//
// It rests on requests failing independently within a second given the past, and on the arms getting comparable
// requests. Bursts that break the first are limited by a token bucket; nothing mends the second. At the full share there is no
// second arm: an outage that both releases would have shared looks like the candidate's, so that whoever acts on a
// failure there should first ask whether stable would answer.
//
// forecast.go tells beforehand how long a plan is likely to take: rehearsal.go plays it with made-up traffic through this same
// judge. simulated.go gives the same traffic to whoever plays a whole rollout, with releases that are worse. replay.go judges
// what was recorded.
package verdict
