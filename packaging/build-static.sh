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
flags="-C target-feature=+crt-static -C relocation-model=static"
case $host in
    # Here Rust brings its own linker, lld: constants beside the code make one mapping fewer, and the start quicker;
    # functions with the same code are kept once.
    x86_64-unknown-linux-gnu) flags="$flags -C link-arg=-Wl,--no-rosegment,--icf=all" ;;
esac
RUSTFLAGS="${RUSTFLAGS-} $flags" \
    cargo build --quiet --release --locked --package adieu --bin adieu --target "$host" --target-dir "$target"
echo "$target/$host/release/adieu"
