#include "engine/kv_cache/kv_cache_manager.h"

#include <cstring>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "engine/kv_cache/kv_storage.h"

namespace ration {
namespace {

using kernels::KvSlot;

// Two layers, three experts with 1, 2 and 4 slots a page.
KvCacheSpec SmallSpec() {
  KvCacheSpec::Options options;
  options.num_layers = 2;
  options.num_kv_heads = 4;
  options.head_dim = 8;
  options.experts = *ExpertSpec::Create({1, 2, 4}, 4);
  options.page_bytes = 256;
  return *KvCacheSpec::Create(options);
}

std::vector<KvSlot> Append(KvCacheManager& manager, SequenceKv& sequence, int64_t layer,
                           const std::vector<uint8_t>& experts) {
  std::vector<KvSlot> slots(experts.size());
  manager.Append(sequence, layer, 0, experts, {}, absl::MakeSpan(slots));
  return slots;
}

TEST(KvCacheManager, GivesSlotsInOrderAndANewPageWhenTheTailIsFull) {
  KvCacheManager manager(SmallSpec(), 20);
  auto sequence = manager.NewSequence();
  const std::vector<KvSlot> slots = Append(manager, *sequence, 1, {1, 0, 1, 1, 2, 0});
  const auto expect = [&](size_t i, int32_t slot, int32_t expert) {
    EXPECT_EQ(slots[i].slot, slot) << i;
    EXPECT_EQ(slots[i].expert, expert) << i;
  };
  expect(0, 0, 1);
  expect(1, 0, 0);
  expect(2, 1, 1);
  expect(3, 0, 1);
  expect(4, 0, 2);
  expect(5, 0, 0);
  EXPECT_EQ(slots[0].page, slots[2].page);
  EXPECT_NE(slots[0].page, slots[3].page);
  EXPECT_EQ(sequence->pages_held(), 5);  // two at expert 0, two at 1, one at 2
  EXPECT_EQ(manager.used_pages(), 5);
  EXPECT_EQ(sequence->num_tokens(1, 1), 3);
  EXPECT_EQ(sequence->num_tokens(0, 1), 0);

  const kernels::PagedKvView view = sequence->View(1);
  EXPECT_EQ(view.experts[1].num_slots, 3);
  EXPECT_EQ(view.experts[1].pages[0], slots[0].page);
  EXPECT_EQ(view.experts[1].pages[1], slots[3].page);
  EXPECT_EQ(sequence->View(0).experts[1].num_slots, 0);

  // A later step goes on in the tail.
  const std::vector<KvSlot> more = Append(manager, *sequence, 1, {1, 2});
  EXPECT_EQ(more[0].page, slots[3].page);
  EXPECT_EQ(more[0].slot, 1);
  EXPECT_EQ(more[1].page, slots[4].page);
  EXPECT_EQ(more[1].slot, 1);
  EXPECT_EQ(manager.used_pages(), 5);
  manager.CheckInvariants();
}

TEST(KvCacheManager, CountsTokensAndWaste) {
  const KvCacheSpec spec = SmallSpec();
  KvCacheManager manager(spec, 20);
  auto a = manager.NewSequence();
  auto b = manager.NewSequence();
  Append(manager, *a, 0, {0, 2});
  Append(manager, *a, 1, {2, 2});
  Append(manager, *b, 0, {1});
  EXPECT_EQ(manager.num_token_layers(0), 1);
  EXPECT_EQ(manager.num_token_layers(1), 1);
  EXPECT_EQ(manager.num_token_layers(2), 3);
  EXPECT_EQ(a->num_token_layers(2), 3);
  EXPECT_EQ(manager.used_bytes(), 4 * 256);
  EXPECT_EQ(manager.waste_bytes(), 4 * 256 - 256 - 128 - 3 * 64);
  a.reset();
  EXPECT_EQ(manager.num_token_layers(2), 0);
  EXPECT_EQ(manager.used_pages(), 1);
  manager.CheckInvariants();
  b.reset();
  EXPECT_EQ(manager.used_pages(), 0);
  EXPECT_EQ(manager.waste_bytes(), 0);
}

TEST(KvCacheManagerDeathTest, AnAppendBeyondThePoolDies) {
  KvCacheManager manager(SmallSpec(), 2);
  auto sequence = manager.NewSequence();
  Append(manager, *sequence, 0, {0, 0});
  EXPECT_DEATH(Append(manager, *sequence, 0, {0}), "TryAllocate");
  EXPECT_DEATH(Append(manager, *sequence, 2, {0}), "layer");
  EXPECT_DEATH(Append(manager, *sequence, 0, {3}), "num_experts");
}

// Every token's bytes are filled with a mark of its own; at the end, and whenever a sequence goes, all marks must be
// intact: no two live tokens share a byte, and no view points at a wrong place.
TEST(KvCacheManager, NoTokenOverwritesAnother) {
  const KvCacheSpec spec = SmallSpec();
  const kernels::KvLayout& layout = spec.layout();
  constexpr int64_t kPages = 120;
  KvCacheManager manager(spec, kPages);
  const auto storage = *KvStorage::Create(kPages, spec.page_bytes());
  std::mt19937 random(9);

  struct Live {
    std::unique_ptr<SequenceKv> kv;
    int64_t limit = 0;  // pages
    std::vector<std::vector<uint32_t>> marks;  // [layer * experts + expert][token]
  };
  std::vector<Live> live;
  uint32_t next_mark = 1;
  const auto key = [&](int32_t page, int32_t slot, int32_t expert, int64_t head) {
    return storage->data() + page * layout.page_bytes +
           (head * layout.slots_per_page[expert] + slot) * int64_t{layout.head_dim} * 4;
  };
  const auto check = [&](const Live& sequence) {
    for (int64_t layer = 0; layer < 2; ++layer) {
      const kernels::PagedKvView view = sequence.kv->View(layer);
      for (int e = 0; e < 3; ++e) {
        const std::vector<uint32_t>& marks = sequence.marks[layer * 3 + e];
        ASSERT_EQ(view.experts[e].num_slots, static_cast<int32_t>(marks.size()));
        for (size_t t = 0; t < marks.size(); ++t) {
          const int32_t slots = layout.slots_per_page[e];
          const int32_t page = view.experts[e].pages[t / slots];
          for (int64_t head = 0; head < layout.stored_heads(e); ++head) {
            for (int64_t value = 0; value < 2; ++value) {
              const uint8_t* at =
                  key(page, static_cast<int32_t>(t % slots), e, head) + value * layout.value_offset(e) * 4;
              for (int64_t d = 0; d < layout.head_dim; ++d) {
                uint32_t found;
                std::memcpy(&found, at + 4 * d, 4);
                ASSERT_EQ(found, marks[t]);
              }
            }
          }
        }
      }
    }
  };
  for (int step = 0; step < 4000; ++step) {
    if (random() % 6 == 0 || live.empty()) {
      const int64_t limit = 4 + static_cast<int64_t>(random() % 40);
      live.push_back({manager.NewSequence(), limit, std::vector<std::vector<uint32_t>>(6)});
    }
    if (live.empty()) continue;
    Live& sequence = live[random() % live.size()];
    const int64_t layer = static_cast<int64_t>(random() % 2);
    std::vector<uint8_t> experts;
    for (uint32_t i = random() % 5; i > 0; --i) experts.push_back(static_cast<uint8_t>(random() % 3));
    const int64_t most = static_cast<int64_t>(experts.size());
    if (sequence.kv->pages_held() + most <= sequence.limit && most <= manager.free_pages()) {
      const std::vector<KvSlot> slots = Append(manager, *sequence.kv, layer, experts);
      for (const KvSlot& slot : slots) {
        const uint32_t mark = next_mark++;
        sequence.marks[layer * 3 + slot.expert].push_back(mark);
        for (int64_t head = 0; head < layout.stored_heads(slot.expert); ++head) {
          for (int64_t value = 0; value < 2; ++value) {
            uint8_t* at = key(slot.page, slot.slot, slot.expert, head) + value * layout.value_offset(slot.expert) * 4;
            for (int64_t d = 0; d < layout.head_dim; ++d) std::memcpy(at + 4 * d, &mark, 4);
          }
        }
      }
    } else {
      check(sequence);
      std::swap(sequence, live.back());
      live.pop_back();
    }
    manager.CheckInvariants();
  }
  for (const Live& sequence : live) check(sequence);
  live.clear();
  EXPECT_EQ(manager.used_pages(), 0);
}

}  // namespace
}  // namespace ration
