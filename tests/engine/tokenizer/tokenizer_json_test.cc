// Tests engine/tokenizer/tokenizer_json*.cc: what is refused, and what the message says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/tokenizer/test_json.h"
#include "tests/testing/tiny_tokenizer.h"

namespace ration {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

struct Refusal {
  std::function<void(Json&)> change;  // made to the tiny tokenizer, which is accepted
  absl::StatusCode code;
  std::string message;  // after "tokenizer.json: "
};

void ExpectRefused(const std::vector<Refusal>& refusals) {
  for (const Refusal& refusal : refusals) {
    Json json = Json::parse(TinyTokenizerJson());
    refusal.change(json);
    const absl::Status status = Parse(json).status();
    EXPECT_EQ(status.code(), refusal.code) << refusal.message << "\n" << status;
    EXPECT_THAT(std::string(status.message()), StartsWith("tokenizer.json: " + refusal.message));
  }
}

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
constexpr auto kUnimplemented = absl::StatusCode::kUnimplemented;

TEST(TokenizerJsonTest, TheTinyTokenizerIsAccepted) {
  const auto tokenizer = ParseTokenizer(TinyTokenizerJson(400));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->vocab_size(), 400);
  EXPECT_EQ(MakeTinyTokenizer()->vocab_size(), TinyTokenizerVocabSize());
}

TEST(TokenizerJsonTest, ModelIsChecked) {
  ExpectRefused({
      {[](Json& j) { j.erase("model"); }, kInvalid, "\"model\" is missing"},
      {[](Json& j) { j["model"] = 3; }, kInvalid, "model: must be an object, not number"},
      {[](Json& j) { j["model"]["type"] = "Unigram"; }, kUnimplemented,
       "model.type: model type \"Unigram\" is not supported"},
      {[](Json& j) { j["model"]["dropout"] = 0.1; }, kUnimplemented, "model.dropout: "},
      {[](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, kUnimplemented,
       "model.end_of_word_suffix: \"</w>\""},
      {[](Json& j) { j["model"]["unk_token"] = "<none>"; }, kInvalid,
       "model.unk_token: \"<none>\" is not in model.vocab"},
      {[](Json& j) { j["model"]["fuse_unk"] = 1; }, kInvalid, "model.fuse_unk: must be true or false, not number"},
  });
}

TEST(TokenizerJsonTest, VocabularyIsChecked) {
  ExpectRefused({
      {[](Json& j) { j["model"].erase("vocab"); }, kInvalid, "model: \"vocab\" is missing"},
      {[](Json& j) { j["model"]["vocab"] = Json::array(); }, kInvalid, "model.vocab: must be an object"},
      {[](Json& j) { j["model"]["vocab"] = Json::object(); }, kInvalid, "model.vocab: must not be empty"},
      {[](Json& j) { j["model"]["vocab"]["b"] = 5; }, kInvalid,
       "model.vocab: id 5 belongs to both \"<0x02>\" and \"b\""},
      {[](Json& j) { j["model"]["vocab"]["b"] = -1; }, kInvalid,
       "model.vocab: the id of \"b\" must be an integer in [0, 16777215]"},
      {[](Json& j) { j["model"]["vocab"]["b"] = 1.5; }, kInvalid, "model.vocab: the id of \"b\""},
      {[](Json& j) { j["model"]["vocab"]["b"] = nullptr; }, kInvalid, "model.vocab: the id of \"b\""},
      {[](Json& j) { j["model"]["vocab"]["b"] = 1 << 24; }, kInvalid, "model.vocab: the id of \"b\""},
      {[](Json& j) { j["model"]["vocab"]["b"] = std::numeric_limits<uint64_t>::max(); }, kInvalid,
       "model.vocab: the id of \"b\""},
      {[](Json& j) { j["model"]["vocab"]["b"] = 100000; }, kInvalid, "model.vocab: id 100000 is too high for "},
      {[](Json& j) { j["model"]["vocab"][std::string(70000, 'x')] = 600; }, kInvalid, "model.vocab: token \"xxx"},
  });
}

TEST(TokenizerJsonTest, MergesAreChecked) {
  const std::string shape = "must be a string \"a b\" or an array of two strings";
  ExpectRefused({
      {[](Json& j) { j["model"]["merges"] = nullptr; }, kInvalid, "model.merges: must be an array, not null"},
      {[](Json& j) { j["model"]["merges"][17] = "he zz"; }, kInvalid,
       "model.merges[17]: token \"zz\" is not in model.vocab"},
      {[](Json& j) { j["model"]["merges"][17] = "a b"; }, kInvalid,
       "model.merges[17]: token \"ab\" is not in model.vocab"},
      {[](Json& j) { j["model"]["merges"][0] = "he"; }, kInvalid, "model.merges[0]: must be two tokens with one space"},
      {[](Json& j) { j["model"]["merges"][0] = "h e r"; }, kInvalid,
       "model.merges[0]: must be two tokens with one space"},
      {[&](Json& j) { j["model"]["merges"][0] = Json{"h"}; }, kInvalid, "model.merges[0]: " + shape},
      {[&](Json& j) {
         j["model"]["merges"][0] = Json{"h", 1};
       },
       kInvalid, "model.merges[0]: " + shape},
  });
}

TEST(TokenizerJsonTest, AddedTokensAreChecked) {
  const auto add = [](Json token) { return [token](Json& j) { j["added_tokens"].push_back(token); }; };
  ExpectRefused({
      {[](Json& j) { j["added_tokens"] = "x"; }, kInvalid, "added_tokens: must be an array, not string"},
      {add({{"content", "x"}}), kInvalid, "added_tokens[3]: \"id\" is missing"},
      {add({{"id", 500}}), kInvalid, "added_tokens[3]: \"content\" is missing"},
      {add({{"id", 500}, {"content", ""}}), kInvalid, "added_tokens[3].content: must not be empty"},
      {add({{"id", 1.0}, {"content", "<x>"}}), kInvalid, "added_tokens[3].id: must be an integer, not fraction"},
      {add({{"id", -4}, {"content", "x"}}), kInvalid, "added_tokens[3].id: must be in [0, 16777215], not -4"},
      {add({{"id", 7}, {"content", "new"}}), kInvalid, "added_tokens[3]: id: 7 is the id of \"<0x04>\" in model.vocab"},
      {add({{"id", 500}, {"content", "he"}}), kInvalid,
       "added_tokens[3]: id: 500 is not the id of \"he\" in model.vocab"},
      {add({{"id", 2}, {"content", "</s>"}}), kInvalid, "added_tokens[3]: id 2 is that of added_tokens[2] too"},
      {add({{"id", 900000}, {"content", "<x>"}}), kInvalid, "added_tokens: id 900000 is too high"},
      {add({{"id", 500}, {"content", "<x>"}, {"lstrip", "yes"}}), kInvalid,
       "added_tokens[3].lstrip: must be true or false"},
  });
}

TEST(TokenizerJsonTest, ChainsAreChecked) {
  const auto replace = [](const char* pattern, const std::string& content) {
    return Json{{"type", "Replace"}, {"pattern", {{"String", pattern}}}, {"content", content}};
  };
  const Json doubling(40, replace("a", "aa"));
  ExpectRefused({
      {[](Json& j) {
         j["normalizer"] = {{"type", "Precompiled"}};
       },
       kUnimplemented, "normalizer: normalizer type \"Precompiled\" is not supported"},
      {[](Json& j) {
         j["normalizer"]["normalizers"][1]["pattern"] = {{"Regex", "a|\\1"}};
       },
       kUnimplemented,
       "normalizer.normalizers[1].pattern: the regular expression \"a|\\\\1\": \"\\\\1\" at byte 2 is not supported"},
      {[](Json& j) {
         j["normalizer"]["normalizers"][1]["pattern"] = {{"Regex", "(a"}};
       },
       kInvalid, "normalizer.normalizers[1].pattern: the regular expression \"(a\": a group is not closed at byte 2"},
      {[](Json& j) {
         j["normalizer"]["normalizers"][1]["pattern"] = {{"Regex", "a*"}};
       },
       kUnimplemented, "normalizer.normalizers[1]: a regular expression that may match nothing"},
      {[](Json& j) {
         j["decoder"]["decoders"][0]["pattern"] = {{"Regex", "a+"}};
       },
       kUnimplemented, "decoder.decoders[0]: a regular expression in a decoder"},
      {[](Json& j) {
         j["normalizer"]["normalizers"][1]["pattern"] = {{"String", ""}};
       },
       kInvalid, "normalizer.normalizers[1].pattern: must not be empty"},
      {[&](Json& j) {
         j["normalizer"] = {{"type", "Sequence"}, {"normalizers", doubling}};
       },
       kInvalid, "normalizer.normalizers[6]: with this step a text may grow 128 times longer; the limit is 64"},
      {[&](Json& j) {
         j["decoder"] = {{"type", "Sequence"}, {"decoders", doubling}};
       },
       kInvalid, "decoder.decoders[6]: with this"},
      {[](Json& j) {
         j["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json(65, Json{{"type", "NFC"}})}};
       },
       kInvalid, "normalizer.normalizers: has 65 elements; the limit is 64"},
      {[](Json& j) {
         j["pre_tokenizer"] = {{"type", "BertPreTokenizer"}};
       },
       kUnimplemented, "pre_tokenizer: pre_tokenizer type \"BertPreTokenizer\" is not supported"},
      {[](Json& j) {
         j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", {{{"type", "Split"}}}}};
       },
       kInvalid, "pre_tokenizer.pretokenizers[0]: \"pattern\" is missing"},
      {[](Json& j) {
         j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Random"}};
       },
       kUnimplemented, "pre_tokenizer.behavior: behavior \"Random\" is not supported"},
      {[](Json& j) {
         j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json(2, Json{{"type", "ByteLevel"}})}};
       },
       kUnimplemented, "pre_tokenizer.pretokenizers[1]: a second ByteLevel is not supported"},
      {[](Json& j) {
         j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "ab"}};
       },
       kInvalid, "pre_tokenizer.replacement: must be one character, not \"ab\""},
      {[](Json& j) {
         j["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "last"}};
       },
       kInvalid, "pre_tokenizer.prepend_scheme: must be always, first or never, not \"last\""},
      {[](Json& j) {
         j["pre_tokenizer"] = {
             {"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "first"}, {"add_prefix_space", false}};
       },
       kInvalid, "pre_tokenizer.prepend_scheme: \"first\" contradicts"},
      {[](Json& j) {
         j["decoder"] = {{"type", "WordPiece"}};
       },
       kUnimplemented, "decoder: decoder type \"WordPiece\" is not supported"},
      {[](Json& j) { j["decoder"] = Json::array(); }, kInvalid, "decoder: must be an object, not array"},
      {[](Json& j) { std::swap(j["decoder"]["decoders"][1], j["decoder"]["decoders"][2]); }, kUnimplemented,
       "decoder.decoders[2]: ByteFallback after Fuse or ByteLevel is not supported"},
      {[](Json& j) { j["decoder"]["decoders"][3]["start"] = -1; }, kInvalid,
       "decoder.decoders[3].start: must be in [0, 2147483647], not -1"},
  });
}

TEST(TokenizerJsonTest, PostProcessorIsChecked) {
  ExpectRefused({
      {[](Json& j) { j["post_processor"]["type"] = "BertProcessing"; }, kUnimplemented,
       "post_processor: post_processor type \"BertProcessing\" is not supported"},
      {[](Json& j) { j["post_processor"]["single"].erase(1); }, kInvalid, "post_processor.single: the text"},
      {[](Json& j) {
         j["post_processor"]["single"].push_back({{"Sequence", {{"id", "B"}}}});
       },
       kInvalid, "post_processor.single[2].Sequence.id: must be \"A\" here, not \"B\""},
      {[](Json& j) { j["post_processor"]["single"].push_back(j["post_processor"]["single"][1]); }, kUnimplemented,
       "post_processor.single[2]: the text may occur once only"},
      {[](Json& j) { j["post_processor"]["special_tokens"].erase("<s>"); }, kInvalid,
       "post_processor.special_tokens: \"<s>\" is missing"},
      {[](Json& j) { j["post_processor"]["special_tokens"]["<s>"]["ids"][0] = 9999; }, kInvalid,
       "post_processor.special_tokens.<s>.ids[0]: must be in [0, "},
  });
}

TEST(TokenizerJsonTest, BrokenFilesAreRefused) {
  const std::string text = TinyTokenizerJson();
  for (size_t length = 0; length < text.size(); length += 1 + length / 50) {
    EXPECT_EQ(ParseTokenizer(text.substr(0, length)).status().code(), kInvalid) << length;
  }
  for (const char* bad : {"[]", "null", "NaN", "{\"model\": NaN}", "{\"model\": {\"vocab\": {\"a\": 1e999}}}"}) {
    EXPECT_EQ(ParseTokenizer(bad).status().code(), kInvalid) << bad;
  }
  EXPECT_EQ(ParseTokenizer(std::string(1 << 20, '[')).status().code(), kInvalid);
  EXPECT_THAT(std::string(ParseTokenizer(R"({"model": {"vocab": {"a": 0, "a": 1}, "merges": []}})").status().message()),
              HasSubstr("\"a\" occurs twice"));
}

TEST(TokenizerJsonTest, FlippedBitsNeverCrash) {
  std::mt19937 random(5);
  const std::string text = TinyTokenizerJson();
  for (int round = 0; round < 400; ++round) {
    std::string broken = text;
    for (int flips = 1 + static_cast<int>(random() % 3); flips > 0; --flips) {
      broken[random() % broken.size()] ^= static_cast<char>(1 << (random() % 8));
    }
    const auto tokenizer = ParseTokenizer(broken);
    if (tokenizer.ok()) {
      EXPECT_TRUE((*tokenizer)->Encode("once the \u00e9 world", true).ok());
    } else {
      EXPECT_THAT(std::string(tokenizer.status().message()), StartsWith("tokenizer.json: "));
    }
  }
}

}  // namespace
}  // namespace ration
