#!/usr/bin/env bash
# Runs every benchmark and prints tables, the machine and the commit on top. Never part of the tests: figures depend on
# the machine and on what else it does.
#
#   tests/bench/run.sh [--threads=N] [--quick]
#
# --threads   compute threads; default: all processors
# --quick     fewer and shorter figures (about two minutes instead of ten)
#
# Needs about 6 GB of memory; weights are random and nothing is written. BAZEL names another Bazel, start-up options
# included; default: bazel.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
cd "$root"
. deploy/workspace.sh
threads=$(nproc)
quick=
for option in "$@"; do
  case $option in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "tests/bench/run.sh"; exit 0 ;;
    --threads=*) threads=${option#--threads=} ;;
    --quick) quick=1 ;;
    *) printf 'tests/bench/run.sh: unknown option %s\n' "$option" >&2; exit 2 ;;
  esac
done
if ! [[ $threads =~ ^[1-9][0-9]*$ ]]; then
  printf 'tests/bench/run.sh: --threads=%s is not a positive number\n' "$threads" >&2
  exit 2
fi

deploy/install_packages.sh deploy/packages.txt deploy/packages-test.txt >&2

read -r -a bazel <<<"${BAZEL:-bazel}"
programs=(elementwise_bench regroup_bench linear_bench attention_bench engine_bench budget_bench)
workspace=$(ration_workspace "$root")
options=(-c opt --color=no --curses=no --show_progress_rate_limit=30)
(cd "$workspace" && "${bazel[@]}" build "${options[@]}" "${programs[@]/#///tests/bench:}") >&2
bin=$(cd "$workspace" && "${bazel[@]}" info -c opt bazel-bin 2>/dev/null)/tests/bench

field() { lscpu | sed -n "s/^$1: *//p" | head -n 1; }
printf '# Ration benchmarks\n\n'
printf -- '- commit: %s%s\n' "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" \
  "$(git diff --quiet HEAD 2>/dev/null || echo ' with local changes')"
printf -- '- processor: %s (family %s, model %s), %s processors, L2 %s, L3 %s\n' "$(field 'Model name')" "$(field 'CPU family')" \
  "$(field 'Model')" "$(nproc)" "$(field 'L2 cache')" "$(field 'L3 cache')"
printf -- '- memory: %s; huge pages: %s; Linux %s\n' "$(free -h | awk '/^Mem:/ {print $2}')" \
  "$(sed 's/.*\[\(.*\)\].*/\1/' /sys/kernel/mm/transparent_hugepage/enabled 2>/dev/null || echo unknown)" "$(uname -r)"
printf -- '- compute threads: %s; load before: %s\n' "$threads" "$(cut -d' ' -f1-3 /proc/loadavg)"
if awk '{exit !($1 > 0.5)}' /proc/loadavg; then
  printf '\n**Other programs are running; figures will be too low and unsteady.**\n'
fi

run() {
  local program=$1
  shift
  printf '\n## %s\n\n```\n$ %s\n' "$program" "$program $*"
  "$bin/$program" "$@"
  printf '```\n'
}

run elementwise_bench "$threads"
run budget_bench --threads="$threads" --model="$root/deploy/models/stories-mixsga"
run regroup_bench "$threads"
if [ -n "$quick" ]; then
  run linear_bench --threads="$threads" --rows=1,16,256 --seconds=0.1 --compare=false
  run attention_bench --threads="$threads" --repetitions=3
  run engine_bench --threads="$threads" --steps=8
else
  run linear_bench --threads="$threads"
  run attention_bench --threads="$threads"
  run engine_bench --threads="$threads"
fi
