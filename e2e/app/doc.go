// Command app is the little release that tests and the demo move traffic to and from.
//
// One binary is one release: its tag and its faults are baked in at link time (see package images), so that two tags are two
// images with two digests. Environment variables of the same meaning override what is baked, for stacks of local processes:
//
//	RELEASE     the tag, shown in every answer as the header X-Release; a tag with "sick" in it never becomes healthy
//	STACK       the stack's name, or COLOR
//	FAIL_SHARE  the share of requests for / that is answered with 500, from 0 to 1, spread evenly
//	LATENCY     how long / takes, such as 20ms
//	HEALTH      "sick": /healthz always answers 500
//
// Routes: /healthz, /api/version (JSON: release, stack), /slow?ms=250, /echo (an upgraded connection that sends each line back),
// /stream?ms=250 (an answer in parts), /upload (JSON: bytes and sha256 of what arrived), /static/ with one style sheet, whose name is the
// release's own, and, for everything else, a small page that names it. By gRPC, on the same port: /demo.Echo/Say sends each message back,
// /demo.Echo/Count sends as many as the message says.
// On SIGTERM it stops listening, finishes what it is answering, and ends within a second.
package main
