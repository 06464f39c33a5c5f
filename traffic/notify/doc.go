// Package notify tells people about a rollout, and never holds one up.
//
// # From an event to a phone
//
// The caller makes a Message: plain data with the one sentence and its numbers. Spool.Put writes it to disk, once for each
// receiver of the section notify that wants its kind, and returns. Spool.Run, in a goroutine of a process that lives for a
// while, or Spool.Deliver, at the end of one and in every later command, sends what is queued: oldest first, each receiver
// by itself, so that a broken one delays nobody else's.
//
// # On disk
//
//	<state>/<app>/notify/<format>-<hash of the address>/<time in ms>-<id>.json   waits
//	<state>/<app>/notify/<format>-<hash of the address>/<time in ms>-<id>.sent   was taken, remembered for a day
//
// Files appear and change by rename. Who sends holds the flock of the receiver's folder, so two processes never send one
// message twice, and the kernel lets go of it for one that crashes. A crash between the receiver's answer and the rename
// sends the message again, under the same id. A message that nobody took for 24 hours is dropped, as are the oldest
// beyond 200; both are said. No secret and no address is ever written here, and errors name a receiver by scheme and
// host alone, because chat webhooks carry their key in the path or the query.
//
// # What a receiver of format json gets
//
// A POST as the Standard Webhooks specification 1.0 describes it. webhook-id is the message's id, the same at each try;
// webhook-timestamp is the time of the try, in seconds; webhook-signature, where secret_env is set, is "v1," and the base64
// of HMAC-SHA256 over id.timestamp.body. A secret that begins with whsec_ is base64 after that, any other is the key itself.
//
//	{"type":"rollout.reverted","timestamp":"2026-03-01T03:12:04Z","data":{"id":"web-1-shop-000017-reverted",
//	 "at":"2026-03-01T03:12:04Z","app":"shop","environment":"prod","host":"web-1","rollout":"000017","release":"v1.4.0",
//	 "kind":"reverted","text":"…","next":"…","weight":20,"exit":8}}
//
// Any 2xx answer takes it. The chat services feishu, dingtalk and wecom answer 200 to what they refuse, with a code
// in the body; only code 0 takes it there. Each of their messages holds the word cutover, for robots that ask for a keyword.
package notify
