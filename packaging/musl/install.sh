#!/bin/sh
# Installs what packaging/build-static.sh needs to build for musl on Debian 12 or later, for x86_64 and arm64: Debian's own
# newest Rust (the packages whose names end in -web are kept up to date for Firefox), the sources of its library, and
# musl; and the packages that are given. Needs root and apt, without which it says what is missing and leaves it at that;
# adds the other architecture to dpkg's, for its musl alone.
set -eu
other=arm64 compiler=gcc-aarch64-linux-gnu
[ "$(dpkg --print-architecture)" != arm64 ] || other=amd64 compiler=gcc-x86-64-linux-gnu
packages="rustc-web cargo-web rust-web-src musl-dev gcc libc6-dev $compiler musl-dev:$other $*"

missing=""
for package in $packages; do
    # A line for each architecture that it is there for.
    status=$(dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null || true)
    echo "$status" | grep -qx installed || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed:$missing (needs root and apt-get)" >&2
    exit 0
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
dpkg --add-architecture "$other"
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -qq --yes --no-install-recommends $missing >/dev/null
