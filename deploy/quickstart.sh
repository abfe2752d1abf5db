#!/usr/bin/env bash
# From a fresh checkout to a story: installs what is missing, builds, starts rationd with the default model, streams a generation
# to the terminal with what it cost in KV memory, and stops the server. Needs no network once the packages are there.
#
#   deploy/quickstart.sh [FLAGS]
#
#   --prompt=TEXT           begin the story with TEXT
#   --max_new_tokens=COUNT  length of the story in tokens (default 200)
#   --ratio=WEIGHTS         share of tokens for each expert (default 3:1:6, half of full KV; "auto": the governor's choice,
#                           which keeps everything while memory is free)
#   --model=DIRECTORY       another model (default deploy/models/stories-mixsga)
#   --serve                 leave the server running and say how to talk to it
#   --help
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
. "$root/deploy/workspace.sh"

usage_error() {
  printf 'quickstart: %s\nTry: deploy/quickstart.sh --help\n' "$1" >&2
  exit 2
}

prompt="Once upon a time, there was a little girl named Lily. She had a"
max_new_tokens=200
ratio=
model=$root/deploy/models/stories-mixsga
serve=0
while [ $# -gt 0 ]; do
  flag=${1%%=*}
  case $flag in
    --serve) serve=1; shift; continue ;;
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"; exit 0 ;;
    --prompt | --max_new_tokens | --ratio | --model)
      if [ "$flag" != "$1" ]; then
        value=${1#*=}
      else
        [ $# -ge 2 ] || usage_error "$flag needs a value"
        value=$2
        shift
      fi
      shift
      ;;
    *) usage_error "unknown flag $1" ;;
  esac
  case $flag in
    --prompt) prompt=$value ;;
    --max_new_tokens) max_new_tokens=$value ;;
    --ratio) ratio=$value ;;
    --model) model=$(cd "$value" 2>/dev/null && pwd -P) || usage_error "--model: $value is not a folder" ;;
  esac
done
[ -e "$model/config.json" ] || usage_error "--model: there is no config.json in $model"

bold='' dim='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
  bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi
step() { printf '%s%s%s\n' "$bold" "$1" "$plain"; }

server_pid=
work=$(mktemp -d "${TMPDIR:-/tmp}/ration-quickstart.XXXXXX")
clean_up() {
  if [ -n "$server_pid" ]; then
    kill -TERM "$server_pid" 2>/dev/null && wait "$server_pid" 2>/dev/null || true
  fi
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$root/deploy/install_packages.sh" "$root/deploy/packages.txt"

step "Building rationd and rationctl"
cd "$(ration_workspace "$root")"
read -r -a bazel <<<"${BAZEL:-bazel}"
targets=(//server:rationd //client:rationctl)
quiet=(--ui_event_filters=-info --noshow_loading_progress --show_result=0)
[ -t 2 ] || quiet+=(--color=no --curses=no --show_progress_rate_limit=15)
"${bazel[@]}" build "${quiet[@]}" "${targets[@]}"
bin=$("${bazel[@]}" info bazel-bin 2>/dev/null)
rationd=$bin/server/rationd
rationctl=$bin/client/rationctl

step "Starting rationd with $(basename "$model")"
server_log=$work/rationd.log
listen=127.0.0.1:0
metrics_listen=127.0.0.1:0
control_listen=127.0.0.1:0
if [ "$serve" -eq 1 ]; then  # the usual ports if nobody has them: rationctl then needs no --server
  (exec 3<>/dev/tcp/127.0.0.1/50051) 2>/dev/null || listen=127.0.0.1:50051
  (exec 3<>/dev/tcp/127.0.0.1/9091) 2>/dev/null || metrics_listen=127.0.0.1:9091
  (exec 3<>/dev/tcp/127.0.0.1/50052) 2>/dev/null || control_listen=127.0.0.1:50052
fi
flags=("--model=$model" "--listen=$listen" "--metrics_listen=$metrics_listen" "--control_listen=$control_listen" \
  "--port_file=$work/ports" --kv_budget=256MiB)
# A plain model has one expert and takes no ratio.
if [ -z "$ratio" ] && grep -q '"mixsga"' "$model/config.json" 2>/dev/null; then ratio=3:1:6; fi
case $ratio in '' | auto) ;; *) flags+=("--ratio=$ratio") ;; esac
if [ "$serve" -eq 1 ]; then
  # Outlives this script: its own session, its log where it can be found again.
  server_log=${TMPDIR:-/tmp}/rationd-$(id -u).log
  setsid "$rationd" "${flags[@]}" </dev/null >"$server_log" 2>&1 &
else
  "$rationd" "${flags[@]}" </dev/null >"$server_log" 2>&1 &
fi
server_pid=$!
# rationd writes the port file when it is ready to serve.
for ((tries = 0; ; ++tries)); do
  [ ! -s "$work/ports" ] || break
  if ! kill -0 "$server_pid" 2>/dev/null || [ "$tries" -ge 600 ]; then
    printf 'rationd did not start. It said:\n\n' >&2
    cat "$server_log" >&2
    exit 1
  fi
  sleep 0.1
done
{ read -r port; read -r metrics_port; read -r control_port; } <"$work/ports"
server=127.0.0.1:$port

printf '\n'
NO_COLOR=${NO_COLOR:-} "$rationctl" generate --server="$server" --echo_prompt --stats --temperature=0.8 --top_p=0.9 \
  --max_new_tokens="$max_new_tokens" --prompt="$prompt"
printf '\n'

if [ "$serve" -eq 0 ]; then
  printf '%sThe server has stopped; --serve leaves it running.%s\n' "$dim" "$plain"
  exit 0
fi
pid=$server_pid
server_pid=
ctl=$rationctl
[ ! -x "$root/bazel-bin/client/rationctl" ] || ctl=$root/bazel-bin/client/rationctl
step "rationd is running"
cat <<TEXT
  gRPC      $server
  control   127.0.0.1:$control_port
  metrics   http://127.0.0.1:$metrics_port/metrics
  log       $server_log
  stop it   kill $pid

Try:
  $(printf %q "$ctl") generate --server=$server "One day, a cat"
  $(printf %q "$ctl") info --server=$server
  $(printf %q "$ctl") watch --control=127.0.0.1:$control_port
  $(printf %q "$ctl") ratio auto --control=127.0.0.1:$control_port
  grpcurl -plaintext -d '{"text": "One day, a cat"}' $server ration.v1.Generation/GenerateStream
  buf curl --protocol grpc --http2-prior-knowledge -d '{"text": "One day, a cat"}' http://$server/ration.v1.Generation/GenerateStream
TEXT
