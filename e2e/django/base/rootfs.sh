#!/bin/sh
# Unpacks Debian's own Django, Celery, gunicorn, Redis and MariaDB into a tar file that `docker import` takes: the layer under all
# images here, made without a registry, without root, and with nothing installed on this machine.
#
#   sh e2e/django/base/rootfs.sh FILE
#
# The mirror is the one that this machine's apt uses; CUTOVER_DEBIAN_MIRROR names another. Without its signature nothing is taken.
set -eu
file=$1
release=bookworm
packages="base-files dash bash coreutils sed grep gawk findutils hostname procps libc-bin tzdata
	gunicorn celery python3-celery python3-django python3-mysqldb python3-redis python3-whitenoise
	redis-server redis-tools mariadb-server-core mariadb-client-core"
# What they depend on for their installation only; nothing is installed here.
needless='adduser_* debconf_* usrmerge_* perl_* perl-modules-* libperl5*'

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$(dirname "$file")"
work=$(mktemp -d "$file.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
root=$work/root
mkdir -p "$root" "$work/apt/lists/partial" "$work/apt/archives/partial"

# mirror: without package lists apt-get indextargets knows of nothing, but what an update would fetch is always known.
mirror() {
	if [ -n "${CUTOVER_DEBIAN_MIRROR-}" ]; then
		printf '%s\n' "$CUTOVER_DEBIAN_MIRROR"
		return
	fi
	. /etc/os-release
	apt-get -q -o Dir::State::Lists="$work/apt/lists" --print-uris update |
		sed -n "s|^'\(.*\)/dists/$VERSION_CODENAME/.*|\1|p" | head -n 1
}

# private_apt ARGUMENT...: apt-get as on a machine on which nothing is installed.
private_apt() {
	apt-get -q -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$work/apt/lists" -o Dir::State::Status="$work/apt/status" -o Dir::Cache="$work/apt" \
		-o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Update::Error-Mode=any -o APT::Sandbox::User= \
		-o APT::Install-Recommends=false "$@" >"$work/said" 2>&1 || {
		grep '^[EW]:' "$work/said" >&2 || cat "$work/said" >&2
		return 1
	}
}

from=$(mirror)
if [ -z "$from" ]; then
	printf 'apt names no mirror of this Debian release; set CUTOVER_DEBIAN_MIRROR\n' >&2
	exit 1
fi
signed=
if [ -e "$keyring" ]; then signed="[signed-by=$keyring] "; fi
printf 'deb %s%s %s main\n' "$signed" "$from" "$release" >"$work/apt/sources.list"
: >"$work/apt/status"
private_apt update
private_apt -y --download-only install $packages
for name in $needless; do rm -f "$work"/apt/archives/$name; done
for package in "$work"/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done

# The legacy builder compares whole trees after each step, so what nobody asks for is left out.
for part in share/doc share/man share/info share/locale share/zoneinfo/posix share/zoneinfo/right lib/x86_64-linux-gnu/perl-base; do
	rm -rf "$root/usr/$part"
done
find "$root/usr/lib/python3/dist-packages/django/contrib" -depth -type d \( -name locale -o -name gis \) -exec rm -rf {} +

# What the packages' installation would have written.
rm -rf "$root/dev" "$root/etc/mysql"
mkdir -p "$root/srv/app" "$root/var/lib/mysql" "$root/var/lib/redis" "$root/usr/local/bin"
cat >"$root/etc/passwd" <<-'END'
	root:x:0:0::/root:/bin/sh
	app:x:1000:1000::/srv/app:/bin/sh
	mysql:x:990:990::/var/lib/mysql:/bin/sh
	redis:x:991:991::/var/lib/redis:/bin/sh
END
cat >"$root/etc/group" <<-'END'
	root:x:0:
	app:x:1000:
	mysql:x:990:
	redis:x:991:
END
ln -s gawk "$root/usr/bin/awk"
install -m 755 "$(dirname "$0")/mariadb.sh" "$root/usr/local/bin/mariadb.sh"
tar -C "$root" --numeric-owner --owner=0 --group=0 --sort=name -cf "$file.new" .
mv -f "$file.new" "$file"
