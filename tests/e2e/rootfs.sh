#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Makes the root filesystem of the end-to-end tests' system and prints its path. It is made once per list of packages
# and kept in the cache directory; nobody writes to it afterwards (see machine.py).
set -euo pipefail

usage() {
  cat <<'USAGE'
Usage: tests/e2e/rootfs.sh [--help]

Makes the Debian system that the end-to-end tests boot, unless the cache has it, and prints its directory.
The suite is this machine's own (programs built here shall run there). Needs root and mmdebstrap.

  WRAPD_TEST_CACHE   where to keep it (default: ${XDG_CACHE_HOME:-/var/cache}/wrapd-test)
  WRAPD_TEST_MIRROR  Debian mirror (default: http://deb.debian.org/debian)
USAGE
}
case "${1-}" in
  --help) usage; exit 0 ;;
  '') ;;
  *) usage >&2; exit 2 ;;
esac

# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
case $suite in
  bookworm) libraries=(libyaml-cpp0.7 libfmt9 libsdbus-c++1) ;;
  trixie) libraries=(libyaml-cpp0.8 libfmt10 libsdbus-c++2) ;;
  *) echo "rootfs.sh: this is '$suite', only bookworm and trixie are known: run on Debian 12 or 13" >&2; exit 1 ;;
esac
packages=(
  systemd systemd-sysv dbus libpam-systemd polkitd
  "${libraries[@]}" libseccomp2 libsodium23 libsystemd0
  bash bubblewrap curl openssh-client procps python3 redis-server socat strace util-linux
)
mirror=${WRAPD_TEST_MIRROR:-http://deb.debian.org/debian}
cache=${WRAPD_TEST_CACHE:-${XDG_CACHE_HOME:-/var/cache}/wrapd-test}
key=$(printf '%s\n' 1 "$suite" "$mirror" "${packages[@]}" | sha256sum | cut -c 1-16)
root=$cache/root-$suite-$key

mkdir -p "$cache"
exec 9>"$cache/lock"
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
