#include "tools/train/oracle_config.h"

#include <string>

#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/family_checkpoint.h"

namespace ration {
namespace {

using Json = nlohmann::json;

OracleConfig MustParse(const Json& json) {
  const auto config = ParseOracleConfig(json.dump());
  EXPECT_TRUE(config.ok()) << config.status();
  return config.ok() ? *config : OracleConfig();
}

Json ConfigOf(TestFamily family) { return Json::parse(FamilyConfigJson(family)); }

TEST(OracleConfig, Gemma2SaysNoCapByNullAndTheDefaultBySilence) {
  Json json = ConfigOf(TestFamily::kGemma2);
  EXPECT_EQ(MustParse(json).gemma2.attention_cap, 2);
  EXPECT_EQ(MustParse(json).gemma2.final_cap, 5);
  EXPECT_EQ(MustParse(json).gemma2.window, 11);
  EXPECT_EQ(MustParse(json).gemma2.query_scalar, 24);
  EXPECT_TRUE(MustParse(json).tied);
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping", "sliding_window"}) json[key] = nullptr;
  EXPECT_EQ(MustParse(json).gemma2.attention_cap, 0);
  EXPECT_EQ(MustParse(json).gemma2.final_cap, 0);
  EXPECT_EQ(MustParse(json).gemma2.window, 0);
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping", "sliding_window"}) json.erase(key);
  EXPECT_EQ(MustParse(json).gemma2.attention_cap, 50);
  EXPECT_EQ(MustParse(json).gemma2.final_cap, 30);
  EXPECT_EQ(MustParse(json).gemma2.window, 4096);
}

TEST(OracleConfig, Gemma2TakesNoOtherPatternOfLayers) {
  Json json = ConfigOf(TestFamily::kGemma2);
  json["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
  MustParse(json);
  json["layer_types"] = {"full_attention", "sliding_attention", "full_attention"};
  EXPECT_EQ(ParseOracleConfig(json.dump()).status().code(), absl::StatusCode::kUnimplemented);
  json["layer_types"] = {"sliding_attention"};
  EXPECT_EQ(ParseOracleConfig(json.dump()).status().code(), absl::StatusCode::kUnimplemented);
}

TEST(OracleConfig, OptHasAFinalNormOnlyWhereNormsStandBefore) {
  Json json = ConfigOf(TestFamily::kOpt);
  EXPECT_TRUE(MustParse(json).opt.final_norm);
  EXPECT_TRUE(MustParse(json).tied);
  EXPECT_EQ(MustParse(json).norm_eps, 1e-5);
  EXPECT_FALSE(MustParse(ConfigOf(TestFamily::kOptPostNorm)).opt.final_norm);
  json["_remove_final_layer_norm"] = true;
  EXPECT_FALSE(MustParse(json).opt.final_norm);
  json.erase("word_embed_proj_dim");
  EXPECT_EQ(MustParse(json).opt.embed_size, 64);
}

TEST(OracleConfig, RopeScalingIsReadUnderBothItsNames) {
  Json json = ConfigOf(TestFamily::kLlama);
  EXPECT_EQ(MustParse(json).rope.type, RopeRule::Type::kPlain);
  for (const char* key : {"type", "rope_type"}) {
    json["rope_scaling"] = {{key, "linear"}, {"factor", 4.0}};
    EXPECT_EQ(MustParse(json).rope.type, RopeRule::Type::kLinear);
    EXPECT_EQ(MustParse(json).rope.factor, 4);
    EXPECT_EQ(MustParse(json).max_length(), 256);
    json["rope_scaling"] = {{key, "dynamic"}, {"factor", 2.0}};
    EXPECT_EQ(MustParse(json).rope.type, RopeRule::Type::kDynamic);
    EXPECT_EQ(MustParse(json).rope.original_positions, 256);
    EXPECT_EQ(MustParse(json).max_length(), 512);
  }
  const RopeRule llama3 = MustParse(ConfigOf(TestFamily::kLlama3Rope)).rope;
  EXPECT_EQ(llama3.type, RopeRule::Type::kLlama3);
  EXPECT_EQ(llama3.original_positions, 64);
}

TEST(OracleConfig, WhatItDoesNotKnowIsNamed) {
  const auto expect = [](TestFamily family, const char* key, const Json& value, absl::StatusCode code) {
    Json json = ConfigOf(family);
    json[key] = value;
    const absl::Status status = ParseOracleConfig(json.dump()).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(std::string(status.message()).find(key), std::string::npos) << status;
  };
  const auto unknown = absl::StatusCode::kUnimplemented, wrong = absl::StatusCode::kInvalidArgument;
  expect(TestFamily::kLlama, "architectures", {"MistralForCausalLM"}, unknown);
  expect(TestFamily::kLlama, "hidden_act", "gelu", unknown);
  expect(TestFamily::kLlama, "rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}}, unknown);
  expect(TestFamily::kOpt, "activation_function", "silu", unknown);
  expect(TestFamily::kGemma2, "hidden_activation", "gelu", unknown);
  expect(TestFamily::kOpt, "num_attention_heads", 7, wrong);
  expect(TestFamily::kLlama, "num_key_value_heads", 3, wrong);
  expect(TestFamily::kGemma2, "hidden_size", 0, wrong);
  expect(TestFamily::kLlama, "mixsga", {{"group_sizes", {1, 3}}, {"default_ratio", "1:1"}}, wrong);
  EXPECT_EQ(ParseOracleConfig("[]").status().code(), wrong);
  EXPECT_EQ(ParseOracleConfig("{").status().code(), wrong);
}

}  // namespace
}  // namespace ration
