#!/usr/bin/env bash
# Runs one file of tests with foreign clients under Node's test runner; Bazel's sh_test. The packages come from tests/fetch_node_modules.sh
# (RATION_NODE_MODULES); without them the file counts as one skipped test.
#   interop_test.sh FILE.test.mjs
set -euo pipefail

file=$1
folder=$PWD/tests/interop
if [ -z "${RATION_NODE_MODULES:-}" ]; then
  reason='NOT TESTED: no foreign clients: node and npm are not installed, or npm cannot fetch its packages (tests/fetch_node_modules.sh)'
  printf '%s\n' "$reason"
  printf '<testsuites><testsuite name="interop"><testcase name="%s" classname="interop"><skipped message="%s"/></testcase></testsuite></testsuites>\n' \
    "$file" "$reason" >"${XML_OUTPUT_FILE:-/dev/null}"
  exit 0
fi
export RATION_RATIOND=$PWD/server/rationd RATION_MODEL=$PWD/deploy/models/stories-mixsga RATION_PROTO=$PWD/proto
exec node --test --test-reporter=spec --test-reporter-destination=stdout \
  --test-reporter="$folder/junit_reporter.mjs" --test-reporter-destination="${XML_OUTPUT_FILE:-/dev/null}" "$folder/$file"
