// Tests engine/tokenizer/tokenizer_model.cc and sentencepiece_file.cc: the same ids as sentencepiece's own library, on
// models that its own trainer makes here; what is refused.
#include "engine/tokenizer/tokenizer_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/tokenizer/sentencepiece_library.h"

namespace ration {
namespace {

using Ids = std::vector<int32_t>;
using Options = std::unordered_map<std::string, std::string>;
using ::testing::HasSubstr;

// Made-up words over few syllables, so that there is something to merge.
std::string RandomText(std::mt19937& random, size_t words) {
  constexpr const char* kSyllables[] = {"ka",  "to",      "mi",     "re",     "sha", "on",
                                        "ing", "\u00e9l", "\u4e2d", "\u6587", "0",   "17"};
  constexpr const char* kBetween[] = {" ", " ", " ", " ", ", ", ". ", "  ", "\n", "   ", "-", " \u2581", "\t"};
  std::string text;
  for (size_t i = 0; i < words; ++i) {
    for (size_t k = random() % 4; k > 0; --k) text += kSyllables[random() % std::size(kSyllables)];
    text += kBetween[random() % std::size(kBetween)];
  }
  return text;
}

std::string Train(Options options) {
  Options all = {{"model_type", "bpe"},       {"vocab_size", "420"}, {"normalization_rule_name", "identity"},
                 {"character_coverage", "1"}, {"minloglevel", "3"},  {"num_threads", "1"}};
  if (options.count("byte_fallback") == 0) all["vocab_size"] = "160";
  for (const auto& [name, value] : options) all[name] = value;
  std::mt19937 random(11);
  std::vector<std::string> sentences;
  for (int i = 0; i < 400; ++i) {
    sentences.push_back(absl::StrReplaceAll(RandomText(random, 12), {{"\n", " "}}));
  }
  return TrainSentencePieceModel(all, sentences);
}

std::unique_ptr<Tokenizer> MustParse(const std::string& model, const std::string& config = "",
                                     const std::string& added = "") {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = ParseSentencePieceTokenizer(model, config, added);
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
}

TEST(TokenizerModelTest, EncodesAndDecodesAsSentencepieceDoes) {
  const Options grid[] = {
      {},
      {{"byte_fallback", "true"}},
      {{"byte_fallback", "true"}, {"remove_extra_whitespaces", "false"}},
      {{"byte_fallback", "true"}, {"remove_extra_whitespaces", "false"}, {"add_dummy_prefix", "false"}},
      {{"add_dummy_prefix", "false"}},
      {{"split_by_whitespace", "false"}, {"remove_extra_whitespaces", "false"}},
      {{"user_defined_symbols", "kato,<call>,\u2581\u2581"}, {"remove_extra_whitespaces", "false"}},
  };
  for (const Options& options : grid) {
    std::string name;
    for (const auto& [key, value] : options) absl::StrAppend(&name, key, "=", value, " ");
    SCOPED_TRACE(name);
    const std::string model = Train(options);
    const SentencePieceLibrary original(model);
    const auto tokenizer = MustParse(model);
    ASSERT_NE(tokenizer, nullptr);
    ASSERT_EQ(tokenizer->vocab_size(), original.size());

    std::mt19937 random(2);
    for (int round = 0; round < 400; ++round) {
      std::string text = RandomText(random, random() % 30);
      if (round % 3 == 0) text += "\U0001F600\u00df kato<call>x   ";  // not in what the model was trained on
      if (round % 5 == 0) text = absl::StrCat("  ", text);
      const Ids expected = original.Encode(text);
      const Ids ids = tokenizer->Encode(text, false).value();
      ASSERT_EQ(ids, expected) << "\"" << text << "\"";
      // Hugging Face's decoder, which is ours, writes <unk> as it is, and takes one space from the front.
      if (options.count("byte_fallback") == 0 || options.count("remove_extra_whitespaces") == 0) continue;
      ASSERT_EQ(tokenizer->Decode(ids, true).value(), original.Decode(ids));
    }
  }
}

TEST(TokenizerModelTest, ControlSymbolsAreFoundInTextAndAddedAroundIt) {
  const std::string model = Train({{"byte_fallback", "true"}, {"control_symbols", "<turn>"}});
  const auto plain = MustParse(model);
  const int32_t bos = *plain->TokenToId("<s>"), eos = *plain->TokenToId("</s>"), turn = *plain->TokenToId("<turn>");
  const Ids word = plain->Encode("kato", false).value();
  Ids expected = {bos};
  expected.insert(expected.end(), word.begin(), word.end());
  EXPECT_EQ(plain->Encode("kato", true).value(), expected) << "a BOS unless the configuration says no";
  Ids both = word;
  both.push_back(turn);
  both.insert(both.end(), word.begin(), word.end());
  EXPECT_EQ(plain->Encode("kato<turn>kato", false).value(), both) << "each text between has its prefix";
  EXPECT_TRUE(plain->IsSpecial(turn));
  EXPECT_EQ(plain->Decode({turn, word[0]}, true).value(), plain->Decode({word[0]}, true).value());

  const auto configured = MustParse(model, R"({"add_bos_token": false, "add_eos_token": true, "legacy": false})");
  Ids ended = word;
  ended.push_back(eos);
  EXPECT_EQ(configured->Encode("kato", true).value(), ended);
  const Ids second = configured->Encode("<turn>kato", false).value();
  EXPECT_NE(Ids(second.begin() + 1, second.end()), word) << "only the first text has a prefix";
  EXPECT_EQ(configured->Decode(second, true).value(), "kato");
}

TEST(TokenizerModelTest, FilesBesideTheModelAddTokens) {
  const std::string model = Train({{"byte_fallback", "true"}});
  const auto tokenizer = MustParse(
      model,
      R"({"added_tokens_decoder": {"1": {"content": "<s>", "special": true}, "420": {"content": "<a>", "rstrip": true}}})",
      R"({"<b>": 421, "<a>": 420})");
  EXPECT_EQ(tokenizer->vocab_size(), 422);
  EXPECT_EQ(tokenizer->Encode("<b><a>  <s>", false).value(), Ids({421, 420, 1}));
  const auto refused = [&](const std::string& config, const std::string& added, const std::string& message) {
    const absl::Status status = ParseSentencePieceTokenizer(model, config, added).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(message));
  };
  refused(R"({"added_tokens_decoder": {"1": {"content": "<bos>"}}})", "",
          "tokenizer_config.json: added_tokens_decoder.1: id: 1");
  refused(R"({"added_tokens_decoder": {"x": {"content": "<a>"}}})", "", "\"x\" is not an id");
  refused(R"({"added_tokens_decoder": {"9000000": {"content": "<a>"}}})", "", "id 9000000 is too high");
  refused(R"({"add_bos_token": 1})", "", "tokenizer_config.json: add_bos_token: must be true or false");
  refused("{", "", "tokenizer_config.json: not valid JSON");
  refused("", R"({"<a>": "x"})", "added_tokens.json: <a>: must be an integer");
}

TEST(TokenizerModelTest, WhatIsNotSupportedIsRefusedByName) {
  const auto refused = [](const Options& options, const std::string& message, const std::string& more = "") {
    const absl::Status status = ParseSentencePieceTokenizer(Train(options) + more, "", "").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_EQ(status.message(), "tokenizer.model: " + message + " is not supported");
  };
  refused({{"model_type", "unigram"}, {"vocab_size", "60"}}, "trainer_spec.model_type UNIGRAM");
  refused({{"model_type", "char"}, {"vocab_size", "30"}}, "trainer_spec.model_type CHAR");
  refused({{"normalization_rule_name", "nmt_nfkc"}}, "normalizer_spec.precompiled_charsmap");
  refused({{"treat_whitespace_as_suffix", "true"}}, "trainer_spec.treat_whitespace_as_suffix");
  // The trainer writes none of these: a normalizer_spec and a piece appended to its file.
  refused({}, "normalizer_spec.escape_whitespaces: false", std::string("\x1a\x02\x28\x00", 4));
  refused({}, "pieces[160].type: UNUSED", std::string("\x0a\x05\x0a\x01~\x18\x05", 7));
}

TEST(TokenizerModelTest, BrokenFilesAreRefusedOrServed) {
  const std::string model = Train({{"byte_fallback", "true"}});
  for (size_t length = 0; length < model.size(); length += 7) {
    const auto tokenizer = ParseSentencePieceTokenizer(model.substr(0, length), "", "");
    if (!tokenizer.ok()) {
      EXPECT_THAT(std::string(tokenizer.status().message()), HasSubstr("tokenizer.model: "));
    }
  }
  std::mt19937 random(4);
  for (int round = 0; round < 2000; ++round) {
    std::string broken = model;
    for (int k = 0; k < 3; ++k) broken[random() % broken.size()] = static_cast<char>(random());
    const auto tokenizer = ParseSentencePieceTokenizer(broken, "", "");
    if (tokenizer.ok()) {
      EXPECT_TRUE((*tokenizer)->Encode("kato  mi\u00e9 </s>", true).ok());
    }
  }
  EXPECT_EQ(ParseSentencePieceTokenizer("", "", "").status(),
            absl::InvalidArgumentError("tokenizer.model: not a sentencepiece model: it has no pieces"));
  const std::string piece("\x0a\x03\x0a\x01x", 5);
  EXPECT_EQ(ParseSentencePieceTokenizer(piece + piece, "", "").status(),
            absl::InvalidArgumentError("tokenizer.model: pieces[1]: \"x\" is that of pieces[0] too"));
}

TEST(TokenizerModelTest, TokenizerJsonGoesFirst) {
  const std::string directory = testing::TempDir() + "/both";
  std::filesystem::create_directory(directory);
  std::ofstream(directory + "/tokenizer.model") << Train({{"byte_fallback", "true"}});
  const auto from_model = LoadTokenizer(directory);
  ASSERT_TRUE(from_model.ok()) << from_model.status();
  EXPECT_EQ((*from_model)->vocab_size(), 420);
  std::ofstream(directory + "/tokenizer.json") << R"({"model": {"vocab": {"a": 0}, "merges": []}})";
  EXPECT_EQ((*LoadTokenizer(directory))->vocab_size(), 1);
}

}  // namespace
}  // namespace ration
