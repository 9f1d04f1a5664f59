#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the root filesystem of the end-to-end tests' system and prints its path. It is made once per list of packages
# and kept in the cache directory; nobody writes to it afterwards (see tests/lib/machine.py).
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: tests/e2e/rootfs.sh [--release NAME]

Makes the Debian system that the end-to-end tests boot, unless the cache has it, and prints its directory.
NAME is bookworm or trixie; without it, the system is of this machine's own release. Programs that are built here run in
a system of the same release: one of another release has the compiler and what building wrapd needs as well
(tests/e2e/compile_inside.sh). Needs root and mmdebstrap.

  WRAPD_TEST_CACHE   where to keep it (default: ${XDG_CACHE_HOME:-/var/cache}/wrapd-test)
  WRAPD_TEST_MIRROR  Debian mirror (default: http://deb.debian.org/debian)
USAGE
}
# shellcheck source=/dev/null
own=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
suite=$own
case ${1-} in
  --release) suite=${2:?--release needs a name} ;;
  --help) usage; exit 0 ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac

case $suite in
  bookworm) libraries=(libyaml-cpp0.7 libsdbus-c++1) ;;
  trixie) libraries=(libyaml-cpp0.8 libsdbus-c++2) ;;
  *) echo "rootfs.sh: '$suite' is not known, only bookworm and trixie (Debian 12 and 13)" >&2; exit 1 ;;
esac
packages=(
  systemd systemd-sysv dbus libpam-systemd polkitd
  "${libraries[@]}" libseccomp2 libsystemd0
  bash bubblewrap curl openssh-client procps python3 redis-server socat strace util-linux
)
if [[ $suite != "$own" ]]; then
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  mapfile -t tools < <("$here/../../scripts/setup" --build --list)
  packages+=(ccache "${tools[@]}")
fi
mirror=${WRAPD_TEST_MIRROR:-http://deb.debian.org/debian}
cache=${WRAPD_TEST_CACHE:-${XDG_CACHE_HOME:-/var/cache}/wrapd-test}
key=$(printf '%s\n' 1 "$suite" "$mirror" "${packages[@]}" | sha256sum | cut -c 1-16)
root=$cache/root-$suite-$key

mkdir -p "$cache"
exec 9>"$cache/lock-$suite"
flock 9
if [[ ! -e $root/.complete ]]; then
  rm -rf --one-file-system -- "$root" # what an interrupted run left
  echo "making $root (about a minute, once)" >&2
  mmdebstrap --quiet --mode=root --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" \
    --aptopt='Acquire::Languages "none"' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "$root" "$mirror" >&2
  # Timers and servers of the distribution that no test asked for.
  systemctl --root="$root" --quiet mask redis-server.service apt-daily.timer apt-daily-upgrade.timer \
    dpkg-db-backup.timer e2scrub_all.timer fstrim.timer getty@.service console-getty.service
  : >"$root/etc/machine-id"
  touch "$root/.complete"
fi
echo "$root"
