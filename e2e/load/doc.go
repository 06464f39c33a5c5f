// Package load is what users are: paced clients that count each request that was lost.
//
// Start runs clients as browsers are, Go's own HTTP client on kept-alive connections, which sends an idempotent request again
// when its connection was closed before an answer. What it still reports as failed is lost. StartSockets runs plain ones beside
// it, which send nothing again: they see each connection that nginx resets under a request. Both keep their pace while the
// server is slow, as users do: requests that are due while all clients are busy are skipped and counted, never sent later.
//
// A run ends with its context or by Stop, which waits for the requests that are on their way.
package load
