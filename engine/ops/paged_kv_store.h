// The KvStore of a real model: the pool's bytes (KvStorage) and the kernels that work on them between steps.
// Layer: engine/ops. Used only by the engine thread.
#ifndef RATION_ENGINE_OPS_PAGED_KV_STORE_H_
#define RATION_ENGINE_OPS_PAGED_KV_STORE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/kv_cache/kv_storage.h"
#include "engine/kv_cache/kv_store.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/paged_kv_view.h"

namespace ration {

class PagedKvStore final : public KvStore {
 public:
  // `pool` must outlive the store. Errors as KvStorage::Create.
  static absl::StatusOr<std::unique_ptr<PagedKvStore>> Create(const kernels::KvLayout& layout, int64_t num_pages,
                                                              kernels::cpu::ThreadPool* pool);

  void Regroup(const RegroupMoves& moves) override;
  void CopyPages(absl::Span<const PageMove> copies) override;
  absl::Status Resize(int64_t num_pages) override { return storage_->Resize(num_pages); }

  // Where the model reads and writes; data() changes with Resize.
  KvStorage* storage() { return storage_.get(); }

 private:
  PagedKvStore(const kernels::KvLayout& layout, std::unique_ptr<KvStorage> storage, kernels::cpu::ThreadPool* pool)
      : layout_(layout), storage_(std::move(storage)), pool_(pool) {}

  const kernels::KvLayout layout_;
  const std::unique_ptr<KvStorage> storage_;
  kernels::cpu::ThreadPool* const pool_;
};

}  // namespace ration

#endif  // RATION_ENGINE_OPS_PAGED_KV_STORE_H_
