// See tiny_tokenizer.h.
#include "tests/testing/tiny_tokenizer.h"

#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "engine/base/check.h"

namespace ration {
namespace {

using Merge = std::pair<const char*, const char*>;

// In order of rank. Every left and right part is a character or the result of an earlier line.
constexpr Merge kMerges[] = {
    {"h", "e"},
    {"\u2581", "t"},
    {"\u2581", "a"},
    {"i", "n"},
    {"r", "e"},
    {"o", "n"},
    {"n", "d"},
    {"\u2581t", "he"},
    {"e", "r"},
    {"\u2581", "s"},
    {"\u2581", "w"},
    {"o", "u"},
    {"\u2581", "o"},
    {"i", "t"},
    {"e", "d"},
    {"a", "r"},
    {"in", "g"},
    {"\u2581a", "nd"},
    {"l", "l"},
    {"\u2581", "h"},
    {"\u2581", "b"},
    {"e", "n"},
    {"a", "t"},
    {"\u2581", "c"},
    {"\u2581", "l"},
    {"o", "m"},
    {"\u2581", "f"},
    {"\u2581t", "o"},
    {"o", "r"},
    {"\u2581", "he"},
    {"\u2581w", "a"},
    {"\u2581wa", "s"},
    {"\u2581", "on"},
    {"c", "e"},
    {"\u2581on", "ce"},
    {"\u2581", "\u2581"},
    {"\u2581\u2581", "\u2581\u2581"},
    {"l", "d"},
    {"or", "ld"},
    {"\u2581w", "orld"},
};

constexpr char kCharacters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?;:'-\n";

// The characters used here that JSON must escape.
std::string JsonString(absl::string_view text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '\n') {
      quoted += "\\n";
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

std::vector<std::string> Tokens() {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  for (int byte = 0; byte < 256; ++byte) tokens.push_back(absl::StrFormat("<0x%02X>", byte));
  tokens.push_back("\u2581");
  for (const char* c = kCharacters; *c != 0; ++c) tokens.emplace_back(1, *c);
  tokens.push_back("\u00e9");
  for (const Merge& merge : kMerges) tokens.push_back(absl::StrCat(merge.first, merge.second));
  return tokens;
}

std::string SpecialToken(int32_t id, absl::string_view content) {
  return absl::StrFormat(
      R"({"id": %d, "content": "%s", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, )"
      R"("special": true})",
      id, content);
}

}  // namespace

std::string TinyTokenizerJson(int32_t pad_vocab_to) {
  std::vector<std::string> vocab;
  for (const std::string& token : Tokens()) vocab.push_back(absl::StrCat(JsonString(token), ": ", vocab.size()));
  while (static_cast<int32_t>(vocab.size()) < pad_vocab_to) {
    vocab.push_back(absl::StrFormat("\"<extra_%d>\": %d", vocab.size(), vocab.size()));
  }
  std::vector<std::string> merges;
  for (const Merge& merge : kMerges) merges.push_back(JsonString(absl::StrCat(merge.first, " ", merge.second)));
  return absl::StrCat(
      R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [)", SpecialToken(kTinyUnkId, "<unk>"),
      ", ", SpecialToken(kTinyBosId, "<s>"), ", ", SpecialToken(kTinyEosId, "</s>"),
      R"(], "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, )"
      R"({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}, "pre_tokenizer": null, )"
      R"("post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, )"
      R"({"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": )"
      R"({"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}, )"
      R"("decoder": {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, )"
      R"({"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}, )"
      R"("model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null, )"
      R"("end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false, "vocab": {)",
      absl::StrJoin(vocab, ", "), "}, \"merges\": [", absl::StrJoin(merges, ", "), "]}}");
}

int32_t TinyTokenizerVocabSize() { return static_cast<int32_t>(Tokens().size()); }

std::unique_ptr<Tokenizer> MakeTinyTokenizer(int32_t pad_vocab_to) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = ParseTokenizer(TinyTokenizerJson(pad_vocab_to));
  RATION_CHECK(tokenizer.ok());
  return *std::move(tokenizer);
}

}  // namespace ration
