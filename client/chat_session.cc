#include "client/chat_session.h"

#include <utility>

namespace ration {

ChatSession::ChatSession(GenerationClient* client, v1::GenerateRequest base, std::string system)
    : client_(*client), base_(std::move(base)), system_(std::move(system)) {
  Reset();
}

void ChatSession::Add(const std::string& role, const std::string& content) {
  v1::ChatMessage& message = *base_.mutable_messages()->add_messages();
  message.set_role(role);
  message.set_content(content);
}

void ChatSession::Reset() {
  base_.mutable_messages()->clear_messages();
  if (!system_.empty()) Add("system", system_);
}

absl::Status ChatSession::Say(const std::string& text, absl::FunctionRef<bool(const v1::GenerateResponse&)> on_message,
                              Cancellation* cancellation) {
  Add("user", text);
  std::string answer;
  const absl::Status status = client_.GenerateStream(
      base_,
      [&](const v1::GenerateResponse& message) {
        answer += message.text();
        return on_message(message);
      },
      cancellation);
  if (status.ok() || absl::IsCancelled(status)) {
    Add("assistant", answer);
  } else {
    base_.mutable_messages()->mutable_messages()->RemoveLast();
  }
  return status;
}

}  // namespace ration
