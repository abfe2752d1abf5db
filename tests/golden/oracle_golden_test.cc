// The oracle (tools/train) against Hugging Face transformers (tests/golden/README.md), for every family: the
// embeddings, each layer's output, the head's input, the logits, and greedy continuations, teacher-forced and
// free-running. The oracle computes in float32 whatever the weights are stored in, and so did the golden data, so one
// tolerance serves all. The subset in tests/golden/data always runs; the whole set runs where RATION_SHARED names it.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/weights/safetensors.h"
#include "tools/train/oracle_model.h"

namespace ration {
namespace {

struct Case {
  std::string root;       // folder of the models; empty: not here
  std::string model;      // e.g. opt-tiny
  std::string directory;  // e.g. fp16-noprefix
  std::string golden;     // e.g. fp16
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.root << "/" << c.model << "/" << c.directory; }

std::string CaseName(const ::testing::TestParamInfo<Case>& info) {
  const bool own = absl::StartsWith(info.param.root, "tests/golden");
  std::string name = absl::StrCat(own ? "own_" : "shared_", info.param.model, "_", info.param.directory);
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return name;
}

struct Prompt {
  std::string name;
  std::vector<int32_t> input_ids;
  std::vector<int32_t> greedy;  // empty where the committed subset has only a model's first layers
};

class OracleGoldenTest : public ::testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() { at::set_num_threads(1); }  // the models are too small for more

  void SetUp() override {
    const Case& c = GetParam();
    if (c.root.empty()) {
      GTEST_SKIP() << "RATION_SHARED is not set: the whole golden set is not here, only the committed subset ran";
    }
    const std::string folder = absl::StrCat(c.root, "/", c.model, "/");
    auto model = OracleModel::Open(folder + c.directory);
    ASSERT_TRUE(model.ok()) << model.status();
    model_ = *std::move(model);
    std::ifstream file(absl::StrCat(folder, "golden-", c.golden, ".json"));
    const nlohmann::json json = nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(json.is_object()) << folder;
    for (const auto& p : json["prompts"]) {
      prompts_.push_back({p["name"], p["input_ids"], p.value("greedy", std::vector<int32_t>())});
    }
    ASSERT_FALSE(prompts_.empty());
    auto arrays = SafetensorsFile::Open(absl::StrCat(folder, "golden-", c.golden, ".safetensors"));
    ASSERT_TRUE(arrays.ok()) << arrays.status();
    arrays_ = *std::move(arrays);
  }

  OracleModel::Output MustForward(const std::vector<int32_t>& tokens) const {
    auto output = model_->Forward(tokens, {});
    EXPECT_TRUE(output.ok()) << output.status();
    return output.ok() ? *std::move(output) : OracleModel::Output();
  }

  // What correct float32 implementations stay under, and deliberate mistakes do not. Larger values carry larger errors.
  double Tolerance(double largest) const {
    return (absl::StartsWith(GetParam().model, "gemma2") ? 5e-4 : 2e-4) * std::max(1.0, largest / 10);
  }

  bool has_continuations() const { return !prompts_[0].greedy.empty(); }

  // The committed subset holds some of the arrays only.
  void Compare(const std::string& name, const at::Tensor& got) {
    const SafetensorsFile::TensorInfo* info = arrays_->Find(name);
    if (info == nullptr) return;
    const at::Tensor want = at::from_blob(const_cast<uint8_t*>(info->data), info->shape, at::kFloat).clone();
    ASSERT_EQ(got.sizes(), want.sizes()) << name;
    const double largest = absl::StrContains(name, "logits") ? 0 : want.abs().max().item<double>();
    EXPECT_LE((got - want).abs().max().item<double>(), Tolerance(largest)) << name;
    ++compared_;
  }

  std::unique_ptr<OracleModel> model_;
  std::vector<Prompt> prompts_;
  std::unique_ptr<SafetensorsFile> arrays_;
  int compared_ = 0;
};

TEST_P(OracleGoldenTest, EveryLayerAndTheLogitsMatch) {
  for (const Prompt& prompt : prompts_) {
    const OracleModel::Output output = MustForward(prompt.input_ids);
    Compare(prompt.name + ".embed", output.trace.embed);
    for (size_t i = 0; i < output.trace.layers.size(); ++i) {
      Compare(absl::StrCat(prompt.name, ".layer", i), output.trace.layers[i]);
    }
    Compare(prompt.name + ".final", output.trace.final);
    Compare(prompt.name + ".logits", output.logits);
  }
  EXPECT_GT(compared_, 0);
}

TEST_P(OracleGoldenTest, TeacherForcedContinuationsMatch) {
  if (!has_continuations()) GTEST_SKIP() << "these are the first layers of a model: they continue nothing";
  for (const Prompt& prompt : prompts_) {
    std::vector<int32_t> tokens = prompt.input_ids;
    tokens.insert(tokens.end(), prompt.greedy.begin(), prompt.greedy.end() - 1);
    const int64_t count = static_cast<int64_t>(prompt.greedy.size());
    const at::Tensor rows = MustForward(tokens).logits.narrow(0, static_cast<int64_t>(tokens.size()) - count, count);
    Compare(prompt.name + ".greedy_logits", rows);
    const at::Tensor best = rows.argmax(1);
    for (int64_t i = 0; i < count; ++i)
      EXPECT_EQ(best[i].item<int64_t>(), prompt.greedy[i]) << prompt.name << " step " << i;
  }
}

TEST_P(OracleGoldenTest, FreeRunningGreedyTokensMatch) {
  if (!has_continuations()) GTEST_SKIP() << "these are the first layers of a model: they continue nothing";
  for (const Prompt& prompt : prompts_) {
    const auto tokens = model_->Greedy(prompt.input_ids, static_cast<int64_t>(prompt.greedy.size()), {});
    ASSERT_TRUE(tokens.ok()) << tokens.status();
    EXPECT_EQ(*tokens, prompt.greedy) << prompt.name;
  }
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  const std::string own = "tests/golden/data";
  cases.push_back({own, "tinyllama-tiny", "bf16", "bf16"});
  cases.push_back({own, "llama3-tiny-hd16", "bf16", "bf16"});
  cases.push_back({own, "opt-tiny-first-layers", "fp16-noprefix", "fp16"});
  cases.push_back({own, "opt350-tiny", "bf16", "bf16"});
  cases.push_back({own, "gemma2-tiny", "bf16", "bf16"});
  const char* shared = std::getenv("RATION_SHARED");
  const std::string root = shared == nullptr ? "" : absl::StrCat(shared, "/golden/logits");
  for (const char* model : {"llama3-tiny", "llama3-tiny-hd16", "tinyllama-tiny", "llama-mha-tiny", "opt-tiny",
                            "opt350-tiny", "gemma2-tiny"}) {
    cases.push_back({root, model, "fp32", "fp32"});
    cases.push_back({root, model, "bf16", "bf16"});
  }
  cases.push_back({root, "llama3-tiny", "bf16-sharded", "bf16"});
  cases.push_back({root, "opt-tiny", "fp16", "fp16"});
  cases.push_back({root, "opt-tiny", "fp16-noprefix", "fp16"});
  cases.push_back({root, "opt350-tiny", "fp16", "fp16"});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Golden, OracleGoldenTest, ::testing::ValuesIn(Cases()), CaseName);

}  // namespace
}  // namespace ration
