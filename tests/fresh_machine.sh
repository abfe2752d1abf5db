#!/usr/bin/env bash
# A fresh machine, as a newcomer has it: installs a minimal Debian 12 into a folder, clones this checkout's HEAD into it and runs
# deploy/quickstart.sh there, as a user with sudo. By hand, never part of the tests: it downloads some 700 MB of packages and builds everything.
#
#   tests/fresh_machine.sh [FLAGS]        needs root, and debootstrap (Debian's package)
#
#   --mirror=URL   Debian's packages (default http://deb.debian.org/debian)
#   --folder=PATH  where to put the machine (default: a new folder in $TMPDIR; needs 6 GB)
#   --cache=PATH   a Bazel disk cache of earlier builds, to save the compilation (default: none)
#   --command=TEXT what to run in the checkout (default: ./deploy/quickstart.sh, twice: the second run must need nothing new)
#   --keep         leave the folder there
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
mirror=http://deb.debian.org/debian folder= cache= keep=
command='time ./deploy/quickstart.sh && time ./deploy/quickstart.sh'
for option in "$@"; do
  case $option in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --mirror=*) mirror=${option#*=} ;;
    --folder=*) folder=${option#*=} ;;
    --cache=*) cache=$(cd "${option#*=}" && pwd -P) ;;
    --command=*) command=${option#*=} ;;
    --keep) keep=1 ;;
    *) printf 'tests/fresh_machine.sh: unknown option %s\n' "$option" >&2; exit 2 ;;
  esac
done
fail() { printf 'tests/fresh_machine.sh: %s\n' "$1" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || fail 'must run as root: debootstrap and chroot need it'
command -v debootstrap >/dev/null || fail 'debootstrap is not installed (apt-get install debootstrap)'
[ -n "$folder" ] || folder=$(mktemp -d "${TMPDIR:-/tmp}/ration-machine.XXXXXX")
mkdir -p "$folder"
chmod 755 "$folder"  # its user must get through, and mktemp lets root alone
[ -z "$(ls -A "$folder")" ] || fail "--folder: $folder is not empty"

mounts=()
bind() {  # SOURCE, path inside; seen inside, unmounted at the end
  mkdir -p "$folder$2"
  mount --bind "$1" "$folder$2"
  mounts=("$folder$2" "${mounts[@]}")
}
leave() {
  local mount process
  for process in /proc/[0-9]*; do  # Bazel's server stays up; it holds the mounts
    [ "$(readlink "$process/root")" != "$(realpath "$folder")" ] || kill -9 "${process#/proc/}"
  done
  for mount in "${mounts[@]}"; do umount "$mount" || { printf 'still mounted: %s; not removing %s\n' "$mount" "$folder" >&2; return; }; done
  [ -n "$keep" ] || rm -rf --one-file-system "$folder"
}
trap leave EXIT

printf '== A minimal Debian 12 in %s\n' "$folder"
debootstrap --variant=minbase --include=ca-certificates,git,sudo bookworm "$folder" "$mirror" >"$folder.log" 2>&1 ||
  { tail -n 20 "$folder.log" >&2; fail "debootstrap failed; its log is $folder.log"; }
rm -f "$folder.log"
cp /etc/resolv.conf "$folder/etc/resolv.conf"
printf "127.0.0.1 localhost %s\n" "$(uname -n)" >"$folder/etc/hosts"  # sudo asks for the host's name
bind /proc /proc
bind /dev /dev
chroot "$folder" useradd --create-home --shell /bin/bash newcomer
printf 'newcomer ALL=(ALL) NOPASSWD: ALL\n' >"$folder/etc/sudoers.d/newcomer"
git clone --quiet --no-local --depth=1 "file://$root" "$folder/home/newcomer/ration"
if [ -n "$cache" ]; then
  bind "$cache" /var/cache/bazel
  printf 'build --disk_cache=/var/cache/bazel\n' >"$folder/home/newcomer/.bazelrc"
  chmod -R a+rwX "$cache"
fi
chroot "$folder" chown -R newcomer: /home/newcomer

printf '== As a new user, in a clone of %s: %s\n' "$(git -C "$root" rev-parse --short HEAD)" "$command"
chroot "$folder" su - newcomer -c "cd ration && $command"
