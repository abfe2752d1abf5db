// See tokenizer_model.h.
#include "engine/tokenizer/tokenizer_model.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/base/strict_json.h"
#include "engine/tokenizer/added_tokens_json.h"
#include "engine/tokenizer/json_part.h"
#include "engine/tokenizer/regex.h"
#include "engine/tokenizer/sentencepiece_file.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

using Piece = SentencePieceFile::Piece;
using PieceType = SentencePieceFile::PieceType;

constexpr char kModelName[] = "tokenizer.model";
constexpr char kSpace[] = "\u2581";
// Every way to cut a piece in two may be a merge. sentencepiece's own limit, max_sentencepiece_length, is 16 characters
// unless the trainer was told otherwise.
constexpr size_t kMaxMergedBytes = 256;
constexpr size_t kMaxConfigBytes = 64 << 20;

struct Config {
  bool add_bos_token = true;
  bool add_eos_token = false;
  bool legacy = true;
};

absl::Status CheckSupported(const SentencePieceFile& file) {
  const auto unsupported = [](absl::string_view what) {
    return absl::UnimplementedError(absl::StrCat(kModelName, ": ", what, " is not supported"));
  };
  if (file.model_type != SentencePieceFile::ModelType::kBpe) {
    constexpr const char* kNames[] = {"UNIGRAM", "BPE", "WORD", "CHAR"};
    return unsupported(absl::StrCat("trainer_spec.model_type ", kNames[static_cast<int>(file.model_type) - 1]));
  }
  if (file.has_character_map) return unsupported("normalizer_spec.precompiled_charsmap");
  if (file.treat_whitespace_as_suffix) return unsupported("trainer_spec.treat_whitespace_as_suffix");
  if (!file.escape_whitespaces) return unsupported("normalizer_spec.escape_whitespaces: false");
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    if (file.pieces[id].type == PieceType::kUnused) return unsupported(absl::StrCat("pieces[", id, "].type: UNUSED"));
    if (file.pieces[id].type == PieceType::kNormal && file.pieces[id].text.size() > kMaxMergedBytes) {
      return absl::InvalidArgumentError(absl::StrCat(kModelName, ": pieces[", id, "]: has ",
                                                     file.pieces[id].text.size(), " bytes; the limit is ",
                                                     kMaxMergedBytes));
    }
  }
  return absl::OkStatus();
}

// Two neighbours are joined if together they are a piece, the highest score first: so every cut of a piece into two
// pieces is a merge, and equal scores are equal ranks.
std::vector<BpeModel::Merge> Merges(const std::vector<Piece>& pieces, const Vocabulary& vocabulary) {
  std::vector<int32_t> by_score;
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (pieces[id].type == PieceType::kNormal) by_score.push_back(static_cast<int32_t>(id));
  }
  const auto piece = [&](int32_t id) -> const Piece& { return pieces[static_cast<size_t>(id)]; };
  std::stable_sort(by_score.begin(), by_score.end(),
                   [&](int32_t a, int32_t b) { return piece(a).score > piece(b).score; });
  const auto find = [&](absl::string_view text) {
    const int32_t id = vocabulary.Find(text);
    return id >= 0 && piece(id).type == PieceType::kNormal ? id : -1;
  };
  std::vector<BpeModel::Merge> merges;
  int32_t rank = 0;
  for (size_t i = 0; i < by_score.size(); ++i) {
    if (i > 0 && piece(by_score[i]).score != piece(by_score[i - 1]).score) ++rank;
    const absl::string_view text = piece(by_score[i]).text;
    for (size_t cut = static_cast<size_t>(Utf8CharLength(text)); cut < text.size();
         cut += static_cast<size_t>(Utf8CharLength(text.substr(cut)))) {
      const int32_t left = find(text.substr(0, cut));
      const int32_t right = left < 0 ? -1 : find(text.substr(cut));
      if (right >= 0) merges.push_back({left, right, by_score[i], rank});
    }
  }
  return merges;
}

absl::StatusOr<BpeModel> MakeModel(const SentencePieceFile& file) {
  std::vector<std::optional<std::string>> tokens;
  BpeModel::Options options;
  options.byte_fallback = file.byte_fallback;
  options.fuse_unk = true;
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    tokens.emplace_back(file.pieces[id].text);
    if (file.pieces[id].type == PieceType::kUnknown) options.unk_id = static_cast<int32_t>(id);
  }
  Vocabulary vocabulary(std::move(tokens));
  const std::vector<BpeModel::Merge> merges = Merges(file.pieces, vocabulary);
  return BpeModel(std::move(vocabulary), merges, options);
}

absl::StatusOr<std::vector<NormalizerStep>> MakeNormalizer(const SentencePieceFile& file, bool legacy) {
  std::vector<NormalizerStep> steps;
  const auto replace = [](std::string pattern, std::string content) {
    NormalizerStep step;
    step.kind = NormalizerStep::Kind::kReplace;
    step.pattern = std::move(pattern);
    step.content = std::move(content);
    return step;
  };
  if (file.remove_extra_whitespaces) {
    for (const auto& [pattern, content] : {std::make_pair(R"(\A +|[ \u2581]+\z)", ""), std::make_pair(" {2,}", " ")}) {
      steps.push_back(replace("", content));
      RATION_ASSIGN_OR_RETURN(Regex regex, Regex::Compile(pattern));
      steps.back().regex = std::make_shared<const Regex>(std::move(regex));
    }
  }
  if (!legacy && file.add_dummy_prefix) return steps;  // the pre-tokenizer does the rest
  if (file.add_dummy_prefix) {
    NormalizerStep prefix;
    prefix.kind = NormalizerStep::Kind::kPrepend;
    prefix.content = kSpace;
    steps.push_back(std::move(prefix));
  }
  steps.push_back(replace(" ", kSpace));
  return steps;
}

std::vector<DecoderStep> MakeDecoder(const SentencePieceFile& file) {
  std::vector<DecoderStep> steps(3);
  steps[0].kind = DecoderStep::Kind::kReplace;
  steps[0].pattern = kSpace;
  steps[0].content = " ";
  steps[1].kind = DecoderStep::Kind::kByteFallback;
  steps[2].kind = DecoderStep::Kind::kFuse;
  if (file.add_dummy_prefix) {
    steps.emplace_back();
    steps[3].kind = DecoderStep::Kind::kStrip;
    steps[3].content = " ";
    steps[3].start = 1;
  }
  return steps;
}

// The model's control symbols, <unk> and what its trainer was told to keep whole.
std::map<int32_t, AddedToken> TokensOfModel(const std::vector<Piece>& pieces) {
  std::map<int32_t, AddedToken> tokens;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const PieceType type = pieces[i].type;
    if (type != PieceType::kControl && type != PieceType::kUnknown && type != PieceType::kUserDefined) continue;
    AddedToken token;
    token.id = static_cast<int32_t>(i);
    token.content = pieces[i].text;
    token.special = type != PieceType::kUserDefined;
    token.normalized = token.exact = type == PieceType::kUserDefined;
    tokens.emplace(token.id, std::move(token));
  }
  return tokens;
}

// The content of one of the small files beside the model.
absl::StatusOr<nlohmann::json> ParseObject(absl::string_view text, const char* name) {
  if (text.size() > kMaxConfigBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": has ", text.size(), " bytes; the limit is ", kMaxConfigBytes));
  }
  RATION_ASSIGN_OR_RETURN(nlohmann::json document, ParseStrictJson(text, name));
  RATION_RETURN_IF_ERROR(JsonPart(&document, name).ExpectObject());
  return document;
}

absl::Status ReadConfig(absl::string_view text, const Vocabulary& vocabulary, Config& config,
                        std::map<int32_t, AddedToken>& tokens) {
  constexpr char kName[] = "tokenizer_config.json";
  if (text.empty()) return absl::OkStatus();
  RATION_ASSIGN_OR_RETURN(const nlohmann::json document, ParseObject(text, kName));
  const JsonPart root(&document, kName);
  RATION_ASSIGN_OR_RETURN(config.add_bos_token, root.BoolMember("add_bos_token", true));
  RATION_ASSIGN_OR_RETURN(config.add_eos_token, root.BoolMember("add_eos_token", false));
  RATION_ASSIGN_OR_RETURN(config.legacy, root.BoolMember("legacy", true));
  const std::optional<JsonPart> decoder = root.OptionalMember("added_tokens_decoder");
  if (!decoder.has_value()) return absl::OkStatus();
  RATION_RETURN_IF_ERROR(decoder->ExpectObject());
  for (const auto& [key, value] : decoder->value().items()) {
    RATION_ASSIGN_OR_RETURN(const JsonPart part, decoder->Member(key));
    int64_t id = 0;
    if (!absl::SimpleAtoi(key, &id)) return decoder->InvalidArgument(absl::StrCat(Quoted(key), " is not an id"));
    RATION_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(part, id, vocabulary));
    const auto known = tokens.find(token.id);
    if (known != tokens.end() && known->second.exact) continue;  // the model says where it is looked for
    tokens[token.id] = std::move(token);
  }
  return absl::OkStatus();
}

// {"<|im_start|>": 32000}: tokens that older directories add to the model's.
absl::Status ReadAddedTokens(absl::string_view text, const Vocabulary& vocabulary,
                             std::map<int32_t, AddedToken>& tokens) {
  constexpr char kName[] = "added_tokens.json";
  if (text.empty()) return absl::OkStatus();
  RATION_ASSIGN_OR_RETURN(const nlohmann::json document, ParseObject(text, kName));
  const JsonPart root(&document, kName);
  for (const auto& [content, value] : document.items()) {
    RATION_ASSIGN_OR_RETURN(const JsonPart part, root.Member(content));
    RATION_ASSIGN_OR_RETURN(const int64_t id, part.Int(0, kMaxVocabSize - 1));
    const nlohmann::json definition = {{"content", content}, {"normalized", false}};
    RATION_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(JsonPart(&definition, kName), id, vocabulary));
    tokens.try_emplace(token.id, std::move(token));
  }
  return absl::OkStatus();
}

// The id of a control symbol that is to stand around every text.
absl::StatusOr<int32_t> ControlSymbol(const SentencePieceFile& file, absl::string_view text, absl::string_view flag) {
  for (size_t id = 0; id < file.pieces.size(); ++id) {
    if (file.pieces[id].type == PieceType::kControl && file.pieces[id].text == text) return static_cast<int32_t>(id);
  }
  return absl::InvalidArgumentError(absl::StrCat(kModelName, ": has no control symbol ", Quoted(text), ", and ", flag,
                                                 " in tokenizer_config.json is not false"));
}

}  // namespace

absl::StatusOr<TokenizerSpec> ParseTokenizerModel(absl::string_view model, absl::string_view tokenizer_config,
                                                  absl::string_view added_tokens) {
  const absl::StatusOr<SentencePieceFile> read = ReadSentencePieceFile(model);
  if (!read.ok()) return absl::Status(read.status().code(), absl::StrCat(kModelName, ": ", read.status().message()));
  const SentencePieceFile& file = *read;
  RATION_RETURN_IF_ERROR(CheckSupported(file));
  RATION_ASSIGN_OR_RETURN(BpeModel bpe, MakeModel(file));

  Config config;
  std::map<int32_t, AddedToken> tokens = TokensOfModel(file.pieces);
  RATION_RETURN_IF_ERROR(ReadConfig(tokenizer_config, bpe.vocabulary(), config, tokens));
  RATION_RETURN_IF_ERROR(ReadAddedTokens(added_tokens, bpe.vocabulary(), tokens));
  RATION_ASSIGN_OR_RETURN(std::vector<NormalizerStep> normalizer, MakeNormalizer(file, config.legacy));
  TokenizerSpec spec = {{}, std::move(normalizer), {}, std::move(bpe), {}, {}, MakeDecoder(file)};
  if (!config.legacy && file.add_dummy_prefix) {
    spec.pre_tokenizer.push_back(
        std::make_unique<MetaspacePreTokenizer>(kSpace, MetaspacePreTokenizer::Prepend::kFirst, /*split=*/false));
  }
  for (auto& [id, token] : tokens) spec.added_tokens.push_back(std::move(token));
  const nlohmann::json nothing;
  const int64_t highest = tokens.empty() ? 0 : tokens.rbegin()->first;
  RATION_RETURN_IF_ERROR(CheckDensity(JsonPart(&nothing, "tokenizer_config.json"), highest + 1,
                                      file.pieces.size() + spec.added_tokens.size()));
  if (config.add_bos_token) {
    RATION_ASSIGN_OR_RETURN(const int32_t bos, ControlSymbol(file, file.bos_piece, "add_bos_token"));
    spec.ids_before.push_back(bos);
  }
  if (config.add_eos_token) {
    RATION_ASSIGN_OR_RETURN(const int32_t eos, ControlSymbol(file, file.eos_piece, "add_eos_token"));
    spec.ids_after.push_back(eos);
  }
  return spec;
}

}  // namespace ration
