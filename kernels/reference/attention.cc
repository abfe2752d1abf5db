// Attention over mixed pages, the readable way: one softmax over every visible token, in double precision.
// The truth for kernels/cpu and kernels/cuda. Layer: kernels/reference. Thread-safe for different `out` rows.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/attention.h"

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

}  // namespace

void PagedAttention(const AttentionParams& params) {
  const KvLayout& layout = params.layout;
  const int64_t d = layout.head_dim;
  std::vector<double> scores;
  std::vector<double> out(d);
  for (int32_t s = 0; s < params.num_sequences; ++s) {
    const AttentionSequence& sequence = params.sequences[s];
    for (int32_t i = 0; i < sequence.num_queries; ++i) {
      for (int32_t head = 0; head < params.num_query_heads; ++head) {
        const float* query = params.query + (sequence.query_begin + i) * params.query_stride + head * d;
        const int64_t kv_head = int64_t{head} * layout.num_kv_heads / params.num_query_heads;

        // Calls visit(page, element of the slot's first K component, the same for V) for every visible slot.
        const int64_t oldest = params.window > 0 ? int64_t{sequence.first_position} + i - params.window + 1 : 0;
        const auto for_each_slot = [&](const auto& visit) {
          for (int e = 0; e < layout.num_experts; ++e) {
            const ExpertPages& pages = sequence.kv.experts[e];
            const int32_t visible =
                sequence.visible != nullptr ? sequence.visible[i * layout.num_experts + e] : pages.num_slots;
            for (int32_t slot = 0; slot < visible; ++slot) {
              if (params.window > 0 && pages.positions[slot] < oldest) continue;
              const uint8_t* page = params.pool + pages.pages[slot / layout.slots_per_page[e]] * layout.page_bytes;
              const int64_t stored_head = kv_head / layout.group_size[e];
              const int64_t row = (stored_head * layout.slots_per_page[e] + slot % layout.slots_per_page[e]) * d;
              visit(page, row, layout.value_offset(e) + row);
            }
          }
        };

        scores.clear();
        for_each_slot([&](const uint8_t* page, int64_t key, int64_t) {
          double dot = 0;
          for (int64_t k = 0; k < d; ++k) dot += query[k] * Load(page, key + k, layout.dtype);
          const double score = dot * params.scale;
          scores.push_back(params.soft_cap > 0 ? params.soft_cap * std::tanh(score / params.soft_cap) : score);
        });
        const double max = *std::max_element(scores.begin(), scores.end());
        double sum = 0;
        std::fill(out.begin(), out.end(), 0.0);
        size_t next = 0;
        for_each_slot([&](const uint8_t* page, int64_t, int64_t value) {
          const double weight = std::exp(scores[next++] - max);
          sum += weight;
          for (int64_t k = 0; k < d; ++k) out[k] += weight * Load(page, value + k, layout.dtype);
        });
        float* result = params.out + (sequence.query_begin + i) * params.out_stride + head * d;
        for (int64_t k = 0; k < d; ++k) result[k] = static_cast<float>(out[k] / sum);
      }
    }
  }
}

}  // namespace ration::kernels::reference
