// See the header.
#include "tests/kernels/paged_fixture.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace ration::kernels {
namespace {

constexpr int32_t kGrowPages = 64;

}  // namespace

KvLayout MakeLayout(const Shape& shape, DType dtype) {
  KvLayout layout;
  layout.dtype = dtype;
  layout.num_kv_heads = shape.num_kv_heads;
  layout.head_dim = shape.head_dim;
  layout.num_experts = static_cast<int32_t>(shape.group_sizes.size());
  for (int e = 0; e < layout.num_experts; ++e) layout.group_size[e] = shape.group_sizes[e];
  // A little more than whole slots: the rest of a page is nobody's.
  layout.page_bytes = shape.base_slots * layout.bytes_per_token(0) + 4;
  for (int e = 0; e < layout.num_experts; ++e) {
    layout.slots_per_page[e] = static_cast<int32_t>(layout.page_bytes / layout.bytes_per_token(e));
  }
  return layout;
}

std::vector<int32_t> TestSequence::Counts(int num_experts, int64_t tokens) const {
  std::vector<int32_t> counts(num_experts, 0);
  for (int64_t t = 0; t < tokens; ++t) ++counts[experts[t]];
  return counts;
}

PagedKvView TestSequence::View(int num_experts, int64_t tokens) const {
  PagedKvView view;
  const std::vector<int32_t> counts = Counts(num_experts, tokens);
  for (int e = 0; e < num_experts; ++e) view.experts[e] = {pages[e].data(), counts[e]};
  return view;
}

std::vector<int32_t> TestSequence::Visible(int num_experts, int64_t first, int64_t count) const {
  std::vector<int32_t> visible;
  for (int64_t i = 0; i < count; ++i) {
    const std::vector<int32_t> counts = Counts(num_experts, first + i + 1);
    visible.insert(visible.end(), counts.begin(), counts.end());
  }
  return visible;
}

PagedFixture::PagedFixture(const Shape& shape, DType dtype, uint32_t seed)
    : shape_(shape), layout_(MakeLayout(shape, dtype)), random_(seed) {}

int32_t PagedFixture::NewPage() {
  if (free_pages_.empty()) {
    const int32_t first = static_cast<int32_t>(pool_.size() / layout_.page_bytes);
    pool_.resize(pool_.size() + kGrowPages * layout_.page_bytes, 0xff);  // all ones is a NaN in both dtypes
    free_pages_.resize(kGrowPages);
    std::iota(free_pages_.begin(), free_pages_.end(), first);
    std::shuffle(free_pages_.begin(), free_pages_.end(), random_);
  }
  const int32_t page = free_pages_.back();
  free_pages_.pop_back();
  return page;
}

int PagedFixture::AddSequence(const std::vector<int32_t>& experts) {
  TestSequence sequence;
  sequence.experts = experts;
  sequence.pages.resize(layout_.num_experts);
  std::vector<int32_t> counts(layout_.num_experts, 0);
  std::normal_distribution<float> normal;
  for (const int32_t e : experts) {
    const int32_t slots = layout_.slots_per_page[e];
    if (counts[e] % slots == 0) sequence.pages[e].push_back(NewPage());
    const KvSlot slot = {sequence.pages[e].back(), counts[e] % slots, e};
    ++counts[e];
    sequence.slots.push_back(slot);
    for (int64_t head = 0; head < layout_.stored_heads(e); ++head) {
      for (int64_t i = 0; i < layout_.head_dim; ++i) {
        const int64_t row = (head * slots + slot.slot) * layout_.head_dim + i;
        for (const int64_t element : {row, layout_.value_offset(e) + row}) {
          const float value = normal(random_);
          uint8_t* at = pool_.data() + slot.page * layout_.page_bytes + element * SizeOf(layout_.dtype);
          if (layout_.dtype == DType::kF32) {
            std::memcpy(at, &value, 4);
          } else {
            const uint16_t half = ToBF16(value);
            std::memcpy(at, &half, 2);
          }
        }
      }
    }
  }
  sequences_.push_back(sequence);
  return static_cast<int>(sequences_.size()) - 1;
}

int PagedFixture::AddRandomSequence(int64_t tokens) {
  std::vector<int32_t> experts(tokens);
  for (int32_t& e : experts) e = static_cast<int32_t>(random_() % layout_.num_experts);
  return AddSequence(experts);
}

int PagedFixture::AddSequenceWithCounts(const std::vector<int32_t>& counts) {
  std::vector<int32_t> experts;
  for (int e = 0; e < layout_.num_experts; ++e) experts.insert(experts.end(), counts[e], e);
  return AddSequence(experts);
}

float PagedFixture::Element(const KvSlot& slot, int64_t element) const {
  const uint8_t* at = pool_.data() + slot.page * layout_.page_bytes + element * SizeOf(layout_.dtype);
  if (layout_.dtype == DType::kF32) {
    float value;
    std::memcpy(&value, at, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, at, 2);
  return FromBF16(half);
}

float PagedFixture::Key(const KvSlot& slot, int64_t stored_head, int64_t i) const {
  return Element(slot, (stored_head * layout_.slots_per_page[slot.expert] + slot.slot) * layout_.head_dim + i);
}

float PagedFixture::Value(const KvSlot& slot, int64_t stored_head, int64_t i) const {
  return Element(slot, layout_.value_offset(slot.expert) +
                           (stored_head * layout_.slots_per_page[slot.expert] + slot.slot) * layout_.head_dim + i);
}

std::vector<float> PagedFixture::RandomFloats(int64_t count) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random_);
  return values;
}

}  // namespace ration::kernels
