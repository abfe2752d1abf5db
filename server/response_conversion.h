// From the engine's terms to the API's messages: pieces of output, and how a request ended.
// Layer: server. Stateless; thread-safe.
#ifndef RATION_SERVER_RESPONSE_CONVERSION_H_
#define RATION_SERVER_RESPONSE_CONVERSION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "engine/request.h"
#include "proto/generation.pb.h"

namespace ration {

// Appends a piece to a message, so that several pieces can travel in one. A finish is only written if its status is OK
// (FinishStatus); other ends are gRPC statuses, not messages.
void AppendDelta(GenerationDelta delta, v1::GenerateResponse* response);

// The status a call ends with. OK for an end by length or stop.
absl::Status FinishStatus(const FinishInfo& finish);

// About the bytes a piece takes while it waits to be sent.
int64_t ApproximateBytes(const GenerationDelta& delta);

// Whether a message carries anything beside the request's id.
bool HasContent(const v1::GenerateResponse& response);

}  // namespace ration

#endif  // RATION_SERVER_RESPONSE_CONVERSION_H_
