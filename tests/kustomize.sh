#!/bin/sh
# Prints the path of kustomize 4 or later, which knows components: the machine's own, or that of Debian 13, whose package
# is fetched by apt from a source of its own and unpacked below target, not installed. No root is needed.
set -eu
cd "$(dirname "$0")/.."
own=$(command -v kustomize || true)
[ -z "$own" ] || { echo "$own"; exit 0; }

folder=$PWD/target/kustomize
binary=$folder/usr/bin/kustomize
[ ! -x "$binary" ] || { echo "$binary"; exit 0; }
command -v apt-get >/dev/null || { echo "no kustomize, and no apt-get to fetch it with" >&2; exit 1; }
mkdir -p "$folder"
work=$(mktemp -d "$folder/apt.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/none"
# From where this machine has its own Debian.
codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' "Codename: $codename" | sed 1q)
[ -n "$mirror" ] || { echo "no kustomize, and no Debian to fetch it from" >&2; exit 1; }
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keys] $mirror trixie main" >"$work/sources.list"
: >"$work/status"
apt() {
    apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts="$work/none" \
        -o Dir::Etc::preferencesparts="$work/none" -o Dir::State::lists="$work/lists" -o Dir::State::status="$work/status" \
        -o Dir::Cache="$work/cache" -o Acquire::Languages=none -o APT::Sandbox::User= \
        -o APT::Architectures="$(dpkg --print-architecture)" "$@" >&2
}
apt update
cd "$work"
apt download kustomize
dpkg-deb -x kustomize_*.deb unpacked
mkdir -p "$(dirname "$binary")"
mv unpacked/usr/bin/kustomize "$binary"
echo "$binary"
