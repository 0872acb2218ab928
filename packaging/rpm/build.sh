#!/bin/sh
# Builds an RPM of the init, by rpmbuild, on any distribution. Prints the package's path.
#
#     packaging/rpm/build.sh [FOLDER]
#
# STATIC_BINARY names a static binary that is there already, ARCHITECTURE what it is for, in RPM's words.
set -eu
out=$(realpath "${1:-.}")
cd "$(dirname "$0")/../.."
binary=${STATIC_BINARY:-$(sh packaging/build-static.sh)}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
architecture=${ARCHITECTURE:-$(uname -m)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sh packaging/tree.sh "$binary" "$work/tree"
SOURCE_DATE_EPOCH=$(sh packaging/date.sh)
export SOURCE_DATE_EPOCH
# The binary is stripped already, and by a tool that knows its processor. Host, time and payload are fixed, so that the
# same sources make the same package.
rpmbuild -bb --quiet --target "$architecture-linux" --buildroot "$work/root" \
    --define "_topdir $work/top" --define "_rpmdir $work/rpm" --define "_rpmfilename %%{NAME}.rpm" \
    --define "adieu_version $version" --define "adieu_tree $work/tree" \
    --define "debug_package %{nil}" --define "__os_install_post %{nil}" --define "_build_id_links none" \
    --define "_buildhost localhost" --define "use_source_date_epoch_as_buildtime 1" \
    --define "clamp_mtime_to_source_date_epoch 1" --define "_binary_payload w9.gzdio" \
    packaging/rpm/adieu.spec >&2
mv "$work/rpm/adieu.rpm" "$out/adieu-$version-1.$architecture.rpm"
echo "$out/adieu-$version-1.$architecture.rpm"
