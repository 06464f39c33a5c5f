// Package signal tells the judge what users get from each color. Its source is nginx's access log, because nginx sees
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
//  4. ParseLine makes one verdict.Sample of each attempt at an address of ours (line.go, and object.go for the JSON). A
//     request that failed on the candidate and was rescued by stable is one bad sample of the candidate and one good
//     sample of the baseline.
//  5. Each poll ends in one verdict.Batch, an empty one too: its clock is what lets the judge see silence.
//
// "No evidence" is never zero errors: lines that may be missing are a Gap, reading that cannot keep up is Behind, and
// a log that cannot be read is a Fault that names it.
//
// rates.go reads the same lines of the last day for another purpose: how much traffic there is, for a forecast. recording.go
// reads a whole file of them, or a trace, to have it judged again.
package signal
