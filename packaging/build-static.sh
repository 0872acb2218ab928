#!/bin/sh
# Builds the init, or the rehearsal, as one static binary and prints its path.
#
#     packaging/build-static.sh [TARGET [PROGRAM]]
#
# TARGET is x86_64-unknown-linux-musl, aarch64-unknown-linux-musl or a glibc one, by default this machine's musl, since a
# program linked to musl starts several times faster in a virtual machine. In this order it takes
# - the Rust that is there, where its own libc is musl: Alpine;
# - Debian's rustc-web with the sources of its library, where packaging/musl/install.sh has installed them. A release is
#   built so: with the library built along, the program has 590 KB instead of 1.0 MB;
# - the Rust that is there, after `rustup target add TARGET`;
# - this machine's own libc, glibc linked statically, when no TARGET was asked for.
# Without any of these its status is 3.
#
# PROGRAM is adieu, the default, or adieu-rehearse. The same sources make the same bytes, in whichever folder they lie.
set -eu
cd "$(dirname "$0")/.."
source=$PWD
host=$(rustc -vV 2>/dev/null | sed -n 's/^host: //p')
machine=$(uname -m)
target=${1:-$machine-unknown-linux-musl}
case $host in
$machine-*-musl) target=${1:-$host} ;; # Alpine's own Rust has a name of its own
esac
asked=$#
program=${2:-adieu}
set -- --package "$program" --bin "$program"

folder=${CARGO_TARGET_DIR:-target}
case $folder in
/*) ;;
*) folder=$source/$folder ;;
esac

# A fixed load address (no relocations to write at the start) keeps private memory small. Folders are left out of the
# binary, so that it is the same wherever it is built.
flags="-C target-feature=+crt-static -C relocation-model=static"
flags="$flags --remap-path-prefix=$source=/adieu --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"

build() { # rustc's flags, then cargo and its options
    flags="$flags $1"
    shift
    RUSTFLAGS="${RUSTFLAGS-} $flags" "$@" --quiet --release --locked --target "$target" --target-dir "$folder" >&2
}

# The linker, and what C in a dependency is compiled by, from Debian's cross compilers.
cross() { # ARCHITECTURE
    compiler=$1-linux-gnu-gcc
    specs=/usr/lib/$1-linux-musl/musl-gcc.specs
}

has_target() { # by rustup or as Alpine's own
    [ -n "$host" ] && [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]
}

debian_has() {
    cross "${target%%-*}"
    [ -x /usr/bin/rustc ] && [ -x /usr/bin/cargo ] && [ -r "$specs" ] && command -v "$compiler" >/dev/null &&
        [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ]
}

case $target in
*-musl)
    if [ "$target" != "$host" ] && debian_has; then
        # The library is built with the init, since Debian has none for musl. Its unwinder is never called (a panic
        # aborts), so packaging/musl/libunwind.a is an archive of nothing. Without force-unwind-tables, separate code
        # and relro there are fewer pages to map and to write at the start. What would walk the stack for a panic's message
        # is not there either, and is linked to abort(3), as which a panic ends anyway.
        musl="-C link-self-contained=no -C force-unwind-tables=no -L native=packaging/musl"
        musl="$musl -C linker=$compiler -C link-arg=-specs=$specs -C link-arg=-Wl,-z,noseparate-code,-z,norelro"
        musl="$musl -C link-arg=-Wl,--defsym=_Unwind_Backtrace=abort,--defsym=_Unwind_GetIP=abort"
        musl="$musl --remap-path-prefix=$(realpath "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust")=/rust"
        name=$(echo "$target" | tr - _)
        build "$musl" env RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 "CC_$name=$compiler" "CFLAGS_$name=-specs=$specs" \
            /usr/bin/cargo build "$@" -Zbuild-std=std,panic_abort -Zbuild-std-features=optimize_for_size
        echo "$folder/$target/release/$program"
        exit
    fi
    if has_target; then
        if [ "$target" != "$host" ] && [ "${target%%-*}" != "$machine" ]; then
            # Rust brings its own lld and musl; no C compiler for the other machine is needed.
            set -- "$@" --config "target.$target.linker='rust-lld'"
        fi
        build "" cargo build "$@"
        echo "$folder/$target/release/$program"
        exit
    fi
    if [ "$asked" -gt 0 ]; then
        echo "cannot build for $target: 'rustup target add $target', or, on Debian, packaging/musl/install.sh" >&2
        exit 3
    fi
    if [ -z "$host" ]; then
        echo "cannot build: no Rust here; install it (https://rustup.rs), or on Debian run packaging/musl/install.sh" >&2
        exit 3
    fi
    echo "no musl here (packaging/musl/install.sh on Debian, or 'rustup target add $target'): linking glibc" >&2
    target=$host
    ;;
esac
case $target in
x86_64-unknown-linux-gnu)
    # Here Rust brings its own linker, lld: constants beside the code make one mapping fewer, and the start quicker;
    # functions with the same code are kept once.
    build "-C link-arg=-Wl,--no-rosegment,--icf=all" cargo build "$@"
    ;;
*) build "" cargo build "$@" ;;
esac
echo "$folder/$target/release/$program"
