// Regroup, the readable way: a double-precision mean of what is stored, rounded once. The truth for kernels/cpu and kernels/cuda.
// Layer: kernels/reference. Thread-safe for different pages.
#include "kernels/regroup.h"

#include <vector>

namespace ration::kernels::reference {
namespace {

double Load(const uint8_t* base, int64_t element, DType dtype) {
  if (dtype == DType::kF32) {
    float value;
    std::memcpy(&value, base + element * 4, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, base + element * 2, 2);
  return FromBF16(half);
}

void Store(uint8_t* base, int64_t element, DType dtype, double value) {
  const float rounded = static_cast<float>(value);
  if (dtype == DType::kF32) {
    std::memcpy(base + element * 4, &rounded, 4);
  } else {
    const uint16_t half = ToBF16(rounded);
    std::memcpy(base + element * 2, &half, 2);
  }
}

}  // namespace

void Regroup(const RegroupParams& params) {
  const KvLayout& layout = params.layout;
  const int64_t d = layout.head_dim;
  const int32_t num_moves = params.num_chains == 0 ? 0 : params.chain_begin[params.num_chains];
  for (int32_t m = 0; m < num_moves; ++m) {
    const RegroupMove& move = params.moves[m];
    const uint8_t* from_page = params.pool + move.from_page * layout.page_bytes;
    uint8_t* to_page = params.pool + move.to_page * layout.page_bytes;
    const std::vector<uint8_t> before(from_page, from_page + layout.page_bytes);  // the pages may be one
    const int64_t members = layout.group_size[move.to_expert] / layout.group_size[move.from_expert];
    for (int64_t head = 0; head < layout.stored_heads(move.to_expert); ++head) {
      for (int32_t slot = 0; slot < move.count; ++slot) {
        const int64_t to = (head * layout.slots_per_page[move.to_expert] + move.to_slot + slot) * d;
        for (int64_t i = 0; i < d; ++i) {
          double key = 0, value = 0;
          for (int64_t member = head * members; member < (head + 1) * members; ++member) {
            const int64_t from = (member * layout.slots_per_page[move.from_expert] + move.from_slot + slot) * d + i;
            key += Load(before.data(), from, layout.dtype);
            value += Load(before.data(), layout.value_offset(move.from_expert) + from, layout.dtype);
          }
          Store(to_page, to + i, layout.dtype, key / static_cast<double>(members));
          Store(to_page, layout.value_offset(move.to_expert) + to + i, layout.dtype, value / static_cast<double>(members));
        }
      }
    }
  }
}

}  // namespace ration::kernels::reference
