#!/bin/sh
# Makes what the demo and the tests need, says what it installs and why, and leaves alone what is there:
#
#   sh e2e/setup.sh          nginx and, where no engine answers, the Docker Engine, as packages of the distribution, with no
#                            service started; the Compose v2 plugin, built from the Go module proxy into .tools
#   sh e2e/setup.sh lint     staticcheck and govulncheck, built into .tools
#   sh e2e/setup.sh bench    HAProxy and socat, packages of the distribution: make bench measures beside them
#   sh e2e/setup.sh nginxes  the nginx of other Debian releases in .tools/nginx, for the tests
#   sh e2e/setup.sh prometheus  the distribution's Prometheus in .tools/prometheus, for the tests
#   sh e2e/setup.sh redis    the distribution's Redis, for the tests
#
# Only a missing nginx is an error. Without an engine the demo runs local processes, and the tests that need one fail by name.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
. "$root/e2e/host.sh"

policy=/usr/sbin/policy-rc.d # Debian asks it whether a package may start its service
our_policy=

forget_policy() {
	if [ -n "$our_policy" ]; then rm -f "$policy"; fi
	our_policy=
}
trap forget_policy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# install PACKAGE WHY: by apt-get, as root, without starting anything.
install() {
	if ! have apt-get; then
		say "setup: $1 is missing ($2), and there is no apt-get here to install it with"
		return 1
	fi
	if [ "$(id -u)" != 0 ]; then
		say "setup: $1 is missing ($2). Not being root, this cannot install it: sudo apt-get install $1"
		return 1
	fi
	say "setup: installing the distribution's package $1: $2"
	if [ ! -e "$policy" ]; then
		our_policy=yes
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod 755 "$policy"
	fi
	apt "$1" || { say "setup: asking for newer package lists" && apt_get update && apt "$1"; } || {
		forget_policy
		say "setup: apt-get could not install $1"
		return 1
	}
	forget_policy
}

apt_get() { DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >&2; }
apt() { apt_get install -y --no-install-recommends "$1"; }

# stop_service NAME: only for a service that our own installation started, against our wish.
stop_service() {
	if have systemctl && systemctl is-active --quiet "$1" 2>/dev/null; then
		say "setup: stopping the service $1, which its installation started"
		systemctl stop "$1"
	elif have service && service "$1" status >/dev/null 2>&1; then
		say "setup: stopping the service $1, which its installation started"
		service "$1" stop >&2
	fi
}

need_nginx() {
	if have nginx; then return; fi
	install nginx "it splits the traffic; started here on ports of its own, never as the system's service" || return 1
	stop_service nginx
	have nginx || { say "setup: the package nginx brought no command nginx"; return 1; }
}

need_engine() {
	if engine_answers >/dev/null; then return; fi
	if ! have dockerd; then
		install docker.io "no Docker Engine answers; started here for each run with its own data folder and socket" || return 0
		stop_service docker
	fi
	have docker || install docker-cli "there is an engine, but no command docker" || return 0
	have ip || install iproute2 "the engine of a run gets a network bridge of its own" || return 0
}

need_compose() {
	if ! have docker || compose_works; then return; fi
	plugin=$tools/docker-compose
	source=$root/e2e/tools/compose
	if [ ! -x "$plugin" ] || [ "$source/go.mod" -nt "$plugin" ]; then
		version=$(cd "$source" && go list -m -f '{{.Version}}' github.com/docker/compose/v5)
		say "setup: building the Compose plugin $version into .tools: docker compose $least_compose or newer is not there"
		package=github.com/docker/compose/v5
		build "$source" "$plugin" "-s -w -X $package/internal.Version=$version" "$package/cmd"
	fi
	link_docker_config "$plugin"
}

# link_docker_config PLUGIN: the user's own configuration by links, with one more plugin.
link_docker_config() {
	users=${DOCKER_CONFIG:-${HOME:-/nonexistent}/.docker}
	rm -rf "$private_config"
	mkdir -p "$private_config/cli-plugins"
	for part in "$users"/* "$users"/cli-plugins/*; do
		if [ ! -e "$part" ] || [ "$part" = "$users/cli-plugins" ]; then continue; fi
		ln -s "$part" "$private_config/${part#"$users"/}"
	done
	ln -sf "$1" "$private_config/cli-plugins/docker-compose"
}

need_rivals() {
	have haproxy || install haproxy "make bench measures beside it; started there on a port of its own, never as the system's service" || return 1
	have socat || install socat "HAProxy takes its orders by it in make bench" || return 1
}

need_lint() {
	for package in honnef.co/go/tools/cmd/staticcheck golang.org/x/vuln/cmd/govulncheck; do
		tool=$tools/${package##*/}
		if [ -x "$tool" ] && [ ! "$root/e2e/tools/lint/go.mod" -nt "$tool" ]; then continue; fi
		say "setup: building ${package##*/} into .tools: make lint runs it"
		build "$root/e2e/tools/lint" "$tool" "-s -w" "$package"
	done
}

# need_nginxes: for nginxconf's tests. forky's is the first with keepalive_min_timeout, and grows until that is released.
need_nginxes() {
	need_release bullseye '1\.18' nginx-core libc6 libcrypt1 libpcre3 libssl1.1 zlib1g
	need_release bookworm '1\.22' nginx libc6 libcrypt1 libpcre2-8-0 libssl3 zlib1g
	need_release trixie '1\.26' nginx libc6 libcrypt1 libpcre2-8-0 libssl3t64 libzstd1 zlib1g
	need_release forky '1\.[3-9][0-9]' nginx libc6 libcrypt1 libpcre2-8-0 libssl3t64 libzstd1 zlib1g
}

# need_release RELEASE VERSION PACKAGE...: the machine's own nginx does where its version matches.
need_release() {
	release=$1 version=$2
	shift 2
	ours=$tools/nginx/$release
	if is_nginx "$version" nginx || is_nginx "$version" "$ours/nginx"; then return; fi
	say "setup: fetching the nginx of Debian $release with its libraries into .tools/nginx: cutover is tested on it too"
	mkdir -p "$tools/nginx"
	if sh "$root/e2e/nginxes.sh" "$release" "$ours" "$@" && is_nginx "$version" "$ours/nginx"; then return; fi
	say "setup: the nginx of Debian $release could not be had: tests on it are skipped, and fail where CUTOVER_REQUIRE_REAL is set"
}

# is_nginx VERSION PROGRAM: it runs, and its version matches.
is_nginx() { "$2" -v 2>&1 | grep -q "^nginx version: nginx/$1\."; }

# need_prometheus: the program alone, unpacked beside us: the package would start a service, and bring fonts and scripts for it.
need_prometheus() {
	ours=$tools/prometheus
	if have prometheus || "$ours/prometheus" --version >/dev/null 2>&1; then return; fi
	if ! have apt-get || ! have dpkg-deb; then
		say "setup: prometheus is missing, and there is no apt-get here to fetch it with: tests on it are skipped, and fail where CUTOVER_REQUIRE_REAL is set"
		return
	fi
	say "setup: fetching the distribution's Prometheus into .tools/prometheus: cutover's judge is tested on it"
	rm -rf "$ours.new"
	mkdir -p "$ours.new"
	if fetch_prometheus || { say "setup: asking for newer package lists" && apt_get update && fetch_prometheus; }; then
		rm -rf "$ours"
		mkdir -p "$ours"
		mv "$ours.new/usr/bin/prometheus" "$ours/prometheus"
	else
		say "setup: Prometheus could not be had: tests on it are skipped, and fail where CUTOVER_REQUIRE_REAL is set"
	fi
	rm -rf "$ours.new"
}

fetch_prometheus() {
	(cd "$ours.new" && apt-get -q -o APT::Sandbox::User= download prometheus >&2 && dpkg-deb -x prometheus_*.deb . && usr/bin/prometheus --version >/dev/null 2>&1)
}

need_redis() {
	if have redis-server; then return; fi
	install redis-server "the tests of a queue's length ask it; started there on a port of its own, never as the system's service" || return 1
	stop_service redis-server
}

# build FOLDER OUT LDFLAGS PACKAGE: beside its place first, so that a half-built tool is never found there.
build() {
	mkdir -p "$tools"
	(cd "$1" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$3" -o "$2.new" "$4")
	mv -f "$2.new" "$2"
}

case ${1-all} in
all)
	need_nginx
	need_engine
	need_compose
	;;
lint) need_lint ;;
bench) need_rivals ;;
nginxes) need_nginxes ;;
prometheus) need_prometheus ;;
redis) need_redis ;;
*)
	say "usage: sh e2e/setup.sh [lint | bench | nginxes | prometheus | redis]"
	exit 2
	;;
esac
