// See the header.
#include "tests/bench/read_bandwidth.h"

#include <immintrin.h>
#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <atomic>
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

double Now(BenchClock clock, int num_threads) {
  timespec now = {};
  clock_gettime(clock == BenchClock::kCpu ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  const double seconds = static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  return clock == BenchClock::kCpu ? seconds / num_threads : seconds;
}

double ReadOnceSeconds(const void* buffer, int64_t bytes, kernels::cpu::ThreadPool& pool, BenchClock clock) {
  // Small pieces, so that a thread that loses its core for a while does not decide the result.
  constexpr int64_t kPieceBytes = int64_t{1} << 20;
  const uint8_t* const begin = static_cast<const uint8_t*>(buffer);
  const auto read = __builtin_cpu_supports("avx512f") ? ReadAvx512
                    : __builtin_cpu_supports("avx2")  ? ReadAvx2
                                                      : ReadPortable;
  const double start = Now(clock, pool.num_threads());
  pool.ParallelFor((bytes + kPieceBytes - 1) / kPieceBytes, [&](int64_t piece, int) {
    const int64_t offset = piece * kPieceBytes;
    sink.store(read(begin + offset, std::min(kPieceBytes, bytes - offset)), std::memory_order_relaxed);
  });
  return Now(clock, pool.num_threads()) - start;
}

double MeasureReadBandwidth(const ReadBandwidthOptions& options) {
  const int64_t bytes = std::max<int64_t>(options.buffer_bytes, 1 << 20);
  void* buffer = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (buffer == MAP_FAILED) return 0;
  madvise(buffer, bytes, MADV_HUGEPAGE);
  std::memset(buffer, 1, bytes);
  kernels::cpu::ThreadPool pool(options.num_threads);
  std::vector<double> seconds;
  for (int repetition = 0; repetition <= options.repetitions; ++repetition) {
    const double elapsed = ReadOnceSeconds(buffer, bytes, pool);
    if (repetition > 0) seconds.push_back(elapsed);  // the first one warms up
  }
  munmap(buffer, bytes);
  if (seconds.empty()) return 0;
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
  return static_cast<double>(bytes) / seconds[seconds.size() / 2];
}

}  // namespace ration::bench
