# For scripts to source: where to run Bazel for a checkout. Bazel refuses folders whose path holds white space; for those a folder
# of links to the checkout's entries, under the user's cache, stands in.

# ration_workspace CHECKOUT: prints the folder. CHECKOUT is absolute and physical.
ration_workspace() {
  local checkout=$1 cache folder entry name
  if [[ $checkout != *[[:space:]]* ]]; then
    printf '%s\n' "$checkout"
    return
  fi
  cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}
  if [[ $cache == *[[:space:]]* ]]; then cache=/tmp/ration-cache-$(id -u); fi
  folder=$cache/ration/workspace-$(cksum <<<"$checkout" | cut -d' ' -f1)
  mkdir -p "$folder"
  find "$folder" -mindepth 1 -maxdepth 1 -type l ! -name 'bazel-*' -delete
  for entry in "$checkout"/* "$checkout"/.bazelrc "$checkout"/.dockerignore; do
    name=${entry##*/}
    case $name in bazel-*) continue ;; esac
    ln -s "$entry" "$folder/$name"
  done
  printf '%s\n' "$folder"
}
