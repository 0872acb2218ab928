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

# The static binaries that ship, once, and not in the middle of a test: side by side, since the end of a build keeps one
# processor busy, and the other one's in a folder of its own, since cargo lets no two builds into one.
no_arm64=""
case $(uname -m) in
aarch64) no_arm64=native ;; # all tests are about it
*) qemu=$(command -v qemu-aarch64) || no_arm64="no qemu-aarch64" ;;
esac
if [ -z "$no_arm64" ]; then
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/arm64" \
        sh packaging/build-static.sh aarch64-unknown-linux-musl >"$folder/arm64" &
    arm64_build=$!
fi
[ -n "${ADIEU_STATIC:-}" ] || ADIEU_STATIC=$(sh packaging/build-static.sh) || ADIEU_STATIC=""
if [ -z "$no_arm64" ]; then
    arm64_status=0
    wait "$arm64_build" || arm64_status=$?
    # Nothing here can build for it; a build that fails has another status.
    [ "$arm64_status" -ne 3 ] || no_arm64="no musl for it here"
fi
[ -n "$ADIEU_STATIC" ] || exit 1
export ADIEU_STATIC
# What ships is what is tested. Cargo's own build, with glibc and debug assertions, is what the unit tests and the
# rehearsal run, and what developers try all day by `cargo test`; `full` runs every test once more on it.
export ADIEU_BIN="${ADIEU_BIN:-$ADIEU_STATIC}"

# In CI as a script's background job runs: without INT and QUIT, so that no test relies on what its runner does.
[ "${CI:-}" != true ] || trap '' INT QUIT
# The binary for arm64, as far as qemu's emulation of a user's programs goes: it knows neither a subreaper, which is warned
# about where silence is tested, nor netlink's sockets, gives real-time signals other numbers, and starts too slowly for a
# signal in the first millisecond. What is skipped here is about these alone.
arm64() {
    [ -z "$no_arm64" ] || return 0
    echo "     On arm64, by $qemu"
    [ "$arm64_status" -eq 0 ] || { echo "it does not build"; return 1; }
    # Where tests that give root's privileges up may run it, wherever this clone lies.
    cp "$(cat "$folder/arm64")" "$folder/adieu-arm64"
    printf '#!/bin/sh\nexec %s %s "$@"\n' "$qemu" "$folder/adieu-arm64" >"$folder/adieu"
    chmod 755 "$folder" "$folder/adieu" "$folder/adieu-arm64"
    set --
    for topic in commands exit_status hooks known_programs readiness settings signals stop; do
        set -- "$@" --test "$topic"
    done
    set -- "$@" --
    for subreaper in a_program_for_another_processor options_end_at_the_command the_file_can_say_all; do
        set -- "$@" --skip "$subreaper"
    done
    # A row for each program of a table, which no processor changes.
    [ -n "${ADIEU_FULL:-}" ] || set -- "$@" --skip known_programs_are_stopped_by_the_signal_they_understand
    # Of the whole workspace, as above, so that nothing is built once more with other features.
    ADIEU_BIN=$folder/adieu timeout --kill-after=10 "$limit" \
        cargo test --workspace --no-fail-fast "$@" \
        --skip a_schedule_may_name_a_real_time_signal --skip a_stop_in_the_first_millisecond_counts
}
# A file of tests that hangs is ended alone, so that the others still run and tell. What waits most of its time, for
# stops of seconds, runs more at once than there are processors.
cat >"$folder/runner" <<RUNNER
#!/bin/sh
case \${1##*/} in
drain_states-* | rehearse_tool-*) export RUST_TEST_THREADS=\${RUST_TEST_THREADS:-$((2 * $(nproc)))} ;;
esac
exec timeout --kill-after=10 $((limit / 3)) "\$@"
RUNNER
chmod +x "$folder/runner"
host=$(rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)
export "CARGO_TARGET_${host}_RUNNER=$folder/runner"
# Every test has a watchdog; this one is for cargo and for tests that broke theirs. cargo's status is lost in the pipe,
# so it is written down.
echo 0 >"$folder/status"
{
    timeout --kill-after=10 "$limit" cargo test --workspace --no-fail-fast 2>&1 || echo 1 >"$folder/status"
    [ -z "${ADIEU_FULL:-}" ] || env --unset=ADIEU_BIN \
        timeout --kill-after=10 "$limit" cargo test --package adieu --tests --no-fail-fast 2>&1 || echo 1 >"$folder/status"
    arm64 2>&1 || echo 1 >"$folder/status"
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
# No test of its own says that it was left out.
case $no_arm64 in
"" | native) ;;
*)
    echo
    echo "LEFT OUT: the tests on arm64: $no_arm64 (tests/install.sh)"
    if [ "${CI:-}" = true ]; then failed=$((failed + 1)); else left_out=$((left_out + 1)); fi
    ;;
esac
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
