// Loss of a model over sequences, at a ratio and under a routing rule.
// Layer: tools/eval. Pure functions; thread-safe.
#ifndef RATION_TOOLS_EVAL_PERPLEXITY_H_
#define RATION_TOOLS_EVAL_PERPLEXITY_H_

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "absl/status/statusor.h"
#include "engine/router/decode_router.h"
#include "engine/router/expert_spec.h"
#include "tools/train/llama_weights.h"

namespace ration {

enum class EvalRouting {
  kFull,          // routers ignored, every token keeps all heads
  kExpertChoice,  // as prefill routes
  kThreshold,     // every token as decode routes, by thresholds
  kArgmax,        // every token as decode routes, by the highest score
};

struct EvalResult {
  double loss = 0;  // mean negative log likelihood per predicted token, nats
  double perplexity = 0;
  int64_t tokens = 0;          // predicted
  std::vector<double> shares;  // of tokens that went to each expert, mean over layers; empty for kFull
  double kv_fraction = 1;      // of those shares
};

// sequences: [n, T + 1] int64, inputs and their shifted targets. The ratio is ignored by kFull.
// Weights and sequences are on one device; the decode rules are for the CPU only.
// FailedPrecondition if a routed rule is asked of a model without routers.
absl::StatusOr<EvalResult> Evaluate(const LlamaWeights& weights, const at::Tensor& sequences, const Ratio& ratio,
                                    EvalRouting routing);

// Router scores of up to `samples` tokens, evenly spread over the sequences, at a ratio: one [samples, E] tensor a
// layer. What a checkpoint ships as its calibration.
std::vector<at::Tensor> CalibrationScores(const LlamaWeights& weights, const at::Tensor& sequences, const Ratio& ratio,
                                          int64_t samples);

}  // namespace ration

#endif  // RATION_TOOLS_EVAL_PERPLEXITY_H_
