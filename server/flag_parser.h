// Reads a command line into abseil flags. absl::ParseCommandLine ends the process with status 1 and several lines on a mistake;
// this returns one clear message instead, and prints a help text people can read.
// Layer: server. Not thread-safe: for the start of main.
#ifndef RATION_SERVER_FLAG_PARSER_H_
#define RATION_SERVER_FLAG_PARSER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace ration {

// Sets the flags in `arguments` (without the program's name): --name=value, --name value, --switch, --noswitch. Only `names` are
// known. InvalidArgument names the flag and what is wrong: unknown, no value, not a value of its type, not a flag at all.
absl::Status ParseFlags(absl::Span<const absl::string_view> names, absl::Span<const std::string> arguments);

// Name, default and description of each flag, wrapped.
std::string FlagsHelp(absl::Span<const absl::string_view> names);

}  // namespace ration

#endif  // RATION_SERVER_FLAG_PARSER_H_
