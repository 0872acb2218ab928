#!/bin/sh
# Installs the Debian packages that the tests use and that are missing. Needs root; without it, or without apt, it says
# what is missing and leaves it at that: the tests that need it report themselves as left out.
set -eu
cd "$(dirname "$0")"

# The static binary that ships is linked to musl.
../packaging/musl/install.sh

# Peers and platforms that adieu is tried against, the tools that boot them, and readers of its manual and completions.
PACKAGES="bash dash zsh fish groff-base tini dumb-init catatonit strace podman runc docker.io systemd-container mmdebstrap iproute2 util-linux qemu-user rpm"
# What stands before and behind the apps in a rolling deploy.
PACKAGES="$PACKAGES haproxy nginx-light redis-server postgresql"
# Debian's own unless others are there: NodeSource brings npm along, pyenv brings venv.
command -v npm >/dev/null || PACKAGES="$PACKAGES nodejs npm"
python3 -c "import jsonschema" 2>/dev/null || PACKAGES="$PACKAGES python3-jsonschema"
python3 -c "import ensurepip" 2>/dev/null || PACKAGES="$PACKAGES python3-venv"

missing=""
for package in $PACKAGES; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed:$missing (needs root and apt-get)" >&2
    exit 0
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # a list of words
apt-get install -qq --yes --no-install-recommends $missing >/dev/null
