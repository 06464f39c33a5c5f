#!/bin/sh
# Puts the nginx of another Debian release into a folder, with the C library and the others that it was built with, so that it
# runs beside this machine's own. Nothing is installed; neither root nor a chroot is needed.
#
#   sh e2e/nginxes.sh RELEASE FOLDER PACKAGE...   the first package brings nginx, the others its libraries
#
# The mirror is the one that this machine's apt uses; CUTOVER_DEBIAN_MIRROR names another. Without its signature nothing is taken.
set -eu
release=$1 folder=$2
shift 2

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
final=$(cd "$(dirname "$folder")" && pwd)/$(basename "$folder")
work=$(mktemp -d "$final.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
chmod 755 "$work"
mkdir -p "$work/root" "$work/apt/lists/partial" "$work/apt/archives/partial"

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

# private_apt ARGUMENT...: apt-get on lists of its own, on which nothing is installed.
private_apt() {
	apt-get -q -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
		-o Dir::State::Lists="$work/apt/lists" -o Dir::State::Status="$work/apt/status" -o Dir::Cache="$work/apt" \
		-o Acquire::Languages=none -o APT::Update::Error-Mode=any -o APT::Sandbox::User= "$@" >"$work/said" 2>&1 || {
		grep '^[EW]:' "$work/said" >&2 || cat "$work/said" >&2
		return 1
	}
}

# interpreter FILE: the program loader that the kernel is to start it with.
interpreter() { LC_ALL=C grep -ao '/lib[0-9a-z/]*/ld-linux[-.0-9a-z_]*' "$1" | head -n 1; }

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
(cd "$work/apt/archives" && private_apt download "$@")
for package in "$work"/apt/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done
rm -rf "$work/apt" "$work/said"

# The loader of that release must start it, since the machine's own fits another C library. Called by hand it would stand in the
# process's title, by which cutover knows a master from a worker. So the kernel is told to use file 9, which the script opens:
# a name that is short enough to stand in the place of the real one.
binary=$work/root/usr/sbin/nginx
long=$(interpreter "$binary")
short=/proc/self/fd/9
padding=$(printf "%$((${#long} - ${#short}))s" '' | sed 's/ /\\x00/g')
LC_ALL=C sed -i "s|$long|$short$padding|" "$binary"

inside() { find "$work/root" "$@" | sed "s|^$work|$final|"; }
libraries=$(inside -type d -name '*-linux-gnu' | paste -sd: -)
loader=$(inside -path "*-linux-gnu/${long##*/}")
cat >"$work/nginx" <<END
#!/bin/sh
export LD_LIBRARY_PATH='$libraries'
exec 9<'$loader'
exec '$final/root/usr/sbin/nginx' "\$@"
END
chmod 755 "$work/nginx"
rm -rf "$final"
mv "$work" "$final"
