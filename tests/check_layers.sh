#!/usr/bin/env bash
# Proves the directions of dependency between the layers (docs/life_of_a_request.md) with `bazel query`: prints one line a rule
# and fails if any target breaks one. Arguments are passed to bazel as start-up options.
set -u
cd "$(dirname "$0")/.." || exit 1

broken=0
# rule FROM TO: no target of the query FROM may depend on one of the query TO.
rule() {
  local found
  if ! found=$(bazel "${startup[@]}" query --noshow_progress "somepath($1, $2)" 2>/dev/null); then
    printf 'FAILED  %s -> %s: the query itself failed\n' "$1" "$2"
    broken=$((broken + 1))
  elif [ -n "$found" ]; then
    printf 'FAILED  %s must not depend on %s:\n%s\n' "$1" "$2" "$(sed 's/^/          /' <<<"$found")"
    broken=$((broken + 1))
  else
    printf 'ok      %s does not depend on %s\n' "$1" "$2"
  fi
}

startup=("$@")
rule '//kernels/...' '//engine/... + @system//:torch + @system//:absl + @system//:protobuf'
rule '//engine/...' '//server/... + //client/... + //proto/... + //tools/...'
rule '//engine/...' '@system//:protobuf + @system//:grpc + @system//:prometheus'
rule '//server/...' '//client/... + //tools/...'
rule '//client/...' '//server/... + //engine/model/... + //engine/kv_cache/... + //kernels/...'
rule '//proto/...' '//server/... + //engine/... + //client/...'
rule '//server/... + //client/... + //engine/... + //kernels/...' '//tests/... + //tools/...'
[ "$broken" -eq 0 ]
