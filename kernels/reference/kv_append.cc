// Grouped append, the readable way: a double-precision mean, rounded once. The truth for kernels/cpu and kernels/cuda.
// Layer: kernels/reference. Thread-safe for different slots.
#include "kernels/kv_append.h"

namespace ration::kernels::reference {
namespace {

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

void KvAppend(const KvAppendParams& params) {
  const KvLayout& layout = params.layout;
  const int64_t d = layout.head_dim;
  for (int32_t token = 0; token < params.num_tokens; ++token) {
    const KvSlot& slot = params.slots[token];
    const int64_t group = layout.group_size[slot.expert];
    uint8_t* page = params.pool + slot.page * layout.page_bytes;
    for (int64_t head = 0; head < layout.stored_heads(slot.expert); ++head) {
      const int64_t row = (head * layout.slots_per_page[slot.expert] + slot.slot) * d;
      for (int64_t i = 0; i < d; ++i) {
        double key = 0;
        double value = 0;
        for (int64_t member = head * group; member < (head + 1) * group; ++member) {
          key += params.key[token * params.row_stride + member * d + i];
          value += params.value[token * params.row_stride + member * d + i];
        }
        Store(page, row + i, layout.dtype, key / static_cast<double>(group));
        Store(page, layout.value_offset(slot.expert) + row + i, layout.dtype, value / static_cast<double>(group));
      }
    }
  }
}

}  // namespace ration::kernels::reference
