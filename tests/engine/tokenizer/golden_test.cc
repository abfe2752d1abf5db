// The tokenizer against Hugging Face's own results on real vocabularies (RATION_SHARED; nothing of them is committed).
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/tokenizer/incremental_detokenizer.h"
#include "engine/tokenizer/tokenizer.h"

namespace ration {
namespace {

using Json = nlohmann::json;

std::string Shared() {
  const char* shared = std::getenv("RATION_SHARED");
  return shared == nullptr ? "" : shared;
}

#define SKIP_WITHOUT_SHARED()                                                           \
  if (Shared().empty())                                                                 \
  GTEST_SKIP() << "RATION_SHARED is not set: nothing was compared with Hugging Face's " \
                  "tokenizers"

Json ReadJson(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  return Json::parse(file);
}

std::unique_ptr<Tokenizer> Load(const std::string& directory) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = LoadTokenizer(directory);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

std::string Streamed(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special_tokens) {
  IncrementalDetokenizer detokenizer(&tokenizer, {}, skip_special_tokens);
  std::string text;
  for (int32_t id : ids) text += detokenizer.Append(id);
  return text + detokenizer.Flush();
}

std::string Sha256(const std::string& data) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EXPECT_EQ(EVP_Digest(data.data(), data.size(), digest, &size, EVP_sha256(), nullptr), 1);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), size));
}

// A family's folder of cases, and where its tokenizer.json lies: beside them, or in RATION_TOKENIZERS.
class FamilyGoldenTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    SKIP_WITHOUT_SHARED();
    cases_ = Shared() + "/golden/tokenizers/" + GetParam();
    std::string directory = cases_;
    if (!std::ifstream(directory + "/tokenizer.json").good()) {
      const char* fetched = std::getenv("RATION_TOKENIZERS");
      if (fetched == nullptr) {
        GTEST_SKIP() << "RATION_TOKENIZERS is not set (tests/fetch_tokenizers.sh fills it): the " << GetParam()
                     << " tokenizer was not compared with Hugging Face's";
      }
      directory = absl::StrCat(fetched, "/", GetParam());
    }
    tokenizer_ = Load(directory);
    ASSERT_NE(tokenizer_, nullptr);
  }

  std::string cases_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

void ExpectCasesAlike(const Tokenizer& tokenizer, const std::string& cases_file) {
  std::ifstream file(cases_file);
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const Json c = Json::parse(line);
    SCOPED_TRACE(absl::StrCat("case ", c["n"].get<int>(), " (", c["category"].get<std::string>(), ")"));
    const auto text = c["text"].get<std::string>();
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    const auto ids_special = c["ids_special"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.Encode(text, false).value(), ids);
    EXPECT_EQ(tokenizer.Encode(text, true).value(), ids_special);
    EXPECT_EQ(tokenizer.Decode(ids, false).value(), c["decoded"].get<std::string>());
    EXPECT_EQ(tokenizer.Decode(ids_special, true).value(), c["decoded_skip"].get<std::string>());
    EXPECT_EQ(Streamed(tokenizer, ids, false), c["decoded"].get<std::string>());
    EXPECT_EQ(Streamed(tokenizer, ids_special, true), c["decoded_skip"].get<std::string>());
  }
  EXPECT_EQ(cases, 441);
}

TEST_P(FamilyGoldenTest, EveryCaseEncodesAndDecodesAlike) { ExpectCasesAlike(*tokenizer_, cases_ + "/cases.jsonl"); }

TEST_P(FamilyGoldenTest, PublishedVectorsEncodeAlike) {
  const Json published = ReadJson(Shared() + "/golden/tokenizers/published_vectors.json");
  if (!published.contains(GetParam())) GTEST_SKIP() << "Hugging Face publishes no vectors for " << GetParam();
  for (const Json& vector : published[GetParam()]) {
    const auto text = vector["text"].get<std::string>();
    for (const char* member : {"ids", "ids_special"}) {
      if (!vector.contains(member)) continue;
      EXPECT_EQ(tokenizer_->Encode(text, std::string(member) == "ids_special").value(),
                vector[member].get<std::vector<int32_t>>())
          << text;
    }
  }
}

TEST_P(FamilyGoldenTest, EveryIdDecodesAndEncodesAlike) {
  const Json golden = ReadJson(cases_ + "/vocab_blocks.json");
  const auto skip_list = golden["skip"].get<std::vector<int32_t>>();
  const std::unordered_set<int32_t> skip(skip_list.begin(), skip_list.end());
  int32_t covered = 0;
  for (const Json& block : golden["blocks"]) {
    std::string decoded, encoded;
    for (int32_t id = block["start"]; id < block["end"].get<int32_t>(); ++id, ++covered) {
      if (skip.count(id) > 0) continue;
      const std::string text = tokenizer_->Decode({id}, false).value();
      decoded += text + '\0';
      encoded += absl::StrJoin(tokenizer_->Encode(text, false).value(), " ") + "\n";
    }
    EXPECT_EQ(Sha256(decoded), block["decode_sha256"].get<std::string>()) << "ids from " << block["start"];
    EXPECT_EQ(Sha256(encoded), block["encode_sha256"].get<std::string>()) << "ids from " << block["start"];
  }
  EXPECT_EQ(covered, tokenizer_->vocab_size());
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyGoldenTest, ::testing::Values("llama3", "llama2", "gemma2", "opt", "gpt2"),
                         [](const auto& info) { return std::string(info.param); });

// A directory that has only sentencepiece's own file is read like the tokenizer.json that Hugging Face makes of it.
TEST(TokenizerGoldenTest, EveryLlama2CaseIsAlikeFromTokenizerModel) {
  SKIP_WITHOUT_SHARED();
  const std::string source = Shared() + "/golden/tokenizers/llama2/";
  const std::string directory = testing::TempDir() + "/llama2";
  std::filesystem::create_directory(directory);
  for (const char* name : {"tokenizer.model", "tokenizer_config.json"}) {
    std::filesystem::copy_file(source + name, absl::StrCat(directory, "/", name),
                               std::filesystem::copy_options::overwrite_existing);
  }
  const std::unique_ptr<Tokenizer> tokenizer = Load(directory);
  ASSERT_NE(tokenizer, nullptr);
  ExpectCasesAlike(*tokenizer, source + "cases.jsonl");

  const std::unique_ptr<Tokenizer> json = Load(source);
  ASSERT_EQ(tokenizer->vocab_size(), json->vocab_size());
  for (int32_t id = 0; id < json->vocab_size(); ++id) {
    ASSERT_EQ(tokenizer->IdToToken(id), json->IdToToken(id));
    ASSERT_EQ(tokenizer->IsSpecial(id), json->IsSpecial(id)) << id;
  }
}

TEST(TokenizerGoldenTest, TinyModelsTokeniseTheirTextPrompt) {
  SKIP_WITHOUT_SHARED();
  for (const char* model : {"tinyllama-tiny", "llama-mha-tiny", "gemma2-tiny", "llama3-tiny", "llama3-tiny-hd16",
                            "opt-tiny", "opt350-tiny"}) {
    SCOPED_TRACE(model);
    const std::string directory = Shared() + "/golden/logits/" + model;
    const std::unique_ptr<Tokenizer> tokenizer = Load(directory + "/fp32");
    ASSERT_NE(tokenizer, nullptr);
    const Json golden = ReadJson(directory + "/golden-fp32.json");
    const auto prompt = std::find_if(golden["prompts"].begin(), golden["prompts"].end(),
                                     [](const Json& candidate) { return candidate["name"] == "ptext"; });
    ASSERT_NE(prompt, golden["prompts"].end());
    EXPECT_EQ(tokenizer->Encode((*prompt)["text"].get<std::string>(), true).value(),
              (*prompt)["input_ids"].get<std::vector<int32_t>>());
  }
}

TEST(TokenizerGoldenTest, StoryModelsTokeniseTheirPrompt) {
  SKIP_WITHOUT_SHARED();
  const std::string models = Shared() + "/data/models/";
  const Json stories = ReadJson(models + "stories260K-hf/golden.json");
  EXPECT_EQ(Load(models + "stories260K-hf")->Encode(stories["prompt"].get<std::string>(), true).value(),
            stories["prompt_ids"].get<std::vector<int32_t>>());

  // This model's prompt was made without the U+2581 in front; its tokenizer.json adds one.
  const std::unique_ptr<Tokenizer> tokenizer = Load(models + "tinystories-656k");
  const Json golden = ReadJson(models + "tinystories-656k/golden.json");
  const auto ids = golden["prompt_ids"].get<std::vector<int32_t>>();
  EXPECT_EQ(tokenizer->Decode(ids, true).value(), golden["prompt"].get<std::string>());
}

}  // namespace
}  // namespace ration
