#!/usr/bin/env bash
# The committed golden texts are what jinja2 makes, as it is installed here. Skipped, loudly, without it.
set -u
if ! python3 -c 'import jinja2' 2>/dev/null; then
  reason='NOT TESTED: the Debian package python3-jinja2 is not installed (deploy/packages-test.txt)'
  printf '%s\n' "$reason"
  if [ -n "${XML_OUTPUT_FILE:-}" ]; then
    printf '<testsuites><testsuite name="golden_reference_test" tests="1"><testcase name="golden_reference_test" status="run" result="skipped"><skipped message="%s"/></testcase></testsuite></testsuites>\n' \
      "$reason" >"$XML_OUTPUT_FILE"
  fi
  exit 0
fi
PYTHONDONTWRITEBYTECODE=1 exec python3 tests/engine/chat/golden/make_golden.py --check
