#!/bin/bash
# Builds tools/train:train against a LibTorch of your choice, with its attention for CUDA devices where that LibTorch
# and nvcc are for them (the Bazel build takes the system's LibTorch, which knows the CPU only):
#   tools/train/build_with_torch.sh TORCH OUT
# TORCH: a directory with include/ and lib/, such as that of the Python package (its version 1.13 or newer). OUT: the
# program to write; objects are kept in OUT.build, and only those older than their sources are made again. The other
# libraries are the system's (deploy/packages.txt), or where CPATH and LIBRARY_PATH say. CXX, CXX_STANDARD (17) and
# CUDA_ARCH (native) may be set. Needs g++, python3, and nvcc for CUDA.
set -euo pipefail
if [[ $# != 2 || ! -d $1/include || ! -d $1/lib ]]; then
  echo "usage: $0 TORCH OUT   (TORCH must have include/ and lib/)" >&2
  exit 2
fi
torch=$(realpath "$1")
out=$(realpath -m "$2")
cd "$(dirname "$0")/../.."
objects=$out.build
mkdir -p "$objects"

nvcc=$(command -v nvcc || echo "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc")
cuda=
[[ -e $torch/lib/libtorch_cuda.so && -x $nvcc ]] && cuda=1
if [[ $cuda ]]; then echo "LibTorch in $torch, with CUDA by $nvcc"; else echo "LibTorch in $torch, without CUDA"; fi

flags=(-std=c++"${CXX_STANDARD:-17}" -O2 -fopenmp -w -I. -isystem "$torch/include"
       -isystem "$torch/include/torch/csrc/api/include" ${cuda:+-DRATION_TRAIN_CUDA})
libraries=(-L"$torch/lib" -Wl,-rpath,"$torch/lib" -Wl,--no-as-needed ${cuda:+-ltorch_cuda -lc10_cuda} -ltorch
           -ltorch_cpu -lc10 -Wl,--as-needed -Wl,--allow-shlib-undefined)
if [[ $cuda ]]; then
  # The runtime that LibTorch itself loads, or nvcc's static one.
  runtime=$(find "$torch/lib" "$torch/../nvidia" -name 'libcudart.so.*' 2>/dev/null | sort | head -1 || true)
  if [[ $runtime ]]; then
    libraries+=("$runtime" -Wl,-rpath,"$(dirname "$runtime")")
  else
    libraries+=("$(dirname "$nvcc")/../lib64/libcudart_static.a" -lrt -ldl -lpthread)
  fi
fi

# Sources: train_main.cc, and the source beside each header of ours that those reach.
mapfile -t sources < <(python3 - <<'PY'
import os, re
found, queue = set(), ["tools/train/train_main.cc"]
while queue:
    path = queue.pop()
    if path in found or not os.path.exists(path): continue
    found.add(path)
    for header in re.findall(r'^#include "((?:engine|tools)/[^"]+)\.h"', open(path, encoding="utf-8").read(), re.M):
        queue += [header + ".h", header + ".cc"]
print("\n".join(sorted(p for p in found if p.endswith(".cc"))))
PY
)
[[ $cuda ]] && sources+=(tools/train/fused_attention_cuda.cu)

object_of() { echo "$objects/$(tr / _ <<<"$1").o"; }
newest_header=$(find engine tools kernels -name '*.h' -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2)
jobs=()
for source in "${sources[@]}"; do
  object=$(object_of "$source")
  [[ $object -nt $source && $object -nt $newest_header ]] && continue
  if [[ $source == *.cu ]]; then
    jobs+=("'$nvcc' -std=c++17 -O3 -arch='${CUDA_ARCH:-native}' -I. -c '$source' -o '$object'")
  else
    jobs+=("'${CXX:-g++}' $(printf "'%s' " "${flags[@]}") -c '$source' -o '$object'")
  fi
done
echo "compiling ${#jobs[@]} of ${#sources[@]} sources"
[[ ${#jobs[@]} == 0 ]] ||
  printf '%s\0' "${jobs[@]}" | xargs -0 -P "$(nproc)" -I{} bash -c '{} || { echo "failed: {}" >&2; exit 1; }'

# Abseil's libraries are many and depend on one another in circles, so all are offered and those needed are taken.
absl=()
IFS=: read -ra search <<<"${LIBRARY_PATH:-}:/usr/lib/$(uname -m)-linux-gnu:/usr/local/lib:/usr/lib"
for directory in "${search[@]}"; do
  [[ $directory && -e $directory/libabsl_strings.a ]] || continue
  absl=("$directory"/libabsl_*.a)
  break
done
[[ ${#absl[@]} != 0 ]] || { echo "libabsl_strings.a is in none of: ${search[*]}" >&2; exit 1; }
mapfile -t linked < <(for source in "${sources[@]}"; do object_of "$source"; done)
"${CXX:-g++}" -fopenmp "${linked[@]}" -Wl,--start-group "${absl[@]}" -Wl,--end-group -lhwy -lpcre2-8 -lutf8proc \
  "${libraries[@]}" -lpthread -o "$out"
echo "wrote $out"
