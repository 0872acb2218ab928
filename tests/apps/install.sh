#!/bin/sh
# Fills the toolbox folder that the apps of apps.toml run from: DIR/venv (Python), DIR/node_modules (set NODE_PATH to it),
# DIR/bin (the Go apps). Does nothing when it is already filled from the same lists.
set -eu
[ $# -eq 1 ] || { echo "usage: install.sh DIR" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)

wanted=$(cat "$here/requirements.txt" "$here/package.json" "$here/go/main.go" "$here/go-shutdown/main.go" "$here/install.sh" | cksum)
if [ "$(cat "$dir/.filled" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

# One filler at a time: tests of several crates may ask for the same toolbox.
exec 9>"$dir/.lock"
flock 9
[ "$(cat "$dir/.filled" 2>/dev/null)" != "$wanted" ] || exit 0

[ -x "$dir/venv/bin/python" ] || python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"

cp "$here/package.json" "$dir/package.json"
(cd "$dir" && npm install --silent --no-audit --no-fund --no-package-lock)

mkdir -p "$dir/bin"
for app in go go-shutdown; do
    name=$app
    [ "$app" != go ] || name=go-plain
    # Without a module file, a single file builds alone, from the standard library.
    GO111MODULE=off GOFLAGS=-buildvcs=false CGO_ENABLED=0 GOCACHE="$dir/.gocache" GOPATH="$dir/.gopath" \
        "$dir/venv/bin/go" build -o "$dir/bin/$name" "$here/$app/main.go"
done
printf '%s\n' "$wanted" >"$dir/.filled"
