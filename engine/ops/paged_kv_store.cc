#include "engine/ops/paged_kv_store.h"

#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "engine/base/status_macros.h"
#include "kernels/regroup.h"

namespace ration {

absl::StatusOr<std::unique_ptr<PagedKvStore>> PagedKvStore::Create(const kernels::KvLayout& layout, int64_t num_pages,
                                                                   kernels::cpu::ThreadPool* pool) {
  RATION_ASSIGN_OR_RETURN(std::unique_ptr<KvStorage> storage, KvStorage::Create(num_pages, layout.page_bytes));
  return absl::WrapUnique(new PagedKvStore(layout, std::move(storage), pool));
}

void PagedKvStore::Regroup(const RegroupMoves& moves) {
  if (moves.empty()) return;
  kernels::RegroupParams params;
  params.layout = layout_;
  params.pool = storage_->data();
  params.moves = moves.moves.data();
  params.chain_begin = moves.chain_begin.data();
  params.num_chains = static_cast<int32_t>(moves.chain_begin.size()) - 1;
  kernels::cpu::Regroup(params, *pool_);
}

void PagedKvStore::CopyPages(absl::Span<const PageMove> copies) {
  for (const PageMove& copy : copies) {
    std::memcpy(storage_->data() + copy.to * layout_.page_bytes, storage_->data() + copy.from * layout_.page_bytes,
                static_cast<size_t>(layout_.page_bytes));
  }
}

}  // namespace ration
