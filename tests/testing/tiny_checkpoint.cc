#include "tests/testing/tiny_checkpoint.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "engine/base/check.h"
#include "tests/testing/tiny_tokenizer.h"

namespace ration {

absl::btree_map<std::string, at::Tensor> TinyTensors(const TinyCheckpointOptions& options) {
  absl::btree_map<std::string, at::Tensor> tensors;
  const auto add = [&](const std::string& name, at::IntArrayRef shape, double mean, double deviation) {
    tensors[name] = RandomNormal(options.seed, name, shape, mean, deviation).to(options.dtype);
  };
  // Of unit gain, so that attention and routing see numbers of ordinary size whatever the depth.
  const auto add_linear = [&](const std::string& name, int64_t out, int64_t in, bool bias) {
    add(name + ".weight", {out, in}, 0, 1 / std::sqrt(static_cast<double>(in)));
    if (bias) add(name + ".bias", {out}, 0, 0.1);
  };

  const double embedding_deviation = 2 / std::sqrt(static_cast<double>(options.hidden));  // logits of deviation 2
  const bool has_embedding = !(options.tied && options.tied_as_lm_head);
  if (has_embedding) add("model.embed_tokens.weight", {options.vocab, options.hidden}, 0, embedding_deviation);
  if (!options.tied || !has_embedding) add("lm_head.weight", {options.vocab, options.hidden}, 0, embedding_deviation);
  add("model.norm.weight", {options.hidden}, 1, 0.1);
  const int64_t num_experts = static_cast<int64_t>(options.group_sizes.size());
  for (int64_t layer = 0; layer < options.layers; ++layer) {
    const std::string prefix = absl::StrCat("model.layers.", layer, ".");
    const std::string attention = prefix + "self_attn.";
    add(prefix + "input_layernorm.weight", {options.hidden}, 1, 0.1);
    add(prefix + "post_attention_layernorm.weight", {options.hidden}, 1, 0.1);
    add_linear(attention + "q_proj", options.query_heads * options.head_dim, options.hidden, options.attention_bias);
    add_linear(attention + "k_proj", options.kv_heads * options.head_dim, options.hidden, options.attention_bias);
    add_linear(attention + "v_proj", options.kv_heads * options.head_dim, options.hidden, options.attention_bias);
    add_linear(attention + "o_proj", options.hidden, options.query_heads * options.head_dim, options.attention_bias);
    add_linear(prefix + "mlp.gate_proj", options.ffn, options.hidden, options.mlp_bias);
    add_linear(prefix + "mlp.up_proj", options.ffn, options.hidden, options.mlp_bias);
    add_linear(prefix + "mlp.down_proj", options.hidden, options.ffn, options.mlp_bias);
    if (num_experts == 0) continue;
    AddRandomRouter(options.seed, attention + "router", num_experts, options.hidden, options.dtype,
                    options.calibration_tokens, tensors);
  }
  return tensors;
}

std::string TinyConfigJson(const TinyCheckpointOptions& options) {
  nlohmann::json config = {
      {"architectures", {"LlamaForCausalLM"}},
      {"model_type", "llama"},
      {"hidden_act", "silu"},
      {"hidden_size", options.hidden},
      {"intermediate_size", options.ffn},
      {"num_hidden_layers", options.layers},
      {"num_attention_heads", options.query_heads},
      {"num_key_value_heads", options.kv_heads},
      {"head_dim", options.head_dim},
      {"vocab_size", options.vocab},
      {"max_position_embeddings", options.max_positions},
      {"rms_norm_eps", 1e-5},
      {"rope_theta", 10000.0},
      {"rope_scaling", nullptr},
      {"tie_word_embeddings", options.tied},
      {"attention_bias", options.attention_bias},
      {"mlp_bias", options.mlp_bias},
      {"bos_token_id", 1},
      {"eos_token_id", 2},
      {"torch_dtype", options.dtype == at::kFloat  ? "float32"
                      : options.dtype == at::kHalf ? "float16"
                                                   : "bfloat16"},
  };
  if (options.llama3_rope) {
    config["rope_scaling"] = {{"rope_type", "llama3"},
                              {"factor", 8.0},
                              {"low_freq_factor", 1.0},
                              {"high_freq_factor", 4.0},
                              {"original_max_position_embeddings", 64}};
  }
  if (!options.group_sizes.empty()) {
    config["mixsga"] = {{"group_sizes", options.group_sizes},
                        {"routing_window", options.routing_window},
                        {"trained_ratio", options.trained_ratio},
                        {"default_ratio", options.default_ratio}};
  }
  return config.dump(2);
}

TinyCheckpoint::TinyCheckpoint(const TinyCheckpointOptions& options) {
  WriteTextFile(File("config.json"), TinyConfigJson(options));
  WriteTextFile(File("generation_config.json"), R"({"bos_token_id": 1, "eos_token_id": 2})");
  if (options.with_tokenizer) {
    RATION_CHECK(options.vocab >= TinyTokenizerVocabSize());
    WriteTextFile(File("tokenizer.json"), TinyTokenizerJson(static_cast<int32_t>(options.vocab)));
  }
  WriteTensorFiles(directory_, TinyTensors(options), options.shards);
}

}  // namespace ration
