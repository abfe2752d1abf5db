// See the header.
#include "tests/bench/machine_probe.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <set>
#include <system_error>

#include <ATen/ATen.h>

#include "engine/base/check.h"
#include "tests/bench/read_bandwidth.h"

namespace ration::bench {
namespace {

constexpr int64_t kBufferBytes = int64_t{192} << 20;
constexpr int64_t kRows = 64;              // few enough for x and y to stay in the cache, too
constexpr int64_t kIn = 512, kOut = 2048;  // 1 MiB a core in bfloat16: the second-level cache

WeightMemory FilledBuffer() {
  auto memory = WeightMemory::Allocate(kBufferBytes);
  RATION_CHECK(memory.ok());
  std::memset(memory->data(), 1, kBufferBytes);
  return *std::move(memory);
}

// The processors this process may use.
std::vector<int> AllowedProcessors() {
  std::vector<int> processors;
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return processors;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) processors.push_back(cpu);
  }
  return processors;
}

// Thread 0 is the calling one.
void PinThread(pid_t thread, int processor) {
  cpu_set_t own;
  CPU_ZERO(&own);
  CPU_SET(processor, &own);
  sched_setaffinity(thread, sizeof(own), &own);
}

std::set<pid_t> ThreadsOfThisProcess() {
  std::set<pid_t> threads;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task", error)) {
    threads.insert(static_cast<pid_t>(std::atoi(entry.path().filename().c_str())));
  }
  return threads;
}

}  // namespace

void PinThreads(kernels::cpu::ThreadPool& pool) {
  const std::vector<int> processors = AllowedProcessors();
  if (static_cast<int>(processors.size()) < pool.num_threads()) return;
  // Every body waits for the others, so each thread runs exactly one.
  std::atomic<int> arrived{0};
  pool.ParallelFor(pool.num_threads(), [&](int64_t, int thread) {
    arrived.fetch_add(1);
    while (arrived.load() < pool.num_threads()) sched_yield();
    PinThread(0, processors[thread]);
  });
}

void PinThreadsStartedBy(const std::function<void()>& start) {
  const std::vector<int> processors = AllowedProcessors();
  const std::set<pid_t> before = ThreadsOfThisProcess();
  start();
  size_t next = 1;
  for (pid_t thread : ThreadsOfThisProcess()) {
    if (before.count(thread) == 0 && next < processors.size()) PinThread(thread, processors[next++]);
  }
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
    best.bytes_per_second =
        std::max(best.bytes_per_second, kBufferBytes / ReadOnceSeconds(buffer_.data(), kBufferBytes, *pool_));
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
