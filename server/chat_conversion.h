// Conversations on the wire: their limits, their conversion to what a chat template takes, their rendering.
// Layer: server. Stateless; thread-safe: rendering runs on the thread of the call and is bounded in steps and
// memory.
#ifndef RATION_SERVER_CHAT_CONVERSION_H_
#define RATION_SERVER_CHAT_CONVERSION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/chat/chat_template.h"
#include "proto/generation.pb.h"
#include "server/request_conversion.h"

namespace ration {

// InvalidArgument names the field, as in "messages.messages[3].content". Cheap: nothing is rendered.
absl::Status CheckMessages(const v1::Messages& messages, const RequestLimits& limits);

// Bytes of everything in it, as they count against the queue before the number of tokens is known.
int64_t MessagesBytes(const v1::Messages& messages);

// InvalidArgument names the field.
absl::StatusOr<Conversation> ToConversation(const v1::Messages& messages);

// The prompt's text. FailedPrecondition if the model has no usable template; InvalidArgument with the template's
// message if it refuses the conversation, or if the text would be longer than a prompt may be.
absl::StatusOr<std::string> RenderMessages(const v1::Messages& messages, const ModelView& model,
                                           const RequestLimits& limits);

// The ids of a rendered text. REQUIRES: `model` has a tokenizer.
absl::StatusOr<std::vector<int32_t>> EncodeRendered(absl::string_view text, bool add_special_tokens,
                                                    const ModelView& model);

}  // namespace ration

#endif  // RATION_SERVER_CHAT_CONVERSION_H_
