// See added_tokens_json.h.
#include "engine/tokenizer/added_tokens_json.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/quote.h"
#include "engine/base/status_macros.h"
#include "engine/tokenizer/tokenizer_spec.h"

namespace ration {

absl::Status CheckDensity(const JsonPart& part, int64_t size, size_t tokens) {
  const int64_t limit = 2 * static_cast<int64_t>(tokens) + 1024;
  if (size <= limit) return absl::OkStatus();
  return part.InvalidArgument(
      absl::StrCat("id ", size - 1, " is too high for ", tokens, " tokens; the limit is ", limit - 1));
}

absl::StatusOr<AddedToken> ParseAddedToken(const JsonPart& part, int64_t id, const Vocabulary& vocabulary) {
  AddedToken token;
  if (id < 0 || id >= kMaxVocabSize) {
    return part.InvalidArgument(absl::StrCat("id: must be in [0, ", kMaxVocabSize - 1, "], not ", id));
  }
  token.id = static_cast<int32_t>(id);
  RATION_ASSIGN_OR_RETURN(const JsonPart content, part.Member("content"));
  RATION_ASSIGN_OR_RETURN(token.content, content.String());
  if (token.content.empty()) return content.InvalidArgument("must not be empty");
  if (token.content.size() > kMaxTokenBytes) {
    return content.InvalidArgument(absl::StrCat("has ", token.content.size(), " bytes; the limit is ", kMaxTokenBytes));
  }
  RATION_ASSIGN_OR_RETURN(token.special, part.BoolMember("special", false));
  RATION_ASSIGN_OR_RETURN(token.normalized, part.BoolMember("normalized", !token.special));
  RATION_ASSIGN_OR_RETURN(token.single_word, part.BoolMember("single_word", false));
  RATION_ASSIGN_OR_RETURN(token.lstrip, part.BoolMember("lstrip", false));
  RATION_ASSIGN_OR_RETURN(token.rstrip, part.BoolMember("rstrip", false));

  const int32_t model_id = vocabulary.Find(token.content);
  if (model_id >= 0 && model_id != token.id) {
    return part.InvalidArgument(absl::StrCat("id: ", token.id, " is not the id of ", Quoted(token.content),
                                             " in model.vocab, which is ", model_id));
  }
  if (model_id < 0 && vocabulary.Contains(token.id)) {
    return part.InvalidArgument(
        absl::StrCat("id: ", token.id, " is the id of ", Quoted(vocabulary.Token(token.id)), " in model.vocab"));
  }
  return token;
}

absl::StatusOr<std::vector<AddedToken>> ParseAddedTokens(const JsonPart& root, const Vocabulary& vocabulary) {
  std::vector<AddedToken> tokens;
  const std::optional<JsonPart> part = root.OptionalMember("added_tokens");
  if (!part.has_value()) return tokens;
  RATION_RETURN_IF_ERROR(part->ExpectArray(static_cast<size_t>(kMaxVocabSize)));
  absl::flat_hash_map<int32_t, size_t> index_of_id;
  absl::flat_hash_map<std::string, size_t> index_of_content;
  int32_t size = vocabulary.size();
  for (size_t i = 0; i < part->value().size(); ++i) {
    const JsonPart element = part->Element(i);
    RATION_ASSIGN_OR_RETURN(const JsonPart id_part, element.Member("id"));
    RATION_ASSIGN_OR_RETURN(const int64_t id, id_part.Int(0, kMaxVocabSize - 1));
    RATION_ASSIGN_OR_RETURN(AddedToken token, ParseAddedToken(element, id, vocabulary));
    if (const auto [it, inserted] = index_of_id.try_emplace(token.id, i); !inserted) {
      return element.InvalidArgument(absl::StrCat("id ", token.id, " is that of added_tokens[", it->second, "] too"));
    }
    if (const auto [it, inserted] = index_of_content.try_emplace(token.content, i); !inserted) {
      return element.InvalidArgument(
          absl::StrCat("content ", Quoted(token.content), " is that of added_tokens[", it->second, "] too"));
    }
    size = std::max(size, token.id + 1);
    tokens.push_back(std::move(token));
  }
  RATION_RETURN_IF_ERROR(CheckDensity(*part, size, static_cast<size_t>(vocabulary.size()) + tokens.size()));
  return tokens;
}

}  // namespace ration
