// The oracle on random checkpoints of every family: what routing must do in all of them, each feature of a family on
// its own, and the mistakes that golden logits cannot show. The expected values are worked out here by other means.
#include <ATen/ATen.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/router/decode_router.h"
#include "engine/weights/tensor_source.h"
#include "gtest/gtest.h"
#include "tests/testing/family_checkpoint.h"
#include "tools/train/oracle_model.h"

namespace ration {
namespace {

using Tensors = absl::btree_map<std::string, at::Tensor>;

class MapSource final : public TensorSource {
 public:
  explicit MapSource(const Tensors& tensors) : tensors_(tensors) {}
  bool Has(absl::string_view name) const override { return tensors_.contains(std::string(name)); }
  absl::StatusOr<at::Tensor> Tensor(absl::string_view name, absl::Span<const int64_t>) const override {
    const auto it = tensors_.find(std::string(name));
    if (it == tensors_.end()) return absl::NotFoundError(name);
    return it->second;
  }

 private:
  const Tensors& tensors_;
};

std::unique_ptr<OracleModel> Make(TestFamily family, const FamilyCheckpointOptions& options, const Tensors& tensors) {
  const auto config = ParseOracleConfig(FamilyConfigJson(family, options));
  EXPECT_TRUE(config.ok()) << config.status();
  if (!config.ok()) return nullptr;
  auto model = OracleModel::Create(*config, MapSource(tensors));
  EXPECT_TRUE(model.ok()) << model.status();
  return model.ok() ? *std::move(model) : nullptr;
}

std::unique_ptr<OracleModel> Make(TestFamily family, const FamilyCheckpointOptions& options = {}) {
  return Make(family, options, FamilyTensors(family, options));
}

FamilyCheckpointOptions Routed() {
  FamilyCheckpointOptions options;
  options.routed = true;
  return options;
}

FamilyCheckpointOptions Patched(const std::string& patch) {
  FamilyCheckpointOptions options;
  options.config_patch = patch;
  return options;
}

std::vector<int32_t> SomeTokens(int64_t count) {
  std::vector<int32_t> tokens(count);
  uint32_t state = 4321;
  for (int32_t& token : tokens) token = static_cast<int32_t>((state = state * 1664525u + 1013904223u) >> 8) % 384;
  return tokens;
}

OracleModel::Output Forward(const OracleModel& model, int64_t length, const OracleModel::Options& options = {}) {
  auto output = model.Forward(SomeTokens(length), options);
  EXPECT_TRUE(output.ok()) << output.status();
  return output.ok() ? *std::move(output) : OracleModel::Output();
}

double Difference(const at::Tensor& a, const at::Tensor& b) { return (a - b).abs().max().item<double>(); }

// Tokens that go to experts 0, 1 and 2 in turn, shifted by the layer.
OracleModel::Options MixedRoutes(const OracleModel& model, int64_t length) {
  OracleModel::Options options;
  for (int64_t layer = 0; layer < model.config().num_layers; ++layer) {
    auto& routes = options.told_routes.emplace_back();
    for (int64_t t = 0; t < length; ++t) routes.push_back(static_cast<uint8_t>((t + layer) % 3));
  }
  return options;
}

std::string LayerPrefix(TestFamily family, int64_t layer) {
  const bool opt = family == TestFamily::kOpt || family == TestFamily::kOptPostNorm;
  return absl::StrCat(opt ? "model.decoder.layers." : "model.layers.", layer, ".");
}

class OracleFamilies : public testing::TestWithParam<TestFamily> {};

TEST_P(OracleFamilies, AllToTheFirstExpertEqualsThePlainModel) {
  const auto plain = Make(GetParam()), routed = Make(GetParam(), Routed());
  OracleModel::Options options;
  options.ratio = *Ratio::Parse("1:0:0", 3);
  const at::Tensor wanted = Forward(*plain, 60).logits;
  EXPECT_EQ(Difference(Forward(*routed, 60, options).logits, wanted), 0);
  options.ratio = *Ratio::Parse("3:1:6", 3);
  EXPECT_GT(Difference(Forward(*routed, 60, options).logits, wanted), 1e-2);
}

// The mean commutes with the projection and with RoPE, so grouping everything equals averaging the projections' rows.
TEST_P(OracleFamilies, AllToOneExpertEqualsTheMeanOfItsProjections) {
  const auto routed = Make(GetParam(), Routed());
  for (int expert : {1, 2}) {
    const int64_t group = int64_t{1} << expert;
    Tensors tensors = FamilyTensors(GetParam());
    for (auto& [name, tensor] : tensors) {
      if (!absl::StrContains(name, "k_proj") && !absl::StrContains(name, "v_proj")) continue;
      const int64_t rows = tensor.size(0), dim = routed->config().head_dim, columns = tensor.numel() / rows;
      const at::Tensor heads = tensor.view({rows / dim / group, group, dim, columns});
      tensor = heads.mean(1, /*keepdim=*/true).expand_as(heads).reshape(tensor.sizes());
    }
    const auto averaged = Make(GetParam(), {}, tensors);
    OracleModel::Options options;
    options.ratio = Ratio::AllTo(expert, 3);
    EXPECT_LE(Difference(Forward(*routed, 40, options).logits, Forward(*averaged, 40).logits), 1e-4)
        << "expert " << expert;
  }
}

// A router sees what q, k and v are projected from. Small embeddings make the norms' eps count.
TEST_P(OracleFamilies, TheRouterSeesTheAttentionInput) {
  FamilyCheckpointOptions options = Routed();
  Tensors tensors = FamilyTensors(GetParam(), options);
  for (auto& [name, tensor] : tensors) {
    if (absl::StrContains(name, "embed_tokens") || absl::StrContains(name, "embed_positions")) tensor = tensor * 0.003;
  }
  const auto model = Make(GetParam(), options, tensors);
  const OracleModel::Output output = Forward(*model, 20);
  for (int64_t layer = 0; layer < 3; ++layer) {
    const std::string prefix = LayerPrefix(GetParam(), layer);
    const at::Tensor x = (layer == 0 ? output.trace.embed : output.trace.layers[layer - 1]).to(at::kDouble);
    at::Tensor h;
    if (GetParam() == TestFamily::kOptPostNorm) {
      h = x;
    } else if (GetParam() == TestFamily::kOpt) {
      const at::Tensor centred = x - x.mean(1, true);
      h = centred / (centred.pow(2).mean(1, true) + 1e-5).sqrt() * tensors[prefix + "self_attn_layer_norm.weight"] +
          tensors[prefix + "self_attn_layer_norm.bias"];
    } else {
      const bool gemma = GetParam() == TestFamily::kGemma2;
      h = x / (x.pow(2).mean(1, true) + (gemma ? 1e-6 : 1e-5)).sqrt();
      h = h * (tensors[prefix + "input_layernorm.weight"] + (gemma ? 1 : 0));
    }
    const at::Tensor logits = at::matmul(h, tensors[prefix + "self_attn.router.weight"].to(at::kDouble).t()) +
                              tensors[prefix + "self_attn.router.bias"];
    EXPECT_LE(Difference(output.scores[layer].to(at::kDouble), at::sigmoid(logits)), 1e-5) << "layer " << layer;
  }
}

TEST_P(OracleFamilies, ARouteMattersFromItsTokenOnAndNotBefore) {
  const auto model = Make(GetParam(), Routed());
  OracleModel::Options options = MixedRoutes(*model, 30);
  const at::Tensor before = Forward(*model, 30, options).logits;
  options.told_routes[1][12] = options.told_routes[1][12] == 0 ? 2 : 0;
  const at::Tensor after = Forward(*model, 30, options).logits;
  EXPECT_LE(Difference(before.narrow(0, 0, 12), after.narrow(0, 0, 12)), 1e-5);
  EXPECT_GT(Difference(before[12], after[12]), 1e-4);
  EXPECT_GT(Difference(before[29], after[29]), 1e-5);
}

// With full KV a key's bias moves every score of a query alike, so no plain model can show that it is there.
TEST_P(OracleFamilies, EveryTensorHasAnEffect) {
  const FamilyCheckpointOptions options = Routed();
  const Tensors tensors = FamilyTensors(GetParam(), options);
  const auto model = Make(GetParam(), options, tensors);
  const OracleModel::Options mixed = MixedRoutes(*model, 20);
  const OracleModel::Output wanted = Forward(*model, 20, mixed);
  for (const auto& [name, tensor] : tensors) {
    if (absl::StrContains(name, "calibration")) continue;  // of no effect on told routes
    Tensors changed = tensors;
    changed[name] = tensor * 1.5 + 0.1;
    const OracleModel::Output output = Forward(*Make(GetParam(), options, changed), 20, mixed);
    double difference = Difference(output.logits, wanted.logits);
    for (size_t i = 0; i < output.scores.size(); ++i) {
      if (absl::StrContains(name, "router"))
        difference = std::max(difference, Difference(output.scores[i], wanted.scores[i]));
    }
    EXPECT_GT(difference, 1e-4) << name;
  }
}

TEST_P(OracleFamilies, ADirectoryHoldsWhatTheTensorsSay) {
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    FamilyCheckpointOptions options = Routed();
    options.dtype = dtype;
    const FamilyCheckpoint files(GetParam(), options);
    const auto opened = OracleModel::Open(files.directory());
    ASSERT_TRUE(opened.ok()) << opened.status();
    const OracleModel::Output got = Forward(**opened, 30), wanted = Forward(*Make(GetParam(), options), 30);
    EXPECT_EQ(Difference(got.logits, wanted.logits), 0);
    EXPECT_EQ(got.routes, wanted.routes);
  }
}

TEST_P(OracleFamilies, DecodedTokensFollowTheCheckpointsCalibrationAtItsDefaultRatio) {
  const FamilyCheckpointOptions options = Routed();
  const Tensors tensors = FamilyTensors(GetParam(), options);
  OracleModel::Options decode;
  decode.prompt_tokens = 20;
  const OracleModel::Output output = Forward(*Make(GetParam(), options, tensors), 150, decode);
  DecodeRouter::Options router_options;
  router_options.num_layers = 3;
  router_options.ratio = *Ratio::Parse("3:1:6", 3);
  for (int64_t layer = 0; layer < 3; ++layer) {
    const at::Tensor table = tensors.at(LayerPrefix(GetParam(), layer) + "self_attn.router.calibration");
    router_options.calibration.emplace_back(table.data_ptr<float>(), table.data_ptr<float>() + table.numel());
  }
  const auto router = DecodeRouter::Create(router_options);
  ASSERT_TRUE(router.ok()) << router.status();
  for (int layer = 0; layer < 3; ++layer) {
    const at::Tensor scores = output.scores[layer].contiguous();
    ExpertCounts counts;
    for (int t = 0; t < 150; ++t) {
      const int expert = output.routes[layer][t];
      if (t >= 20) {
        ASSERT_EQ(expert, (*router)->Route(layer, {scores.data_ptr<float>() + t * 3, 3}, counts)) << layer << " " << t;
      }
      counts.Add(expert);
    }
  }
}

TEST_P(OracleFamilies, GreedyTokensAreThoseOfTheLastRows) {
  const auto model = Make(GetParam(), Routed());
  const auto tokens = model->Greedy(SomeTokens(20), 5, {});
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  std::vector<int32_t> sequence = SomeTokens(20);
  sequence.insert(sequence.end(), tokens->begin(), tokens->end());
  OracleModel::Options options;
  options.prompt_tokens = 20;
  const auto whole = model->Forward(sequence, options);
  ASSERT_TRUE(whole.ok()) << whole.status();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(whole->logits[19 + i].argmax().item<int64_t>(), (*tokens)[i]) << i;
}

INSTANTIATE_TEST_SUITE_P(All, OracleFamilies, testing::ValuesIn(AllTestFamilies()),
                         [](const auto& info) { return Name(info.param); });

TEST(OracleRope, DynamicScalingIsPlainInsideTheContextAndAnotherThetaBeyond) {
  const auto model = Make(TestFamily::kDynamicRope);  // 256 positions, factor 2
  const Tensors tensors = FamilyTensors(TestFamily::kDynamicRope);
  const auto with_theta = [&](double theta) {
    const std::string patch =
        absl::StrCat(R"({"rope_scaling": null, "max_position_embeddings": 512, "rope_theta": )", theta, "}");
    return Make(TestFamily::kDynamicRope, Patched(patch), tensors);
  };
  EXPECT_EQ(Difference(Forward(*model, 256).logits, Forward(*with_theta(10000), 256).logits), 0);
  // 384 tokens: 10000 * (2 * 384 / 256 - 1)^(8 / 6)
  const at::Tensor longer = Forward(*model, 384).logits;
  EXPECT_LE(Difference(longer, Forward(*with_theta(10000 * std::pow(2, 4.0 / 3)), 384).logits), 2e-3);
  EXPECT_GT(Difference(longer, Forward(*with_theta(10000), 384).logits), 0.1);
  EXPECT_EQ(model->Forward(SomeTokens(513), {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(OracleRope, ScalingChangesTheLogits) {
  for (TestFamily family : {TestFamily::kLinearRope, TestFamily::kLlama3Rope}) {
    const auto scaled = Make(family), plain = Make(family, Patched(R"({"rope_scaling": null})"));
    EXPECT_GT(Difference(Forward(*scaled, 60).logits, Forward(*plain, 60).logits), 0.1) << Name(family);
  }
}

TEST(OracleOpt, EmbeddingsAreTokensPlusPositionsFromTheThirdRow) {
  Tensors tensors = FamilyTensors(TestFamily::kOpt);
  const std::vector<int32_t> tokens = SomeTokens(9);
  const at::Tensor embed = Forward(*Make(TestFamily::kOpt, {}, tensors), 9).trace.embed;
  for (int64_t t = 0; t < 9; ++t) {
    const at::Tensor wanted = tensors["model.decoder.embed_tokens.weight"][tokens[t]] +
                              tensors["model.decoder.embed_positions.weight"][t + 2];
    EXPECT_LE(Difference(embed[t], wanted), 1e-6) << t;
  }
}

TEST(OracleOpt, ProjectionsLeadIntoTheHiddenSizeAndOutAgain) {
  Tensors tensors = FamilyTensors(TestFamily::kOptPostNorm);
  const OracleModel::Output output = Forward(*Make(TestFamily::kOptPostNorm, {}, tensors), 5);
  const at::Tensor table = tensors["model.decoder.embed_tokens.weight"];
  const at::Tensor inside = at::matmul(tensors["model.decoder.project_in.weight"], table[SomeTokens(5)[3]]);
  EXPECT_LE(Difference(output.trace.embed[3], inside + tensors["model.decoder.embed_positions.weight"][5]), 1e-5);
  // No norm between the last layer and the projection.
  const at::Tensor outside = at::matmul(output.trace.layers.back(), tensors["model.decoder.project_out.weight"].t());
  EXPECT_LE(Difference(output.trace.final, outside), 1e-5);
  EXPECT_LE(Difference(output.logits, at::matmul(outside, table.t())), 1e-4);
}

TEST(OracleOpt, TheHeadIsTiedAndReadsTheFinalNorm) {
  Tensors tensors = FamilyTensors(TestFamily::kOpt);
  const OracleModel::Output output = Forward(*Make(TestFamily::kOpt, {}, tensors), 5);
  const at::Tensor x = output.trace.layers.back(), centred = x - x.mean(1, true);
  const at::Tensor normal = centred / (centred.pow(2).mean(1, true) + 1e-5).sqrt();
  const at::Tensor wanted =
      normal * tensors["model.decoder.final_layer_norm.weight"] + tensors["model.decoder.final_layer_norm.bias"];
  EXPECT_LE(Difference(output.trace.final, wanted), 1e-5);
  EXPECT_LE(Difference(output.logits, at::matmul(wanted, tensors["model.decoder.embed_tokens.weight"].t())), 1e-4);
}

TEST(OracleOpt, TheFinalNormCanBeRemoved) {
  const OracleModel::Output with = Forward(*Make(TestFamily::kOpt), 5);
  EXPECT_GT(Difference(with.trace.final, with.trace.layers.back()), 0.1);
  const OracleModel::Output without =
      Forward(*Make(TestFamily::kOpt, Patched(R"({"_remove_final_layer_norm": true})")), 5);
  EXPECT_EQ(Difference(without.trace.final, without.trace.layers.back()), 0);
}

class OracleOptVariants : public testing::TestWithParam<TestFamily> {};

TEST_P(OracleOptVariants, WithoutBiasesEqualsZeroBiases) {
  Tensors tensors = FamilyTensors(GetParam());
  for (auto& [name, tensor] : tensors) {
    const bool linear = absl::StrContains(name, "_proj.") || absl::StrContains(name, ".fc");
    if (linear && absl::EndsWith(name, ".bias")) tensor = at::zeros_like(tensor);
  }
  const at::Tensor without = Forward(*Make(GetParam(), Patched(R"({"enable_bias": false})")), 20).logits;
  EXPECT_EQ(Difference(without, Forward(*Make(GetParam(), {}, tensors), 20).logits), 0);
  EXPECT_GT(Difference(without, Forward(*Make(GetParam()), 20).logits), 0.1);
}

TEST_P(OracleOptVariants, PlainNormsEqualUnitWeightsAndZeroBiases) {
  Tensors tensors = FamilyTensors(GetParam());
  for (auto& [name, tensor] : tensors) {
    if (!absl::StrContains(name, "layer_norm")) continue;
    tensor = absl::EndsWith(name, ".bias") ? at::zeros_like(tensor) : at::ones_like(tensor);
  }
  const at::Tensor plain =
      Forward(*Make(GetParam(), Patched(R"({"layer_norm_elementwise_affine": false})")), 20).logits;
  EXPECT_LE(Difference(plain, Forward(*Make(GetParam(), {}, tensors), 20).logits), 1e-5);
  EXPECT_GT(Difference(plain, Forward(*Make(GetParam()), 20).logits), 0.1);
}

TEST_P(OracleOptVariants, NamesNeedNoPrefix) {
  FamilyCheckpointOptions options = Routed();
  options.opt_prefix = false;
  Tensors tensors;
  for (const auto& [name, tensor] : FamilyTensors(GetParam(), Routed())) {
    ASSERT_TRUE(absl::StartsWith(name, "model."));
    tensors[name.substr(6)] = tensor;
  }
  EXPECT_EQ(Difference(Forward(*Make(GetParam(), options, tensors), 20).logits,
                       Forward(*Make(GetParam(), Routed()), 20).logits),
            0);
  EXPECT_TRUE(FamilyTensors(GetParam(), options).contains("decoder.embed_tokens.weight"));
}

TEST_P(OracleOptVariants, AnUntiedHeadIsRead) {
  Tensors tensors = FamilyTensors(GetParam());
  tensors["lm_head.weight"] = tensors["model.decoder.embed_tokens.weight"] * -2;
  const at::Tensor tied = Forward(*Make(GetParam(), {}, tensors), 20).logits;
  const auto untied = Make(GetParam(), Patched(R"({"tie_word_embeddings": false})"), tensors);
  EXPECT_LE(Difference(Forward(*untied, 20).logits, tied * -2), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Both, OracleOptVariants, testing::Values(TestFamily::kOpt, TestFamily::kOptPostNorm),
                         [](const auto& info) { return Name(info.param); });

// With nothing from attention and nothing from its own input, a layer adds fc2(act(fc1's bias)).
TEST(OracleOpt, TheActivationIsTheOneNamed) {
  Tensors tensors = FamilyTensors(TestFamily::kOpt);
  const std::string layer = "model.decoder.layers.0.";
  for (const char* name : {"self_attn.out_proj.weight", "self_attn.out_proj.bias", "fc1.weight"}) {
    tensors[layer + name] = at::zeros_like(tensors[layer + name]);
  }
  tensors[layer + "fc1.bias"] = tensors[layer + "fc1.bias"] * 4;
  const auto tanh_gelu = [](double x) {
    return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
  };
  const std::vector<std::pair<std::string, std::function<double(double)>>> activations = {
      {"relu", [](double x) { return x > 0 ? x : 0; }},
      {"gelu", [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }},
      {"gelu_new", tanh_gelu}};
  for (const auto& [name, activation] : activations) {
    const auto model =
        Make(TestFamily::kOpt, Patched(absl::StrCat(R"({"activation_function": ")", name, R"("})")), tensors);
    const OracleModel::Output output = Forward(*model, 3);
    at::Tensor inner = tensors[layer + "fc1.bias"].to(at::kDouble);
    for (int64_t i = 0; i < inner.numel(); ++i) inner[i] = activation(inner[i].item<double>());
    const at::Tensor added =
        at::matmul(tensors[layer + "fc2.weight"].to(at::kDouble), inner) + tensors[layer + "fc2.bias"];
    const at::Tensor got = (output.trace.layers[0] - output.trace.embed).to(at::kDouble);
    EXPECT_LE(Difference(got[2], added), 1e-5) << name;  // the two gelus differ by some 1e-4
  }
}

TEST(OracleGemma2, EmbeddingsAreScaledInFloat32WhateverTheyAreStoredIn) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    FamilyCheckpointOptions options;
    options.dtype = dtype;
    Tensors tensors = FamilyTensors(TestFamily::kGemma2, options);
    const at::Tensor embed = Forward(*Make(TestFamily::kGemma2, options, tensors), 4).trace.embed[3];
    const at::Tensor stored = tensors["model.embed_tokens.weight"][SomeTokens(4)[3]].to(at::kFloat);
    // Rounded to bfloat16 the root of 48 would be 6.9375, 0.13 % off.
    EXPECT_LE(Difference(embed / stored, at::full({48}, std::sqrt(48.0))), 1e-5);
  }
}

TEST(OracleGemma2, TheHeadIsTiedAndCapped) {
  Tensors tensors = FamilyTensors(TestFamily::kGemma2);
  const OracleModel::Output output = Forward(*Make(TestFamily::kGemma2, {}, tensors), 8);
  const at::Tensor raw = at::matmul(output.trace.final, tensors["model.embed_tokens.weight"].t());
  EXPECT_GT(raw.abs().max().item<double>(), 6);
  EXPECT_LE(Difference(output.logits, at::tanh(raw / 5) * 5), 1e-5);
  tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] * -1;
  const auto untied = Make(TestFamily::kGemma2, Patched(R"({"tie_word_embeddings": false})"), tensors);
  EXPECT_LE(Difference(Forward(*untied, 8).logits, -output.logits), 1e-5);
}

// How far into the past each layer looks, seen by changing one token and nothing else.
TEST(OracleGemma2, EvenLayersSeeAWindowAndOddOnesEverything) {
  for (const bool routed : {false, true}) {
    const auto model = Make(TestFamily::kGemma2, routed ? Routed() : FamilyCheckpointOptions());
    const OracleModel::Options options = routed ? MixedRoutes(*model, 60) : OracleModel::Options();
    std::vector<int32_t> tokens = SomeTokens(60);
    const OracleModel::Output before = *model->Forward(tokens, options);
    tokens[20] = (tokens[20] + 1) % 384;
    const OracleModel::Output after = *model->Forward(tokens, options);
    const auto moved = [&](size_t layer, int64_t t) {
      return Difference(before.trace.layers[layer][t], after.trace.layers[layer][t]);
    };
    EXPECT_EQ(moved(0, 19), 0);
    for (int64_t t = 20; t < 31; ++t) EXPECT_GT(moved(0, t), 1e-4) << t;  // 11 tokens
    for (int64_t t = 31; t < 60; ++t) EXPECT_EQ(moved(0, t), 0) << t;
    for (int64_t t = 31; t < 60; ++t) EXPECT_GT(moved(1, t), 1e-6) << t;
  }
}

TEST(OracleGemma2, AttentionBiasesAreReadWhereTheConfigurationSaysSo) {
  Tensors tensors = FamilyTensors(TestFamily::kGemma2);
  const at::Tensor plain = Forward(*Make(TestFamily::kGemma2, {}, tensors), 20).logits;
  for (const bool zero : {true, false}) {
    Tensors biased = tensors;
    for (const auto& [name, tensor] : tensors) {
      if (!absl::StrContains(name, "_proj.weight") || !absl::StrContains(name, "self_attn")) continue;
      biased[name.substr(0, name.size() - 6) + "bias"] = at::full({tensor.size(0)}, zero ? 0.0 : 0.3);
    }
    const auto model = Make(TestFamily::kGemma2, Patched(R"({"attention_bias": true})"), biased);
    const double difference = Difference(Forward(*model, 20).logits, plain);
    EXPECT_TRUE(zero ? difference == 0 : difference > 0.1) << difference;
  }
}

}  // namespace
}  // namespace ration
