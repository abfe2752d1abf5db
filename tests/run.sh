#!/usr/bin/env bash
# Runs every test and ends with the line "N passed, N failed", and ", N skipped" after it when some were.
# Installs the Debian packages that are missing first. Exit status 0 only if everything was built, ran and passed.
#
#   tests/run.sh [BAZEL OPTIONS]     e.g. tests/run.sh --config=asan
#
# Tests that need the large development data find it in $RATION_SHARED, or in ../shared beside the checkout; without it they
# are skipped. So are those that need the vocabularies of tests/fetch_tokenizers.sh or the packages of
# tests/fetch_node_modules.sh where there is no npm to fetch them with, and those of deploy/k8s without kubectl (1.21 or newer; Debian 12's
# is older).
# BAZEL names another Bazel, start-up options included; default: bazel.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cd "$root"
. deploy/workspace.sh
for option in "$@"; do
  case $option in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "tests/run.sh"; exit 0 ;;
    -*) ;;
    *) printf 'tests/run.sh: %s is not an option; it always runs every test\n' "$option" >&2; exit 2 ;;
  esac
done

deploy/install_packages.sh deploy/packages.txt deploy/packages-test.txt

read -r -a bazel <<<"${BAZEL:-bazel}"
options=(--keep_going --test_output=errors --test_summary=none --build_tests_only=false)
[ -t 2 ] || options+=(--color=no --curses=no --show_progress_rate_limit=30)

shared=${RATION_SHARED:-}
if [ -z "$shared" ] && [ -d "$root/../shared" ]; then shared=$root/../shared; fi
if [ -n "$shared" ]; then
  [ -d "$shared" ] || { printf 'tests/run.sh: RATION_SHARED=%s is not a folder\n' "$shared" >&2; exit 2; }
  options+=("--test_env=RATION_SHARED=$(cd "$shared" && pwd -P)")
fi

tokenizers=$(tests/fetch_tokenizers.sh)
if [ -n "$tokenizers" ]; then options+=("--test_env=RATION_TOKENIZERS=$tokenizers"); fi
node_modules=$(tests/fetch_node_modules.sh)
if [ -n "$node_modules" ]; then options+=("--test_env=RATION_NODE_MODULES=$node_modules"); fi

# What ran and how it ended, from Bazel itself: only this run's results, including those it found up to date.
work=$(mktemp -d "${TMPDIR:-/tmp}/ration-tests.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$(ration_workspace "$root")"
# Links left by a Bazel with another output base look like packages of ours to //...; Bazel makes new ones.
base=$("${bazel[@]}" info output_base 2>/dev/null)
for link in bazel-*; do
  if [ -L "$link" ] && [[ $(readlink "$link") != "$base"/* ]]; then rm -f "$link"; fi
done
status=0
"${bazel[@]}" test "${options[@]}" --build_event_json_file="$work/events.json" "$@" //... || status=$?
tests/check_layers.sh "${bazel[@]:1}" >"$work/layers.txt" 2>&1 || true

python3 tests/summarize_tests.py --events "$work/events.json" --bazel_exit_status "$status" --layers "$work/layers.txt"
