// See tokenizer_json.h.
#include "engine/tokenizer/tokenizer_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/base/strict_json.h"
#include "engine/tokenizer/added_tokens_json.h"
#include "engine/tokenizer/json_part.h"
#include "engine/tokenizer/tokenizer_json_chains.h"

namespace ration {
namespace {

constexpr char kFileName[] = "tokenizer.json";

absl::StatusOr<Vocabulary> ParseVocabulary(const JsonPart& model) {
  RATION_ASSIGN_OR_RETURN(const JsonPart part, model.Member("vocab"));
  RATION_RETURN_IF_ERROR(part.ExpectObject());
  if (part.value().empty()) return part.InvalidArgument("must not be empty");
  if (part.value().size() > static_cast<size_t>(kMaxVocabSize)) {
    return part.InvalidArgument(absl::StrCat("has ", part.value().size(), " tokens; the limit is ", kMaxVocabSize));
  }
  int64_t highest = -1;
  for (const auto& [content, id] : part.value().items()) {
    if (content.size() > kMaxTokenBytes) {
      return part.InvalidArgument(
          absl::StrCat("token ", Quoted(content), " has ", content.size(), " bytes; the limit is ", kMaxTokenBytes));
    }
    if (!id.is_number_unsigned() || id.get<uint64_t>() >= static_cast<uint64_t>(kMaxVocabSize)) {
      return part.InvalidArgument(
          absl::StrCat("the id of ", Quoted(content), " must be an integer in [0, ", kMaxVocabSize - 1, "]"));
    }
    highest = std::max(highest, id.get<int64_t>());
  }
  RATION_RETURN_IF_ERROR(CheckDensity(part, highest + 1, part.value().size()));

  std::vector<std::optional<std::string>> tokens(static_cast<size_t>(highest + 1));
  for (const auto& [content, id] : part.value().items()) {
    std::optional<std::string>& token = tokens[id.get<size_t>()];
    if (token.has_value()) {
      return part.InvalidArgument(
          absl::StrCat("id ", id.get<size_t>(), " belongs to both ", Quoted(*token), " and ", Quoted(content)));
    }
    token = content;
  }
  return Vocabulary(std::move(tokens));
}

// "a b", or ["a", "b"] where the parts themselves may hold spaces.
absl::StatusOr<std::vector<BpeModel::Merge>> ParseMerges(const JsonPart& model, const Vocabulary& vocabulary) {
  RATION_ASSIGN_OR_RETURN(const JsonPart part, model.Member("merges"));
  RATION_RETURN_IF_ERROR(part.ExpectArray(static_cast<size_t>(kMaxVocabSize)));
  std::vector<BpeModel::Merge> merges;
  merges.reserve(part.value().size());
  for (const nlohmann::json& merge : part.value()) {
    const auto error = [&](absl::string_view what) { return part.Element(merges.size()).InvalidArgument(what); };
    absl::string_view left, right;
    if (merge.is_string()) {
      const absl::string_view text = merge.get_ref<const std::string&>();
      const size_t space = text.find(' ');
      if (space == absl::string_view::npos || text.find(' ', space + 1) != absl::string_view::npos) {
        return error(absl::StrCat("must be two tokens with one space between them, not ", Quoted(text)));
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get_ref<const std::string&>();
      right = merge[1].get_ref<const std::string&>();
    } else {
      return error("must be a string \"a b\" or an array of two strings");
    }
    const std::string merged = absl::StrCat(left, right);
    const BpeModel::Merge ids = {vocabulary.Find(left), vocabulary.Find(right), vocabulary.Find(merged),
                                 static_cast<int32_t>(merges.size())};
    for (const auto& [id, content] : {std::make_pair(ids.left, left), std::make_pair(ids.right, right),
                                      std::make_pair(ids.merged, absl::string_view(merged))}) {
      if (id < 0) return error(absl::StrCat("token ", Quoted(content), " is not in model.vocab"));
    }
    merges.push_back(ids);
  }
  return merges;
}

absl::StatusOr<BpeModel> ParseModel(const JsonPart& root) {
  RATION_ASSIGN_OR_RETURN(const JsonPart model, root.Member("model"));
  RATION_RETURN_IF_ERROR(model.ExpectObject());
  // The oldest files do not name the type; merges mean BPE.
  if (const std::optional<JsonPart> type = model.OptionalMember("type"); type.has_value()) {
    RATION_ASSIGN_OR_RETURN(const std::string name, type->String());
    if (name != "BPE")
      return type->Unimplemented(absl::StrCat("model type ", Quoted(name), " is not supported; BPE is"));
  }
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const std::optional<JsonPart> affix = model.OptionalMember(name);
    if (!affix.has_value()) continue;
    RATION_ASSIGN_OR_RETURN(const std::string text, affix->String());
    if (!text.empty()) return affix->Unimplemented(absl::StrCat(Quoted(text), ": only null is supported"));
  }
  if (const std::optional<JsonPart> dropout = model.OptionalMember("dropout"); dropout.has_value()) {
    if (!dropout->value().is_number()) return dropout->InvalidArgument("must be a number or null");
    if (dropout->value().get<double>() != 0) return dropout->Unimplemented("random merging is not supported");
  }

  RATION_ASSIGN_OR_RETURN(Vocabulary vocabulary, ParseVocabulary(model));
  RATION_ASSIGN_OR_RETURN(const std::vector<BpeModel::Merge> merges, ParseMerges(model, vocabulary));
  BpeModel::Options options;
  RATION_ASSIGN_OR_RETURN(options.byte_fallback, model.BoolMember("byte_fallback", false));
  RATION_ASSIGN_OR_RETURN(options.fuse_unk, model.BoolMember("fuse_unk", false));
  RATION_ASSIGN_OR_RETURN(options.ignore_merges, model.BoolMember("ignore_merges", false));
  if (const std::optional<JsonPart> unk = model.OptionalMember("unk_token"); unk.has_value()) {
    RATION_ASSIGN_OR_RETURN(const std::string content, unk->String());
    options.unk_id = vocabulary.Find(content);
    if (options.unk_id < 0) return unk->InvalidArgument(absl::StrCat(Quoted(content), " is not in model.vocab"));
  }
  return BpeModel(std::move(vocabulary), merges, options);
}

// TemplateProcessing for one text: tokens, the text, tokens. They go around what earlier templates put there.
absl::Status ParseTemplate(const JsonPart& processor, TokenizerSpec& spec) {
  RATION_ASSIGN_OR_RETURN(const JsonPart single, processor.Member("single"));
  std::vector<int32_t> before, after;
  RATION_RETURN_IF_ERROR(single.ExpectArray(kMaxChainSteps));
  bool text_seen = false;
  for (size_t i = 0; i < single.value().size(); ++i) {
    const JsonPart piece = single.Element(i);
    if (const std::optional<JsonPart> sequence = piece.OptionalMember("Sequence"); sequence.has_value()) {
      RATION_ASSIGN_OR_RETURN(const JsonPart id_part, sequence->Member("id"));
      RATION_ASSIGN_OR_RETURN(const std::string id, id_part.String());
      if (id != "A") return id_part.InvalidArgument(absl::StrCat("must be \"A\" here, not ", Quoted(id)));
      if (text_seen) return piece.Unimplemented("the text may occur once only");
      text_seen = true;
      continue;
    }
    RATION_ASSIGN_OR_RETURN(const JsonPart special, piece.Member("SpecialToken"));
    RATION_ASSIGN_OR_RETURN(const JsonPart name_part, special.Member("id"));
    RATION_ASSIGN_OR_RETURN(const std::string name, name_part.String());
    RATION_ASSIGN_OR_RETURN(const JsonPart special_tokens, processor.Member("special_tokens"));
    RATION_ASSIGN_OR_RETURN(const JsonPart definition, special_tokens.Member(name));
    RATION_ASSIGN_OR_RETURN(const JsonPart ids, definition.Member("ids"));
    RATION_RETURN_IF_ERROR(ids.ExpectArray(kMaxChainSteps));
    int32_t size = spec.model.vocabulary().size();
    for (const AddedToken& token : spec.added_tokens) size = std::max(size, token.id + 1);
    for (size_t k = 0; k < ids.value().size(); ++k) {
      RATION_ASSIGN_OR_RETURN(const int64_t id, ids.Element(k).Int(0, size - 1));
      (text_seen ? after : before).push_back(static_cast<int32_t>(id));
    }
  }
  if (!text_seen) return single.InvalidArgument("the text ({\"Sequence\": {\"id\": \"A\"}}) is missing");
  spec.ids_before.insert(spec.ids_before.begin(), before.begin(), before.end());
  spec.ids_after.insert(spec.ids_after.end(), after.begin(), after.end());
  return absl::OkStatus();
}

// One of "processors" or the only one. ByteLevel changes offsets, which nobody asks for here.
absl::Status ParsePostProcessorStep(const JsonPart& processor, int& steps, TokenizerSpec& spec) {
  if (++steps > static_cast<int>(kMaxChainSteps)) {
    return processor.InvalidArgument(absl::StrCat("more than ", kMaxChainSteps, " steps"));
  }
  RATION_ASSIGN_OR_RETURN(const JsonPart type_part, processor.Member("type"));
  RATION_ASSIGN_OR_RETURN(const std::string type, type_part.String());
  if (type == "TemplateProcessing") return ParseTemplate(processor, spec);
  if (type == "ByteLevel") return absl::OkStatus();
  if (type != "Sequence") {
    return processor.Unimplemented(absl::StrCat("post_processor type ", Quoted(type), " is not supported"));
  }
  RATION_ASSIGN_OR_RETURN(const JsonPart parts, processor.Member("processors"));
  RATION_RETURN_IF_ERROR(parts.ExpectArray(kMaxChainSteps));
  for (size_t i = 0; i < parts.value().size(); ++i) {
    RATION_RETURN_IF_ERROR(ParsePostProcessorStep(parts.Element(i), steps, spec));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<TokenizerSpec> ParseTokenizerJson(absl::string_view text) {
  if (text.size() > kMaxTokenizerJsonBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(kFileName, ": has ", text.size(), " bytes; the limit is ", kMaxTokenizerJsonBytes));
  }
  RATION_ASSIGN_OR_RETURN(const nlohmann::json document, ParseStrictJson(text, kFileName));
  const JsonPart root(&document, kFileName);
  RATION_RETURN_IF_ERROR(root.ExpectObject());
  // Cheap parts first: a file of a kind that is not supported is refused before its vocabulary is read.
  RATION_ASSIGN_OR_RETURN(std::vector<NormalizerStep> normalizer, ParseNormalizer(root));
  RATION_ASSIGN_OR_RETURN(std::vector<std::unique_ptr<PreTokenizer>> pre_tokenizer, ParsePreTokenizer(root));
  RATION_ASSIGN_OR_RETURN(std::vector<DecoderStep> decoder, ParseDecoder(root));
  RATION_ASSIGN_OR_RETURN(BpeModel model, ParseModel(root));
  RATION_ASSIGN_OR_RETURN(std::vector<AddedToken> added_tokens, ParseAddedTokens(root, model.vocabulary()));
  TokenizerSpec spec = {
      std::move(added_tokens), std::move(normalizer), std::move(pre_tokenizer), std::move(model), {}, {},
      std::move(decoder)};
  if (const std::optional<JsonPart> processor = root.OptionalMember("post_processor"); processor.has_value()) {
    int steps = 0;
    RATION_RETURN_IF_ERROR(ParsePostProcessorStep(*processor, steps, spec));
  }
  return spec;
}

}  // namespace ration
