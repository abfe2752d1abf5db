// What one step asks of the model: some tokens of each scheduled sequence.
// Layer: engine/model. Plain data; everything it points to is owned by the engine and lives for the step.
#ifndef RATION_ENGINE_MODEL_FORWARD_BATCH_H_
#define RATION_ENGINE_MODEL_FORWARD_BATCH_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "engine/kv_cache/kv_cache_manager.h"
#include "engine/router/decode_router.h"
#include "engine/router/routing.h"

namespace ration {

// The routing state of one sequence: its counts in each layer. The model advances it as it routes.
struct SequenceRouting {
  explicit SequenceRouting(int64_t num_layers) : counts(num_layers) {}
  std::vector<ExpertCounts> counts;  // [num_layers]
};

enum class Phase { kPrefill, kDecode };

struct SequenceStep {
  SequenceKv* kv = nullptr;
  SequenceRouting* routing = nullptr;
  const DecodeRouter* router = nullptr;  // ratio and decode rule in force for these tokens
  absl::Span<const int32_t> tokens;      // >= 1; exactly 1 in decode
  int64_t start_position = 0;            // position of tokens[0] in the sequence
  // kPrefill: prompt tokens; start_position is a multiple of the routing window and the tokens are whole windows, except that
  // the last may end the prompt. kDecode: one generated token.
  Phase phase = Phase::kPrefill;
  // Logits wanted: 0 none (tokens already known follow), 1 the last token's, tokens.size() every token's.
  int64_t num_logits = 0;
  // Optional, for tests: receives each layer's routes, [num_layers][tokens so far], appended to.
  std::vector<std::vector<uint8_t>>* route_log = nullptr;
};

struct ForwardBatch {
  std::vector<SequenceStep> sequences;

  int64_t num_tokens() const {
    int64_t n = 0;
    for (const SequenceStep& s : sequences) n += static_cast<int64_t>(s.tokens.size());
    return n;
  }
  int64_t num_logits() const {
    int64_t n = 0;
    for (const SequenceStep& s : sequences) n += s.num_logits;
    return n;
  }
};

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_FORWARD_BATCH_H_
