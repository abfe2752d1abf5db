// What the operating system says of this process, for the process_* metric families every Prometheus client exports.
// Layer: server. Stateless; thread-safe. Linux only.
#ifndef RATION_SERVER_PROCESS_STATS_H_
#define RATION_SERVER_PROCESS_STATS_H_

#include <cstdint>

namespace ration {

struct ProcessStats {
  double cpu_seconds = 0;         // user and system
  double start_time_seconds = 0;  // since the Unix epoch
  int64_t resident_memory_bytes = 0;
  int64_t virtual_memory_bytes = 0;
  int64_t open_fds = 0;
  int64_t max_fds = 0;
  int64_t threads = 0;
};

// Fields that cannot be read stay 0.
ProcessStats ReadProcessStats();

// MemAvailable of the machine, in bytes; 0 if it cannot be read.
int64_t AvailableMemoryBytes();

}  // namespace ration

#endif  // RATION_SERVER_PROCESS_STATS_H_
