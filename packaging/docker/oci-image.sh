#!/bin/sh
# Writes the image that users copy adieu from, FROM scratch, as one OCI archive for all given processors:
#
#     packaging/docker/oci-image.sh ARCHIVE amd64=BINARY [arm64=BINARY]
#
#     docker load -i ARCHIVE    or    podman load -i ARCHIVE
#     COPY --from=adieu:VERSION /adieu /adieu
#
# Docker without containerd's image store, the default before Docker 29, does not read an OCI index. It takes
# manifest.json, which knows no processors: there adieu:VERSION is the first one given, and adieu:VERSION-arm64 the other.
#
# By hand rather than by an engine, which would need root, emulation or a daemon: an image is a tarball and three pieces
# of JSON (https://github.com/opencontainers/image-spec). The same binaries make the same bytes.
set -eu
archive=$(realpath "$1")
shift
root=$(realpath "$(dirname "$0")/../..")
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
date=$(sh "$root/packaging/date.sh")
created=$(date --utc --date "@$date" +%Y-%m-%dT%H:%M:%SZ)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
blobs=$work/image/blobs/sha256
mkdir -p "$blobs"

digest() { sha256sum "$1" | cut -d ' ' -f 1; }

# Moves a file among the blobs and prints its descriptor, without the last brace, for what else belongs there.
blob() { # FILE MEDIA-TYPE
    hash=$(digest "$1")
    size=$(stat --format=%s "$1")
    mv "$1" "$blobs/$hash"
    printf '{"mediaType":"%s","digest":"sha256:%s","size":%s' "$2" "$hash" "$size"
}

packed() { # FOLDER NAME...: a tarball that says nothing of this machine
    folder=$1
    shift
    tar --create --directory "$folder" --sort=name --format=ustar --owner=0 --group=0 --numeric-owner \
        --mtime="@$date" "$@"
}

manifests="" for_docker="" tags="\"adieu:$version\","
for given; do
    architecture=${given%%=*}
    mkdir "$work/layer"
    install -m755 "${given#*=}" "$work/layer/adieu"
    packed "$work/layer" adieu >"$work/layer.tar"
    rm -r "$work/layer"
    layer=$(digest "$work/layer.tar")
    gzip -9n "$work/layer.tar"
    cat >"$work/config" <<JSON
{"created":"$created","architecture":"$architecture","os":"linux","config":{"Entrypoint":["/adieu","--"],"Labels":{"org.opencontainers.image.title":"adieu","org.opencontainers.image.version":"$version","org.opencontainers.image.licenses":"MIT"}},"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]},"history":[{"created":"$created","created_by":"COPY adieu /adieu"}]}
JSON
    config_file=blobs/sha256/$(digest "$work/config")
    layer_file=blobs/sha256/$(digest "$work/layer.tar.gz")
    for_docker="$for_docker${for_docker:+,}{\"Config\":\"$config_file\",\"RepoTags\":[$tags\"adieu:$version-$architecture\"],\"Layers\":[\"$layer_file\"]}"
    tags=""
    config=$(blob "$work/config" application/vnd.oci.image.config.v1+json)
    layers=$(blob "$work/layer.tar.gz" application/vnd.oci.image.layer.v1.tar+gzip)
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s},"layers":[%s}]}\n' \
        "$config" "$layers" >"$work/manifest"
    manifest=$(blob "$work/manifest" application/vnd.oci.image.manifest.v1+json)
    manifests="$manifests${manifests:+,}$manifest,\"platform\":{\"architecture\":\"$architecture\",\"os\":\"linux\"}}"
done
# An index of the platforms; a second one, the layout's own, gives it the name: in full for containerd, which Docker asks.
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}\n' \
    "$manifests" >"$work/index"
index=$(blob "$work/index" application/vnd.oci.image.index.v1+json)
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s,"annotations":{"io.containerd.image.name":"docker.io/library/adieu:%s","org.opencontainers.image.ref.name":"adieu:%s"}}]}\n' \
    "$index" "$version" "$version" >"$work/image/index.json"
printf '{"imageLayoutVersion":"1.0.0"}\n' >"$work/image/oci-layout"
printf '[%s]\n' "$for_docker" >"$work/image/manifest.json"
packed "$work/image" oci-layout index.json manifest.json blobs >"$archive"
echo "$archive"
