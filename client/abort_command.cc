// rationctl abort: ends requests of this or of other clients.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/command_util.h"
#include "client/commands.h"
#include "client/json_output.h"

namespace ration {
namespace {

constexpr absl::string_view kSynopsis =
    R"(Ends requests, waiting or running: their memory is free within a step, and their streams end with CANCELLED.

  rationctl abort [FLAGS] REQUEST_ID...

Ids are those that clients chose (rationctl generate --request_id=ID) or got with the first message of their stream. Ids of
requests that are not there, or no longer, are no error, so that it may be repeated.
)";

}  // namespace

int AbortCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  CommonFlags common;
  FlagSet flags;
  common.AddTo(flags, "Print {\"request_ids\": [...]}, what the server was asked to end.");
  std::vector<std::string> ids;
  if (const std::optional<int> done = ParseOrExplain(flags, common, "abort", kSynopsis, arguments, console, ids)) return *done;
  if (ids.empty()) return UsageError("abort", "no request id given", console);
  for (const std::string& id : ids) {
    if (id.empty()) return UsageError("abort", "a request id cannot be empty", console);
  }
  const std::unique_ptr<GenerationClient> client = GenerationClient::Create(common.server, common.transport);
  if (absl::Status status = client->Abort(ids, cancellation); !status.ok()) {
    return RpcError(status, common, console, cancellation);
  }
  if (common.json) *console.out << RequestIdsToJson(ids) << "\n";
  return kExitOk;
}

}  // namespace ration
