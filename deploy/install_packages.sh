#!/usr/bin/env bash
# Installs the Debian packages named in the given lists that are not installed yet. Silent, and without touching the network,
# when there is nothing to do.
#
#   deploy/install_packages.sh [LIST...]      default: deploy/packages.txt
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
[ $# -gt 0 ] || set -- "$here/packages.txt"

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

mapfile -t wanted < <(sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$@")

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || fail \
  "Ration is built with Debian 12's packages, and this system has no apt-get." \
  "Use Debian 12 (a container will do), or provide what these packages provide: ${wanted[*]}"

declare -A installed=()
while read -r status name; do
  [ "$status" = ii ] && installed[$name]=1
done < <(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' "${wanted[@]}" 2>/dev/null || true)

missing=()
for name in "${wanted[@]}"; do
  [ -n "${installed[$name]:-}" ] || missing+=("$name")
done
[ ${#missing[@]} -gt 0 ] || exit 0

printf 'Installing %d Debian packages and what they depend on:\n' "${#missing[@]}"
printf '%s ' "${missing[@]}" | fold -s -w 96 | sed 's/^/  /'
printf '\n'

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || fail \
    "This needs root, and there is no sudo. Run as root:" "  apt-get update && apt-get install ${missing[*]}"
  as_root=(sudo)
fi
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -y -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300)

log=$(mktemp "${TMPDIR:-/tmp}/ration-apt.XXXXXX")
trap 'rm -f "$log"' EXIT

# Shows the progress of apt-get on one line at a terminal, every 50th package elsewhere; keeps everything in the log.
follow() {
  local total=0 count=0 line width
  width=$(tput cols 2>/dev/null || echo 80)
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log"
    case $line in
      *" newly installed"*) total=$(sed -E 's/.* ([0-9]+) newly installed.*/\1/' <<<"$line") ;;
      "Get:"*) [ -t 1 ] && printf '\r\033[K  fetching %.*s' "$((width - 14))" "$(cut -d' ' -f5 <<<"$line")" ;;
      "Setting up "*)
        count=$((count + 1))
        if [ -t 1 ]; then
          line=${line#Setting up }
          printf '\r\033[K  %d of %d: %.*s' "$count" "$total" "$((width - 24))" "${line%% *}"
        elif [ $((count % 50)) -eq 0 ]; then
          printf '  %d of %d\n' "$count" "$total"
        fi
        ;;
    esac
  done
  if [ -t 1 ]; then printf '\r\033[K'; fi
}

if [ ${#as_root[@]} -gt 0 ]; then sudo -v || fail "sudo refused; nothing was installed."; fi
# The lists of packages may be old or, in a fresh container, not there at all. Without a network the old ones may still do.
"${apt[@]}" update </dev/null >"$log" 2>&1 || printf '  apt-get update failed; trying with the lists there are\n'
if ! "${apt[@]}" install --no-install-recommends "${missing[@]}" </dev/null 2>&1 | follow; then
  tail -n 20 "$log" >&2
  fail "" "apt-get could not install them: its last words are above."
fi
printf 'Installed.\n'
