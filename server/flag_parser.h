// A command line as fields of a message: every field is a flag of its name, of type bool, int64, double, string or a list of strings.
// Returns one clear message on a mistake, and prints a help text people can read.
// Layer: server. Stateless functions.
#ifndef RATION_SERVER_FLAG_PARSER_H_
#define RATION_SERVER_FLAG_PARSER_H_

#include <set>
#include <string>

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace ration {

// Sets the fields of `message` that are in `arguments` (without the program's name): --name=value, --name value, --switch, --noswitch;
// a list's values are separated by commas. The last one of a name counts. InvalidArgument names the flag and what is wrong: unknown,
// no value, not a value of its type, not a flag at all. `given` gets the names of what was set.
absl::Status ParseFlags(absl::Span<const std::string> arguments, google::protobuf::Message* message, std::set<std::string>* given);

// Section, name, default and help (config.proto's options) of each field, wrapped.
std::string FlagsHelp(const google::protobuf::Descriptor& message);

// The default as --help and the documentation show it; empty if there is none to speak of.
std::string DefaultText(const google::protobuf::FieldDescriptor& field);

}  // namespace ration

#endif  // RATION_SERVER_FLAG_PARSER_H_
