#!/bin/sh
# The date of everything that is packaged, in seconds since 1970: SOURCE_DATE_EPOCH, or that of the last commit.
cd "$(dirname "$0")/.."
echo "${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date -r Cargo.lock +%s)}"
