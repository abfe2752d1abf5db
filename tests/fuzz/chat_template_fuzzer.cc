// Any bytes as a chat template and, after a NUL, a conversation: refused with a message that says where, or rendered
// within the limits to valid UTF-8, the same each time. The conversation is messages with line feeds between: the role,
// a space, the content.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/base/check.h"
#include "engine/chat/chat_template.h"
#include "engine/chat/jinja/template.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

void CheckRefusal(const absl::Status& status) {
  RATION_CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  RATION_CHECK(!status.message().empty() && status.message().size() < 4000);
  RATION_CHECK(FindInvalidUtf8(status.message()) == absl::string_view::npos);
}

jinja::Value Text(absl::string_view text) { return *jinja::NewString(std::string(text), nullptr); }

Conversation Parse(absl::string_view text) {
  Conversation conversation;
  if (FindInvalidUtf8(text) != absl::string_view::npos) text = "user hi\nassistant \xC3\xA9 <b>";
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    ChatMessage message{std::string(parts.first), std::string(parts.second), std::nullopt, {}};
    message.extra.emplace_back("number", jinja::Value(static_cast<int64_t>(line.size())));
    conversation.messages.push_back(std::move(message));
  }
  conversation.add_generation_prompt = text.size() % 2 == 0;
  jinja::Value list = *jinja::NewList({jinja::Value(1.5), Text("b"), jinja::Value(true), jinja::Value()}, nullptr);
  conversation.variables.emplace_back("d",
                                      *jinja::NewDict({{Text("k"), std::move(list)}, {Text("a"), Text("x")}}, nullptr));
  return conversation;
}

void Run(absl::string_view input) {
  const size_t end = input.find('\0');
  const absl::StatusOr<std::unique_ptr<const ChatTemplate>> parsed =
      ChatTemplate::Parse(input.substr(0, end), "chat_template", {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  if (!parsed.ok()) {
    CheckRefusal(parsed.status());
    RATION_CHECK(absl::StartsWith(parsed.status().message(), "chat_template:"));
    return;
  }
  const Conversation conversation = Parse(end == absl::string_view::npos ? absl::string_view() : input.substr(end + 1));
  constexpr int64_t kMaxBytes = 4096;
  const absl::StatusOr<std::string> text = (*parsed)->Render(conversation, kMaxBytes, absl::UnixEpoch());
  if (!text.ok()) {
    CheckRefusal(text.status());
  } else {
    RATION_CHECK(text->size() <= static_cast<size_t>(kMaxBytes));
    RATION_CHECK(FindInvalidUtf8(*text) == absl::string_view::npos);
  }
  const absl::StatusOr<std::string> again = (*parsed)->Render(conversation, kMaxBytes, absl::UnixEpoch());
  RATION_CHECK(text.ok() ? again.ok() && *again == *text : again.status() == text.status());
}

}  // namespace
}  // namespace ration

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  ration::Run(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
