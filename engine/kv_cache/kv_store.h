// What the engine does to the bytes of the KV cache between steps: regroup tokens, move pages, change how many there are. The engine
// core decides and keeps the books (KvCacheManager); whoever implements this has the bytes (engine/ops/paged_kv_store; fakes in tests).
// Layer: engine/kv_cache. Used only by the engine thread, between steps.
#ifndef RATION_ENGINE_KV_CACHE_KV_STORE_H_
#define RATION_ENGINE_KV_CACHE_KV_STORE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "engine/kv_cache/page_pool.h"
#include "kernels/regroup.h"

namespace ration {

// Moves of cached tokens to cheaper experts: those of one chain in order, different chains touch different pages.
struct RegroupMoves {
  std::vector<kernels::RegroupMove> moves;
  std::vector<int32_t> chain_begin;  // [chains + 1] once CloseChain was called for each

  void Clear() {
    moves.clear();
    chain_begin.clear();
  }
  bool empty() const { return moves.empty(); }
  // What was added to `moves` since the last call is one chain; nothing added: none.
  void CloseChain() {
    if (chain_begin.empty()) chain_begin.push_back(0);
    if (static_cast<size_t>(chain_begin.back()) < moves.size()) chain_begin.push_back(static_cast<int32_t>(moves.size()));
  }
};

class KvStore {
 public:
  virtual ~KvStore() = default;

  virtual void Regroup(const RegroupMoves& moves) = 0;
  // REQUIRES: no page is named twice.
  virtual void CopyPages(absl::Span<const PageMove> copies) = 0;
  // Pages in both sizes keep their bytes; memory of those that go is given back. ResourceExhausted (and nothing changed) if more is
  // refused.
  virtual absl::Status Resize(int64_t num_pages) = 0;
};

}  // namespace ration

#endif  // RATION_ENGINE_KV_CACHE_KV_STORE_H_
