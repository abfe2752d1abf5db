// See the header.
#include "tests/bench/read_bandwidth.h"

#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

#include "kernels/cpu/thread_pool.h"

namespace ration::bench {
namespace {

// Written by every read so that the compiler keeps the loads.
std::atomic<uint64_t> sink{0};

__attribute__((target("avx512f"))) uint64_t ReadAvx512(const uint8_t* begin, int64_t bytes) {
  __m512i a = _mm512_setzero_si512();
  __m512i b = a;
  __m512i c = a;
  __m512i d = a;
  for (int64_t i = 0; i + 256 <= bytes; i += 256) {
    a = _mm512_xor_si512(a, _mm512_load_si512(begin + i));
    b = _mm512_xor_si512(b, _mm512_load_si512(begin + i + 64));
    c = _mm512_xor_si512(c, _mm512_load_si512(begin + i + 128));
    d = _mm512_xor_si512(d, _mm512_load_si512(begin + i + 192));
  }
  const __m512i all = _mm512_xor_si512(_mm512_xor_si512(a, b), _mm512_xor_si512(c, d));
  uint64_t words[8];
  std::memcpy(words, &all, sizeof(words));  // GCC 12 warns about _mm512_reduce_add_epi64
  return words[0] ^ words[1] ^ words[2] ^ words[3] ^ words[4] ^ words[5] ^ words[6] ^ words[7];
}

__attribute__((target("avx2"))) uint64_t ReadAvx2(const uint8_t* begin, int64_t bytes) {
  __m256i a = _mm256_setzero_si256();
  __m256i b = a;
  __m256i c = a;
  __m256i d = a;
  for (int64_t i = 0; i + 128 <= bytes; i += 128) {
    a = _mm256_xor_si256(a, _mm256_load_si256(reinterpret_cast<const __m256i*>(begin + i)));
    b = _mm256_xor_si256(b, _mm256_load_si256(reinterpret_cast<const __m256i*>(begin + i + 32)));
    c = _mm256_xor_si256(c, _mm256_load_si256(reinterpret_cast<const __m256i*>(begin + i + 64)));
    d = _mm256_xor_si256(d, _mm256_load_si256(reinterpret_cast<const __m256i*>(begin + i + 96)));
  }
  const __m256i all = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
  uint64_t words[4];
  std::memcpy(words, &all, sizeof(words));
  return words[0] ^ words[1] ^ words[2] ^ words[3];
}

uint64_t ReadPortable(const uint8_t* begin, int64_t bytes) {
  uint64_t all = 0;
  for (int64_t i = 0; i + 8 <= bytes; i += 8) {
    uint64_t word;
    std::memcpy(&word, begin + i, 8);
    all ^= word;
  }
  return all;
}

}  // namespace

double MeasureReadBandwidth(const ReadBandwidthOptions& options) {
  // Small pieces, so that a thread that loses its core for a while does not decide the result.
  constexpr int64_t kPieceBytes = int64_t{2} << 20;
  const int64_t pieces = std::max<int64_t>(1, options.buffer_bytes / kPieceBytes);
  const int64_t bytes = pieces * kPieceBytes;
  void* mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return 0;
  madvise(mapped, bytes, MADV_HUGEPAGE);
  uint8_t* buffer = static_cast<uint8_t*>(mapped);
  std::memset(buffer, 1, bytes);

  const auto read = __builtin_cpu_supports("avx512f") ? ReadAvx512
                    : __builtin_cpu_supports("avx2")  ? ReadAvx2
                                                      : ReadPortable;
  kernels::cpu::ThreadPool pool(options.num_threads);
  std::vector<double> seconds;
  for (int repetition = 0; repetition <= options.repetitions; ++repetition) {  // the first one warms up
    const auto start = std::chrono::steady_clock::now();
    pool.ParallelFor(pieces, [&](int64_t piece, int) {
      sink.store(read(buffer + piece * kPieceBytes, kPieceBytes), std::memory_order_relaxed);
    });
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    if (repetition > 0) seconds.push_back(elapsed.count());
  }
  munmap(mapped, bytes);
  if (seconds.empty()) return 0;
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
  return static_cast<double>(bytes) / seconds[seconds.size() / 2];
}

}  // namespace ration::bench
