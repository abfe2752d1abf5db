#include "engine/model/llama.h"

#include <cstring>
#include <string>

#include <ATen/ATen.h>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"

namespace ration {

LlamaModel::LlamaModel(const ModelConfig& config, const Options& options)
    : config_(config), rope_(config), step_(*options.pool, options.compute) {
  info_.num_layers = config.num_layers;
  info_.vocab_size = config.vocab_size;
  info_.max_positions = config.max_positions;
  info_.routing_window = config.mixsga ? config.mixsga->routing_window : 1;
  info_.experts = config.experts();
}

absl::StatusOr<std::unique_ptr<LlamaModel>> LlamaModel::Create(const TensorSource& source, const ModelConfig& config,
                                                               const Options& options) {
  auto model = absl::WrapUnique(new LlamaModel(config, options));
  const int64_t vocab = config.vocab_size, hidden = config.hidden_size;
  // Some tied checkpoints store the shared matrix only under the output's name.
  const char* const kInput = "model.embed_tokens.weight";
  const char* const kOutput = "lm_head.weight";
  const bool input_missing = config.tie_word_embeddings && !source.Has(kInput) && source.Has(kOutput);
  RATION_ASSIGN_OR_RETURN(model->embedding_, source.Tensor(input_missing ? kOutput : kInput, {vocab, hidden}));
  at::Tensor output = model->embedding_;
  if (!config.tie_word_embeddings) {
    RATION_ASSIGN_OR_RETURN(output, source.Tensor(kOutput, {vocab, hidden}));
  }
  RATION_ASSIGN_OR_RETURN(model->norm_, Norm::Create(source, "model.norm.weight", config));
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    RATION_ASSIGN_OR_RETURN(auto attention, AttentionLayer::Create(source, layer, config, &model->rope_, options.compute, options.pool));
    model->attention_.push_back(std::move(attention));
    RATION_ASSIGN_OR_RETURN(auto mlp, MlpLayer::Create(source, layer, config, options.compute, options.pool));
    model->mlp_.push_back(std::move(mlp));
  }
  Linear::Options linear;
  linear.weights = {output};
  linear.compute = options.compute;
  linear.pool = options.pool;
  RATION_ASSIGN_OR_RETURN(model->output_, Linear::Create(linear));
  return model;
}

int64_t LlamaModel::weight_bytes() const {
  int64_t bytes = output_->weight_bytes();
  for (const auto& layer : attention_) bytes += layer->weight_bytes();
  for (const auto& layer : mlp_) bytes += layer->weight_bytes();
  return bytes;
}

void LlamaModel::BeginStep(const ForwardBatch& batch, KvCacheManager& cache) {
  step_.batch = &batch;
  step_.cache = &cache;
  step_.kv_pool = storage_->data();
  step_.num_tokens = batch.num_tokens();
  step_.positions.clear();
  step_.logit_rows.clear();
  for (const SequenceStep& sequence : batch.sequences) {
    const int64_t count = static_cast<int64_t>(sequence.tokens.size());
    for (int64_t i = 0; i < count; ++i) {
      if (i >= count - sequence.num_logits) step_.logit_rows.push_back(static_cast<int32_t>(step_.positions.size()));
      step_.positions.push_back(static_cast<int32_t>(sequence.start_position + i));
    }
    RATION_CHECK(count >= 1 && sequence.start_position + count <= config_.max_positions);
  }
}

void LlamaModel::Embed(const ForwardBatch& batch) {
  const int64_t hidden = config_.hidden_size;
  float* row = step_.residual.Resize(step_.num_tokens, hidden);
  const int64_t row_bytes = hidden * static_cast<int64_t>(embedding_.element_size());
  const uint8_t* table = static_cast<const uint8_t*>(embedding_.data_ptr());
  for (const SequenceStep& sequence : batch.sequences) {
    for (int32_t token : sequence.tokens) {
      RATION_CHECK(token >= 0 && token < config_.vocab_size);
      const uint8_t* stored = table + token * row_bytes;
      if (embedding_.scalar_type() == at::kFloat) {
        std::memcpy(row, stored, row_bytes);
      } else if (embedding_.scalar_type() == at::kBFloat16) {
        const uint16_t* values = reinterpret_cast<const uint16_t*>(stored);
        for (int64_t i = 0; i < hidden; ++i) row[i] = kernels::FromBF16(values[i]);
      } else {
        const at::Half* values = reinterpret_cast<const at::Half*>(stored);
        for (int64_t i = 0; i < hidden; ++i) row[i] = static_cast<float>(values[i]);
      }
      row += hidden;
    }
  }
}

absl::StatusOr<at::Tensor> LlamaModel::Forward(const ForwardBatch& batch, KvCacheManager& cache) {
  if (storage_ == nullptr) return absl::FailedPreconditionError("the model has no KV storage");
  const int64_t vocab = config_.vocab_size;
  BeginStep(batch, cache);
  const int64_t logit_rows = static_cast<int64_t>(step_.logit_rows.size());
  if (!logits_.defined() || logits_.size(0) < logit_rows) {
    logits_ = at::empty({logit_rows, vocab}, at::TensorOptions().dtype(at::kFloat));
  }
  const at::Tensor logits = logits_.narrow(0, 0, logit_rows);
  if (step_.num_tokens == 0) return logits;
  Embed(batch);
  for (int64_t layer = 0; layer < config_.num_layers; ++layer) {
    // Behind the last layer's attention only the rows that become logits matter.
    const bool last = layer + 1 == config_.num_layers;
    attention_[layer]->Forward(step_, layer > 0, last);
    if (last && logit_rows == 0) return logits;
    mlp_[layer]->Forward(step_, last ? logit_rows : step_.num_tokens);
  }
  norm_.Forward(step_, logit_rows, /*has_delta=*/true, /*also_f32=*/false);
  output_->Forward(step_.normed.data(step_.compute), logit_rows, logits.data_ptr<float>());
  return logits;
}

void LlamaModel::DrainScoreHistogram(ScoreHistogram& histogram) {
  for (size_t e = 0; e < histogram.size(); ++e) {
    for (size_t b = 0; b < histogram[e].size(); ++b) histogram[e][b] += step_.scores[e][b];
  }
  step_.scores = {};
}

}  // namespace ration
