// What the machine can do at best at this moment, measured next to each figure, because a shared machine changes from
// second to second: bytes read from memory, and operations of matrix products whose operands are in the cache. Not a
// test; used by the programs of tests/bench. Thread-compatible; call while nothing else runs on the pool.
#ifndef RATION_TESTS_BENCH_MACHINE_PROBE_H_
#define RATION_TESTS_BENCH_MACHINE_PROBE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "engine/ops/linear.h"
#include "engine/ops/weight_memory.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/dtype.h"

namespace ration::bench {

// Ties each thread of the pool to a processor of its own, if there are enough.
void PinThreads(kernels::cpu::ThreadPool& pool);

// Runs `start`, which makes a library start its threads, and does the same for those: the caller's processor is the
// first, theirs the following ones. Call before PinThreads.
void PinThreadsStartedBy(const std::function<void()>& start);

struct MachineRates {
  double bytes_per_second = 0;       // plain vector loads from huge pages, all threads
  double operations_per_second = 0;  // Linear in `dtype`, 512 x 2048, 64 rows
};

class MachineProbe {
 public:
  MachineProbe(kernels::DType dtype, kernels::cpu::ThreadPool* pool);
  // The best of a few tries, about 30 ms.
  MachineRates Measure();

 private:
  kernels::cpu::ThreadPool* const pool_;
  WeightMemory buffer_;
  std::unique_ptr<Linear> linear_;
  std::vector<uint8_t> x_;
  std::vector<float> y_;
};

}  // namespace ration::bench

#endif  // RATION_TESTS_BENCH_MACHINE_PROBE_H_
