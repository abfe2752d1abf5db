// See tokenizer.h. Puts the parts of a TokenizerSpec together: added tokens, normaliser, words, model,
// template; decoder.
#include "engine/tokenizer/tokenizer.h"

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status_macros.h"
#include "engine/tokenizer/added_tokens.h"
#include "engine/tokenizer/bpe.h"
#include "engine/tokenizer/decoder.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/pre_tokenizer.h"
#include "engine/tokenizer/regex.h"
#include "engine/tokenizer/tokenizer_json.h"
#include "engine/tokenizer/tokenizer_model.h"
#include "engine/tokenizer/tokenizer_spec.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

// Positions inside a word are 32-bit, and a normaliser may lengthen the text kMaxReplacementGrowth times.
constexpr size_t kMaxTextBytes = 16 << 20;

absl::StatusOr<std::vector<AddedTokenMatcher::Pattern>> Patterns(const TokenizerSpec& spec, bool normalized) {
  std::vector<AddedTokenMatcher::Pattern> patterns;
  RegexBudget budget;
  // Special ones first: they win where two have the same pattern.
  for (bool special : {true, false}) {
    for (const AddedToken& token : spec.added_tokens) {
      if (token.normalized != normalized || token.special != special) continue;
      std::string content = token.content;
      if (normalized && !token.exact) {
        RATION_ASSIGN_OR_RETURN(content, Normalize(spec.normalizer, token.content, budget));
      }
      patterns.push_back({std::move(content), token});
    }
  }
  return patterns;
}

class SpecTokenizer final : public Tokenizer {
 public:
  SpecTokenizer(TokenizerSpec spec, std::vector<AddedTokenMatcher::Pattern> raw_patterns,
                std::vector<AddedTokenMatcher::Pattern> normalized_patterns)
      : spec_(std::move(spec)),
        raw_matcher_(std::move(raw_patterns)),
        normalized_matcher_(std::move(normalized_patterns)) {
    int32_t size = spec_.model.vocabulary().size();
    for (const AddedToken& token : spec_.added_tokens) size = std::max(size, token.id + 1);
    tokens_.resize(static_cast<size_t>(size));
    special_.resize(static_cast<size_t>(size), false);
    for (int32_t id = 0; id < spec_.model.vocabulary().size(); ++id) {
      if (spec_.model.vocabulary().Contains(id)) tokens_[static_cast<size_t>(id)] = spec_.model.vocabulary().Token(id);
    }
    for (const AddedToken& token : spec_.added_tokens) {
      tokens_[static_cast<size_t>(token.id)] = token.content;
      special_[static_cast<size_t>(token.id)] = token.special;
      added_ids_.emplace(token.content, token.id);
    }
  }

  absl::StatusOr<std::vector<int32_t>> Encode(absl::string_view text, bool add_special_tokens) const override {
    if (text.size() > kMaxTextBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("text: has ", text.size(), " bytes; the limit is ", kMaxTextBytes));
    }
    if (const size_t offset = FindInvalidUtf8(text); offset != absl::string_view::npos) {
      return absl::InvalidArgumentError(absl::StrCat("text: not valid UTF-8 at byte ", offset, " of ", text.size()));
    }
    std::vector<int32_t> ids;
    if (add_special_tokens) ids = spec_.ids_before;
    std::vector<AddedTokenMatcher::Piece> pieces;
    raw_matcher_.Split(text, pieces);
    RegexBudget budget;
    BpeModel::Cache cache;
    bool at_text_start = true;
    for (const AddedTokenMatcher::Piece& piece : pieces) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
      } else if (absl::Status status = EncodePiece(piece.text, at_text_start, budget, cache, ids); !status.ok()) {
        return absl::Status(status.code(), absl::StrCat("text: ", status.message()));
      }
      at_text_start = false;
    }
    if (add_special_tokens) ids.insert(ids.end(), spec_.ids_after.begin(), spec_.ids_after.end());
    return ids;
  }

  absl::StatusOr<std::string> Decode(absl::Span<const int32_t> ids, bool skip_special_tokens) const override {
    DecoderChain chain(&spec_.decoder);
    std::string text;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0 || ids[i] >= vocab_size()) {
        return absl::InvalidArgumentError(
            absl::StrCat("token_ids[", i, "]: must be in [0, ", vocab_size() - 1, "], not ", ids[i]));
      }
      PushToken(ids[i], skip_special_tokens, chain, text);
    }
    chain.Finish(text);
    return text;
  }

  std::unique_ptr<DecodeStream> NewDecodeStream(bool skip_special_tokens) const override {
    return std::make_unique<Stream>(this, skip_special_tokens);
  }

  int32_t vocab_size() const override { return static_cast<int32_t>(tokens_.size()); }

  std::optional<int32_t> TokenToId(absl::string_view token) const override {
    if (const auto it = added_ids_.find(token); it != added_ids_.end()) return it->second;
    const int32_t id = spec_.model.vocabulary().Find(token);
    return id < 0 ? std::nullopt : std::optional<int32_t>(id);
  }

  absl::string_view IdToToken(int32_t id) const override {
    if (id < 0 || id >= vocab_size()) return {};
    return tokens_[static_cast<size_t>(id)].value_or(absl::string_view());
  }

  bool IsSpecial(int32_t id) const override {
    return id >= 0 && id < vocab_size() && special_[static_cast<size_t>(id)];
  }

 private:
  class Stream final : public DecodeStream {
   public:
    Stream(const SpecTokenizer* tokenizer, bool skip_special_tokens)
        : tokenizer_(tokenizer), skip_special_tokens_(skip_special_tokens), chain_(&tokenizer->spec_.decoder) {}
    void Append(int32_t id, std::string& text) override {
      if (id >= 0 && id < tokenizer_->vocab_size()) tokenizer_->PushToken(id, skip_special_tokens_, chain_, text);
    }
    void Finish(std::string& text) override { chain_.Finish(text); }
    std::unique_ptr<DecodeStream> Clone() const override { return std::make_unique<Stream>(*this); }

   private:
    const SpecTokenizer* tokenizer_;
    bool skip_special_tokens_;
    DecoderChain chain_;
  };

  // A piece of raw text without raw added tokens.
  absl::Status EncodePiece(absl::string_view raw, bool at_text_start, RegexBudget& budget, BpeModel::Cache& cache,
                           std::vector<int32_t>& ids) const {
    RATION_ASSIGN_OR_RETURN(const std::string normalized, Normalize(spec_.normalizer, raw, budget));
    std::vector<AddedTokenMatcher::Piece> pieces;
    normalized_matcher_.Split(normalized, pieces);
    for (const AddedTokenMatcher::Piece& piece : pieces) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
      } else {
        RATION_RETURN_IF_ERROR(
            PreTokenize(spec_.pre_tokenizer, piece.text, at_text_start, budget, [&](absl::string_view word, bool) {
              spec_.model.Encode(word, cache, ids);
              return absl::OkStatus();
            }));
      }
      at_text_start = false;
    }
    return absl::OkStatus();
  }

  // REQUIRES: 0 <= id < vocab_size(). An id that the file leaves out adds nothing, not even an empty token.
  void PushToken(int32_t id, bool skip_special_tokens, DecoderChain& chain, std::string& text) const {
    const std::optional<absl::string_view>& token = tokens_[static_cast<size_t>(id)];
    if (token.has_value() && !(skip_special_tokens && special_[static_cast<size_t>(id)])) chain.Push(*token, text);
  }

  const TokenizerSpec spec_;
  const AddedTokenMatcher raw_matcher_;                   // over the text as it came
  const AddedTokenMatcher normalized_matcher_;            // over normalised text
  std::vector<std::optional<absl::string_view>> tokens_;  // by id; views of spec_
  std::vector<bool> special_;
  absl::flat_hash_map<absl::string_view, int32_t> added_ids_;
};

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(absl::StatusOr<TokenizerSpec> spec) {
  RATION_RETURN_IF_ERROR(spec.status());
  RATION_ASSIGN_OR_RETURN(std::vector<AddedTokenMatcher::Pattern> raw_patterns, Patterns(*spec, false));
  RATION_ASSIGN_OR_RETURN(std::vector<AddedTokenMatcher::Pattern> normalized_patterns, Patterns(*spec, true));
  return std::unique_ptr<Tokenizer>(
      std::make_unique<SpecTokenizer>(*std::move(spec), std::move(raw_patterns), std::move(normalized_patterns)));
}

// The file's content; empty if it cannot be opened.
absl::StatusOr<std::string> ReadIfThere(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::string();
  std::ostringstream content;
  content << file.rdbuf();  // fails where there is nothing to insert, too
  if (file.bad()) return absl::DataLossError(absl::StrCat(path, ": cannot be read"));
  return std::move(content).str();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> ParseTokenizer(absl::string_view tokenizer_json) {
  return MakeTokenizer(ParseTokenizerJson(tokenizer_json));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> ParseSentencePieceTokenizer(absl::string_view tokenizer_model,
                                                                       absl::string_view tokenizer_config,
                                                                       absl::string_view added_tokens) {
  return MakeTokenizer(ParseTokenizerModel(tokenizer_model, tokenizer_config, added_tokens));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const std::string& directory) {
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = absl::NotFoundError("");
  if (std::ifstream(directory + "/tokenizer.json").good()) {
    RATION_ASSIGN_OR_RETURN(const std::string json, ReadIfThere(directory + "/tokenizer.json"));
    tokenizer = ParseTokenizer(json);
  } else if (std::ifstream(directory + "/tokenizer.model").good()) {
    RATION_ASSIGN_OR_RETURN(const std::string model, ReadIfThere(directory + "/tokenizer.model"));
    RATION_ASSIGN_OR_RETURN(const std::string config, ReadIfThere(directory + "/tokenizer_config.json"));
    RATION_ASSIGN_OR_RETURN(const std::string added_tokens, ReadIfThere(directory + "/added_tokens.json"));
    tokenizer = ParseSentencePieceTokenizer(model, config, added_tokens);
  } else {
    return absl::NotFoundError(
        absl::StrCat(directory, "/tokenizer.json: cannot be opened, and there is no tokenizer.model"));
  }
  if (tokenizer.ok()) return tokenizer;
  return absl::Status(tokenizer.status().code(), absl::StrCat(directory, "/", tokenizer.status().message()));
}

}  // namespace ration
