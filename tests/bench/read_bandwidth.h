// Measures how fast this machine reads memory: the floor that memory-bound benchmarks are held against.
// Not a test; used by the programs of tests/bench. Thread rule: call from one thread while nothing else runs.
#ifndef RATION_TESTS_BENCH_READ_BANDWIDTH_H_
#define RATION_TESTS_BENCH_READ_BANDWIDTH_H_

#include <cstdint>

namespace ration::bench {

struct ReadBandwidthOptions {
  int num_threads = 2;
  int64_t buffer_bytes = int64_t{512} << 20;  // all threads together; several times the last-level cache
  int repetitions = 5;                        // the median is reported
};

// Bytes per second that `num_threads` threads read together, each its own contiguous part of one buffer, with the widest
// vector loads the processor has (STREAM's read-only sibling: a sum without a store).
double MeasureReadBandwidth(const ReadBandwidthOptions& options);

}  // namespace ration::bench

#endif  // RATION_TESTS_BENCH_READ_BANDWIDTH_H_
