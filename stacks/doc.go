// Package stacks brings one color's stack up, tells whether it is ready, and stops it again. It never touches traffic.
//
// A stack is a Compose project of the user's own: cutover calls the user's `docker compose` with the user's files and gives it
// nothing but the tag, the color's ports and the color's variables (command.go). What Compose says about the outcome proves little:
// it exits 0 over a crash loop and 1 over a finished one-shot. So states, restarts, images and ports are asked of the engine
// (engine.go), and readiness of the app itself (ready.go, probe.go).
//
// Prepare goes in this order, and a failure at any point leaves traffic as it was:
//
//	preflight.go  the files merge, the ports are the ones that nginx knows and nobody else's, the images are here
//	hooks.go      migrations in one-shot containers of the new release, because `up` replaces containers before it would migrate
//	compose.go    `up -d --no-deps` of the web services only, never on the color that serves: its caller sees to that
//	ready.go      running, healthy, not restarting, ours, and answering: several times in a row
//	release.go    which images that is
//
// After the release is accepted HandOver (workers.go) moves what takes no traffic: of a singleton never two run. Retire
// (retire.go) stops the listed services of a color container by container: a project may also hold the user's database, so nothing here
// acts on a whole project, removes an orphan or a volume.
//
// While the candidate has a share its containers are looked at (gauges.go, usage.go): restarts, OOM kills, turns to unhealthy, and what
// they use beside the old stack's. What that means is for others to say.
//
// A color whose Prepare failed is left as it stands, for a look; the fault carries the last log lines.
// external.go is the other driver: somebody else runs the stacks, and cutover only asks whether they answer.
package stacks
