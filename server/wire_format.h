// Protobuf messages to and from the bytes that gRPC carries. The service parses its requests itself, because gRPC answers bytes it
// cannot parse (invalid UTF-8 in a string field, say) with UNIMPLEMENTED and no message.
// Layer: server. Stateless; thread-safe.
#ifndef RATION_SERVER_WIRE_FORMAT_H_
#define RATION_SERVER_WIRE_FORMAT_H_

#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>

#include "absl/status/status.h"

namespace ration {

// Parses `bytes`. InvalidArgument names the string field that is not valid UTF-8 ("text: ...") or the message that the bytes
// are not.
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message);

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message);

}  // namespace ration

#endif  // RATION_SERVER_WIRE_FORMAT_H_
