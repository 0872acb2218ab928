#!/bin/sh
# Builds the init as one static binary for this machine's libc, glibc or musl, and prints its path.
# A fixed load address (no relocations to write at the start) keeps private memory small.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-target}
case $target in
    /*) ;;
    *) target=$PWD/$target ;;
esac
RUSTFLAGS="${RUSTFLAGS-} -C target-feature=+crt-static -C relocation-model=static" \
    cargo build --quiet --release --locked --bin adieu --no-default-features --target "$host" --target-dir "$target"
echo "$target/$host/release/adieu"
