// Memory for packed weights, on huge pages: a decode step walks through all of it, and would otherwise miss the TLB on
// every 4 KiB and stop the hardware's prefetcher there. Small pieces share chunks, so that they lie on huge pages too;
// measured on Zen 4, a 1.5 MB matrix on small pages was read at 22 of 31 GB/s, on huge ones at 29 of 30.
// Layer: engine/ops (private). Move-only owner; Allocate is thread-safe.
#ifndef RATION_ENGINE_OPS_WEIGHT_MEMORY_H_
#define RATION_ENGINE_OPS_WEIGHT_MEMORY_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace ration {

class WeightMemory {
 public:
  // Zeroed bytes, not yet backed by pages, aligned to 64 bytes. The system gets a chunk back when the last piece in it
  // is gone. ResourceExhausted names the size. REQUIRES: num_bytes > 0.
  static absl::StatusOr<WeightMemory> Allocate(int64_t num_bytes);

  uint8_t* data() const { return data_; }

 private:
  class Chunk;

  WeightMemory(std::shared_ptr<Chunk> chunk, uint8_t* data);

  std::shared_ptr<Chunk> chunk_;
  uint8_t* data_;
};

}  // namespace ration

#endif  // RATION_ENGINE_OPS_WEIGHT_MEMORY_H_
