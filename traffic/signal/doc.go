// Package signal tells the judge what users get from each color. Its first source is nginx's access log, because nginx sees
// every attempt, also those that a retry hides from the client.
//
// The story of one line, in order:
//
//  1. nginx writes one JSON object per request, with the attempts as lists: "ua" the addresses that it tried, "us" what
//     each of them answered. It buffers lines for up to 100 ms.
//  2. AccessLog.Follow polls the file (accesslog.go). It starts at the end, because what was logged before a rollout is
//     no evidence about it, and it follows the name through rotation: a file that was renamed away is read on for as
//     long as nginx may still write there.
//  3. One inode is read forward into whole lines (logfile.go). The beginning of a line waits for its end.
//  4. A reader makes one verdict.Sample of each attempt at an address of ours (line.go). A request that failed on the
//     candidate and was rescued by stable is one bad sample of the candidate and one good sample of the baseline. The first
//     line is read as JSON (object.go); those that have its form are read by that (layout.go). A log of the user's own has
//     the form that its log_format says (pattern.go).
//  5. Each poll ends in one verdict.Batch, an empty one too: its clock is what lets the judge see silence.
//
// "No evidence" is never zero errors: lines that may be missing are a Gap, reading that cannot keep up is Behind, and
// a log that cannot be read is a Fault that names it.
//
// # Beside the request log
//
// Other sources count the same requests elsewhere (sources.go says how they are set up, join.go makes one stream of all): a
// Prometheus (prometheus.go), and the pages that the stacks show themselves (scrape.go). Theirs are verdict.Intervals: how much
// the counters of both colors grew between the same two looks (counter.go). The sequential test takes whole numbers of things
// that happened once, so that only counters will do:
//
//   - rate() and increase() stretch what they saw between two scrapes to the whole window, and give 3.27 errors where there were
//     three, or none; what overlaps is counted twice. They are for guards, and refused here.
//   - In a sum nobody sees that one process began anew, or came back after an hour with all that it had counted. Each series is
//     asked for by itself, and one that is new counts from zero only if its target was there at the last look.
//   - Where a counter fell the stretch is given up, for both colors. To go on from zero would count too much where several
//     processes answer by turns.
//   - A color without a value leaves the stretch open for both, and Missing says so. Only errors without any series are zero,
//     where the color's requests have a value: most libraries show a counter when it first counts.
//   - Prometheus knows what its last scrape saw. Both colors are read at one and the same instant, and what each is told may be
//     up to one scrape interval older than that.
//
// What cannot be counted by requests is a guard's (guards.go): each is read by itself every few seconds, and is a verdict.Reading, over
// its limit or not. The length of a queue comes from Redis (redis.go), a number from Prometheus, and what happens to containers from
// whoever knows an engine. A value that cannot be had is Missing, which is neither.
//
// # Other readers
//
// rates.go reads the request log's lines of the last day for another purpose: how much traffic there is, for a forecast.
// recording.go reads a whole file of them, or a trace, to have it judged again.
package signal
