#!/usr/bin/env bash
# bash e2e/with-engine.sh COMMAND... runs the command with a Docker Engine and Docker Compose as setup.sh left them, and ends with
# its exit code. Where no engine answers, it starts one for this run, with its own data folder, socket, networks and no firewall
# rules, and stops it afterwards, also on a signal. The command sees
#
#   CUTOVER_ENGINE   docker, or local where no engine can be had
#   DOCKER_HOST      where a daemon of this run, or one of the user's Docker context, listens
#   DOCKER_CONFIG    where the Compose plugin of setup.sh is needed
#   PATH             with the folders in which nginx and dockerd are
set -uo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/e2e/host.sh"

daemon=  # the pid of the daemon that we started
run=     # its sockets; short, because a socket's path has at most 107 bytes
data=    # its images and containers
bridge=  # its default network's interface
command= # the pid of the command
signaled=

# start_daemon: a dockerd that shares nothing with another one on this host. It leaves our session, so that Ctrl-C reaches the
# command, which still needs the engine to clean up, and not the daemon.
start_daemon() {
	local was=${DOCKER_HOST-}
	if [ "$(id -u)" != 0 ] || ! have dockerd || ! have ip; then return 1; fi
	mkdir -p "$tools/engine" && run=$(mktemp -d /run/cutover-engine.XXXXXX) && data=$(mktemp -d "$tools/engine/XXXXXX") || return 1
	add_bridge || return 1
	cat >"$run/daemon.json" <<-JSON
		{
		  "bridge": "$bridge", "iptables": false, "ip6tables": false, "ip-forward": false, "shutdown-timeout": 5,
		  "default-address-pools": [{ "base": "10.219.0.0/16", "size": 24 }]
		}
	JSON
	setsid dockerd --config-file "$run/daemon.json" --host "unix://$run/docker.sock" --data-root "$data" --exec-root "$run/exec" \
		--pidfile "$run/dockerd.pid" --containerd-namespace cutover --containerd-plugins-namespace cutover-plugins \
		>"$run/dockerd.log" 2>&1 </dev/null &
	daemon=$!
	export DOCKER_HOST=unix://$run/docker.sock
	unset DOCKER_CONTEXT DOCKER_TLS_VERIFY DOCKER_CERT_PATH
	for _ in {1..300}; do
		if [ -n "$signaled" ] || ! kill -0 "$daemon" 2>/dev/null; then break; fi
		if [ -S "$run/docker.sock" ] && engine_answers >/dev/null; then return 0; fi
		sleep 0.2
	done
	say "with-engine: dockerd did not start:"
	tail -n 5 "$run/dockerd.log" >&2
	stop_daemon
	if [ -n "$was" ]; then DOCKER_HOST=$was; else unset DOCKER_HOST; fi
	return 1
}

# add_bridge: a daemon that is told to use none deletes docker0 (tried), which may be that of another daemon.
add_bridge() {
	bridge=cutover$$
	ip link add name "$bridge" type bridge && ip addr add 10.220.0.1/24 dev "$bridge" && ip link set "$bridge" up
}

# stop_daemon first removes what the command left in it: a stopped daemon leaves the bridges of its networks to the host.
stop_daemon() {
	local left own=unix://$run/docker.sock # named each time: this must never reach another engine
	if [ -n "$daemon" ] && left=$(timeout 20 docker --host "$own" ps --all --quiet 2>/dev/null); then
		if [ -n "$left" ]; then timeout 60 docker --host "$own" rm --force $left >/dev/null; fi
		timeout 20 docker --host "$own" network prune --force >/dev/null
	fi
	if [ -n "$daemon" ]; then
		kill -TERM "$daemon" 2>/dev/null
		for _ in {1..150}; do
			kill -0 "$daemon" 2>/dev/null || break
			sleep 0.2
		done
		if kill -KILL "$daemon" 2>/dev/null; then say "with-engine: dockerd did not stop within 30 s and was killed"; fi
		wait "$daemon" 2>/dev/null
	fi
	daemon=
	if [ -n "$bridge" ]; then ip link delete "$bridge" 2>/dev/null; fi
	if [ -n "$run" ]; then rm -rf --one-file-system "$run"; fi
	if [ -n "$data" ]; then
		while umount "$data" 2>/dev/null; do :; done # where mounts are private, dockerd mounts its folder on itself
		rm -rf --one-file-system "$data"
	fi
	run= data= bridge=
}

choose_engine() {
	local version refusal
	if version=$(engine_answers); then
		use_context
	elif start_daemon; then
		version=$(engine_answers)
		say "with-engine: no Docker Engine answered, so dockerd was started for this run (pid $daemon, data in ${data#"$root"/})"
	else
		refusal=$(timeout 20 docker version 2>&1 >/dev/null | tail -n 1)
		say "with-engine: none answers (${refusal:-there is no command docker}), and none can be started here; local processes then"
		export CUTOVER_ENGINE=local
		return
	fi
	export CUTOVER_ENGINE=docker
	if ! compose_works; then export DOCKER_CONFIG=$private_config; fi
	say "with-engine: Docker $version, Compose $(docker compose version --short 2>/dev/null || echo missing, see e2e/setup.sh)"
}

# use_context: cutover's client reads DOCKER_HOST and no Docker contexts.
use_context() {
	local host
	if [ -n "${DOCKER_HOST-}" ]; then return; fi
	host=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null)
	if [ -n "$host" ] && [ "$host" != unix:///var/run/docker.sock ]; then export DOCKER_HOST=$host; fi
}

# passed SIGNAL: a terminal sends Ctrl-C to the command itself; anything else is handed on, because only we may have got it.
passed() {
	signaled=$1
	if [ "$1" != INT ] && [ -n "$command" ]; then kill -s "$1" "$command" 2>/dev/null; fi
}

if [ $# = 0 ]; then
	say "usage: bash e2e/with-engine.sh COMMAND..."
	exit 2
fi
trap 'passed INT' INT
trap 'passed TERM' TERM
trap 'passed HUP' HUP
trap stop_daemon EXIT
choose_engine
if [ -n "$signaled" ]; then exit 130; fi

(trap - INT TERM HUP && exec "$@") <&0 & # without the reset it would be deaf to Ctrl-C, as all of a script's jobs are
command=$!
while :; do
	signaled=
	wait "$command"
	code=$?
	if [ -z "$signaled" ]; then break; fi # else the signal ended the wait, not the command
done
exit "$code"
