// See the header.
#include "tests/bench/machine_probe.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include <ATen/ATen.h>

#include "engine/base/check.h"
#include "tests/bench/read_bandwidth.h"

namespace ration::bench {
namespace {

constexpr int64_t kBufferBytes = int64_t{192} << 20;
constexpr int64_t kRows = 64;  // few enough for x and y to stay in the cache, too
constexpr int64_t kIn = 512, kOut = 2048;  // 1 MiB a core in bfloat16: the second-level cache

WeightMemory FilledBuffer() {
  auto memory = WeightMemory::Allocate(kBufferBytes);
  RATION_CHECK(memory.ok());
  std::memset(memory->data(), 1, kBufferBytes);
  return *std::move(memory);
}

}  // namespace

void PinThreads(kernels::cpu::ThreadPool& pool) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0 || CPU_COUNT(&allowed) < pool.num_threads()) return;
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
  }
  // Every body waits for the others, so each thread runs exactly one.
  std::atomic<int> arrived{0};
  pool.ParallelFor(pool.num_threads(), [&](int64_t, int thread) {
    arrived.fetch_add(1);
    while (arrived.load() < pool.num_threads()) sched_yield();
    cpu_set_t own;
    CPU_ZERO(&own);
    CPU_SET(cpus[thread], &own);
    sched_setaffinity(0, sizeof(own), &own);
  });
}

MachineProbe::MachineProbe(kernels::DType dtype, kernels::cpu::ThreadPool* pool)
    : pool_(pool), buffer_(FilledBuffer()), x_(kRows * kIn * SizeOf(dtype), 1), y_(kRows * kOut) {
  Linear::Options options;
  options.weights = {at::randn({kOut, kIn})};
  options.compute = dtype;
  options.pool = pool;
  auto linear = Linear::Create(options);
  RATION_CHECK(linear.ok());
  linear_ = *std::move(linear);
}

MachineRates MachineProbe::Measure() {
  MachineRates best;
  const int threads = pool_->num_threads();
  for (int i = 0; i < 4; ++i) {
    best.bytes_per_second = std::max(best.bytes_per_second, kBufferBytes / ReadOnceSeconds(buffer_.data(), kBufferBytes, *pool_));
    for (int j = 0; j < 20; ++j) {
      const double begin = Now(BenchClock::kWall, threads);
      linear_->Forward(x_.data(), kRows, y_.data());
      const double seconds = Now(BenchClock::kWall, threads) - begin;
      best.operations_per_second = std::max(best.operations_per_second, 2.0 * kIn * kOut * kRows / seconds);
    }
  }
  return best;
}

}  // namespace ration::bench
