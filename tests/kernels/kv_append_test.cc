// Grouped append against the reference: what is stored, and that nothing else in the pool changes.
#include "kernels/kv_append.h"

#include <cmath>
#include <cstring>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/cpu/thread_pool.h"
#include "tests/kernels/paged_fixture.h"

namespace ration::kernels {
namespace {

constexpr uint8_t kCanary = 0xa5;

const std::vector<Shape>& Shapes() {
  static const std::vector<Shape> shapes = {
      {8, 8, 8, {1, 2, 4}, 5},    {4, 4, 16, {1, 2, 4}, 8},      {3, 3, 24, {1, 3}, 3},   {1, 1, 64, {1}, 16},
      {8, 8, 64, {1, 2, 4, 8}, 7}, {4, 4, 80, {1, 2, 4}, 5},      {4, 4, 128, {1, 2}, 1}, {6, 6, 7, {1, 2, 3, 6}, 9},
  };
  return shapes;
}

// Every slot of `pages` pages of each expert, in random order; [tokens].
std::vector<KvSlot> AllSlots(const KvLayout& layout, int pages, std::mt19937& random) {
  std::vector<KvSlot> slots;
  for (int e = 0; e < layout.num_experts; ++e) {
    for (int page = 0; page < pages; ++page) {
      for (int slot = 0; slot < layout.slots_per_page[e]; ++slot) slots.push_back({e * pages + page, slot, e});
    }
  }
  std::shuffle(slots.begin(), slots.end(), random);
  return slots;
}

struct Appended {
  std::vector<uint8_t> pool;
  std::vector<bool> owned;  // [bytes] belongs to a slot that was appended
};

std::vector<bool> OwnedBytes(const KvLayout& layout, const std::vector<KvSlot>& slots, size_t pool_bytes) {
  std::vector<bool> owned(pool_bytes, false);
  const int64_t bytes = layout.head_dim * SizeOf(layout.dtype);
  for (const KvSlot& slot : slots) {
    for (int64_t head = 0; head < layout.stored_heads(slot.expert); ++head) {
      const int64_t row = (head * layout.slots_per_page[slot.expert] + slot.slot) * bytes;
      for (const int64_t part : {int64_t{0}, layout.value_offset(slot.expert) * SizeOf(layout.dtype)}) {
        for (int64_t i = 0; i < bytes; ++i) owned[slot.page * layout.page_bytes + part + row + i] = true;
      }
    }
  }
  return owned;
}

class KvAppendTest : public testing::TestWithParam<std::tuple<DType, int>> {};

TEST_P(KvAppendTest, StoresTheGroupMeansAndTouchesNothingElse) {
  const DType dtype = std::get<0>(GetParam());
  cpu::ThreadPool threads(std::get<1>(GetParam()));
  for (const Shape& shape : Shapes()) {
    const KvLayout layout = MakeLayout(shape, dtype);
    std::mt19937 random(5);
    constexpr int kPages = 3;
    std::vector<KvSlot> slots = AllSlots(layout, kPages, random);
    slots.resize(slots.size() * 2 / 3);  // the others keep their bytes
    const int64_t width = int64_t{shape.num_kv_heads} * shape.head_dim;
    const int64_t stride = width + 5;
    std::vector<float> key(slots.size() * stride);
    std::vector<float> value(slots.size() * stride);
    std::normal_distribution<float> normal;
    for (float& x : key) x = normal(random);
    for (float& x : value) x = normal(random);

    const size_t pool_bytes = kPages * layout.num_experts * layout.page_bytes;
    std::vector<uint8_t> expected(pool_bytes, kCanary);
    std::vector<uint8_t> actual(pool_bytes, kCanary);
    KvAppendParams params;
    params.layout = layout;
    params.key = key.data();
    params.value = value.data();
    params.row_stride = stride;
    params.slots = slots.data();
    params.num_tokens = static_cast<int32_t>(slots.size());
    params.pool = expected.data();
    reference::KvAppend(params);
    params.pool = actual.data();
    cpu::KvAppend(params, threads);

    const std::vector<bool> owned = OwnedBytes(layout, slots, pool_bytes);
    for (size_t i = 0; i < pool_bytes; ++i) {
      if (owned[i]) continue;
      ASSERT_EQ(expected[i], kCanary) << "reference, byte " << i;
      ASSERT_EQ(actual[i], kCanary) << "byte " << i;
    }
    // A mean of g float32 values is off by at most g ulps of the largest partial sum, below g * 8 * 2^-23 for these inputs
    // (|x| < 8); rounding to bfloat16 may then go the other way, one ulp or 2^-7 of the value.
    for (size_t i = 0; i + SizeOf(dtype) <= pool_bytes; i += SizeOf(dtype)) {
      if (!owned[i]) continue;
      float want;
      float got;
      if (dtype == DType::kF32) {
        std::memcpy(&want, &expected[i], 4);
        std::memcpy(&got, &actual[i], 4);
      } else {
        uint16_t half;
        std::memcpy(&half, &expected[i], 2);
        want = FromBF16(half);
        std::memcpy(&half, &actual[i], 2);
        got = FromBF16(half);
      }
      const float rounding = dtype == DType::kF32 ? 0.0f : std::abs(want) / 128;
      ASSERT_NEAR(want, got, 8 * 8 * std::ldexp(1.0f, -23) + rounding) << "byte " << i;
    }
  }
}

TEST_P(KvAppendTest, AGroupOfOneStoresTheTokenItself) {
  const DType dtype = std::get<0>(GetParam());
  cpu::ThreadPool threads(std::get<1>(GetParam()));
  const KvLayout layout = MakeLayout({2, 2, 16, {1, 2}, 4}, dtype);
  std::vector<uint8_t> pool(2 * layout.page_bytes, kCanary);
  std::vector<float> key(32);
  std::vector<float> value(32);
  for (int i = 0; i < 32; ++i) {
    key[i] = static_cast<float>(i) * 0.25f;  // exact in both dtypes
    value[i] = -static_cast<float>(i) * 0.5f;
  }
  const KvSlot slot = {1, 2, 0};
  KvAppendParams params;
  params.layout = layout;
  params.pool = pool.data();
  params.key = key.data();
  params.value = value.data();
  params.row_stride = 32;
  params.slots = &slot;
  params.num_tokens = 1;
  cpu::KvAppend(params, threads);
  for (int64_t head = 0; head < 2; ++head) {
    for (int64_t i = 0; i < 16; ++i) {
      const int64_t row = (head * layout.slots_per_page[0] + 2) * 16 + i;
      const auto load = [&](int64_t element) {
        const uint8_t* at = &pool[layout.page_bytes + element * SizeOf(dtype)];
        if (dtype == DType::kF32) {
          float x;
          std::memcpy(&x, at, 4);
          return x;
        }
        uint16_t half;
        std::memcpy(&half, at, 2);
        return FromBF16(half);
      };
      EXPECT_EQ(load(row), key[head * 16 + i]);
      EXPECT_EQ(load(layout.value_offset(0) + row), value[head * 16 + i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, KvAppendTest,
                         testing::Combine(testing::Values(DType::kF32, DType::kBF16), testing::Values(1, 2, 3)));

}  // namespace
}  // namespace ration::kernels
