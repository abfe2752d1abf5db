// A conversation with a model: what was said so far, and one turn after another.
// Layer: client. Thread-compatible; Cancellation may be used from another thread.
#ifndef RATION_CLIENT_CHAT_SESSION_H_
#define RATION_CLIENT_CHAT_SESSION_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "client/generation_client.h"
#include "proto/generation.pb.h"

namespace ration {

class ChatSession {
 public:
  // Every turn is sent as `base` (sampling, stopping, template variables) with the conversation in it. `system` opens
  // it; empty: nothing does. `client` must outlive the session.
  ChatSession(GenerationClient* client, v1::GenerateRequest base, std::string system);

  // Says `text` and calls `on_message` with each piece of the answer. The answer, or what there is of it after a
  // cancellation, becomes part of the conversation; after any other error the conversation is as it was before.
  absl::Status Say(const std::string& text, absl::FunctionRef<bool(const v1::GenerateResponse&)> on_message,
                   Cancellation* cancellation);

  // Back to the beginning.
  void Reset();
  const v1::Messages& messages() const { return base_.messages(); }

 private:
  void Add(const std::string& role, const std::string& content);

  GenerationClient& client_;
  v1::GenerateRequest base_;
  const std::string system_;
};

}  // namespace ration

#endif  // RATION_CLIENT_CHAT_SESSION_H_
