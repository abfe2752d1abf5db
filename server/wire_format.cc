#include "server/wire_format.h"

#include <cstddef>
#include <cstdint>
#include <string>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/slice.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/tokenizer/utf8.h"

namespace ration {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::io::CodedInputStream;
using google::protobuf::internal::WireFormatLite;

// The path of the first string field in `input` that is not UTF-8, with the offset of the bad byte; empty if there is none (the
// bytes are then malformed in another way). Goes no deeper than protobuf's own parser, as google.protobuf.Struct nests without end.
std::string FindBadString(const Descriptor& type, absl::string_view input, const std::string& prefix, int levels_left) {
  if (levels_left == 0) return "";
  CodedInputStream stream(reinterpret_cast<const uint8_t*>(input.data()), static_cast<int>(input.size()));
  while (const uint32_t tag = stream.ReadTag()) {
    const FieldDescriptor* field = type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const bool delimited = WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    const bool is_string = field != nullptr && field->type() == FieldDescriptor::TYPE_STRING;
    const bool is_message = field != nullptr && field->type() == FieldDescriptor::TYPE_MESSAGE;
    if (!delimited || (!is_string && !is_message)) {
      if (!WireFormatLite::SkipField(&stream, tag)) return "";
      continue;
    }
    uint32_t length = 0;
    if (!stream.ReadVarint32(&length) || length > input.size()) return "";
    const absl::string_view value = input.substr(static_cast<size_t>(stream.CurrentPosition()), length);
    if (!stream.Skip(static_cast<int>(length))) return "";
    const std::string path = prefix + field->name();
    if (is_string) {
      if (const size_t offset = FindInvalidUtf8(value); offset != absl::string_view::npos) {
        return absl::StrCat(path, ": must be valid UTF-8; byte ", offset, " is not");
      }
    } else {
      std::string found = FindBadString(*field->message_type(), value, path + ".", levels_left - 1);
      if (!found.empty()) return found;
    }
  }
  return "";
}

}  // namespace

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  grpc::Slice slice;
  if (bytes.Valid() && !bytes.DumpToSingleSlice(&slice).ok()) return absl::InternalError("cannot read the request's bytes");
  if (message->ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) return absl::OkStatus();
  const Descriptor& type = *message->GetDescriptor();
  std::string found = FindBadString(type, absl::string_view(reinterpret_cast<const char*>(slice.begin()), slice.size()), "",
                                    CodedInputStream::GetDefaultRecursionLimit());
  if (found.empty()) found = absl::StrCat("request: ", slice.size(), " bytes that are not a ", type.full_name(), " message");
  return absl::InvalidArgumentError(found);
}

grpc::ByteBuffer SerializeMessage(const google::protobuf::Message& message) {
  grpc::Slice slice(message.ByteSizeLong());
  message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace ration
