// A small pool with sequences in it, for the tests of kernels that read or write pages. Every byte that no token owns is a NaN,
// so a kernel that reads a slot it must not see gives itself away.
// Layer: tests. Thread-compatible.
#ifndef RATION_TESTS_KERNELS_PAGED_FIXTURE_H_
#define RATION_TESTS_KERNELS_PAGED_FIXTURE_H_

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/attention.h"
#include "kernels/paged_kv_view.h"

namespace ration::kernels {

struct Shape {
  int32_t num_query_heads;
  int32_t num_kv_heads;
  int32_t head_dim;
  std::vector<int32_t> group_sizes;
  int32_t base_slots;  // slots of an expert-0 page
};

KvLayout MakeLayout(const Shape& shape, DType dtype);

// One sequence: its pages, and the tokens' experts in order of position.
struct TestSequence {
  std::vector<std::vector<int32_t>> pages;  // [experts][pages]
  std::vector<int32_t> experts;             // [tokens]
  std::vector<KvSlot> slots;                // [tokens]

  // Slots of each expert among the first `tokens` tokens.
  std::vector<int32_t> Counts(int num_experts, int64_t tokens) const;
  PagedKvView View(int num_experts, int64_t tokens) const;
  // What query rows first .. first + count - 1 see if row i sees tokens 0 .. i.
  std::vector<int32_t> Visible(int num_experts, int64_t first, int64_t count) const;
};

class PagedFixture {
 public:
  PagedFixture(const Shape& shape, DType dtype, uint32_t seed);

  const Shape& shape() const { return shape_; }
  const KvLayout& layout() const { return layout_; }
  uint8_t* pool() { return pool_.data(); }
  std::mt19937& random() { return random_; }

  // Adds a sequence with one token an entry of `experts`, with random keys and values. Pages lie in no particular order.
  int AddSequence(const std::vector<int32_t>& experts);
  // Tokens drawn over all experts.
  int AddRandomSequence(int64_t tokens);
  // counts[e] tokens of expert e, all those of expert 0 first.
  int AddSequenceWithCounts(const std::vector<int32_t>& counts);
  const TestSequence& sequence(int s) const { return sequences_[s]; }

  // Component i of what the cache holds for a token.
  float Key(const KvSlot& slot, int64_t stored_head, int64_t i) const;
  float Value(const KvSlot& slot, int64_t stored_head, int64_t i) const;

  std::vector<float> RandomFloats(int64_t count);

 private:
  int32_t NewPage();
  float Element(const KvSlot& slot, int64_t element) const;

  const Shape shape_;
  const KvLayout layout_;
  std::mt19937 random_;
  std::vector<uint8_t> pool_;
  std::vector<int32_t> free_pages_;
  std::vector<TestSequence> sequences_;
};

}  // namespace ration::kernels

#endif  // RATION_TESTS_KERNELS_PAGED_FIXTURE_H_
