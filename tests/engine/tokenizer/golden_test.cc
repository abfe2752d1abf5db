// The tokenizer against Hugging Face's own results on real vocabularies (RATION_SHARED; nothing of them is committed).
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <openssl/evp.h>

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

#define SKIP_WITHOUT_SHARED()                                                                                 \
  if (Shared().empty()) GTEST_SKIP() << "RATION_SHARED is not set: nothing was compared with Hugging Face's " \
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

TEST(TokenizerGoldenTest, EveryLlama2CaseEncodesAndDecodesAlike) {
  SKIP_WITHOUT_SHARED();
  const std::string directory = Shared() + "/golden/tokenizers/llama2";
  const std::unique_ptr<Tokenizer> tokenizer = Load(directory);
  ASSERT_NE(tokenizer, nullptr);
  std::ifstream file(directory + "/cases.jsonl");
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const Json c = Json::parse(line);
    SCOPED_TRACE(absl::StrCat("case ", c["n"].get<int>(), " (", c["category"].get<std::string>(), ")"));
    const auto text = c["text"].get<std::string>();
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    const auto ids_special = c["ids_special"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer->Encode(text, false).value(), ids);
    EXPECT_EQ(tokenizer->Encode(text, true).value(), ids_special);
    EXPECT_EQ(tokenizer->Decode(ids, false).value(), c["decoded"].get<std::string>());
    EXPECT_EQ(tokenizer->Decode(ids_special, true).value(), c["decoded_skip"].get<std::string>());
    EXPECT_EQ(Streamed(*tokenizer, ids, false), c["decoded"].get<std::string>());
    EXPECT_EQ(Streamed(*tokenizer, ids_special, true), c["decoded_skip"].get<std::string>());
  }
  EXPECT_EQ(cases, 441);
}

TEST(TokenizerGoldenTest, EveryIdOfLlama2DecodesAndEncodesAlike) {
  SKIP_WITHOUT_SHARED();
  const std::string directory = Shared() + "/golden/tokenizers/llama2";
  const std::unique_ptr<Tokenizer> tokenizer = Load(directory);
  ASSERT_NE(tokenizer, nullptr);
  const Json golden = ReadJson(directory + "/vocab_blocks.json");
  const auto skip = golden["skip"].get<std::vector<int32_t>>();
  int32_t covered = 0;
  for (const Json& block : golden["blocks"]) {
    std::string decoded, encoded;
    for (int32_t id = block["start"]; id < block["end"].get<int32_t>(); ++id, ++covered) {
      if (std::find(skip.begin(), skip.end(), id) != skip.end()) continue;
      const std::string text = tokenizer->Decode({id}, false).value();
      decoded += text + '\0';
      encoded += absl::StrJoin(tokenizer->Encode(text, false).value(), " ") + "\n";
    }
    EXPECT_EQ(Sha256(decoded), block["decode_sha256"].get<std::string>()) << "ids from " << block["start"];
    EXPECT_EQ(Sha256(encoded), block["encode_sha256"].get<std::string>()) << "ids from " << block["start"];
  }
  EXPECT_EQ(covered, tokenizer->vocab_size());
}

TEST(TokenizerGoldenTest, TinyModelsTokeniseTheirTextPrompt) {
  SKIP_WITHOUT_SHARED();
  for (const char* model : {"tinyllama-tiny", "llama-mha-tiny", "gemma2-tiny"}) {
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

TEST(TokenizerGoldenTest, ByteLevelTokenizersAreRefusedByName) {
  SKIP_WITHOUT_SHARED();
  for (const char* directory :
       {"/golden/logits/llama3-tiny/fp32", "/golden/logits/opt-tiny/fp32", "/golden/tokenizers/gpt2"}) {
    const absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = LoadTokenizer(Shared() + directory);
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kUnimplemented);
    EXPECT_NE(tokenizer.status().message().find("pre_tokenizer type \""), std::string::npos) << tokenizer.status();
    EXPECT_NE(tokenizer.status().message().find("\" is not supported"), std::string::npos) << tokenizer.status();
  }
}

}  // namespace
}  // namespace ration
