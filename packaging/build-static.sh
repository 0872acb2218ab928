#!/bin/sh
# Builds the init as one static binary for this machine's libc and prints its path.
# A fixed load address (no relocations to write at the start) keeps private memory small.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="${RUSTFLAGS-} -C target-feature=+crt-static -C relocation-model=static" \
    cargo build --quiet --release --bin adieu --no-default-features --target "$host"
echo "${CARGO_TARGET_DIR:-target}/$host/release/adieu"
