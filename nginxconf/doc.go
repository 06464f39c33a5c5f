// Package nginxconf moves the traffic of one app between its two colors, in an nginx that belongs to somebody else.
//
// # Up by weight, down by rename
//
// Everything that nginx reads of ours lies in one folder per app, the root:
//
//	gen/000124/            http.conf and server.conf: rendered, tested, never changed afterwards
//	current -> gen/000124  what nginx reads at its next reload or start
//	rollouts/000017/       the fence of an open rollout; in it green/, the folder that nginx asks for at each request
//	back.json              all that `cutover back` needs to know (card.go)
//
// Base writes the first tree, Open takes the id of a rollout (open.go), Preflight says what is in the way (preflight.go),
// Examine says it item by item (examine.go), and Rehearse cuts a rollout back on which nobody is (rehearse.go).
//
// A raise (raise.go) renders the share into a new generation (render.go), has `nginx -t` judge exactly that tree in the
// user's own include chain (chain.go, copy.go), makes it current by one rename, reloads, and believes nothing but the
// probe and the titles of the old workers (probe.go, workers.go). What cannot be proven is undone, but never upwards.
//
// A cutback (fence.go, back.go) renames rollouts/000017 to 000017.cut. nginx sees stable with the next request: there is no
// test, no reload, no lock, and nothing that somebody's broken file could refuse.
//
// Finishing (finish.go) renames rollouts/000017 to 000017.done, so that of it and a cutback exactly one succeeds. The tree
// says candidate where that folder stands; then the new default is rendered, reloaded and proven, and the folder is taken
// away when no worker of an older generation is left, and no connection to the old color (connections.go).
//
// # Where locations pass to a fixed name
//
// With nginx.pass: name a location says `proxy_pass http://cutover_shop_web`, and nginx cannot choose for each request. A share then
// is the weights of the tree that is loaded, and holds until another one is: the probe says so, whatever became of the folder. The
// folder is still the fence, and down needs a second road (descent.go): a stable tree that waits in the folder since before the first
// raise (fixed.go), a reload, and where that is refused the candidate's web containers are stopped.
//
// # Where nginx runs in a container
//
// With nginx.container its program is run, and its master told to reload, by the engine (Host). Its files are read, copied and tested where
// nginx sees them, through the root of the container's first process (view.go). What else must hold is looked at before anything is
// moved (container.go): our folders are the same ones in there, by their inodes; no single file is mounted; the probe's port is published
// on loopback; and before each raise nginx's own network reaches the candidate. A cutback needs the engine for nothing.
//
// # The user's own files
//
// They are changed once: Propose finds the servers of the app and what in them has to be changed (edit.go,
// editpass.go), Apply does it, and puts every file back where nginx does not take it (apply.go, editing.go).
//
// What `nginx -V` says decides what is rendered (version.go, inherited.go): nothing that the version does not know, and nothing below
// 1.18. versions_test.go says which versions are run and which are only rendered.
//
// # Invariants
//
//   - No rename of a rollout has its source outside of the rollout's folder, and each is by absolute path. A promoter that
//     was frozen and wakes after a cutback gets ENOENT. So nothing here uses os.Root, a folder's descriptor, or MkdirAll
//     below rollouts: they would follow, or revive, a folder that was renamed away.
//   - current never dangles, and what it names was accepted by `nginx -t`, or is the first tree of an nginx that does not
//     include it yet.
//   - A missing folder means stable, or, where locations pass to a fixed name, that stable is current.
//   - Raise, Finish, Base and Prune hold the lock of this nginx (<dir>/.lock) while trees change. Cut, Back and Live never do.
//
// # When it is killed
//
// Before the rename of current nothing has changed but files that nobody names. After it the new tree may take effect
// by anybody's reload, which is why the journal has it before; nginx starts with it, since it was tested. Each call may be
// repeated from any of these states.
package nginxconf
