// Weight memory: pieces are aligned, zeroed, apart from each other, and stay valid whatever happens to their
// neighbours.
#include "engine/ops/weight_memory.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace ration {
namespace {

WeightMemory MustAllocate(int64_t num_bytes) {
  auto memory = WeightMemory::Allocate(num_bytes);
  EXPECT_TRUE(memory.ok()) << memory.status();
  return *std::move(memory);
}

TEST(WeightMemoryTest, PiecesAreAlignedZeroedAndApart) {
  // Small ones share a chunk, the last two are too large for that; together the small ones need a second chunk.
  const std::vector<int64_t> sizes = {1,       63, 64, 65, 4096, (20 << 20) + 1, 30 << 20, 25 << 20, 3, (33 << 20) + 5,
                                      70 << 20};
  std::vector<WeightMemory> pieces;
  std::vector<std::pair<uintptr_t, uintptr_t>> ranges;
  for (int64_t size : sizes) {
    pieces.push_back(MustAllocate(size));
    const uint8_t* data = pieces.back().data();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0u);
    EXPECT_EQ(data[0], 0);
    EXPECT_EQ(data[size / 2], 0);
    EXPECT_EQ(data[size - 1], 0);
    ranges.emplace_back(reinterpret_cast<uintptr_t>(data), reinterpret_cast<uintptr_t>(data) + size);
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i) EXPECT_LE(ranges[i - 1].second, ranges[i].first);
}

TEST(WeightMemoryTest, APieceOutlivesItsNeighboursAndMoves) {
  std::optional<WeightMemory> first = MustAllocate(1000);
  WeightMemory second = MustAllocate(1000);
  std::memset(first->data(), 1, 1000);
  std::memset(second.data(), 2, 1000);
  uint8_t* const data = second.data();
  first.reset();
  const WeightMemory moved = std::move(second);
  EXPECT_EQ(moved.data(), data);
  EXPECT_EQ(data[0], 2);
  EXPECT_EQ(data[999], 2);
}

TEST(WeightMemoryTest, RefusesWhatTheSystemDoesNotHave) {
  EXPECT_EQ(WeightMemory::Allocate(int64_t{1} << 60).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace ration
