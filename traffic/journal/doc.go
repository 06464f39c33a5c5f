// Package journal keeps what happened to one app, and who is at work on it now.
//
// # The journal
//
// <state>/<app>/journal.jsonl holds one JSON object a line, in the order in which things were decided:
//
//	{"seq":7,"time":"…","rollout":"000017","actor":"ci","event":{…},"prev":"<sum of entry 6>","sum":"<sha256>"}
//
// sum is taken over the line as it would read without it, so that each line proves itself; prev stands inside
// what is summed, so that each line proves its predecessor. `sed 's/,"sum":"[0-9a-f]*"}$/}/'` and sha256sum
// over one line (without its newline) check it by hand.
//
// Nobody keeps the file open. An append opens it, takes its flock for 50 ms at most, makes sure that the path
// still names the locked file, cuts a torn tail, writes one line, syncs the file and, where names changed, the
// folder, and closes. Rotation is therefore a rename under that lock: journal.jsonl becomes
// journal-<first seq>.jsonl, and the next append goes on with seq and prev in a new file.
// A reader takes no lock at all.
//
// # What may be broken
//
// A torn tail is what a crash leaves of an append that never returned: a last line without a newline, or one with
// a hole of NUL bytes, where the disk got the length before the data. It counts as not written, and the next append
// cuts it away. Every other line that does not prove itself is damage: Read names it in a CorruptError and
// still gives each entry that is whole; Append still works and steps over the seq of what is broken, so that a
// cutback can always be recorded. Old rotated files may be moved away, oldest first; the newest one has to stay
// until the next append, which takes seq and prev from it.
//
// # The rollout lock
//
// <state>/<app>/lock is held for the life of the process that moves the app's traffic, and carries who that is.
package journal
