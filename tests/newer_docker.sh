#!/bin/sh
# Tries adieu by the Docker of a newer Debian, whose root ROOT is, with each of Docker's two image stores. FOLDER holds
# adieu, docker-init (which is adieu, too), an app, and oci.tar, the archive of the release:
#
#     tests/newer_docker.sh ROOT FOLDER VERSION
#
# All of it ends with this script: the daemon is in a PID namespace of its own. Prints one line for each store.
set -eu
if [ "${4:-}" != inside ]; then
    exec unshare --mount --pid --ipc --fork --kill-child sh "$0" "$@" inside
fi
root=$1 folder=$2 version=$3
mount --make-rprivate /
mount --bind "$root" "$root"
mkdir -p "$root/old"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount --bind "$folder" "$root/mnt"
cd "$root"
pivot_root . old
umount -l /old
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/mnt DOCKER_HOST=unix:///run/docker.sock
cd /mnt
mkdir context
cp app context
printf 'FROM scratch\nCOPY --from=adieu:%s /adieu /adieu\nCOPY app /app\nENTRYPOINT ["/adieu", "--"]\n' "$version" >wrapped
printf 'FROM scratch\nCOPY app /app\n' >bare

until_it_succeeds() {
    tries=0
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || { echo "in vain: $*" >&2; tail -20 /mnt/log >&2; exit 1; }
        sleep 0.1
    done
}
says() { docker logs "$1" 2>&1 | grep -q "$2"; }

# With TERM the app dies, and adieu of the same.
stops() { # NAME OPTION... IMAGE
    name=$1
    shift
    docker run --detach --name "$name" --network none "$@" /app serve 8080 5 >/dev/null
    until_it_succeeds says "$name" "ready 8080"
    docker stop "$name" >/dev/null
    status=$(docker inspect --format '{{.State.ExitCode}}' "$name")
    [ "$status" = 143 ] || { echo "$name ended with $status" >&2; exit 1; }
    says "$name" "stopped by TERM from outside in 3" || { docker logs "$name" >&2; exit 1; }
    docker rm "$name" >/dev/null
}

for store in false true; do
    driver=vfs
    [ "$store" = false ] || driver=native
    echo "{\"features\": {\"containerd-snapshotter\": $store}}" >daemon.json
    dockerd --config-file /mnt/daemon.json --iptables=false --ip6tables=false --bridge=none --storage-driver=$driver \
        --data-root "/mnt/$driver" --exec-root /run/docker --pidfile /run/docker.pid --host "$DOCKER_HOST" \
        --init-path /mnt/docker-init >log 2>&1 &
    daemon=$!
    until_it_succeeds docker version
    docker load --quiet --input oci.tar >/dev/null
    said=$(docker run --rm --network none --entrypoint /adieu "adieu:$version" --version)
    [ "$said" = "adieu $version" ]
    for buildkit in 0 1; do
        DOCKER_BUILDKIT=$buildkit docker build --quiet --tag "wrapped-$buildkit" --file wrapped context >/dev/null 2>said ||
            { cat said >&2; exit 1; }
        stops "by-$buildkit" "wrapped-$buildkit"
    done
    docker build --quiet --tag bare --file bare context >/dev/null
    stops init --init bare
    echo "$(docker version --format '{{.Server.Version}}') $(docker info --format '{{.Driver}}')"
    kill "$daemon"
    wait "$daemon" || true
done
