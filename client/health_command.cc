// rationctl health: whether a server is alive or ready, for people and for container health checks.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/command_util.h"
#include "client/commands.h"
#include "client/rpc_error.h"
#include "client/transport.h"
#include "proto/grpc/health/v1/health.grpc.pb.h"

namespace ration {
namespace {

namespace health = grpc::health::v1;

constexpr absl::string_view kSynopsis =
    R"(Asks a server whether it is alive, or with --service=ration.v1.Generation whether it is ready for requests. Prints SERVING or
NOT_SERVING; the exit status is 0 only for SERVING. Needs no token. Without --tls_ca it speaks plain text, as rationd's --health_listen
does.

  rationctl health [FLAGS]

Example: rationctl health --server=127.0.0.1:50053
)";

absl::StatusOr<health::HealthCheckResponse> Check(const CommonFlags& common, const std::string& service, absl::Duration timeout) {
  const auto stub = health::Health::NewStub(CreateChannel(common.server, common.transport));
  health::HealthCheckRequest request;
  request.set_service(service);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  health::HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

}  // namespace

int HealthCommand(absl::Span<const std::string> arguments, const Console& console, Cancellation* cancellation) {
  CommonFlags common;
  std::string service;
  std::optional<absl::Duration> timeout;
  FlagSet flags;
  common.AddTo(flags, "Print {\"status\": \"...\"}.");
  flags.Section("Health");
  flags.Add("service", "NAME", &service, "Service to ask for. Default: the server as a whole.");
  flags.Add("timeout", "TIME", &timeout, "Time that the answer may take. Default 3s.");
  std::vector<std::string> rest;
  if (const std::optional<int> done = ParseOrExplain(flags, common, "health", kSynopsis, arguments, console, rest)) return *done;
  if (!rest.empty()) return UsageError("health", absl::StrCat("takes no arguments, not \"", rest[0], "\""), console);
  if (timeout.has_value() && *timeout <= absl::ZeroDuration()) {
    return UsageError("health", absl::StrCat("--timeout: must be above 0, not ", absl::FormatDuration(*timeout)), console);
  }

  const auto answer = Check(common, service, timeout.value_or(absl::Seconds(3)));
  if (!answer.ok()) return RpcError(answer.status(), common, console, cancellation);
  const std::string name = health::HealthCheckResponse::ServingStatus_Name(answer->status());
  *console.out << (common.json ? absl::StrCat("{\"status\":\"", name, "\"}") : name) << "\n";
  return answer->status() == health::HealthCheckResponse::SERVING ? kExitOk : kExitRpcError;
}

}  // namespace ration
