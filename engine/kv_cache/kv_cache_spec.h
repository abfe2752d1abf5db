// The geometry of a model's KV cache: experts, page size, bytes per token, and how many pages a sequence can come to need.
// Layer: engine/kv_cache. Value type, immutable.
#ifndef RATION_ENGINE_KV_CACHE_KV_CACHE_SPEC_H_
#define RATION_ENGINE_KV_CACHE_KV_CACHE_SPEC_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/router/decode_router.h"
#include "engine/router/expert_spec.h"
#include "kernels/paged_kv_view.h"

namespace ration {

class KvCacheSpec {
 public:
  struct Options {
    int64_t num_layers = 0;
    int64_t num_kv_heads = 0;
    int64_t head_dim = 0;
    kernels::DType dtype = kernels::DType::kF32;
    ExpertSpec experts;
    // Sliding window of each layer, tokens; 0: the layer sees everything. Empty: all see everything. [num_layers] or [].
    std::vector<int64_t> windows;
    // 0 chooses: room for 8 tokens of the largest expert, which keeps tail waste under 4 % of the bytes in use on
    // conversation-like lengths (docs/kv_cache.md). Otherwise > 0, a multiple of 64, with room for a token of every expert.
    int64_t page_bytes = 0;
  };
  // InvalidArgument names the option, the limit and the value.
  static absl::StatusOr<KvCacheSpec> Create(const Options& options);

  const kernels::KvLayout& layout() const { return layout_; }
  const ExpertSpec& experts() const { return experts_; }
  int num_experts() const { return layout_.num_experts; }
  int64_t num_layers() const { return num_layers_; }
  int64_t page_bytes() const { return layout_.page_bytes; }
  // One token at one expert, in one layer and in all layers.
  int64_t bytes_per_token_layer(int expert) const { return layout_.bytes_per_token(expert); }
  int64_t bytes_per_token(int expert) const { return layout_.bytes_per_token(expert) * num_layers_; }
  int64_t slots_per_page(int expert) const { return layout_.slots_per_page[expert]; }
  // 0: the layer sees everything.
  int64_t window(int64_t layer) const { return windows_.empty() ? 0 : windows_[layer]; }
  bool has_windows() const { return !windows_.empty(); }
  // Bytes of a sequence of `tokens` tokens in all layers with every token at `expert`, those outside a layer's window gone.
  int64_t SequenceBytes(int expert, int64_t tokens) const;

  // An upper bound on the pages (over all layers) that a sequence of prompt_tokens + decoded_tokens can hold under `router`,
  // whatever the scores; windows, which only free pages, are not counted on. Monotone in both counts. REQUIRES: counts >= 0.
  int64_t WorstCasePages(const DecodeRouter& router, int64_t prompt_tokens, int64_t decoded_tokens) const;

  // An upper bound on the pages (over all layers) of a sequence of which experts 0..e hold at most max_prefix[e] tokens in each layer,
  // and none but the experts marked reachable hold any. max_prefix, reachable: [num_experts]; the last prefix counts every token.
  // Monotone in max_prefix.
  int64_t PagesWithin(absl::Span<const int64_t> max_prefix, absl::Span<const bool> reachable) const;

 private:
  KvCacheSpec() = default;

  kernels::KvLayout layout_;
  ExpertSpec experts_;
  int64_t num_layers_ = 0;
  std::vector<int64_t> windows_;  // empty if no layer has one
};

}  // namespace ration

#endif  // RATION_ENGINE_KV_CACHE_KV_CACHE_SPEC_H_
