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
//  5. Result puts it into one decision with one sentence (explain.go).
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
// It rests on requests failing independently within a second given the past, and on the arms getting comparable
// requests. Bursts that break the first are limited by a token bucket; nothing mends the second. At the full share there is no
// second arm: an outage that both releases would have shared looks like the candidate's, so that whoever acts on a
// failure there should first ask whether stable would answer.
//
// forecast.go tells beforehand how long a plan is likely to take: rehearsal.go plays it with made-up traffic through this same
// judge. simulated.go gives the same traffic to whoever plays a whole rollout, with releases that are worse. replay.go judges
// what was recorded.
package verdict
