#include "tests/testing/family_checkpoint.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "tests/testing/tiny_tokenizer.h"

namespace ration {
namespace {

using Json = nlohmann::json;

constexpr int64_t kVocab = 384;
constexpr int64_t kQueryHeads = 8;

bool IsOpt(TestFamily family) { return family == TestFamily::kOpt || family == TestFamily::kOptPostNorm; }

struct Shape {
  int64_t hidden, kv_heads, head_dim, ffn, embed;
};

Shape ShapeOf(TestFamily family) {
  switch (family) {
    case TestFamily::kOpt:
      return {64, 8, 8, 96, 64};
    case TestFamily::kOptPostNorm:
      return {64, 8, 8, 96, 24};
    case TestFamily::kGemma2:
      return {48, 4, 16, 80, 48};
    default:
      return {48, 4, 8, 80, 48};
  }
}

// Collects a family's tensors. Linear layers have unit gain, so that attention and routing see numbers of ordinary size
// whatever the depth.
class Tensors {
 public:
  Tensors(TestFamily family, const FamilyCheckpointOptions& options)
      : seed_(options.seed * 64 + static_cast<uint64_t>(family)), options_(options), shape_(ShapeOf(family)) {}

  void Add(const std::string& name, at::IntArrayRef shape, double mean, double deviation) {
    tensors_[name] = RandomNormal(seed_, name, shape, mean, deviation).to(options_.dtype);
  }
  void AddLinear(const std::string& name, int64_t out, int64_t in, bool bias) {
    Add(name + ".weight", {out, in}, 0, 1 / std::sqrt(static_cast<double>(in)));
    if (bias) Add(name + ".bias", {out}, 0, 0.3);
  }
  // The four projections, and the router where one is asked for.
  void AddAttention(const std::string& prefix, const char* output, bool bias) {
    const int64_t rows = kQueryHeads * shape_.head_dim, kv_rows = shape_.kv_heads * shape_.head_dim;
    AddLinear(prefix + "q_proj", rows, shape_.hidden, bias);
    AddLinear(prefix + "k_proj", kv_rows, shape_.hidden, bias);
    AddLinear(prefix + "v_proj", kv_rows, shape_.hidden, bias);
    AddLinear(prefix + output, shape_.hidden, rows, bias);
    if (!options_.routed) return;
    AddRandomRouter(seed_, prefix + "router", static_cast<int64_t>(options_.group_sizes.size()), shape_.hidden,
                    options_.dtype, options_.calibration_tokens, tensors_);
  }
  // Logits of deviation 2.
  void AddVocabulary(const std::string& name) {
    Add(name, {kVocab, shape_.embed}, 0, 2 / std::sqrt(static_cast<double>(shape_.embed)));
  }

  absl::btree_map<std::string, at::Tensor> Take() { return std::move(tensors_); }

 private:
  const uint64_t seed_;
  const FamilyCheckpointOptions& options_;
  const Shape shape_;
  absl::btree_map<std::string, at::Tensor> tensors_;
};

// Llama's and Gemma-2's names; norm weights around `norm_mean`.
void AddGatedLayers(TestFamily family, const FamilyCheckpointOptions& options, double norm_mean, Tensors& tensors) {
  const Shape shape = ShapeOf(family);
  const auto add_norm = [&](const std::string& name) { tensors.Add(name + ".weight", {shape.hidden}, norm_mean, 0.2); };
  tensors.AddVocabulary("model.embed_tokens.weight");
  if (family == TestFamily::kLlama) tensors.AddVocabulary("lm_head.weight");
  add_norm("model.norm");
  for (int64_t layer = 0; layer < options.num_layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    add_norm(prefix + "input_layernorm");
    add_norm(prefix + "post_attention_layernorm");
    if (family == TestFamily::kGemma2) {
      add_norm(prefix + "pre_feedforward_layernorm");
      add_norm(prefix + "post_feedforward_layernorm");
    }
    tensors.AddAttention(prefix + "self_attn.", "o_proj", family == TestFamily::kLlama3Rope);
    tensors.AddLinear(prefix + "mlp.gate_proj", shape.ffn, shape.hidden, false);
    tensors.AddLinear(prefix + "mlp.up_proj", shape.ffn, shape.hidden, false);
    tensors.AddLinear(prefix + "mlp.down_proj", shape.hidden, shape.ffn, false);
  }
}

void AddOptLayers(TestFamily family, const FamilyCheckpointOptions& options, Tensors& tensors) {
  const Shape shape = ShapeOf(family);
  const std::string decoder = options.opt_prefix ? "model.decoder." : "decoder.";
  const auto add_norm = [&](const std::string& name) {
    tensors.Add(name + ".weight", {shape.hidden}, 1, 0.2);
    tensors.Add(name + ".bias", {shape.hidden}, 0, 0.2);
  };
  tensors.AddVocabulary(decoder + "embed_tokens.weight");
  tensors.Add(decoder + "embed_positions.weight", {options.max_positions + 2, shape.hidden}, 0, 0.25);
  if (family == TestFamily::kOpt) add_norm(decoder + "final_layer_norm");
  if (shape.embed != shape.hidden) {
    tensors.AddLinear(decoder + "project_in", shape.hidden, shape.embed, false);
    tensors.AddLinear(decoder + "project_out", shape.embed, shape.hidden, false);
  }
  for (int64_t layer = 0; layer < options.num_layers; ++layer) {
    const std::string prefix = absl::StrCat(decoder, "layers.", layer, ".");
    add_norm(prefix + "self_attn_layer_norm");
    add_norm(prefix + "final_layer_norm");
    tensors.AddAttention(prefix + "self_attn.", "out_proj", true);
    tensors.AddLinear(prefix + "fc1", shape.ffn, shape.hidden, true);
    tensors.AddLinear(prefix + "fc2", shape.hidden, shape.ffn, true);
  }
}

Json RopeScaling(TestFamily family) {
  switch (family) {
    case TestFamily::kLlama3Rope:
      return {{"rope_type", "llama3"},
              {"factor", 8.0},
              {"low_freq_factor", 1.0},
              {"high_freq_factor", 4.0},
              {"original_max_position_embeddings", 64}};
    case TestFamily::kLinearRope:
      return {{"type", "linear"}, {"factor", 4.0}};
    case TestFamily::kDynamicRope:
      return {{"type", "dynamic"}, {"factor", 2.0}};
    default:
      return nullptr;
  }
}

// What Hugging Face writes for the family, without what it leaves out.
Json FamilyConfig(TestFamily family, const FamilyCheckpointOptions& options) {
  const Shape shape = ShapeOf(family);
  Json config = {{"hidden_size", shape.hidden},
                 {"num_hidden_layers", options.num_layers},
                 {"num_attention_heads", kQueryHeads},
                 {"vocab_size", kVocab},
                 {"max_position_embeddings", options.max_positions},
                 {"bos_token_id", kTinyBosId},
                 {"eos_token_id", kTinyEosId}};
  if (IsOpt(family)) {
    config.update({{"architectures", {"OPTForCausalLM"}},
                   {"model_type", "opt"},
                   {"activation_function", "relu"},
                   {"ffn_dim", shape.ffn},
                   {"do_layer_norm_before", family == TestFamily::kOpt},
                   {"_remove_final_layer_norm", false},
                   {"enable_bias", true},
                   {"layer_norm_elementwise_affine", true},
                   {"word_embed_proj_dim", shape.embed}});
    return config;
  }
  config.update({{"num_key_value_heads", shape.kv_heads},
                 {"head_dim", shape.head_dim},
                 {"intermediate_size", shape.ffn},
                 {"rope_theta", 10000.0}});
  if (family == TestFamily::kGemma2) {
    config.update({{"architectures", {"Gemma2ForCausalLM"}},
                   {"model_type", "gemma2"},
                   {"hidden_act", "gelu_pytorch_tanh"},
                   {"hidden_activation", "gelu_pytorch_tanh"},
                   {"attention_bias", false},
                   {"rms_norm_eps", 1e-6},
                   {"query_pre_attn_scalar", 24},
                   {"sliding_window", options.gemma2_window},
                   {"attn_logit_softcapping", 2.0},
                   {"final_logit_softcapping", 5.0}});
    return config;
  }
  config.update({{"architectures", {"LlamaForCausalLM"}},
                 {"model_type", "llama"},
                 {"hidden_act", "silu"},
                 {"rms_norm_eps", 1e-5},
                 {"rope_scaling", RopeScaling(family)},
                 {"attention_bias", family == TestFamily::kLlama3Rope},
                 {"mlp_bias", false},
                 {"tie_word_embeddings", family != TestFamily::kLlama}});
  return config;
}

}  // namespace

std::vector<TestFamily> AllTestFamilies() {
  return {TestFamily::kLlama, TestFamily::kLlama3Rope,  TestFamily::kLinearRope, TestFamily::kDynamicRope,
          TestFamily::kOpt,   TestFamily::kOptPostNorm, TestFamily::kGemma2};
}

std::string Name(TestFamily family) {
  switch (family) {
    case TestFamily::kLlama:
      return "Llama";
    case TestFamily::kLlama3Rope:
      return "Llama3Rope";
    case TestFamily::kLinearRope:
      return "LinearRope";
    case TestFamily::kDynamicRope:
      return "DynamicRope";
    case TestFamily::kOpt:
      return "Opt";
    case TestFamily::kOptPostNorm:
      return "OptPostNorm";
    case TestFamily::kGemma2:
      break;
  }
  return "Gemma2";
}

void PrintTo(TestFamily family, std::ostream* out) { *out << Name(family); }

absl::btree_map<std::string, at::Tensor> FamilyTensors(TestFamily family, const FamilyCheckpointOptions& options) {
  Tensors tensors(family, options);
  if (IsOpt(family)) {
    AddOptLayers(family, options, tensors);
  } else {
    AddGatedLayers(family, options, family == TestFamily::kGemma2 ? 0 : 1, tensors);
  }
  return tensors.Take();
}

std::string FamilyConfigJson(TestFamily family, const FamilyCheckpointOptions& options) {
  Json config = FamilyConfig(family, options);
  config["torch_dtype"] = options.dtype == at::kFloat ? "float32" : options.dtype == at::kHalf ? "float16" : "bfloat16";
  if (options.routed) {
    config["mixsga"] = {{"group_sizes", options.group_sizes},
                        {"routing_window", options.routing_window},
                        {"trained_ratio", "elastic"},
                        {"default_ratio", options.default_ratio}};
  }
  const Json patch = Json::parse(options.config_patch, nullptr, /*allow_exceptions=*/false);
  RATION_CHECK(patch.is_object());
  config.merge_patch(patch);
  return config.dump(2);
}

FamilyCheckpoint::FamilyCheckpoint(TestFamily family, const FamilyCheckpointOptions& options) {
  RATION_CHECK(kVocab >= TinyTokenizerVocabSize());
  WriteTextFile(File("config.json"), FamilyConfigJson(family, options));
  WriteTextFile(File("generation_config.json"), R"({"bos_token_id": 1, "eos_token_id": 2})");
  WriteTextFile(File("tokenizer.json"), TinyTokenizerJson(static_cast<int32_t>(kVocab)));
  WriteTensorFiles(directory_, FamilyTensors(family, options));
}

}  // namespace ration
