// Attention over mixed pages on the CPU. Layer: kernels/cpu.
#include "kernels/attention.h"

#include <cmath>
#include <vector>

#include "kernels/cpu/thread_pool.h"

namespace ration::kernels::cpu {
namespace {

template <typename Element>
float ToFloat(Element element) {
  if constexpr (sizeof(Element) == 4) {
    return element;
  } else {
    return FromBF16(element);
  }
}

template <typename Element>
void AttendRow(const AttentionParams& params, const AttentionSequence& sequence, int64_t i, int64_t head) {
  const KvLayout& layout = params.layout;
  const int64_t d = layout.head_dim;
  const float* query = params.query + (sequence.query_begin + i) * params.query_stride + head * d;
  float* out = params.out + (sequence.query_begin + i) * params.out_stride + head * d;
  const int64_t kv_head = head * layout.num_kv_heads / params.num_query_heads;
  for (int64_t k = 0; k < d; ++k) out[k] = 0;
  float max = -INFINITY;
  float sum = 0;
  for (int e = 0; e < layout.num_experts; ++e) {
    const ExpertPages& pages = sequence.kv.experts[e];
    const int32_t visible = sequence.visible != nullptr ? sequence.visible[i * layout.num_experts + e] : pages.num_slots;
    const int64_t slots = layout.slots_per_page[e];
    for (int64_t slot = 0; slot < visible; ++slot) {
      const auto* keys = reinterpret_cast<const Element*>(params.pool + pages.pages[slot / slots] * layout.page_bytes) +
                         (kv_head / layout.group_size[e] * slots + slot % slots) * d;
      const Element* values = keys + layout.value_offset(e);
      float score = 0;
      for (int64_t k = 0; k < d; ++k) score += query[k] * ToFloat(keys[k]);
      score *= params.scale;
      if (score > max) {
        const float shrink = std::exp(max - score);
        max = score;
        sum *= shrink;
        for (int64_t k = 0; k < d; ++k) out[k] *= shrink;
      }
      const float weight = std::exp(score - max);
      sum += weight;
      for (int64_t k = 0; k < d; ++k) out[k] += weight * ToFloat(values[k]);
    }
  }
  for (int64_t k = 0; k < d; ++k) out[k] /= sum;
}

}  // namespace

void PagedAttention(const AttentionParams& params, ThreadPool& pool) {
  for (int32_t s = 0; s < params.num_sequences; ++s) {
    const AttentionSequence& sequence = params.sequences[s];
    pool.ParallelFor(int64_t{sequence.num_queries} * params.num_query_heads, [&](int64_t item, int) {
      const int64_t i = item / params.num_query_heads;
      const int64_t head = item % params.num_query_heads;
      if (params.layout.dtype == DType::kF32) {
        AttendRow<float>(params, sequence, i, head);
      } else {
        AttendRow<uint16_t>(params, sequence, i, head);
      }
    });
  }
}

}  // namespace ration::kernels::cpu
