#include "engine/model/decoder_model.h"

#include <cstring>
#include <string>

#include <ATen/ATen.h>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "engine/base/status_macros.h"
#include "engine/model/load_linear.h"
#include "kernels/elementwise.h"

namespace ration {

DecoderModel::DecoderModel(const ModelConfig& config, const DecoderSpec& spec, const Options& options)
    : config_(config), spec_(spec), step_(*options.pool, options.compute) {
  if (spec.rope) rope_ = RopeTable(config);
  info_.num_layers = config.num_layers;
  info_.vocab_size = config.vocab_size;
  info_.max_positions = config.max_positions;
  info_.routing_window = config.mixsga ? config.mixsga->routing_window : 1;
  info_.experts = config.experts();
}

absl::StatusOr<std::unique_ptr<DecoderModel>> DecoderModel::Create(const TensorSource& source, const ModelConfig& config,
                                                                   const Options& options) {
  const DecoderSpec spec = DescribeDecoder(config, source);
  auto model = absl::WrapUnique(new DecoderModel(config, spec, options));
  const int64_t vocab = config.vocab_size, hidden = config.hidden_size, embedded = config.embedding_size;
  // Some tied checkpoints store the shared matrix only under the output's name.
  const bool input_missing = config.tie_word_embeddings && !source.Has(spec.embedding) && source.Has(spec.output);
  RATION_ASSIGN_OR_RETURN(model->embedding_, source.Tensor(input_missing ? spec.output : spec.embedding, {vocab, embedded}));
  at::Tensor output = model->embedding_;
  if (!config.tie_word_embeddings) {
    RATION_ASSIGN_OR_RETURN(output, source.Tensor(spec.output, {vocab, embedded}));
  }
  if (!spec.positions.empty()) {
    RATION_ASSIGN_OR_RETURN(at::Tensor positions,
                            source.Tensor(spec.positions, {config.max_positions + spec.position_offset, hidden}));
    model->positions_ = positions.to(at::kFloat).contiguous();
  }
  if (!spec.project_in.empty()) {
    RATION_ASSIGN_OR_RETURN(model->project_in_, LoadLinear(source, "", {{spec.project_in, hidden}}, embedded, /*bias=*/false,
                                                           kernels::DType::kF32, options.pool));
  }
  if (!spec.project_out.empty()) {
    RATION_ASSIGN_OR_RETURN(model->project_out_, LoadLinear(source, "", {{spec.project_out, embedded}}, hidden, /*bias=*/false,
                                                            kernels::DType::kF32, options.pool));
  }
  RATION_ASSIGN_OR_RETURN(model->norm_, Norm::Create(source, spec.final_norm, config));
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    RATION_ASSIGN_OR_RETURN(auto attention, AttentionLayer::Create(source, layer, config, spec, &model->rope_, options.compute, options.pool));
    model->attention_.push_back(std::move(attention));
    RATION_ASSIGN_OR_RETURN(auto mlp, MlpLayer::Create(source, layer, config, spec, options.compute, options.pool));
    model->mlp_.push_back(std::move(mlp));
    source.ReleasePages();  // they are packed now
  }
  Linear::Options linear;
  linear.weights = {output};
  linear.compute = options.compute;
  linear.pool = options.pool;
  RATION_ASSIGN_OR_RETURN(model->output_, Linear::Create(linear));
  source.ReleasePages();
  return model;
}

int64_t DecoderModel::weight_bytes() const {
  int64_t bytes = output_->weight_bytes();
  for (const auto* projection : {project_in_.get(), project_out_.get()}) {
    if (projection != nullptr) bytes += projection->weight_bytes();
  }
  for (const auto& layer : attention_) bytes += layer->weight_bytes();
  for (const auto& layer : mlp_) bytes += layer->weight_bytes();
  return bytes;
}

void DecoderModel::BeginStep(const ForwardBatch& batch, KvCacheManager& cache) {
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

void DecoderModel::LookUp(const ForwardBatch& batch, float* rows) const {
  const int64_t width = config_.embedding_size;
  const int64_t row_bytes = width * static_cast<int64_t>(embedding_.element_size());
  const uint8_t* table = static_cast<const uint8_t*>(embedding_.data_ptr());
  float* row = rows;
  for (const SequenceStep& sequence : batch.sequences) {
    for (int32_t token : sequence.tokens) {
      RATION_CHECK(token >= 0 && token < config_.vocab_size);
      const uint8_t* stored = table + token * row_bytes;
      if (embedding_.scalar_type() == at::kFloat) {
        std::memcpy(row, stored, row_bytes);
      } else if (embedding_.scalar_type() == at::kBFloat16) {
        const uint16_t* values = reinterpret_cast<const uint16_t*>(stored);
        for (int64_t i = 0; i < width; ++i) row[i] = kernels::FromBF16(values[i]);
      } else {
        const at::Half* values = reinterpret_cast<const at::Half*>(stored);
        for (int64_t i = 0; i < width; ++i) row[i] = static_cast<float>(values[i]);
      }
      row += width;
    }
  }
}

void DecoderModel::Embed(const ForwardBatch& batch) {
  const int64_t hidden = config_.hidden_size, rows = step_.num_tokens;
  float* const residual = step_.residual.Resize(rows, hidden);
  if (project_in_ != nullptr) {
    LookUp(batch, projected_.f32.Resize(rows, config_.embedding_size));
    project_in_->Forward(projected_.f32.data(), rows, residual);
  } else {
    LookUp(batch, residual);
  }
  if (spec_.embedding_scale != 1) {
    const float scale = static_cast<float>(spec_.embedding_scale);
    for (int64_t i = 0; i < rows * hidden; ++i) residual[i] *= scale;
  }
  if (positions_.defined()) {
    for (int64_t row = 0; row < rows; ++row) {
      const float* position = positions_.data_ptr<float>() + (step_.positions[row] + spec_.position_offset) * hidden;
      for (int64_t i = 0; i < hidden; ++i) residual[row * hidden + i] += position[i];
    }
  }
}

absl::StatusOr<at::Tensor> DecoderModel::Forward(const ForwardBatch& batch, KvCacheManager& cache) {
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
  norm_.Forward(step_, logit_rows, /*has_delta=*/true, /*also_f32=*/project_out_ != nullptr);
  const void* rows = step_.normed.data(step_.compute);
  if (project_out_ != nullptr) {
    const int64_t width = config_.embedding_size;
    projected_.Resize(logit_rows, width, step_.compute, /*also_f32=*/true);
    project_out_->Forward(step_.normed.f32.data(), logit_rows, projected_.f32.data());
    if (step_.compute == kernels::DType::kBF16) {
      kernels::cpu::CastToBF16(projected_.f32.data(), projected_.bf16.data(), logit_rows * width, step_.pool);
    }
    rows = projected_.data(step_.compute);
  }
  output_->Forward(rows, logit_rows, logits.data_ptr<float>());
  if (spec_.logit_soft_cap > 0) {
    kernels::cpu::SoftCap(logits.data_ptr<float>(), logit_rows * vocab, static_cast<float>(spec_.logit_soft_cap), step_.pool);
  }
  return logits;
}

void DecoderModel::DrainScoreHistogram(ScoreHistogram& histogram) {
  for (size_t e = 0; e < histogram.size(); ++e) {
    for (size_t b = 0; b < histogram[e].size(); ++b) histogram[e][b] += step_.scores[e][b];
  }
  step_.scores = {};
}

}  // namespace ration
