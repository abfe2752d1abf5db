// Measures how fast this machine reads memory: the floor that memory-bound benchmarks are held against.
// Not a test; used by the programs of tests/bench. Thread rule: call from one thread while nothing else runs.
#ifndef RATION_TESTS_BENCH_READ_BANDWIDTH_H_
#define RATION_TESTS_BENCH_READ_BANDWIDTH_H_

#include <cstdint>

#include "kernels/cpu/thread_pool.h"

namespace ration::bench {

// Seconds of one program's work. kWall is what users feel; kCpu (all threads' processor time over their number) leaves out the
// time that other programs had the cores, and helps to compare versions of a kernel on a machine that is not idle.
enum class BenchClock { kWall, kCpu };
double Now(BenchClock clock, int num_threads);

// Seconds that the pool's threads take to read [buffer, buffer + bytes) once, with the widest vector loads the processor has
// (STREAM's read-only sibling: a sum without a store). REQUIRES: buffer is aligned to 64 bytes.
double ReadOnceSeconds(const void* buffer, int64_t bytes, kernels::cpu::ThreadPool& pool,
                       BenchClock clock = BenchClock::kWall);

struct ReadBandwidthOptions {
  int num_threads = 2;
  int64_t buffer_bytes = int64_t{512} << 20;  // all threads together; several times the last-level cache
  int repetitions = 5;                        // the median is reported
};

// Bytes per second of ReadOnceSeconds over a buffer of its own, in huge pages where the system has them.
double MeasureReadBandwidth(const ReadBandwidthOptions& options);

}  // namespace ration::bench

#endif  // RATION_TESTS_BENCH_READ_BANDWIDTH_H_
