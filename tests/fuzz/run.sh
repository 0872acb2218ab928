#!/bin/sh
# Fuzzes each target for so many seconds (default: 60), from the seeds below seeds/, or only the targets named. Stable
# Rust does: the coverage that libFuzzer steers by is LLVM's own, switched on by rustc's -C passes and -C llvm-args, as
# cargo-fuzz does it. Overflow checks are on. What breaks a target is left in artifacts/ and ends with status 1.
set -eu
cd "$(dirname "$0")"

seconds=60
case "${1:-}" in
"" | *[!0-9]*) ;;
*)
    seconds=$1
    shift
    ;;
esac
[ $# -gt 0 ] || set -- arguments file values endpoint answers netlink proc notify

coverage="-C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
    -C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
    -C llvm-args=-sanitizer-coverage-trace-compares"
export RUSTFLAGS="--cfg fuzzing $coverage"
target=${CARGO_TARGET_DIR:-$PWD/target}
# Named, so that the flags are for the targets and not for what builds them.
triple=$(rustc -vV | sed -n 's/^host: //p')
CARGO_TARGET_DIR=$target cargo build --quiet --release --target "$triple" --bins

status=0
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
for name in "$@"; do
    mkdir -p "artifacts/$name" "$fresh/$name"
    if timeout $((seconds + 60)) "$target/$triple/release/$name" "$fresh/$name" "seeds/$name" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=8192 -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="artifacts/$name/" >"$fresh/log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$fresh/log")
        echo "$name: $runs inputs in $seconds s, $(find "$fresh/$name" -type f | wc -l) of them new to it"
    else
        tail -n 40 "$fresh/log"
        echo "FOUND: $name: see tests/fuzz/artifacts/$name"
        status=1
    fi
    rmdir "artifacts/$name" 2>/dev/null || true
done
rmdir artifacts 2>/dev/null || true
exit $status
