#include "engine/sampling/counter_rng.h"

#include <cmath>
#include <cstdint>

#include "gtest/gtest.h"

namespace ration {
namespace {

// Known answers published with the authors' Random123 library (kat_vectors, philox4x32 10).
TEST(CounterRngTest, PhiloxGivesThePublishedAnswers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(CounterRngTest, UniformUsesAllBitsOfSeedAndPosition) {
  const double base = UniformAt(7, 11);
  for (int bit = 0; bit < 64; ++bit) {
    EXPECT_NE(UniformAt(7 ^ (uint64_t{1} << bit), 11), base) << "seed bit " << bit;
    EXPECT_NE(UniformAt(7, 11 ^ (uint64_t{1} << bit)), base) << "position bit " << bit;
  }
}

TEST(CounterRngTest, UniformFillsTheUnitIntervalEvenly) {
  constexpr int kBins = 64;
  constexpr int kDraws = 64000;
  int counts[kBins] = {};
  double sum_of_products = 0;  // of neighbours, centred: must vanish if positions are independent
  double previous = 0.5;
  for (int position = 0; position < kDraws; ++position) {
    const double u = UniformAt(123, position);
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    ++counts[static_cast<int>(u * kBins)];
    sum_of_products += (u - 0.5) * (previous - 0.5);
    previous = u;
  }
  double chi_square = 0;
  const double expected = static_cast<double>(kDraws) / kBins;
  for (int count : counts) chi_square += (count - expected) * (count - expected) / expected;
  EXPECT_LT(chi_square, 63 + 5 * std::sqrt(2.0 * 63));
  EXPECT_LT(std::abs(sum_of_products), 5 * std::sqrt(kDraws / 144.0));  // five standard deviations
}

}  // namespace
}  // namespace ration
