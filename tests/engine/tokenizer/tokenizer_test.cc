// Tests engine/tokenizer/tokenizer.cc and the chains it puts together, through small tokenizer.json texts. What each
// part does is Hugging Face's definition; golden_test.cc compares with its results on real files.
#include "engine/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/tokenizer/byte_level.h"
#include "tests/engine/tokenizer/test_json.h"
#include "tests/testing/tiny_tokenizer.h"

namespace ration {
namespace {

using Json = nlohmann::json;
using Tokens = std::vector<std::string>;
using ::testing::HasSubstr;

Tokens Split(const Tokenizer& tokenizer, const std::string& text, bool add_special_tokens = false) {
  const std::vector<int32_t> ids = tokenizer.Encode(text, add_special_tokens).value();
  Tokens tokens;
  for (int32_t id : ids) tokens.emplace_back(tokenizer.IdToToken(id));
  return tokens;
}

Json Letters() {
  return BpeJson({"a", "b", "c", "e", "i", "f", "A", " ", "\u2581", "\u00e9", "\u0301", "?", "(x)"}, {});
}

Json AddedToken(int32_t id, const std::string& content, const Json& flags = Json::object()) {
  Json token = {{"id", id}, {"content", content}, {"special", false}, {"normalized", false}};
  token.update(flags);
  return token;
}

TEST(TokenizerTest, TinyTokenizerRoundTrips) {
  const auto tokenizer = MakeTinyTokenizer();
  EXPECT_EQ(Split(*tokenizer, "once the world", true), Tokens({"<s>", "\u2581once", "\u2581the", "\u2581world"}));
  for (const std::string& text : {std::string("a\u00e9\u4e2d\U0001F600 z"), std::string(" two  spaces "),
                                  std::string("\n\t\0x", 4), std::string()}) {
    const auto ids = tokenizer->Encode(text, true).value();
    EXPECT_EQ(ids[0], kTinyBosId);
    EXPECT_EQ(tokenizer->Decode(ids, true).value(), text);
  }
  EXPECT_EQ(tokenizer->Decode({kTinyBosId, kTinyFirstByteId + 'a', kTinyEosId}, false).value(), "<s>a</s>");
}

TEST(TokenizerTest, TokensAndIdsMapBothWays) {
  const auto tokenizer = MakeTinyTokenizer();
  EXPECT_EQ(tokenizer->TokenToId("</s>"), kTinyEosId);
  EXPECT_EQ(tokenizer->TokenToId("nothing"), std::nullopt);
  EXPECT_EQ(tokenizer->IdToToken(kTinyFirstByteId), "<0x00>");
  EXPECT_EQ(tokenizer->IdToToken(-1), "");
  EXPECT_EQ(tokenizer->IdToToken(tokenizer->vocab_size()), "");
  EXPECT_TRUE(tokenizer->IsSpecial(kTinyEosId));
  EXPECT_FALSE(tokenizer->IsSpecial(kTinyFirstByteId));
  EXPECT_FALSE(tokenizer->IsSpecial(-1));
  EXPECT_FALSE(tokenizer->IsSpecial(1 << 30));
}

TEST(TokenizerTest, BadInputIsRefusedWithItsPlace) {
  const auto tokenizer = MakeTinyTokenizer();
  EXPECT_EQ(tokenizer->Encode("abc\xFFz", true).status(),
            absl::InvalidArgumentError("text: not valid UTF-8 at byte 3 of 5"));
  EXPECT_EQ(tokenizer->Encode(std::string((16 << 20) + 1, 'a'), true).status().code(),
            absl::StatusCode::kInvalidArgument);
  const int32_t size = tokenizer->vocab_size();
  EXPECT_EQ(tokenizer->Decode({1, 5, size}, true).status(),
            absl::InvalidArgumentError(absl::StrCat("token_ids[2]: must be in [0, ", size - 1, "], not ", size)));
  EXPECT_EQ(tokenizer->Decode({-1}, true).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(TokenizerTest, AddedTokensAreFoundInText) {
  const auto tokenizer = MakeTinyTokenizer();
  // Each piece between them is normalised alone: U+2581 in front of each.
  EXPECT_EQ(Split(*tokenizer, "the</s>the<s>"), Tokens({"\u2581the", "</s>", "\u2581the", "<s>"}));
  EXPECT_EQ(Split(*tokenizer, "<s"), Tokens({"\u2581", "<0x3C>", "s"}));
}

TEST(TokenizerTest, LongestAddedTokenWins) {
  Json json = Letters();
  json["added_tokens"] = {AddedToken(20, "ab"), AddedToken(21, "abc"), AddedToken(22, "bcea")};
  const auto tokenizer = MustParse(json);
  EXPECT_EQ(Split(*tokenizer, "abcea"), Tokens({"abc", "e", "a"}));
  EXPECT_EQ(Split(*tokenizer, "aabb"), Tokens({"a", "ab", "b"}));
  EXPECT_EQ(tokenizer->vocab_size(), 23);
  EXPECT_EQ(tokenizer->IdToToken(15), "") << "a hole";
  EXPECT_EQ(tokenizer->Decode({0, 15, 20}, true).value(), "a ab");
}

TEST(TokenizerTest, AddedTokenFlags) {
  Json json = Letters();
  json["added_tokens"] = {AddedToken(20, "word", {{"single_word", true}}), AddedToken(21, "<l>", {{"lstrip", true}}),
                          AddedToken(22, "<r>", {{"rstrip", true}})};
  const auto tokenizer = MustParse(json);
  EXPECT_EQ(Split(*tokenizer, "word a"), Tokens({"word", " ", "a"}));
  EXPECT_EQ(Split(*tokenizer, "\u00e9word(x)wordb"), Tokens({"\u00e9", "b"})) << "no unk: what is no token vanishes";
  EXPECT_EQ(Split(*tokenizer, "a  <l> b"), Tokens({"a", "<l>", " ", "b"}));
  EXPECT_EQ(Split(*tokenizer, "a <r> \n\u3000b"), Tokens({"a", " ", "<r>", "b"}));
  EXPECT_EQ(Split(*tokenizer, "<r>  <l>"), Tokens({"<r>", "<l>"})) << "space is taken once";
}

TEST(TokenizerTest, NormalizedAddedTokensAreFoundInNormalisedText) {
  Json json = Letters();
  json["normalizer"] = {{"type", "Lowercase"}};
  json["added_tokens"] = {AddedToken(20, "CE", {{"normalized", true}}), AddedToken(21, "BE")};
  const auto tokenizer = MustParse(json);
  EXPECT_EQ(Split(*tokenizer, "ace"), Tokens({"a", "CE"}));
  EXPECT_EQ(Split(*tokenizer, "aCeBEbe"), Tokens({"a", "CE", "BE", "b", "e"}));
}

TEST(TokenizerTest, Normalizers) {
  const auto encode = [](const Json& normalizer, const std::string& text) {
    Json json = Letters();
    json["normalizer"] = normalizer;
    return Split(*MustParse(json), text);
  };
  EXPECT_EQ(encode({{"type", "NFC"}}, "e\u0301"), Tokens({"\u00e9"}));
  EXPECT_EQ(encode({{"type", "NFD"}}, "\u00e9"), Tokens({"e", "\u0301"}));
  EXPECT_EQ(encode({{"type", "NFKC"}}, "\ufb01e\u0301"), Tokens({"f", "i", "\u00e9"}));
  EXPECT_EQ(encode({{"type", "NFKD"}}, "\ufb01\u00e9"), Tokens({"f", "i", "e", "\u0301"}));
  EXPECT_EQ(encode({{"type", "NFC"}}, "\ufb01a"), Tokens({"a"})) << "compatibility forms stay";
  EXPECT_EQ(encode({{"type", "Lowercase"}}, "AB\u00c9\u0130"), Tokens({"a", "b", "\u00e9", "i"}));
  EXPECT_EQ(encode({{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}}, " a "), Tokens({"a", " "}));
  EXPECT_EQ(encode({{"type", "Strip"}, {"strip_left", false}, {"strip_right", true}}, " a\u3000 "), Tokens({" ", "a"}));
  EXPECT_EQ(encode({{"type", "Prepend"}, {"prepend", "\u2581"}}, "a"), Tokens({"\u2581", "a"}));
  EXPECT_EQ(encode({{"type", "Prepend"}, {"prepend", "\u2581"}}, ""), Tokens());
  EXPECT_EQ(encode({{"type", "Replace"}, {"pattern", {{"String", "aa"}}}, {"content", "b"}}, "aaa"),
            Tokens({"b", "a"}));
  EXPECT_EQ(encode({{"type", "Replace"}, {"pattern", {{"Regex", " "}}}, {"content", "b"}}, "a a"),
            Tokens({"a", "b", "a"}));
}

TEST(TokenizerTest, MetaspacePreTokenizer) {
  const auto encode = [](const Json& flags, const std::string& text) {
    Json json =
        BpeJson({"a", "b", "\u2581", "\u2581a", "a\u2581", "\u2581\u2581"}, {"a \u2581", "\u2581 a", "\u2581 \u2581"});
    json["pre_tokenizer"] = {{"type", "Metaspace"}, {"replacement", "\u2581"}};
    json["pre_tokenizer"].update(flags);
    json["added_tokens"] = {AddedToken(10, "<s>")};
    return Split(*MustParse(json), text);
  };
  EXPECT_EQ(encode(Json::object(), "a a"), Tokens({"\u2581a", "\u2581a"})) << "always, split";
  EXPECT_EQ(encode({{"split", false}}, "a a"), Tokens({"\u2581", "a\u2581", "a"})) << "merges cross the space";
  EXPECT_EQ(encode(Json::object(), " a"), Tokens({"\u2581a"})) << "not twice";
  EXPECT_EQ(encode(Json::object(), "b  "), Tokens({"\u2581", "b", "\u2581", "\u2581"}));
  EXPECT_EQ(encode({{"prepend_scheme", "never"}}, "a a"), Tokens({"a", "\u2581a"}));
  EXPECT_EQ(encode({{"add_prefix_space", false}}, "a a"), Tokens({"a", "\u2581a"}));
  EXPECT_EQ(encode({{"prepend_scheme", "first"}}, "a<s>a"), Tokens({"\u2581a", "<s>", "a"}));
  EXPECT_EQ(encode({{"prepend_scheme", "first"}}, "<s>a"), Tokens({"<s>", "a"}));
  EXPECT_EQ(encode({{"prepend_scheme", "always"}}, "<s>a"), Tokens({"<s>", "\u2581a"}));
}

TEST(TokenizerTest, MergesAsArraysMayHoldSpaces) {
  Json json = BpeJson({"a", " ", "a ", "a a"}, {});
  json["model"]["merges"] = Json::array({Json::array({"a", " "}), Json::array({"a ", "a"})});
  EXPECT_EQ(Split(*MustParse(json), "a a"), Tokens({"a a"}));
}

TEST(TokenizerTest, TemplateMayHaveTokensOnBothSides) {
  Json json = Letters();
  json["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single",
                             {{{"SpecialToken", {{"id", "x"}, {"type_id", 0}}}},
                              {{"Sequence", {{"id", "A"}, {"type_id", 0}}}},
                              {{"SpecialToken", {{"id", "y"}, {"type_id", 0}}}}}},
                            {"special_tokens", {{"x", {{"ids", {2, 1}}}}, {"y", {{"ids", {0}}}}}}};
  EXPECT_EQ(Split(*MustParse(json), "e", true), Tokens({"c", "b", "e", "a"}));
  EXPECT_EQ(Split(*MustParse(json), "e", false), Tokens({"e"}));
}

TEST(TokenizerTest, Decoders) {
  const auto decode = [](const Json& decoder, const Tokens& tokens) {
    Json json = BpeJson(tokens, {});
    json["decoder"] = decoder;
    const auto tokenizer = MustParse(json);
    std::vector<int32_t> ids;
    for (const std::string& token : tokens) ids.push_back(*tokenizer->TokenToId(token));
    return tokenizer->Decode(ids, false).value();
  };
  const auto chain = [](const Json& decoders) { return Json{{"type", "Sequence"}, {"decoders", decoders}}; };
  const Json bytes = {{"type", "ByteFallback"}}, fuse = {{"type", "Fuse"}};
  const Json strip = {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 1}};
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", "ab"}}}, {"content", "-"}};
  EXPECT_EQ(decode(nullptr, {"a", "b"}), "a b") << "without a decoder";
  EXPECT_EQ(decode(fuse, {"a", "b"}), "ab");
  EXPECT_EQ(decode(replace, {"a", "b", "xabab"}), "abx--") << "each token alone";
  EXPECT_EQ(decode(chain({fuse, replace}), {"a", "b", "xab", "aa", "bb"}), "-x-a-b") << "across tokens";
  EXPECT_EQ(decode(strip, {" a ", "  b  ", "c"}), "a b c");
  EXPECT_EQ(decode(chain({fuse, strip}), {" a ", "  b  ", "c"}), "a   b  c");
  EXPECT_EQ(decode(strip, {" ", "   "}), " ");
  EXPECT_EQ(decode(bytes, {"<0xC3>", "<0xa9>", "x", "<0xE2>", "<0x82>", "y", "<0xG0>"}), "\u00e9x\uFFFD\uFFFDy<0xG0>");
  EXPECT_EQ(decode(bytes, {"<0x41>", "<0xC3>", "<0xA9>", "<0xFF>"}), "\uFFFD\uFFFD\uFFFD\uFFFD")
      << "all of a run or nothing";
  EXPECT_EQ(decode({{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "always"}}, {"__a", "_b"}), "a b");
  EXPECT_EQ(decode({{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "never"}}, {"__a", "_b"}), "  a b");
}

// A token for each byte in byte_level.h's alphabet; the ids are the bytes.
Json ByteLevelJson() {
  Tokens tokens;
  for (int byte = 0; byte < 256; ++byte) {
    tokens.emplace_back();
    AppendByteCharacters(std::string(1, static_cast<char>(byte)), tokens.back());
  }
  Json json = BpeJson(tokens, {});
  json["decoder"] = {{"type", "ByteLevel"}};
  return json;
}

TEST(TokenizerTest, ByteLevelDecoderReplacesWhatIsNoUtf8AsRustDoes) {
  const auto tokenizer = MustParse(ByteLevelJson());
  const std::pair<std::vector<int32_t>, std::string> expected[] = {
      {{0xF0, 0x9F, 0x98, 0x80}, "\U0001F600"},
      {{0xF0, 0x9F, 0x98}, "\uFFFD"},
      {{0xF0, 0x9F, 0x98, 'a'}, "\uFFFDa"},
      {{0xE2, 0x82, 0xE2, 0x82, 0xAC}, "\uFFFD\u20AC"},
      {{0xFF, 0xFE, 'a', 0x80}, "\uFFFD\uFFFDa\uFFFD"},
      {{0xC3, '(', 0xC0, 0xAF}, "\uFFFD(\uFFFD\uFFFD"},
      {{0xED, 0xA0, 0x80}, "\uFFFD\uFFFD\uFFFD"},
      {{0xF4, 0x90, 0x80, 0x80}, "\uFFFD\uFFFD\uFFFD\uFFFD"},
      {{0xF1, 0x80, 0x80, 0xC3, 0xA9}, "\uFFFD\u00e9"},
  };
  for (const auto& [ids, text] : expected) {
    EXPECT_EQ(tokenizer->Decode(ids, false).value(), text);
    for (size_t split = 0; split <= ids.size(); ++split) {  // a clone goes on where the stream was
      std::unique_ptr<DecodeStream> stream = tokenizer->NewDecodeStream(false);
      std::string streamed;
      for (size_t i = 0; i < ids.size(); ++i) {
        if (i == split) stream = stream->Clone();
        stream->Append(ids[i], streamed);
      }
      stream->Finish(streamed);
      EXPECT_EQ(streamed, text);
    }
  }
}

TEST(TokenizerTest, ByteLevelAddedTokensAreTextThatMayStandInsideACharacter) {
  Json json = ByteLevelJson();
  json["added_tokens"] = {AddedToken(256, "<s> \u4e2d", {{"special", true}})};
  const auto tokenizer = MustParse(json);
  EXPECT_EQ(tokenizer->Decode({'a', 256, 'b'}, false).value(), "a<s> \u4e2db");
  EXPECT_EQ(tokenizer->Decode({0xC3, 256, 0xA9}, false).value(), "\uFFFD<s> \u4e2d\uFFFD");
  EXPECT_EQ(tokenizer->Decode({0xC3, 256, 0xA9}, true).value(), "\u00e9");
}

TEST(TokenizerTest, RegexSplitThenByteLevel) {
  Json json = ByteLevelJson();
  json["model"]["vocab"]["\u0120a"] = 256;
  json["model"]["vocab"]["aa"] = 257;
  json["model"]["merges"] = {"\u0120 a", "a a"};
  json["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", "\\s?a"}}}, {"behavior", "Isolated"}, {"invert", false}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  json["post_processor"] = {{"type", "Sequence"},
                            {"processors",
                             {{{"type", "ByteLevel"}},
                              {{"type", "TemplateProcessing"},
                               {"single", {{{"SpecialToken", {{"id", "x"}}}}, {{"Sequence", {{"id", "A"}}}}}},
                               {"special_tokens", {{"x", {{"ids", {7}}}}}}}}}};
  EXPECT_EQ(MustParse(json)->Encode(" aab", true).value(), std::vector<int32_t>({7, 256, 'a', 'b'}));
  json["pre_tokenizer"]["pretokenizers"].erase(0);
  EXPECT_EQ(MustParse(json)->Encode(" aaab", false).value(), std::vector<int32_t>({256, 257, 'b'}));
}

TEST(TokenizerTest, NormalizersMayReplaceRegularExpressions) {
  Json json = Letters();
  json["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "b+|\\s$"}}}, {"content", "c"}};
  EXPECT_EQ(Split(*MustParse(json), "abbb a "), Tokens({"a", "c", " ", "a", "c"}));
  json["added_tokens"] = {AddedToken(20, "bba", {{"normalized", true}})};
  EXPECT_EQ(Split(*MustParse(json), "aba"), Tokens({"a", "bba"}));
}

TEST(TokenizerTest, AnExpressionThatNeverEndsIsAnErrorOfTheText) {
  Json json = Letters();
  json["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(?:a|a)*(?:a|a)*[bc]"}}}, {"behavior", "Isolated"}};
  const auto tokenizer = MustParse(json);
  EXPECT_TRUE(tokenizer->Encode("aab", true).ok());
  const absl::Status status = tokenizer->Encode(std::string(3000, 'a'), true).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("text: a regular expression fails at byte 0 of the text: "));
}

TEST(TokenizerTest, LoadingNamesTheFile) {
  const absl::Status missing = LoadTokenizer("/nonexistent").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("/nonexistent/tokenizer.json"));

  const std::string directory = testing::TempDir();
  std::ofstream(directory + "/tokenizer.json") << "{}";
  EXPECT_THAT(std::string(LoadTokenizer(directory).status().message()),
              HasSubstr(directory + "/tokenizer.json: \"model\" is missing"));
  std::ofstream(directory + "/tokenizer.json") << TinyTokenizerJson();
  EXPECT_TRUE(LoadTokenizer(directory).ok());
}

}  // namespace
}  // namespace ration
