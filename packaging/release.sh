#!/bin/sh
# Makes a folder as a release has it, and prints its path:
#
#     packaging/release.sh [FOLDER]      by default target/release-VERSION
#
# - adieu-amd64, adieu-arm64: the static init, by Docker's names for processors, so that one line of a Dockerfile fetches
#   the right one (`adieu-$TARGETARCH`); adieu-rehearse-*: the rehearsal, as static;
# - adieu_VERSION_*.deb, adieu-VERSION-1.*.rpm: the init with its manual page, completions, template unit and examples;
# - adieu-VERSION-*.tar.gz: init and rehearsal with the same, for everybody else;
# - adieu-VERSION-oci.tar: an image FROM scratch for both processors, to `COPY --from=`;
# - adieu-VERSION.cdx.json: what the init is made of, a software bill of materials in CycloneDX's format, and the same of
#   the rehearsal;
# - SHA256SUMS.
#
# The same commit makes the same bytes in any folder. Needs what packaging/build-static.sh needs for both processors,
# dpkg-deb, rpmbuild, jq and cargo-cyclonedx (`cargo install --locked cargo-cyclonedx`).
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
out=${1:-target/release-$version}
SOURCE_DATE_EPOCH=$(sh packaging/date.sh)
export SOURCE_DATE_EPOCH

for needed in dpkg-deb rpmbuild jq cargo-cyclonedx; do
    command -v "$needed" >/dev/null || { echo "cannot make a release: no $needed" >&2 && exit 1; }
done
rm -rf "$out"
mkdir -p "$out"
out=$(realpath "$out")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tarball() { # PROCESSOR BINARY REHEARSAL
    name=adieu-$version-linux-$1
    mkdir "$work/$name"
    install -m755 "$2" "$work/$name/adieu"
    install -m755 "$3" "$work/$name/adieu-rehearse"
    install -m644 README.md LICENSE packaging/man/adieu.1 packaging/man/adieu-rehearse.1 "$work/$name"
    cp -R packaging/completions packaging/systemd packaging/kubernetes packaging/docker "$work/$name"
    find "$work/$name" -type d -exec chmod 755 {} +
    find "$work/$name" -type f -not -name 'adieu' -not -name 'adieu-rehearse' -exec chmod 644 {} +
    tar --create --directory "$work" --sort=name --format=ustar --owner=0 --group=0 --numeric-owner \
        --mtime="@$SOURCE_DATE_EPOCH" "$name" | gzip -9n >"$out/$name.tar.gz"
}

# The kernel's name for a processor, which RPM uses as well, and Docker's, which Debian uses as well.
for pair in x86_64:amd64 aarch64:arm64; do
    kernel=${pair%:*} docker=${pair#*:}
    adieu=$(sh packaging/build-static.sh "$kernel-unknown-linux-musl")
    rehearse=$(sh packaging/build-static.sh "$kernel-unknown-linux-musl" adieu-rehearse)
    install -m755 "$adieu" "$out/adieu-$docker"
    install -m755 "$rehearse" "$out/adieu-rehearse-$docker"
    STATIC_BINARY=$adieu ARCHITECTURE=$docker sh packaging/debian/build.sh "$out" >/dev/null
    STATIC_BINARY=$adieu ARCHITECTURE=$kernel sh packaging/rpm/build.sh "$out" >/dev/null
    tarball "$docker" "$adieu" "$rehearse"
done
sh packaging/docker/oci-image.sh "$out/adieu-$version-oci.tar" "amd64=$out/adieu-amd64" "arm64=$out/adieu-arm64" >/dev/null

# The init by itself, since beside the rehearsal it would be listed with the features that only the rehearsal wants of it.
mkdir "$work/init"
sed '/^\(default-\)\{0,1\}members = /d' Cargo.toml >"$work/init/Cargo.toml"
cp Cargo.lock "$work/init"
ln -s "$PWD/src" "$PWD/tests" "$PWD/packaging" "$work/init"
bill() { # NAME MANIFEST
    # Written beside each Cargo.toml; the target's own dependencies alone, without those of tests and of other systems.
    target=x86_64-unknown-linux-musl
    cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$target" \
        --override-filename sbom --manifest-path "$2"
    # Cargo.lock, which it reads, also has crates that a feature would only use if they were there (`indexmap?/std`).
    built=$(cargo tree --edges normal,build --target "$target" --prefix none --format '{p}' --manifest-path "$2" |
        sed 's/ (.*//' | sort -u | jq --raw-input --slurp 'split("\n")')
    # It names the folder that it ran in, which is nobody's concern.
    jq --argjson built "$built" '
        (.components | map(select("\(.name) v\(.version)" | IN($built[]) | not)["bom-ref"])) as $not_built
        | .components |= map(select(.["bom-ref"] | IN($not_built[]) | not))
        | .dependencies |= map(select(.ref | IN($not_built[]) | not)
            | if .dependsOn then .dependsOn -= $not_built else . end)' "$(dirname "$2")/sbom.json" |
        sed "s,file://$PWD,file:///adieu,g; s,file://$work/init,file:///adieu,g" >"$out/$1-$version.cdx.json"
}
bill adieu "$work/init/Cargo.toml"
bill adieu-rehearse src/rehearse/Cargo.toml
rm -f sbom.json src/rehearse/sbom.json

(cd "$out" && sha256sum -- * >"$work/sums" && mv "$work/sums" SHA256SUMS)
echo "$out"
