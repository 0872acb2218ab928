#!/bin/sh
# Builds a Debian package of the init: one static binary that depends on nothing, its manual page, completions, template
# unit and examples. Prints the package's path.
#
#     packaging/debian/build.sh [FOLDER]
#
# STATIC_BINARY names a static binary that is there already, ARCHITECTURE what it is for, in Debian's words.
set -eu
out=$(realpath "${1:-.}")
cd "$(dirname "$0")/../.."
binary=${STATIC_BINARY:-$(sh packaging/build-static.sh)}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
architecture=${ARCHITECTURE:-$(dpkg --print-architecture)}
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

sh packaging/tree.sh "$binary" "$tree"
size=$(du -sk --apparent-size "$tree/usr" | cut -f1)
mkdir "$tree/DEBIAN"
cat >"$tree/DEBIAN/control" <<CONTROL
Package: adieu
Version: $version
Architecture: $architecture
Maintainer: the adieu project <adieu@example.org>
Installed-Size: $size
Section: admin
Priority: optional
Description: tiny init that makes the end of an app's life orderly
 adieu runs one app as its child, as PID 1 of a container or below systemd.
 Asked to stop, it fails readiness at once, keeps the app serving while load
 balancers stop routing to it, waits for requests in flight, and only then
 stops the app by the signals that it understands. It forwards every other
 signal, reaps orphans and exits with the app's own status.
CONTROL

SOURCE_DATE_EPOCH=$(sh packaging/date.sh)
export SOURCE_DATE_EPOCH
find "$tree" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
# One thread, as the number of them would change the bytes.
dpkg-deb --root-owner-group --threads-max=1 --build "$tree" "$out/adieu_${version}_$architecture.deb" >&2
echo "$out/adieu_${version}_$architecture.deb"
