// What a model family's decoder is made of: where its tensors are called what, and which parts stand in which order. DecoderModel
// builds itself from this description, so a new family is a new description, not a new model class.
// Layer: engine/model. Plain data.
#ifndef RATION_ENGINE_MODEL_DECODER_SPEC_H_
#define RATION_ENGINE_MODEL_DECODER_SPEC_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/model/model_config.h"
#include "engine/weights/tensor_source.h"
#include "kernels/elementwise.h"

namespace ration {

struct NormSpec {
  enum class Kind {
    kNone,        // the rows pass unchanged
    kRms,         // x / rms(x) * weight
    kRmsPlusOne,  // x / rms(x) * (1 + weight)
    kLayer,       // (x - mean) / deviation * weight + bias
  };
  Kind kind = Kind::kNone;
  std::string name;               // tensors name + ".weight" and, for kLayer, name + ".bias"
  bool affine = true;             // kLayer: the tensors exist
  bool replaces_residual = false; // kLayer: the residual stream goes on from the normed rows (post-norm)
};

struct LayerSpec {
  std::string prefix;         // of every tensor of the layer, e.g. "model.layers.3."
  NormSpec attention_norm;    // in front of the attention block
  NormSpec attention_output;  // on the attention block's output, before it is added to the residual stream
  NormSpec mlp_norm;          // in front of the feed-forward block
  NormSpec mlp_output;        // on the feed-forward block's output
  int64_t window = 0;         // sliding window, tokens; 0: none
};

struct DecoderSpec {
  // The token embedding, tensor [vocab_size, embedding_size]; times `embedding_scale`.
  std::string embedding;
  double embedding_scale = 1;
  // A learned position embedding [max_positions + position_offset, hidden_size] added to the rows; "": none (RoPE).
  std::string positions;
  int64_t position_offset = 0;
  // Projections between an embedding narrower or wider than the hidden size and the decoder, no bias; "": none.
  std::string project_in, project_out;
  std::string output;  // tensor [vocab_size, embedding_size]; the embedding itself if tied
  bool rope = true;

  std::vector<LayerSpec> layers;
  NormSpec final_norm;

  // Names behind a layer's prefix.
  std::string attention_output_projection = "self_attn.o_proj";
  bool attention_bias = false;
  std::vector<std::string> mlp_in;  // gate and up, or one
  std::string mlp_out;
  bool mlp_bias = false;
  kernels::cpu::Activation activation = kernels::cpu::Activation::kSilu;
  bool gated() const { return mlp_in.size() == 2; }

  double attention_scale = 0;
  double attention_soft_cap = 0;  // 0: none
  double logit_soft_cap = 0;      // 0: none
};

// The description of the model that `config` names. `source` tells which of a family's customary name prefixes the checkpoint uses.
DecoderSpec DescribeDecoder(const ModelConfig& config, const TensorSource& source);

// One for each family (llama.cc, opt.cc, gemma2.cc).
DecoderSpec DescribeLlama(const ModelConfig& config, const TensorSource& source);
DecoderSpec DescribeOpt(const ModelConfig& config, const TensorSource& source);
DecoderSpec DescribeGemma2(const ModelConfig& config, const TensorSource& source);

// The first of `prefixes` under which `source` has the tensor prefix + name; the first of all if none.
std::string FindPrefix(const TensorSource& source, std::initializer_list<const char*> prefixes, const std::string& name);

}  // namespace ration

#endif  // RATION_ENGINE_MODEL_DECODER_SPEC_H_
