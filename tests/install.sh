#!/bin/sh
# Installs the Debian packages that the tests use and that are missing. Needs root; without it, or without apt, it says
# what is missing and leaves it at that: the tests that need it report themselves as left out.
set -eu
cd "$(dirname "$0")"

# Peers and platforms that adieu is tried against, the tools that boot them, and readers of its manual and completions.
PACKAGES="bash dash zsh fish groff-base tini dumb-init catatonit strace podman runc docker.io systemd-container mmdebstrap iproute2 util-linux qemu-user rpm jq"
# What stands before and behind the apps in a rolling deploy.
PACKAGES="$PACKAGES haproxy nginx-light redis-server postgresql"
# Debian's own unless others are there: NodeSource brings npm along, pyenv brings venv.
command -v npm >/dev/null || PACKAGES="$PACKAGES nodejs npm"
command -v java >/dev/null || PACKAGES="$PACKAGES default-jre-headless"
command -v c++ >/dev/null || PACKAGES="$PACKAGES g++"
python3 -c "import jsonschema" 2>/dev/null || PACKAGES="$PACKAGES python3-jsonschema"
python3 -c "import ensurepip" 2>/dev/null || PACKAGES="$PACKAGES python3-venv"

# With what the static binary that ships needs, which is linked to musl.
# shellcheck disable=SC2086 # a list of words
../packaging/musl/install.sh $PACKAGES
# Debian 12 has none that knows components. Without it, the test of the components says so.
./kustomize.sh >/dev/null || true
