#include "client/command_util.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/commands.h"
#include "client/json_output.h"
#include "client/rpc_error.h"

namespace ration {
namespace {

std::string ReadAll(std::istream& stream) {
  return std::string(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
}

}  // namespace

void CommonFlags::AddTo(FlagSet& flags, absl::string_view json_help) {
  const char* from_environment = std::getenv("RATION_SERVER");
  server = from_environment != nullptr && *from_environment != '\0' ? from_environment : "127.0.0.1:50051";
  flags.Section("General");
  flags.Add("server", "HOST:PORT", &server, "Where rationd listens. Default: $RATION_SERVER, else 127.0.0.1:50051.");
  flags.Add("json", &json, std::string(json_help));
  flags.Add("help", &help, "Print this text.");
  transport_flags.AddTo(flags);
}

void CommonFlags::AddControlTo(FlagSet& flags, absl::string_view json_help) {
  const char* from_environment = std::getenv("RATION_CONTROL");
  control = true;
  server = from_environment != nullptr && *from_environment != '\0' ? from_environment : "127.0.0.1:50052";
  flags.Section("General");
  flags.Add("control", "HOST:PORT", &server,
            "Where rationd serves the control API. Default: $RATION_CONTROL, else 127.0.0.1:50052.");
  flags.Add("json", &json, std::string(json_help));
  flags.Add("help", &help, "Print this text.");
  transport_flags.AddTo(flags);
}

std::optional<int> ParseOrExplain(const FlagSet& flags, CommonFlags& common, absl::string_view command,
                                  absl::string_view synopsis, absl::Span<const std::string> arguments, const Console& console,
                                  std::vector<std::string>& rest) {
  absl::StatusOr<std::vector<std::string>> parsed = flags.Parse(arguments);
  if (common.help) {
    *console.out << synopsis << "\n" << flags.Help(console.columns);
    return kExitOk;
  }
  if (!parsed.ok()) return UsageError(command, parsed.status().message(), console);
  absl::StatusOr<Transport> transport = common.transport_flags.Read();
  absl::Status status = transport.status();
  if (status.ok()) status = common.transport_flags.CheckTarget(*transport, common.server);
  if (!status.ok()) return UsageError(command, status.message(), console);
  common.transport = *std::move(transport);
  rest = *std::move(parsed);
  return std::nullopt;
}

int UsageError(absl::string_view command, absl::string_view message, const Console& console) {
  *console.err << "rationctl " << command << ": " << message << "\n"
               << "Try: rationctl help " << command << "\n";
  return kExitUsage;
}

int RpcError(const absl::Status& status, const CommonFlags& common, const Console& console, const Cancellation* cancellation) {
  const bool interrupted = cancellation != nullptr && cancellation->cancelled();
  if (common.json) *console.out << ErrorToJson(status) << "\n" << std::flush;
  if (interrupted) {
    *console.err << "rationctl: interrupted\n";
    return kExitInterrupted;
  }
  const std::string text = DescribeError(status);
  *console.err << "rationctl: " << (console.err_is_terminal ? TerminalSafe(text) : text) << "\n";
  // A server that drains or ends says UNAVAILABLE too, and explains itself; the rest is gRPC's own about connections.
  if (status.code() == absl::StatusCode::kUnavailable && !absl::StartsWith(status.message(), "the server ")) {
    *console.err << "Is rationd running at " << common.server << "? Name another server with "
                 << (common.control ? "--control" : "--server") << "=HOST:PORT."
                 << (common.transport.tls ? "" : " If it serves TLS, give --tls_ca=FILE.") << "\n";
  }
  if (status.code() == absl::StatusCode::kUnauthenticated && common.transport.token.empty()) {
    *console.err << "Give the token with --token_file=FILE or in $RATION_TOKEN.\n";
  }
  return kExitRpcError;
}

absl::StatusOr<std::string> ReadInput(const std::vector<std::string>& rest, const std::optional<std::string>& text,
                                      const std::optional<std::string>& file, absl::string_view what, const Console& console) {
  const size_t given = rest.size() + (text.has_value() ? 1 : 0) + (file.has_value() ? 1 : 0);
  if (rest.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat("one ", what, " expected, not ", rest.size(), " arguments; quote it"));
  }
  if (given > 1) return absl::InvalidArgumentError(absl::StrCat("more than one ", what, " given"));
  if (text.has_value()) return *text;
  std::string source = "-";
  if (file.has_value()) {
    source = *file;
  } else if (!rest.empty()) {
    if (rest[0] != "-") return rest[0];
  } else if (console.in_is_terminal) {
    return absl::InvalidArgumentError(absl::StrCat("no ", what, " given; - reads standard input"));
  }
  if (source == "-") return ReadAll(*console.in);
  std::ifstream stream(source, std::ios::binary);
  if (!stream) return absl::InvalidArgumentError(absl::StrCat("cannot read ", source, ": ", std::strerror(errno)));
  std::string content = ReadAll(stream);
  if (stream.bad()) return absl::InvalidArgumentError(absl::StrCat("cannot read ", source));
  return content;
}

}  // namespace ration
