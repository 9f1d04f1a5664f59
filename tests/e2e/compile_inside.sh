#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: tests/e2e/compile_inside.sh ROOT BUILD-DIRECTORY

Builds the product and what the end-to-end tests bring along for the Debian system in ROOT (rootfs.sh), with that system's
compiler and libraries, in BUILD-DIRECTORY, which is below this tree; installs it into BUILD-DIRECTORY/e2e-install. The
system itself is not written to. Needs root.
USAGE
}
[[ $# -eq 2 ]] || { usage >&2; exit 2; }
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "$2"
build=$(cd "$2" && pwd)
cache=${CCACHE_DIR:-$(ccache --get-config cache_dir 2>/dev/null || echo "$build/ccache")}
mkdir -p "$cache"

# In a mount namespace of its own: the root read-only under a tmpfs, this tree under its own name, so that ccache knows it.
# shellcheck disable=SC2016 # the inner shell expands them
exec unshare --mount --propagation private sh -euc '
  root=$1 source=$2 build=$3 cache=$4
  top=$(mktemp -d)
  trap "umount -n -l $top 2>/dev/null || true; rmdir $top" EXIT
  mount -n -t tmpfs -o mode=0755 none "$top"
  mkdir "$top/upper" "$top/work" "$top/root"
  mount -n -t overlay -o "lowerdir=$root,upperdir=$top/upper,workdir=$top/work" none "$top/root"
  mkdir -p "$top/root$source" "$top/root/ccache"
  mount -n --rbind "$source" "$top/root$source"
  mount -n --bind "$cache" "$top/root/ccache"
  mount -n -t proc none "$top/root/proc"
  mount -n --rbind /dev "$top/root/dev"
  chroot "$top/root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 CCACHE_DIR=/ccache \
    ${CCACHE_NOHASHDIR:+CCACHE_NOHASHDIR=$CCACHE_NOHASHDIR} sh -euc '\''
    source=$1 build=$2
    if [ ! -e "$build/build.ninja" ]; then
      CXX="ccache g++" meson setup "$build" "$source" --prefix=/usr --sysconfdir=/etc --libexecdir=libexec -Dtests=disabled \
        -Doptimization=0 -Ddebug=false -Dwerror=true
    fi
    ninja -C "$build"
    mkdir -p "$build/tests/e2e" "$build/tests/attack"
    g++ -pthread -o "$build/tests/e2e/signal_storm" "$source/tests/e2e/programs/signal_storm.cc"
    gcc -pthread -o "$build/tests/attack/fuse_wb" "$source/tests/attack/programs/fuse_wb.c"
    rm -rf "$build/e2e-install"
    DESTDIR=$build/e2e-install meson install -C "$build" --no-rebuild --quiet
  '\'' sh "$source" "$build"
' sh "$1" "$source" "$build" "$cache"
