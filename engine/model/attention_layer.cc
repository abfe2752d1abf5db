#include "engine/model/attention_layer.h"

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/model/load_linear.h"
#include "kernels/attention.h"
#include "kernels/elementwise.h"
#include "kernels/kv_append.h"

namespace ration {

void GatherLogitRows(const StepContext& step, float* rows, int64_t dim) {
  for (size_t i = 0; i < step.logit_rows.size(); ++i) {
    const int64_t from = step.logit_rows[i];  // ascending, so from >= i and nothing unread is overwritten
    if (from != static_cast<int64_t>(i)) std::memcpy(rows + i * dim, rows + from * dim, dim * sizeof(float));
  }
}

absl::StatusOr<std::unique_ptr<AttentionLayer>> AttentionLayer::Create(const TensorSource& source, int64_t layer,
                                                                       const ModelConfig& config, const DecoderSpec& spec,
                                                                       const RopeTable* rope, kernels::DType compute,
                                                                       kernels::cpu::ThreadPool* pool) {
  auto attention = absl::WrapUnique(new AttentionLayer);
  attention->layer_ = layer;
  attention->config_ = config;
  attention->rope_ = spec.rope ? rope : nullptr;
  const LayerSpec& names = spec.layers[layer];
  attention->scale_ = static_cast<float>(spec.attention_scale);
  attention->soft_cap_ = static_cast<float>(spec.attention_soft_cap);
  attention->window_ = static_cast<int32_t>(names.window);
  const std::string& prefix = names.prefix;
  const int64_t hidden = config.hidden_size;
  const int64_t q_rows = config.num_query_heads * config.head_dim, kv_rows = config.num_kv_heads * config.head_dim;
  RATION_ASSIGN_OR_RETURN(attention->norm_, Norm::Create(source, names.attention_norm, config));
  RATION_ASSIGN_OR_RETURN(attention->output_norm_, Norm::Create(source, names.attention_output, config));
  RATION_ASSIGN_OR_RETURN(attention->router_, RouterLayer::Create(source, prefix + "self_attn.router", config));

  RATION_ASSIGN_OR_RETURN(
      attention->qkv_,
      LoadLinear(source, prefix, {{"self_attn.q_proj", q_rows}, {"self_attn.k_proj", kv_rows}, {"self_attn.v_proj", kv_rows}},
                 hidden, spec.attention_bias, compute, pool));
  RATION_ASSIGN_OR_RETURN(attention->output_, LoadLinear(source, prefix, {{spec.attention_output_projection, hidden}}, q_rows,
                                                         spec.attention_bias, compute, pool));
  return attention;
}

void AttentionLayer::Forward(StepContext& step, bool has_delta, bool only_logit_rows) {
  const int64_t hidden = config_.hidden_size;
  const int64_t q_dim = config_.num_query_heads * config_.head_dim;
  const int64_t qkv_dim = q_dim + 2 * config_.num_kv_heads * config_.head_dim;
  const bool bf16 = step.compute == kernels::DType::kBF16;

  norm_.Forward(step, step.num_tokens, has_delta, router_.reads_input());
  float* qkv = step.qkv.Resize(step.num_tokens, qkv_dim);
  qkv_->Forward(step.normed.data(step.compute), step.num_tokens, qkv);

  // Queries and keys stand next to each other in a row and turn by the same angles.
  if (rope_ != nullptr) {
    kernels::cpu::RopeParams rope;
    rope.x = qkv;
    rope.row_stride = qkv_dim;
    rope.rows = step.num_tokens;
    rope.num_heads = static_cast<int32_t>(config_.num_query_heads + config_.num_kv_heads);
    rope.head_dim = static_cast<int32_t>(config_.head_dim);
    rope.positions = step.positions.data();
    rope.cos = rope_->cos();
    rope.sin = rope_->sin();
    kernels::cpu::Rope(rope, step.pool);
  }

  step.slots.resize(step.num_tokens);
  router_.Route(layer_, step.normed.f32.data(), *step.batch, *step.cache, step.pool, step.scores, absl::MakeSpan(step.slots), step.visible);
  Attend(step, qkv, qkv_dim);

  int64_t rows = step.num_tokens;
  float* attention = step.attention.data();
  if (only_logit_rows) {
    GatherLogitRows(step, attention, q_dim);
    GatherLogitRows(step, step.residual.data(), hidden);
    rows = static_cast<int64_t>(step.logit_rows.size());
  }
  const void* input = attention;
  if (bf16) {
    step.attention_input.Resize(rows, q_dim, step.compute, false);
    kernels::cpu::CastToBF16(attention, step.attention_input.bf16.data(), rows * q_dim, step.pool);
    input = step.attention_input.bf16.data();
  }
  output_->Forward(input, rows, step.delta.Resize(rows, hidden));
  output_norm_.ForwardDelta(step, rows);
}

void AttentionLayer::Attend(StepContext& step, const float* qkv, int64_t row_stride) {
  const int64_t q_dim = config_.num_query_heads * config_.head_dim;
  const kernels::KvLayout& layout = step.cache->spec().layout();

  kernels::KvAppendParams append;
  append.layout = layout;
  append.pool = step.kv_pool;
  append.key = qkv + q_dim;
  append.value = append.key + config_.num_kv_heads * config_.head_dim;
  append.row_stride = row_stride;
  append.slots = step.slots.data();
  append.num_tokens = static_cast<int32_t>(step.num_tokens);
  kernels::cpu::KvAppend(append, step.pool);

  step.sequences.resize(step.batch->sequences.size());
  int32_t row = 0;
  for (size_t s = 0; s < step.sequences.size(); ++s) {
    const SequenceStep& sequence = step.batch->sequences[s];
    step.sequences[s].kv = sequence.kv->View(layer_);
    step.sequences[s].query_begin = row;
    step.sequences[s].num_queries = static_cast<int32_t>(sequence.tokens.size());
    step.sequences[s].first_position = static_cast<int32_t>(sequence.start_position);
    step.sequences[s].visible = step.visible[s].empty() ? nullptr : step.visible[s].data();
    row += step.sequences[s].num_queries;
  }
  kernels::AttentionParams attention;
  attention.layout = layout;
  attention.pool = step.kv_pool;
  attention.num_query_heads = static_cast<int32_t>(config_.num_query_heads);
  attention.scale = scale_;
  attention.soft_cap = soft_cap_;
  attention.window = window_;
  attention.query = qkv;
  attention.query_stride = row_stride;
  attention.out = step.attention.Resize(step.num_tokens, q_dim);
  attention.out_stride = q_dim;
  attention.sequences = step.sequences.data();
  attention.num_sequences = static_cast<int32_t>(step.sequences.size());
  kernels::cpu::PagedAttention(attention, step.pool);
}

}  // namespace ration
