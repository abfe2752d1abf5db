#include "server/health_endpoint.h"

#include <vector>

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace ration {
namespace {

// A probe's request is a service's name.
constexpr int kMaxMessageBytes = 1024;
constexpr int kMaxStreamsPerConnection = 8;

// Reflection is a plugin of every server of the process; here it would tell what the other ports serve.
class NoPlugins final : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override { plugins->clear(); }
};

}  // namespace

absl::StatusOr<std::unique_ptr<HealthEndpoint>> HealthEndpoint::Start(const ListenAddress& address) {
  grpc::EnableDefaultHealthCheckService(true);
  std::unique_ptr<HealthEndpoint> endpoint(new HealthEndpoint());
  grpc::ServerBuilder builder;
  builder.SetOption(std::make_unique<NoPlugins>());
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder.AddListeningPort(address.ToString(), grpc::InsecureServerCredentials(), &endpoint->port_);
  builder.RegisterCallbackGenericService(&endpoint->everything_else_);
  endpoint->server_ = builder.BuildAndStart();
  if (endpoint->server_ == nullptr || endpoint->port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("--health_listen: cannot bind ", address.ToString(), " (is another server using it?)"));
  }
  return endpoint;
}

HealthEndpoint::~HealthEndpoint() {
  if (server_ == nullptr) return;
  server_->Shutdown(absl::ToChronoTime(absl::Now()));
  server_->Wait();
}

}  // namespace ration
