// Memory for packed weights: page-aligned, on huge pages where the size is worth it, because a decode step walks through all of
// it and would otherwise miss the TLB on every 4 KiB.
// Layer: engine/ops (private). Move-only owner; thread-compatible.
#ifndef RATION_ENGINE_OPS_WEIGHT_MEMORY_H_
#define RATION_ENGINE_OPS_WEIGHT_MEMORY_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace ration {

class WeightMemory {
 public:
  // Zeroed bytes, not yet backed by pages. ResourceExhausted names the size. REQUIRES: num_bytes > 0.
  static absl::StatusOr<WeightMemory> Allocate(int64_t num_bytes);

  WeightMemory(WeightMemory&& other) noexcept;
  WeightMemory& operator=(WeightMemory&& other) noexcept;
  ~WeightMemory();

  // Aligned to 2 MiB if it has that much, else to 4 KiB.
  uint8_t* data() const { return data_; }

 private:
  WeightMemory(void* mapping, int64_t mapping_bytes, uint8_t* data);

  void* mapping_;
  int64_t mapping_bytes_;
  uint8_t* data_;
};

}  // namespace ration

#endif  // RATION_ENGINE_OPS_WEIGHT_MEMORY_H_
