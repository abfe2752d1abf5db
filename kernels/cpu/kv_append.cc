// Grouped append on the CPU. Memory-bound and small (a few KiB a token), so plain loops that the compiler vectorises do.
// Layer: kernels/cpu.
#include "kernels/kv_append.h"

#include "kernels/cpu/thread_pool.h"

namespace ration::kernels::cpu {
namespace {

// About 16 KiB of input a piece; fewer tokens run inline.
constexpr int64_t kPieceElements = 4096;

// out[i] = mean over the group's heads of in[member * d + i], in float32.
template <typename Store>
void AverageHeads(const float* in, int64_t group, int64_t d, const Store& store) {
  if (group == 1) {
    for (int64_t i = 0; i < d; ++i) store(i, in[i]);
    return;
  }
  const float divisor = static_cast<float>(group);
  for (int64_t i = 0; i < d; ++i) {
    float sum = in[i];
    for (int64_t member = 1; member < group; ++member) sum += in[member * d + i];
    store(i, sum / divisor);
  }
}

template <typename Element>
void AppendToken(const KvAppendParams& params, int64_t token) {
  const KvLayout& layout = params.layout;
  const KvSlot& slot = params.slots[token];
  const int64_t d = layout.head_dim;
  const int64_t group = layout.group_size[slot.expert];
  const int64_t slots = layout.slots_per_page[slot.expert];
  Element* keys = reinterpret_cast<Element*>(params.pool + slot.page * layout.page_bytes);
  Element* values = keys + layout.value_offset(slot.expert);
  const auto append = [&](const float* in, Element* out) {
    AverageHeads(in, group, d, [out](int64_t i, float mean) {
      if constexpr (sizeof(Element) == 4) {
        out[i] = mean;
      } else {
        out[i] = ToBF16(mean);
      }
    });
  };
  for (int64_t head = 0; head < layout.stored_heads(slot.expert); ++head) {
    const int64_t row = (head * slots + slot.slot) * d;
    const int64_t from = token * params.row_stride + head * group * d;
    append(params.key + from, keys + row);
    append(params.value + from, values + row);
  }
}

}  // namespace

void KvAppend(const KvAppendParams& params, ThreadPool& pool) {
  const int64_t elements = 2 * int64_t{params.layout.num_kv_heads} * params.layout.head_dim;
  const int64_t grain = 1 + kPieceElements / elements;
  if (params.layout.dtype == DType::kF32) {
    pool.ParallelFor(params.num_tokens, [&](int64_t token, int) { AppendToken<float>(params, token); }, grain);
  } else {
    pool.ParallelFor(params.num_tokens, [&](int64_t token, int) { AppendToken<uint16_t>(params, token); }, grain);
  }
}

}  // namespace ration::kernels::cpu
