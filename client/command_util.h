// What the commands share: common flags, help, errors, input text.
// Layer: client. Private to the commands.
#ifndef RATION_CLIENT_COMMAND_UTIL_H_
#define RATION_CLIENT_COMMAND_UTIL_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/console.h"
#include "client/flag_set.h"
#include "client/generation_client.h"
#include "client/transport.h"

namespace ration {

struct CommonFlags {
  std::string server;       // or the control API's address
  bool control = false;     // which of the two
  bool json = false;
  bool help = false;
  TransportFlags transport_flags;
  Transport transport;  // what they name, once ParseOrExplain is done

  // --server, --json, --help and those of TransportFlags. The default server is $RATION_SERVER, else 127.0.0.1:50051.
  void AddTo(FlagSet& flags, absl::string_view json_help);
  // The same with --control, for the commands of the control API. The default is $RATION_CONTROL, else 127.0.0.1:50052.
  void AddControlTo(FlagSet& flags, absl::string_view json_help);
};

// Parses `arguments` and reads the files that they name. A value is an exit status: the command is done (help was asked for, or the usage is wrong and was
// explained). `synopsis` is the command's help text above its flags.
std::optional<int> ParseOrExplain(const FlagSet& flags, CommonFlags& common, absl::string_view command,
                                  absl::string_view synopsis, absl::Span<const std::string> arguments, const Console& console,
                                  std::vector<std::string>& rest);

int UsageError(absl::string_view command, absl::string_view message, const Console& console);

// Explains `status` on console.err and, for scripts, as a JSON line on console.out. Returns the exit status.
int RpcError(const absl::Status& status, const CommonFlags& common, const Console& console, const Cancellation* cancellation);

// The text a command works on: the one argument, or `text`, or the file's content; "-" as argument or file is standard input.
// Without any of them standard input, unless that is a terminal. InvalidArgument if there is more than one or none.
absl::StatusOr<std::string> ReadInput(const std::vector<std::string>& rest, const std::optional<std::string>& text,
                                      const std::optional<std::string>& file, absl::string_view what, const Console& console);

}  // namespace ration

#endif  // RATION_CLIENT_COMMAND_UTIL_H_
