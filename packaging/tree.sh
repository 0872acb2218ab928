#!/bin/sh
# Lays out what a package of the init installs: the static binary, its manual page, completions, the template unit and
# examples.
#
#     packaging/tree.sh BINARY FOLDER
#
# All files get one date (SOURCE_DATE_EPOCH, else the last commit's), so that the same sources make the same package.
set -eu
binary=$(realpath "$1")
mkdir -p "$2"
tree=$(realpath "$2")
cd "$(dirname "$0")/.."
chmod 755 "$tree"

install -Dm755 "$binary" "$tree/usr/bin/adieu"
install -Dm644 LICENSE "$tree/usr/share/doc/adieu/copyright"
install -Dm644 packaging/systemd/adieu@.service -t "$tree/usr/lib/systemd/system"
for example in systemd/adieu-example.service systemd/wrap.conf systemd/adieu-example.container \
    kubernetes/deployment.yaml kubernetes/mutating-policy.yaml docker/compose.yaml; do
    install -Dm644 "packaging/$example" -t "$tree/usr/share/doc/adieu/examples"
done
install -Dm644 packaging/completions/adieu.bash "$tree/usr/share/bash-completion/completions/adieu"
install -Dm644 packaging/completions/_adieu -t "$tree/usr/share/zsh/vendor-completions"
install -Dm644 packaging/completions/adieu.fish -t "$tree/usr/share/fish/vendor_completions.d"
install -d "$tree/usr/share/man/man1"
gzip -9nc packaging/man/adieu.1 >"$tree/usr/share/man/man1/adieu.1.gz"
chmod 644 "$tree/usr/share/man/man1/adieu.1.gz"
find "$tree" -exec touch -hd "@$(sh packaging/date.sh)" {} +
