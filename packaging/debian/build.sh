#!/bin/sh
# Builds a Debian package of the init: one static binary that depends on nothing, its manual page, completions and
# examples. Prints the package's path.
#
#     packaging/debian/build.sh [FOLDER]
#
# STATIC_BINARY names a static binary that is there already.
set -eu
out=$(realpath "${1:-.}")
cd "$(dirname "$0")/../.."
binary=${STATIC_BINARY:-$(sh packaging/build-static.sh)}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
architecture=$(dpkg --print-architecture)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
chmod 755 "$tree"

install -Dm755 "$binary" "$tree/usr/bin/adieu"
install -Dm644 LICENSE "$tree/usr/share/doc/adieu/copyright"
install -Dm644 packaging/systemd/adieu-example.service -t "$tree/usr/share/doc/adieu/examples"
install -Dm644 packaging/kubernetes/deployment.yaml -t "$tree/usr/share/doc/adieu/examples"
install -Dm644 packaging/docker/compose.yaml -t "$tree/usr/share/doc/adieu/examples"
install -Dm644 packaging/completions/adieu.bash "$tree/usr/share/bash-completion/completions/adieu"
install -Dm644 packaging/completions/_adieu -t "$tree/usr/share/zsh/vendor-completions"
install -Dm644 packaging/completions/adieu.fish -t "$tree/usr/share/fish/vendor_completions.d"
install -d "$tree/usr/share/man/man1"
gzip -9nc packaging/man/adieu.1 >"$tree/usr/share/man/man1/adieu.1.gz"
chmod 644 "$tree/usr/share/man/man1/adieu.1.gz"

size=$(du -sk "$tree/usr" | cut -f1)
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
 balancers turn away, waits for requests in flight, and only then stops the
 app by the signals that it understands. It forwards every other signal, reaps
 orphans and exits with the app's own status.
CONTROL

# One date for all files, so that the same source makes the same package.
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}"
find "$tree" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
dpkg-deb --root-owner-group --build "$tree" "$out/adieu_${version}_$architecture.deb" >&2
echo "$out/adieu_${version}_$architecture.deb"
