#include "tests/testing/fake_kv_store.h"

#include <utility>

#include "engine/base/check.h"

namespace ration::testing {

void FakeKvStore::Write(const kernels::KvSlot& slot, uint64_t mark) {
  Page& page = pages_.at(slot.page);
  // The first slot begins a page anew.
  if (slot.slot == 0) page = {slot.expert, std::vector<uint64_t>(layout_.slots_per_page[slot.expert], 0)};
  RATION_CHECK(page.expert == slot.expert && page.marks[slot.slot] == 0);
  page.marks[slot.slot] = mark;
}

uint64_t FakeKvStore::Read(const kernels::KvSlot& slot) const {
  const Page& page = pages_.at(slot.page);
  RATION_CHECK(page.expert == slot.expert && page.marks[slot.slot] != 0);
  return page.marks[slot.slot];
}

void FakeKvStore::Regroup(const RegroupMoves& moves) {
  RATION_CHECK(!moves.chain_begin.empty() && moves.chain_begin.front() == 0);
  RATION_CHECK(static_cast<size_t>(moves.chain_begin.back()) == moves.moves.size());
  for (const kernels::RegroupMove& move : moves.moves) {
    std::vector<uint64_t> marks;
    for (int32_t i = 0; i < move.count; ++i) marks.push_back(Read({move.from_page, move.from_slot + i, move.from_expert}));
    RATION_CHECK(move.from_page != move.to_page || move.to_slot == 0);
    for (int32_t i = 0; i < move.count; ++i) Write({move.to_page, move.to_slot + i, move.to_expert}, marks[i]);
    tokens_regrouped_ += move.count;
  }
}

void FakeKvStore::CopyPages(absl::Span<const PageMove> copies) {
  for (const PageMove& copy : copies) {
    pages_.at(copy.to) = pages_.at(copy.from);
    pages_.at(copy.from) = {};
  }
}

absl::Status FakeKvStore::Resize(int64_t num_pages) {
  if (num_pages > this->num_pages() && std::exchange(refuse_growth_, false)) {
    return absl::ResourceExhaustedError("the test refuses more memory");
  }
  pages_.resize(num_pages);
  return absl::OkStatus();
}

}  // namespace ration::testing
