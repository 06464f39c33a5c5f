# What this host has, for setup.sh and with-engine.sh; sourced by them with $root set. POSIX sh.

tools=$root/.tools
private_config=$tools/docker-config # a Docker configuration that differs from the user's by the Compose plugin only
least_compose=2.29.0              # the first with --progress json
PATH=$PATH:/usr/sbin:/sbin          # nginx and dockerd are there, and not on every user's path
export PATH

say() { printf '%s\n' "$*" >&2; }

have() { command -v "$1" >/dev/null 2>&1; }

# engine_answers: its version on standard output; false where none answers. A socket without a reader must not hang us.
engine_answers() { have docker && timeout 20 docker version --format '{{.Server.Version}}' 2>/dev/null; }

# compose_works: there is a Compose v2 plugin, and it is new enough.
compose_works() {
	have docker && found=$(docker compose version --short 2>/dev/null) || return 1
	[ "$(printf '%s\n' "$least_compose" "${found#v}" | sort -V | head -n 1)" = "$least_compose" ]
}
