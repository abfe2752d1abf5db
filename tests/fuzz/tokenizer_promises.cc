// See tokenizer_promises.h.
#include "tests/fuzz/tokenizer_promises.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "engine/base/check.h"
#include "engine/tokenizer/incremental_detokenizer.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

constexpr char kText[] =
    "Once upon a time,  \xE2\x96\x81there <s>was</s> \xC3\xA9\xF0\x9F\x98\x80\n<unk> AaBb \xEF\xAC\x81";

// Streams say what whole decodes say, in whole characters.
void CheckDecode(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  for (bool skip_special_tokens : {false, true}) {
    const absl::StatusOr<std::string> text = tokenizer.Decode(ids, skip_special_tokens);
    RATION_CHECK(text.ok());
    IncrementalDetokenizer detokenizer(&tokenizer, {}, skip_special_tokens);
    std::string streamed;
    for (int32_t id : ids) {
      const std::string piece = detokenizer.Append(id);
      RATION_CHECK(FindInvalidUtf8(piece) == absl::string_view::npos);
      streamed += piece;
    }
    streamed += detokenizer.Flush();
    RATION_CHECK(streamed == *text);
  }
}

void CheckEncode(const Tokenizer& tokenizer, absl::string_view text) {
  for (bool add_special_tokens : {false, true}) {
    const absl::StatusOr<std::vector<int32_t>> ids = tokenizer.Encode(text, add_special_tokens);
    const bool valid = FindInvalidUtf8(text) == absl::string_view::npos;
    // A regular expression may take more than it is allowed for a text.
    if (!ids.ok()) {
      RATION_CHECK(!valid || absl::StrContains(ids.status().message(), "a regular expression"));
      continue;
    }
    RATION_CHECK(valid);
    for (int32_t id : *ids) RATION_CHECK(id >= 0 && id < tokenizer.vocab_size());
    CheckDecode(tokenizer, *ids);
  }
}

}  // namespace

void CheckPromises(const absl::StatusOr<std::unique_ptr<Tokenizer>>& parsed, absl::string_view text,
                   absl::string_view seed) {
  if (!parsed.ok()) {
    RATION_CHECK(parsed.status().code() == absl::StatusCode::kInvalidArgument ||
                 parsed.status().code() == absl::StatusCode::kUnimplemented);
    RATION_CHECK(!parsed.status().message().empty() && parsed.status().message().size() < 2000);
    RATION_CHECK(FindInvalidUtf8(parsed.status().message()) == absl::string_view::npos);
    return;
  }
  const Tokenizer& tokenizer = **parsed;
  CheckEncode(tokenizer, kText);
  CheckEncode(tokenizer, text);

  std::vector<int32_t> ids;  // in an order that no text gives
  for (size_t i = 0; i < seed.size() && i < 512; ++i) {
    ids.push_back(static_cast<int32_t>((static_cast<unsigned char>(seed[i]) * 7919u + i) %
                                       static_cast<unsigned>(tokenizer.vocab_size())));
  }
  CheckDecode(tokenizer, ids);
  for (int32_t id = 0; id < tokenizer.vocab_size() && id < 512; ++id) {
    const absl::string_view token = tokenizer.IdToToken(id);
    if (!token.empty()) RATION_CHECK(tokenizer.TokenToId(token) == id);
  }
}

}  // namespace ration
