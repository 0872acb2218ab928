#!/bin/sh
# Runs every test of every crate: `tests/run.sh`, or `tests/run.sh full` with the long selections too. The last line is
# 'N passed, N failed, N skipped'. A test that reported itself as left out counts as skipped, not as passed; with CI=true
# it has failed. A test of the long selection does not count at all where that was not asked for.
set -eu
cd "$(dirname "$0")/.."

limit=3600
case "${1:-}" in
"") ;;
full)
    export ADIEU_FULL=1
    limit=14400
    ;;
*)
    echo "usage: $0 [full]" >&2
    exit 2
    ;;
esac

tests/install.sh

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export ADIEU_LEFT_OUT="$folder/left-out" ADIEU_LONG="$folder/long"
: >"$ADIEU_LEFT_OUT"
: >"$ADIEU_LONG"

# The static binary that goes into images, once, and not in the middle of a test.
if [ -z "${ADIEU_STATIC:-}" ]; then
    ADIEU_STATIC=$(sh packaging/build-static.sh)
    export ADIEU_STATIC
fi
# What ships is what is tested. Cargo's own build, with glibc and debug assertions, is what the unit tests and the
# rehearsal run, and what developers try all day by `cargo test`; `full` runs every test once more on it.
export ADIEU_BIN="${ADIEU_BIN:-$ADIEU_STATIC}"

# In CI as a script's background job runs: without INT and QUIT, so that no test relies on what its runner does.
[ "${CI:-}" != true ] || trap '' INT QUIT
# The binary for the other processor, as far as qemu's emulation of a user's programs goes: it knows neither a subreaper,
# which is warned about where silence is tested, nor netlink's sockets, gives real-time signals other numbers, and starts
# too slowly for a signal in the first millisecond. What is skipped here is about these alone.
arm64() {
    qemu=$(command -v qemu-aarch64) || { echo "arm64: no qemu-aarch64" >>"$ADIEU_LEFT_OUT"; return 0; }
    binary=$(sh packaging/build-static.sh aarch64-unknown-linux-musl) || return 1
    printf '#!/bin/sh\nexec %s %s "$@"\n' "$qemu" "$binary" >"$folder/adieu"
    chmod +x "$folder/adieu"
    set --
    for topic in commands exit_status hooks known_programs readiness settings signals stop; do
        set -- "$@" --test "$topic"
    done
    set -- "$@" --
    for subreaper in a_program_for_another_processor options_end_at_the_command the_file_can_say_all; do
        set -- "$@" --skip "$subreaper"
    done
    ADIEU_BIN=$folder/adieu timeout --kill-after=10 "$limit" \
        cargo test --package adieu --no-fail-fast "$@" \
        --skip a_schedule_may_name_a_real_time_signal --skip a_stop_in_the_first_millisecond_counts
}
# A file of tests that hangs is ended alone, so that the others still run and tell.
host=$(rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)
export "CARGO_TARGET_${host}_RUNNER=timeout --kill-after=10 $((limit / 3))"
# Every test has a watchdog; this one is for cargo and for tests that broke theirs. cargo's status is lost in the pipe,
# so it is written down.
echo 0 >"$folder/status"
{
    timeout --kill-after=10 "$limit" cargo test --workspace --no-fail-fast 2>&1 || echo 1 >"$folder/status"
    [ -z "${ADIEU_FULL:-}" ] || env --unset=ADIEU_BIN \
        timeout --kill-after=10 "$limit" cargo test --package adieu --tests --no-fail-fast 2>&1 || echo 1 >"$folder/status"
    [ -z "${ADIEU_FULL:-}" ] || arm64 2>&1 || echo 1 >"$folder/status"
} | tee "$folder/output"

sum() { # of the numbers before this word in cargo's result lines
    sed -n "s/^test result: .* \([0-9][0-9]*\) $1;.*/\1/p" "$folder/output" | awk '{ n += $1 } END { print n + 0 }'
}
passed=$(sum passed)
failed=$(sum failed)
ignored=$(sum ignored)
left_out=$(wc -l <"$ADIEU_LEFT_OUT")
long=$(wc -l <"$ADIEU_LONG")
status=$(cat "$folder/status")
passed=$((passed - long))

if [ "$left_out" -gt 0 ]; then
    echo
    cat "$ADIEU_LEFT_OUT"
    # With CI=true a test that is left out has failed already and is not among those that passed.
    [ "${CI:-}" = true ] || passed=$((passed - left_out))
    [ "${CI:-}" != true ] || left_out=0
fi
# What does not even build has no result line.
[ "$status" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1

if [ "$failed" -gt 0 ]; then
    echo
    sed -n 's/^test \(.*\) \.\.\. FAILED$/FAILED: \1/p' "$folder/output"
fi
echo
[ "$long" -eq 0 ] || echo "$long tests of the long selection were not asked for (tests/run.sh full)"
echo "$passed passed, $failed failed, $((ignored + left_out)) skipped"
[ "$failed" -eq 0 ]
