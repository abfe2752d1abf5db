// Regroup against the reference, at every instruction level: what is stored, that nothing else in the pool changes, and that a cache
// regrouped to an expert equals one whose tokens were appended there.
#include "kernels/regroup.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cpu/cpu_level.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/kv_append.h"
#include "tests/kernels/paged_fixture.h"

namespace ration::kernels {
namespace {

using cpu::CpuLevel;

const std::vector<Shape>& Shapes() {
  static const std::vector<Shape> shapes = {
      {8, 8, 8, {1, 2, 4}, 5},    {4, 4, 16, {1, 2, 4}, 8}, {3, 3, 24, {1, 3}, 3},      {8, 8, 64, {1, 2, 4, 8}, 7},
      {4, 4, 80, {1, 2, 4}, 5},   {4, 4, 128, {1, 2}, 1},   {6, 6, 7, {1, 2, 3, 6}, 9}, {8, 8, 5, {1, 8}, 2},
  };
  return shapes;
}

float Element(const std::vector<uint8_t>& pool, int64_t byte, DType dtype) {
  if (dtype == DType::kF32) {
    float x;
    std::memcpy(&x, &pool[byte], 4);
    return x;
  }
  uint16_t half;
  std::memcpy(&half, &pool[byte], 2);
  return FromBF16(half);
}

// One sequence and layer whose tokens move to a cheaper expert the way the cache does it: page after page into the free slots of the
// target's tail, the rest staying in the page, which becomes the tail.
struct Chain {
  std::vector<int32_t> pages;     // of the target expert, in order
  std::vector<KvSlot> source;     // [tokens] where each token is before
  std::vector<KvSlot> target;     // [tokens] and after
  std::vector<RegroupMove> moves;
};

// `source_pages` pages of expert `from` from page id `first_page` on, the last with `in_last` tokens.
Chain MakeChain(const KvLayout& layout, int from, int to, int first_page, int source_pages, int in_last) {
  Chain chain;
  const int32_t slots = layout.slots_per_page[from], target_slots = layout.slots_per_page[to];
  int32_t held = 0;  // tokens of the target so far
  for (int p = 0; p < source_pages; ++p) {
    const int32_t page = first_page + p, count = p + 1 < source_pages ? slots : in_last;
    const int32_t used = held % target_slots;
    const int32_t into_tail = used == 0 ? 0 : std::min(count, target_slots - used);
    const auto move = [&](int32_t to_page, int32_t from_slot, int32_t to_slot, int32_t tokens) {
      if (tokens == 0) return;
      chain.moves.push_back({page, to_page, from_slot, to_slot, tokens, static_cast<int16_t>(from), static_cast<int16_t>(to)});
      for (int32_t i = 0; i < tokens; ++i) {
        chain.source.push_back({page, from_slot + i, from});
        chain.target.push_back({to_page, to_slot + i, to});
      }
    };
    if (into_tail > 0) move(chain.pages.back(), 0, used, into_tail);
    if (into_tail < count) {
      chain.pages.push_back(page);
      move(page, into_tail, 0, count - into_tail);
    }
    held += count;
  }
  return chain;
}

class RegroupTest : public testing::TestWithParam<std::tuple<int, DType>> {
 protected:
  void SetUp() override {
    const auto level = static_cast<CpuLevel>(std::get<0>(GetParam()));
    if (level > cpu::DetectedCpuLevel()) GTEST_SKIP() << "this processor has no " << Name(level);
    cpu::SetCpuLevelForTesting(level);
  }
  void TearDown() override { cpu::SetCpuLevelForTesting(cpu::DetectedCpuLevel()); }

  DType dtype() const { return std::get<1>(GetParam()); }
  // A pool of random values, rounded to the dtype.
  std::vector<uint8_t> RandomPool(const KvLayout& layout, int64_t pages) {
    std::vector<uint8_t> pool(pages * layout.page_bytes);
    std::normal_distribution<float> normal;
    for (size_t i = 0; i + SizeOf(dtype()) <= pool.size(); i += SizeOf(dtype())) {
      const float x = normal(random_);
      const uint16_t half = ToBF16(x);
      std::memcpy(&pool[i], dtype() == DType::kF32 ? static_cast<const void*>(&x) : &half, SizeOf(dtype()));
    }
    return pool;
  }
  static RegroupParams Params(const KvLayout& layout, std::vector<uint8_t>& pool, const std::vector<RegroupMove>& moves,
                              const std::vector<int32_t>& begin) {
    RegroupParams params;
    params.layout = layout;
    params.pool = pool.data();
    params.moves = moves.data();
    params.chain_begin = begin.data();
    params.num_chains = static_cast<int32_t>(begin.size()) - 1;
    return params;
  }

  std::mt19937 random_{11};
};

TEST_P(RegroupTest, EqualsTheReferenceAndTouchesNothingElse) {
  for (const Shape& shape : Shapes()) {
    const KvLayout layout = MakeLayout(shape, dtype());
    std::vector<RegroupMove> moves;
    std::vector<int32_t> begin = {0};
    std::vector<KvSlot> written;
    std::vector<bool> source_page;
    int pages = 0;
    for (int from = 0; from + 1 < layout.num_experts; ++from) {
      for (int to = from + 1; to < layout.num_experts; ++to) {
        for (int source_pages : {1, 2, 6}) {
          for (int in_last = 1; in_last <= layout.slots_per_page[from]; in_last += 2) {
            const Chain chain = MakeChain(layout, from, to, pages, source_pages, in_last);
            pages += source_pages + 1;  // one between chains that nobody may touch
            moves.insert(moves.end(), chain.moves.begin(), chain.moves.end());
            begin.push_back(static_cast<int32_t>(moves.size()));
            written.insert(written.end(), chain.target.begin(), chain.target.end());
            source_page.resize(pages, true);
            source_page.back() = false;
          }
        }
      }
    }
    const std::vector<uint8_t> before = RandomPool(layout, pages);
    std::vector<uint8_t> expected = before;
    reference::Regroup(Params(layout, expected, moves, begin));
    for (int threads : {1, 3}) {
      cpu::ThreadPool pool(threads);
      std::vector<uint8_t> actual = before;
      cpu::Regroup(Params(layout, actual, moves, begin), pool);
      for (const KvSlot& slot : written) {
        for (int64_t head = 0; head < layout.stored_heads(slot.expert); ++head) {
          for (int64_t i = 0; i < layout.head_dim; ++i) {
            const int64_t row = (head * layout.slots_per_page[slot.expert] + slot.slot) * layout.head_dim + i;
            for (const int64_t element : {row, layout.value_offset(slot.expert) + row}) {
              const int64_t byte = slot.page * layout.page_bytes + element * SizeOf(dtype());
              // Eight float32 additions below 8 in size; rounding to bfloat16 may then go the other way.
              const float want = Element(expected, byte, dtype());
              const float rounding = dtype() == DType::kF32 ? 0.0f : std::abs(want) / 128;
              ASSERT_NEAR(want, Element(actual, byte, dtype()), 64 * std::ldexp(1.0f, -23) + rounding);
            }
          }
        }
      }
      for (int page = 0; page < pages; ++page) {
        if (source_page[page]) continue;
        ASSERT_EQ(std::memcmp(&before[page * layout.page_bytes], &actual[page * layout.page_bytes], layout.page_bytes), 0);
      }
    }
  }
}

TEST_P(RegroupTest, EqualsAppendingThereAtFirstAndStepsEqualOneJump) {
  const Shape shape = {8, 8, 16, {1, 2, 4}, 4};
  const KvLayout layout = MakeLayout(shape, dtype());
  constexpr int kPages = 6;
  const int64_t tokens = (kPages - 1) * layout.slots_per_page[0] + 3, width = 8 * 16;
  std::vector<float> key(tokens * width), value(tokens * width);
  std::normal_distribution<float> normal;
  for (float& x : key) x = normal(random_);
  for (float& x : value) x = normal(random_);
  const auto append = [&](std::vector<uint8_t>& pool, const std::vector<KvSlot>& slots) {
    KvAppendParams params;
    params.layout = layout;
    params.pool = pool.data();
    params.key = key.data();
    params.value = value.data();
    params.row_stride = width;
    params.slots = slots.data();
    params.num_tokens = static_cast<int32_t>(slots.size());
    reference::KvAppend(params);
  };
  const Chain jump = MakeChain(layout, 0, 2, 0, kPages, 3);
  const Chain half = MakeChain(layout, 0, 1, 0, kPages, 3);
  std::vector<uint8_t> there(kPages * layout.page_bytes), jumped = there, stepped = there;
  append(there, jump.target);
  append(jumped, jump.source);
  append(stepped, half.source);

  cpu::ThreadPool pool(2);
  cpu::Regroup(Params(layout, jumped, jump.moves, {0, static_cast<int32_t>(jump.moves.size())}), pool);
  cpu::Regroup(Params(layout, stepped, half.moves, {0, static_cast<int32_t>(half.moves.size())}), pool);
  // The second step takes the first one's pages as they lie; which token is where is followed slot by slot.
  std::vector<RegroupMove> moves;
  std::vector<KvSlot> slots(tokens);
  int32_t held = 0;
  std::vector<int32_t> pages;
  for (int64_t first = 0; first < tokens;) {
    int64_t end = first;
    while (end < tokens && half.target[end].page == half.target[first].page) ++end;
    const int32_t page = half.target[first].page, count = static_cast<int32_t>(end - first);
    const int32_t used = held % layout.slots_per_page[2];
    const int32_t into_tail = used == 0 ? 0 : std::min(count, layout.slots_per_page[2] - used);
    if (into_tail > 0) moves.push_back({page, pages.back(), 0, used, into_tail, 1, 2});
    for (int32_t i = 0; i < into_tail; ++i) slots[first + i] = {pages.back(), used + i, 2};
    if (into_tail < count) {
      moves.push_back({page, page, into_tail, 0, count - into_tail, 1, 2});
      pages.push_back(page);
      for (int32_t i = into_tail; i < count; ++i) slots[first + i] = {page, i - into_tail, 2};
    }
    held += count;
    first = end;
  }
  cpu::Regroup(Params(layout, stepped, moves, {0, static_cast<int32_t>(moves.size())}), pool);

  // Each rounding to the dtype is worth half an ulp of a value below 4: once for appending, once for each regrouping.
  const float tolerance = dtype() == DType::kF32 ? 1e-6f : 3 * 4 / 256.0f;
  float largest = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t head = 0; head < layout.stored_heads(2); ++head) {
      for (int64_t i = 0; i < 2 * 16; ++i) {
        const auto at = [&](const std::vector<uint8_t>& bytes, const KvSlot& slot) {
          const int64_t row = (head * layout.slots_per_page[2] + slot.slot) * 16 + i % 16;
          const int64_t element = i < 16 ? row : layout.value_offset(2) + row;
          return Element(bytes, slot.page * layout.page_bytes + element * SizeOf(dtype()), dtype());
        };
        const float want = at(there, jump.target[t]);
        largest = std::max(largest, std::abs(want));
        ASSERT_NEAR(at(jumped, jump.target[t]), want, tolerance) << t;
        ASSERT_NEAR(at(stepped, slots[t]), want, tolerance) << t;
      }
    }
  }
  EXPECT_GT(largest, 0.5f);
}

TEST_P(RegroupTest, NoChainsDoNothing) {
  cpu::ThreadPool pool(2);
  RegroupParams params;
  params.layout = MakeLayout({2, 2, 16, {1, 2}, 4}, dtype());
  cpu::Regroup(params, pool);
  reference::Regroup(params);
}

INSTANTIATE_TEST_SUITE_P(Levels, RegroupTest,
                         testing::Combine(testing::Range(0, cpu::kNumCpuLevels),
                                          testing::Values(DType::kF32, DType::kBF16)),
                         [](const auto& info) {
                           return std::string(Name(static_cast<CpuLevel>(std::get<0>(info.param)))) + "_" +
                                  Name(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace ration::kernels
