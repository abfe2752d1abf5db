// Tests engine/model/model_config.cc: Hugging Face's defaults, every limit with its message, and the "mixsga" object.
#include "engine/model/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ration {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Json Base() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 64},
          {"intermediate_size", 176},
          {"num_hidden_layers", 4},
          {"num_attention_heads", 8},
          {"vocab_size", 512}};
}

Json Mixsga() {
  Json config = Base();
  config["mixsga"] = {{"group_sizes", {1, 2, 4}}, {"trained_ratio", "elastic"}, {"default_ratio", "3:1:6"}};
  return config;
}

// The base with these members replaced (null: present as null).
Json With(Json config, const Json& changes) {
  for (const auto& [key, value] : changes.items()) config[key] = value;
  return config;
}

ModelConfig Parse(const Json& config, const std::string& generation = "") {
  const auto parsed = ParseModelConfig(config.dump(), generation);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() ? *parsed : ModelConfig();
}

std::string Error(const Json& config, absl::StatusCode code = absl::StatusCode::kInvalidArgument,
                  const std::string& generation = "") {
  const auto parsed = ParseModelConfig(config.dump(), generation);
  EXPECT_EQ(parsed.status().code(), code) << config;
  return std::string(parsed.status().message());
}

TEST(ModelConfigTest, AbsentKeysHaveHuggingFacesDefaults) {
  const ModelConfig config = Parse(Base());
  EXPECT_EQ(config.architecture, "LlamaForCausalLM");
  EXPECT_EQ(config.hidden_size, 64);
  EXPECT_EQ(config.intermediate_size, 176);
  EXPECT_EQ(config.num_layers, 4);
  EXPECT_EQ(config.num_query_heads, 8);
  EXPECT_EQ(config.num_kv_heads, 8);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.vocab_size, 512);
  EXPECT_EQ(config.max_positions, 2048);
  EXPECT_EQ(config.norm_eps, 1e-6);
  EXPECT_EQ(config.rope_theta, 10000);
  EXPECT_EQ(config.rope_scaling.type, RopeScaling::Type::kNone);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_FALSE(config.attention_bias);
  EXPECT_FALSE(config.mlp_bias);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_EQ(config.eos_token_ids, std::vector<int32_t>{2});
  EXPECT_FALSE(config.mixsga.has_value());
  EXPECT_EQ(config.experts(), ExpertSpec());
  // null means absent, and what we do not know does not matter.
  const Json nulls = With(Base(), {{"num_key_value_heads", nullptr},
                                   {"head_dim", nullptr},
                                   {"rope_scaling", nullptr},
                                   {"mixsga", nullptr},
                                   {"pretraining_tp", 1},
                                   {"some_future_key", {1, 2}}});
  EXPECT_EQ(Parse(nulls).num_kv_heads, 8);
  EXPECT_EQ(Parse(nulls).head_dim, 8);
}

TEST(ModelConfigTest, PresentKeysAreRead) {
  const ModelConfig config = Parse(With(Base(), {{"num_key_value_heads", 2},
                                                 {"head_dim", 16},
                                                 {"max_position_embeddings", 131072},
                                                 {"rms_norm_eps", 1e-5},
                                                 {"rope_theta", 500000},
                                                 {"tie_word_embeddings", true},
                                                 {"attention_bias", true},
                                                 {"mlp_bias", true},
                                                 {"torch_dtype", "bfloat16"},
                                                 {"bos_token_id", 5}}));
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.max_positions, 131072);
  EXPECT_EQ(config.norm_eps, 1e-5);
  EXPECT_EQ(config.rope_theta, 500000);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_TRUE(config.attention_bias);
  EXPECT_TRUE(config.mlp_bias);
  EXPECT_EQ(config.torch_dtype, "bfloat16");
  EXPECT_EQ(config.bos_token_id, 5);
}

TEST(ModelConfigTest, EveryNumberHasLimitsAndTheMessageSaysThem) {
  EXPECT_EQ(Error(With(Base(), {{"hidden_size", -3}})),
            "config.json: hidden_size: must be between 1 and 1048576, not -3");
  EXPECT_EQ(Error(With(Base(), {{"hidden_size", "64"}})),
            "config.json: hidden_size: must be an integer between 1 and 1048576, not \"64\"");
  EXPECT_EQ(Error(With(Base(), {{"hidden_size", 64.0}})),
            "config.json: hidden_size: must be an integer between 1 and 1048576, not 64.0");
  EXPECT_EQ(Error(With(Base(), {{"hidden_size", nullptr}})), "config.json: hidden_size: is missing");
  const struct {
    const char* key;
    int64_t high;
  } integers[] = {{"hidden_size", 1 << 20},       {"intermediate_size", 1 << 22},      {"num_hidden_layers", 4096},
                  {"num_attention_heads", 16384}, {"num_key_value_heads", 16384},      {"head_dim", 4096},
                  {"vocab_size", 1 << 24},        {"max_position_embeddings", 1 << 30}};
  for (const auto& field : integers) {
    const std::string rule = absl::StrCat("config.json: ", field.key, ": must be between 1 and ", field.high, ", not ");
    for (const int64_t value : {int64_t{0}, int64_t{-1}, INT64_MIN, INT64_MAX, field.high + 1}) {
      EXPECT_EQ(Error(With(Base(), {{field.key, value}})), absl::StrCat(rule, value));
    }
    EXPECT_EQ(Error(With(Base(), {{field.key, UINT64_MAX}})), absl::StrCat(rule, UINT64_MAX));
    for (const Json& value : {Json(1e30), Json("1"), Json(true), Json::array(), Json::object(), Json(2.5)}) {
      EXPECT_THAT(Error(With(Base(), {{field.key, value}})),
                  StartsWith(absl::StrCat("config.json: ", field.key, ": must be an integer")));
    }
  }
  for (const char* key : {"rms_norm_eps", "rope_theta"}) {
    for (const Json& value : {Json(-1), Json(1e300), Json("x"), Json(false), Json::array()}) {
      EXPECT_THAT(Error(With(Base(), {{key, value}})), StartsWith(absl::StrCat("config.json: ", key, ": must be ")));
    }
  }
  EXPECT_THAT(Error(With(Base(), {{"rope_theta", 0}})), HasSubstr("rope_theta: must be between 1 and"));
  for (const char* key : {"tie_word_embeddings", "attention_bias", "mlp_bias"}) {
    for (const Json& value : {Json(1), Json("true"), Json::array()}) {
      EXPECT_THAT(Error(With(Base(), {{key, value}})),
                  StartsWith(absl::StrCat("config.json: ", key, ": must be true or false, not ")));
    }
  }
  EXPECT_LT(Error(With(Base(), {{"hidden_size", std::string(100000, 'x')}})).size(), 200u);
}

TEST(ModelConfigTest, ShapesMustFitTogether) {
  EXPECT_EQ(Error(With(Base(), {{"num_key_value_heads", 3}})),
            "config.json: num_key_value_heads: must divide num_attention_heads 8, and 3 does not");
  EXPECT_THAT(Error(With(Base(), {{"num_key_value_heads", 16}})), HasSubstr("must divide num_attention_heads 8"));
  EXPECT_EQ(Error(With(Base(), {{"num_attention_heads", 6}})),
            "config.json: num_attention_heads: must divide hidden_size 64 where head_dim is not given, and 6 does not");
  EXPECT_EQ(Parse(With(Base(), {{"num_attention_heads", 6}, {"head_dim", 10}})).head_dim, 10);
  EXPECT_EQ(Error(With(Base(), {{"head_dim", 7}})), "config.json: head_dim: must be even and at most 4096, not 7");
  EXPECT_THAT(Error(With(Base(), {{"num_attention_heads", 64}})), HasSubstr("head_dim: must be even"));  // 64 / 64 = 1
  EXPECT_THAT(Error(With(Base(), {{"num_attention_heads", 1}, {"hidden_size", 1 << 20}})),
              HasSubstr("at most 4096, not 1048576"));
}

TEST(ModelConfigTest, OtherKindsOfModelAreUnimplementedByName) {
  constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;
  EXPECT_EQ(Error(With(Base(), {{"architectures", {"MixtralForCausalLM"}}}), kUnimplemented),
            "config.json: architectures: \"MixtralForCausalLM\" is not supported (LlamaForCausalLM, OPTForCausalLM and Gemma2ForCausalLM are)");
  EXPECT_THAT(Error(With(Base(), {{"model_type", "mistral"}}), kUnimplemented), HasSubstr("model_type: \"mistral\""));
  EXPECT_THAT(Error(With(Base(), {{"hidden_act", "gelu"}}), kUnimplemented), HasSubstr("hidden_act: \"gelu\""));
  EXPECT_THAT(Error(With(Base(), {{"quantization_config", {{"bits", 4}}}}), kUnimplemented),
              HasSubstr("quantization_config"));
  EXPECT_THAT(Error(With(Base(), {{"partial_rotary_factor", 0.5}}), kUnimplemented),
              HasSubstr("partial_rotary_factor: 0.5"));
  for (const char* type : {"yarn", "longrope", "no\nsuch"}) {
    EXPECT_THAT(Error(With(Base(), {{"rope_scaling", {{"type", type}, {"factor", 2.0}}}}), kUnimplemented),
                HasSubstr("rope_scaling.type: \""));
    EXPECT_THAT(Error(With(Base(), {{"rope_scaling", {{"rope_type", type}}}}), kUnimplemented),
                HasSubstr("rope_scaling.rope_type: \""));
  }
  for (const Json& value : {Json("LlamaForCausalLM"), Json::array(), Json{1}, Json{"LlamaForCausalLM", "X"}}) {
    EXPECT_THAT(Error(With(Base(), {{"architectures", value}})),
                HasSubstr("architectures: must be a list of one name"));
  }
  Json config = Base();
  config.erase("architectures");
  EXPECT_EQ(Parse(config).architecture, "LlamaForCausalLM");  // by model_type
  config.erase("model_type");
  EXPECT_EQ(Error(config), "config.json: architectures: is missing");
}

TEST(ModelConfigTest, ArchitectureAndModelTypeMustAgree) {
  EXPECT_EQ(Error(With(Base(), {{"model_type", "opt"}})),
            "config.json: model_type: must be llama for the architecture LlamaForCausalLM, not opt");
}

TEST(ModelConfigTest, OptNamesItsShapesItsOwnWay) {
  const Json opt = {{"architectures", {"OPTForCausalLM"}}, {"model_type", "opt"},      {"hidden_size", 96},
                    {"ffn_dim", 384},                      {"num_hidden_layers", 3},   {"num_attention_heads", 12},
                    {"vocab_size", 500},                   {"word_embed_proj_dim", 48}, {"do_layer_norm_before", false}};
  ModelConfig config = Parse(opt);
  EXPECT_EQ(config.family, ModelFamily::kOpt);
  EXPECT_EQ(config.intermediate_size, 384);
  EXPECT_EQ(config.num_kv_heads, 12);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.embedding_size, 48);
  EXPECT_EQ(config.norm_eps, 1e-5);
  EXPECT_TRUE(config.post_norm);
  EXPECT_FALSE(config.has_final_norm);
  EXPECT_TRUE(config.attention_bias && config.mlp_bias && config.norm_affine && config.tie_word_embeddings);
  EXPECT_EQ(config.bos_token_id, 2);
  EXPECT_EQ(config.eos_token_ids, std::vector<int32_t>{2});
  config = Parse(With(opt, {{"do_layer_norm_before", true}, {"enable_bias", false}}));
  EXPECT_TRUE(config.has_final_norm && !config.post_norm && !config.attention_bias);
  EXPECT_FALSE(Parse(With(opt, {{"do_layer_norm_before", true}, {"_remove_final_layer_norm", true}})).has_final_norm);
  EXPECT_EQ(Error(With(opt, {{"num_attention_heads", 7}})),
            "config.json: num_attention_heads: must divide hidden_size 96, and 7 does not");
  EXPECT_EQ(Error(With(opt, {{"activation_function", "gelu"}}), absl::StatusCode::kUnimplemented),
            "config.json: activation_function: \"gelu\" is not supported (relu is)");
}

TEST(ModelConfigTest, Gemma2HasWindowsAndCaps) {
  const Json gemma = {{"architectures", {"Gemma2ForCausalLM"}}, {"model_type", "gemma2"},   {"hidden_size", 64},
                      {"intermediate_size", 128},               {"num_hidden_layers", 3},   {"num_attention_heads", 8},
                      {"num_key_value_heads", 4},               {"head_dim", 16},           {"vocab_size", 500},
                      {"sliding_window", 16},                   {"query_pre_attn_scalar", 24}};
  ModelConfig config = Parse(gemma);
  EXPECT_EQ(config.family, ModelFamily::kGemma2);
  EXPECT_EQ(config.windows, (std::vector<int64_t>{16, 0, 16}));
  EXPECT_EQ(config.query_pre_attn_scalar, 24);
  EXPECT_EQ(config.attention_soft_cap, 50);
  EXPECT_EQ(config.logit_soft_cap, 30);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.eos_token_ids, std::vector<int32_t>{1});
  config = Parse(With(gemma, {{"attn_logit_softcapping", nullptr}, {"final_logit_softcapping", 7.5}}));
  EXPECT_EQ(config.attention_soft_cap, 0);
  EXPECT_EQ(config.logit_soft_cap, 7.5);
  config = Parse(With(gemma, {{"layer_types", {"full_attention", "sliding_attention", "full_attention"}}}));
  EXPECT_EQ(config.windows, (std::vector<int64_t>{0, 16, 0}));
  // A window as long as the context hides nothing.
  EXPECT_EQ(Parse(With(gemma, {{"max_position_embeddings", 16}})).windows, (std::vector<int64_t>{0, 0, 0}));
  EXPECT_THAT(Error(With(gemma, {{"layer_types", {"full_attention"}}})), HasSubstr("layer_types: must be a list of 3 names"));
  EXPECT_THAT(Error(With(gemma, {{"layer_types", {"full_attention", "x", "full_attention"}}})), HasSubstr("not \"x\""));
  EXPECT_THAT(Error(With(gemma, {{"sliding_window", 0}})), HasSubstr("sliding_window: must be between 1 and"));
  EXPECT_THAT(Error(With(gemma, {{"hidden_activation", "relu"}}), absl::StatusCode::kUnimplemented),
              HasSubstr("hidden_activation: \"relu\""));
}

TEST(ModelConfigTest, LinearAndDynamicRopeScaling) {
  ModelConfig config = Parse(With(Base(), {{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}));
  EXPECT_EQ(config.rope_scaling.type, RopeScaling::Type::kLinear);
  EXPECT_EQ(config.rope_scaling.factor, 2);
  // Up to the trained context, which is all that is served, it is plain RoPE.
  config = Parse(With(Base(), {{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 4.0}}}}));
  EXPECT_EQ(config.rope_scaling.type, RopeScaling::Type::kNone);
  for (const char* type : {"linear", "dynamic"}) {
    EXPECT_EQ(Error(With(Base(), {{"rope_scaling", {{"rope_type", type}}}})), "config.json: rope_scaling.factor: is missing");
  }
}

TEST(ModelConfigTest, RopeScaling) {
  const Json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 256}};
  const ModelConfig config = Parse(With(Base(), {{"rope_scaling", llama3}}));
  EXPECT_EQ(config.rope_scaling.type, RopeScaling::Type::kLlama3);
  EXPECT_EQ(config.rope_scaling.factor, 8);
  EXPECT_EQ(config.rope_scaling.low_freq_factor, 1);
  EXPECT_EQ(config.rope_scaling.high_freq_factor, 4);
  EXPECT_EQ(config.rope_scaling.original_max_position_embeddings, 256);
  EXPECT_EQ(Parse(With(Base(), {{"rope_scaling", {{"rope_type", "default"}}}})).rope_scaling.type,
            RopeScaling::Type::kNone);
  Json older = With(llama3, {{"type", "llama3"}});
  older.erase("rope_type");
  EXPECT_EQ(Parse(With(Base(), {{"rope_scaling", older}})).rope_scaling.type, RopeScaling::Type::kLlama3);
  // Newer files keep everything about RoPE in one object.
  const ModelConfig newer = Parse(With(Base(), {{"rope_parameters", With(llama3, {{"rope_theta", 500000.0}})}}));
  EXPECT_EQ(newer.rope_theta, 500000);
  EXPECT_EQ(newer.rope_scaling.factor, 8);

  const auto error = [&](const Json& changes) {
    return Error(With(Base(), {{"rope_scaling", With(llama3, changes)}}));
  };
  EXPECT_EQ(error({{"factor", 0.5}}), "config.json: rope_scaling.factor: must be between 1 and 100000, not 0.5");
  EXPECT_THAT(error({{"factor", nullptr}}), HasSubstr("rope_scaling.factor: is missing"));
  EXPECT_EQ(error({{"high_freq_factor", 1}}),
            "config.json: rope_scaling.high_freq_factor: must be above low_freq_factor 1, not 1");
  EXPECT_THAT(error({{"low_freq_factor", 0}}), HasSubstr("rope_scaling.low_freq_factor: must be between"));
  EXPECT_THAT(error({{"original_max_position_embeddings", 0}}),
              HasSubstr("original_max_position_embeddings: must be between 1"));
  EXPECT_THAT(error({{"original_max_position_embeddings", nullptr}}), HasSubstr("is missing"));
  EXPECT_THAT(error({{"rope_type", 3}}), HasSubstr("rope_type: must be text"));
  EXPECT_THAT(Error(With(Base(), {{"rope_scaling", {{"factor", 2}}}})),
              HasSubstr("rope_scaling.rope_type: is missing"));
  EXPECT_THAT(Error(With(Base(), {{"rope_scaling", "llama3"}})), HasSubstr("rope_scaling: must be an object or null"));
}

TEST(ModelConfigTest, TokenIds) {
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(Parse(With(Base(), {{"eos_token_id", 7}})).eos_token_ids, Ids{7});
  EXPECT_EQ(Parse(With(Base(), {{"eos_token_id", {9, 7, 9}}})).eos_token_ids, (Ids{7, 9}));
  EXPECT_EQ(Parse(With(Base(), {{"eos_token_id", nullptr}})).eos_token_ids, Ids{});
  EXPECT_EQ(Parse(With(Base(), {{"eos_token_id", 7}}), R"({"eos_token_id": [3, 7], "temperature": 0.6})").eos_token_ids,
            (Ids{3, 7}));
  EXPECT_EQ(Parse(With(Base(), {{"eos_token_id", 7}}), R"({"eos_token_id": null})").eos_token_ids, Ids{7});
  EXPECT_EQ(Parse(With(Base(), {{"bos_token_id", nullptr}})).bos_token_id, std::nullopt);
  const ModelConfig tiny = Parse(With(Base(), {{"vocab_size", 1}}));  // the defaults are not in the vocabulary
  EXPECT_EQ(tiny.bos_token_id, std::nullopt);
  EXPECT_EQ(tiny.eos_token_ids, Ids{});

  EXPECT_EQ(Error(With(Base(), {{"eos_token_id", 512}})),
            "config.json: eos_token_id: must be between 0 and 511, not 512");
  EXPECT_THAT(Error(With(Base(), {{"eos_token_id", {1, -1}}})),
              HasSubstr("eos_token_id: must be between 0 and 511, not -1"));
  EXPECT_THAT(Error(With(Base(), {{"eos_token_id", "</s>"}})), HasSubstr("eos_token_id: must be an integer"));
  EXPECT_THAT(Error(With(Base(), {{"bos_token_id", -1}})),
              HasSubstr("bos_token_id: must be between 0 and 511, not -1"));
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(Error(Base(), kInvalid, R"({"eos_token_id": [1, 600]})"),
            "generation_config.json: eos_token_id: must be between 0 and 511, not 600");
  EXPECT_THAT(Error(Base(), kInvalid, "[]"), HasSubstr("generation_config.json: must be a JSON object"));
  EXPECT_THAT(Error(Base(), kInvalid, "{"), StartsWith("generation_config.json: not valid JSON"));
}

TEST(ModelConfigTest, TextThatIsNoConfig) {
  for (const char* text : {"", "[]", "3", "null", "{", "{}", "{\"hidden_size\": 64, \"hidden_size\": 65}", "\xff"}) {
    const auto parsed = ParseModelConfig(text, "");
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(parsed.status().message()), StartsWith("config.json: "));
  }
}

TEST(MixsgaConfigTest, ReadsAllOfIt) {
  Json json = Mixsga();
  ModelConfig config = Parse(json);
  ASSERT_TRUE(config.mixsga.has_value());
  EXPECT_EQ(config.experts(), *ExpertSpec::Create({1, 2, 4}, 8));
  EXPECT_EQ(config.mixsga->routing_window, 256);
  EXPECT_TRUE(config.mixsga->elastic);
  EXPECT_FALSE(config.mixsga->trained_ratio.has_value());
  EXPECT_EQ(config.mixsga->default_ratio, *Ratio::Parse("3:1:6", 3));
  EXPECT_TRUE(config.mixsga->ladder.empty());

  json["mixsga"]["routing_window"] = 64;
  json["mixsga"]["trained_ratio"] = "5:3:2";
  json["mixsga"].erase("default_ratio");
  json["mixsga"]["ladder"] = Json::array({{{"kv_fraction", 1}, {"ratio", "1:0:0"}},
                                          {{"kv_fraction", 0.5}, {"ratio", "3:1:6"}},
                                          {{"kv_fraction", 0.25}, {"ratio", "0:0:1"}}});
  config = Parse(json);
  EXPECT_EQ(config.mixsga->routing_window, 64);
  EXPECT_FALSE(config.mixsga->elastic);
  EXPECT_EQ(config.mixsga->trained_ratio, *Ratio::Parse("5:3:2", 3));
  EXPECT_EQ(config.mixsga->default_ratio, *Ratio::Parse("5:3:2", 3));
  ASSERT_EQ(config.mixsga->ladder.size(), 3u);
  EXPECT_EQ(config.mixsga->ladder[1].first, 0.5);
  EXPECT_EQ(config.mixsga->ladder[1].second, *Ratio::Parse("3:1:6", 3));
}

TEST(MixsgaConfigTest, RefusesWhatIsWrongByName) {
  const auto error = [](const Json& changes) {
    Json config = Mixsga();
    config["mixsga"] = With(config["mixsga"], changes);
    return Error(config);
  };
  EXPECT_THAT(Error(With(Base(), {{"mixsga", Json::array()}})), HasSubstr("mixsga: must be an object"));
  EXPECT_THAT(error({{"group_size", {1, 2}}}),
              HasSubstr("config.json: mixsga.\"group_size\": is not a known key (group_sizes, "));
  EXPECT_EQ(error({{"group_sizes", nullptr}}), "config.json: mixsga.group_sizes: is missing");
  EXPECT_THAT(error({{"group_sizes", 2}}), HasSubstr("mixsga.group_sizes: must be a list of 1 to 8 integers"));
  EXPECT_THAT(error({{"group_sizes", Json::array()}}), HasSubstr("must be a list of 1 to 8 integers"));
  EXPECT_THAT(error({{"group_sizes", {1, 2, 3}}}), HasSubstr("mixsga.group_sizes [1, 2, 3]: 3 does not divide"));
  EXPECT_THAT(error({{"group_sizes", {2, 4, 8}}}), HasSubstr("the first must be 1"));
  EXPECT_THAT(error({{"group_sizes", {1, 2, 16}}}), HasSubstr("mixsga.group_sizes: must be between 1 and 8, not 16"));
  EXPECT_THAT(error({{"group_sizes", {1, 0, 4}}}), HasSubstr("must be between 1 and 8, not 0"));
  EXPECT_THAT(error({{"group_sizes", {1, "2", 4}}}), HasSubstr("must be an integer"));
  EXPECT_THAT(error({{"group_sizes", {1, 2}}}),
              HasSubstr("mixsga.default_ratio: ratio \"3:1:6\" has 3 weights, but the model has 2 experts"));
  EXPECT_EQ(error({{"routing_window", 0}}), "config.json: mixsga.routing_window: must be between 1 and 65536, not 0");
  EXPECT_THAT(error({{"routing_window", 65537}}), HasSubstr("not 65537"));
  EXPECT_EQ(error({{"trained_ratio", nullptr}}), "config.json: mixsga.trained_ratio: is missing");
  EXPECT_THAT(error({{"trained_ratio", "3:1"}}), HasSubstr("mixsga.trained_ratio: ratio \"3:1\" has 2 weights"));
  EXPECT_THAT(error({{"trained_ratio", 3}}), HasSubstr("mixsga.trained_ratio: must be a ratio such as"));
  EXPECT_EQ(error({{"default_ratio", nullptr}}), "config.json: mixsga.default_ratio: is missing");
  EXPECT_THAT(error({{"default_ratio", "elastic"}}),
              HasSubstr("mixsga.default_ratio: ratio \"elastic\": \"elastic\" is not a number"));

  const auto ladder = [&](const Json& knots) { return error({{"ladder", knots}}); };
  const Json full = {{"kv_fraction", 1}, {"ratio", "1:0:0"}};
  const Json half = {{"kv_fraction", 0.5}, {"ratio", "3:1:6"}};
  EXPECT_THAT(ladder("x"), HasSubstr("mixsga.ladder: must be a list"));
  EXPECT_THAT(ladder(Json::array({1})), HasSubstr("mixsga.ladder[0]: must be an object, not 1"));
  EXPECT_THAT(ladder(Json::array({half, full})),
              HasSubstr("mixsga.ladder[1].kv_fraction: must be below the 0.5 before it, not 1"));
  EXPECT_THAT(ladder(Json::array({half, half})), HasSubstr("must be below the 0.5 before it"));
  EXPECT_THAT(ladder(Json::array({With(full, {{"ratio", "1:0"}})})),
              HasSubstr("mixsga.ladder[0].ratio: ratio \"1:0\" has 2 weights"));
  EXPECT_THAT(ladder(Json::array({With(full, {{"f", 1}})})), HasSubstr("ladder[0].\"f\": is not a known key"));
  EXPECT_THAT(ladder(Json::array({With(full, {{"kv_fraction", nullptr}})})),
              HasSubstr("mixsga.ladder[0].kv_fraction: is missing"));
  EXPECT_THAT(ladder(Json::array({With(full, {{"kv_fraction", 1.5}})})), HasSubstr("must be between 0 and 1, not 1.5"));
  EXPECT_THAT(ladder(Json::array({With(full, {{"kv_fraction", 0.9}})})),
              HasSubstr("must be within 0.01 of what ratio 1:0:0 keeps, 1, not 0.9"));
}

}  // namespace
}  // namespace ration
