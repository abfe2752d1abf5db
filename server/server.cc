#include "server/server.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_builder.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status_macros.h"

namespace ration {
namespace {

constexpr char kServiceName[] = "ration.v1.Generation";
constexpr char kControlServiceName[] = "ration.v1.Control";
constexpr int kMaxControlMessageBytes = 64 << 10;
// Room in a message for everything beside the prompt, so that a prompt that is a little too long gets our message about it and not
// gRPC's about message sizes.
constexpr int64_t kMessageOverheadBytes = int64_t{1} << 20;
// How long statuses may take to reach the clients after the last request has ended, if the grace period is over by then.
constexpr absl::Duration kFlushTime = absl::Seconds(2);
// Threads for the only service that is not on the callback API (reflection).
constexpr int kMaxSyncThreads = 4;

// What both gRPC servers have in common.
void Prepare(const grpc::ResourceQuota& quota, const ConnectionLimits& limits, grpc::ServerBuilder* builder) {
  builder->SetResourceQuota(quota);
  builder->SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 1);
  ApplyConnectionLimits(limits, builder);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, ServedModel model) {
  std::unique_ptr<Server> server(new Server(options));
  server->model_ = std::move(model);
  CallContext& context = server->context_;
  context.clock = server->model_.clock;
  context.model = ModelView{&server->model_.info, server->model_.tokenizer.get(), server->model_.no_tokenizer_reason,
                            server->model_.chat_template.get(), server->model_.no_chat_template_reason};
  context.request_limits.max_prompt_bytes = options.max_prompt_bytes;
  context.request_limits.default_queue_time = options.max_queue_time;
  context.stream_limits.unread_end_timeout = options.slow_reader_timeout;
  context.model_info = server->model_.description;

  EngineRunner::Options runner_options;
  runner_options.max_live_requests = options.max_live_requests;
  server->runner_ = std::make_unique<EngineRunner>(runner_options, std::move(server->model_.engine));
  server->delivery_ = std::make_unique<DeliveryThread>();
  context.runner = server->runner_.get();
  context.delivery = server->delivery_.get();

  RATION_RETURN_IF_ERROR(server->CountDescriptors());
  RATION_RETURN_IF_ERROR(server->StartSecurity());
  RATION_RETURN_IF_ERROR(server->StartGrpc());
  RATION_RETURN_IF_ERROR(server->StartControl());
  RATION_RETURN_IF_ERROR(server->StartMetrics());
  server->grpc_server_->GetHealthCheckService()->SetServingStatus(kServiceName, true);
  RATION_RETURN_IF_ERROR(server->WritePortFile());
  return server;
}

absl::Status Server::StartSecurity() {
  RATION_ASSIGN_OR_RETURN(security_, Security::Create(options_.security, [](const std::vector<TenantQuota>& /*quotas*/) {}));
  context_.access = &security_->access();
  spdlog::info("what protects the gRPC ports: {}", Describe(options_.security));
  return absl::OkStatus();
}

absl::Status Server::CountDescriptors() {
  const int64_t wanted = options_.connections.max_connections;
  const int64_t descriptors = RaiseDescriptorLimit();
  RATION_ASSIGN_OR_RETURN(max_connections_, AffordableConnections(wanted, descriptors));
  if (max_connections_ < wanted) {
    spdlog::warn("--max_connections: {} instead of {}, as the process may open only {} files (ulimit -n)", max_connections_, wanted,
                 descriptors);
  }
  return absl::OkStatus();
}

absl::Status Server::StartPort(const ConnectionAcceptor::Options& address, grpc::ServerBuilder* builder,
                               std::unique_ptr<grpc::Server>* server, std::unique_ptr<ConnectionAcceptor>* acceptor, int* port) {
  ConnectionAcceptor::Target target = builder->experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD, security_->credentials());
  *server = builder->BuildAndStart();
  if (*server == nullptr) return absl::InternalError(absl::StrCat("--", address.flag, ": gRPC cannot start a server"));
  RATION_ASSIGN_OR_RETURN(*acceptor, ConnectionAcceptor::Start(address, std::move(target)));
  *port = (*acceptor)->port();
  return absl::OkStatus();
}

absl::Status Server::StartGrpc() {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  service_ = std::make_unique<GenerationService>(&context_);

  grpc::ServerBuilder builder;
  grpc::ResourceQuota quota("rationd");
  quota.SetMaxThreads(kMaxSyncThreads);
  Prepare(quota, options_.connections, &builder);
  builder.SetMaxReceiveMessageSize(static_cast<int>(options_.max_prompt_bytes + kMessageOverheadBytes));
  builder.SetMaxSendMessageSize(-1);  // a Generate response is bounded by its request
  builder.RegisterService(service_.get());
  return StartPort({"listen", options_.listen, max_connections_, options_.connections.keepalive_timeout}, &builder, &grpc_server_,
                   &acceptor_, &port_);
}

absl::Status Server::StartControl() {
  if (!options_.control_listen.has_value()) return absl::OkStatus();
  ControlService::Options control;
  control.runner = runner_.get();
  control.access = &security_->access();
  control.experts = model_.info.experts;
  for (const v1::Expert& expert : model_.description.experts()) control.bytes_per_token.push_back(expert.bytes_per_token());
  control.start_drain = [this] { BeginDrain(); };
  control_service_ = std::make_unique<ControlService>(std::move(control));

  grpc::ServerBuilder builder;
  grpc::ResourceQuota quota("rationd-control");
  quota.SetMaxThreads(kMaxSyncThreads);
  Prepare(quota, options_.connections, &builder);
  builder.SetMaxReceiveMessageSize(kMaxControlMessageBytes);
  builder.RegisterService(control_service_.get());
  RATION_RETURN_IF_ERROR(StartPort({"control_listen", *options_.control_listen, std::min(max_connections_, kMaxControlConnections),
                                    options_.connections.keepalive_timeout},
                                   &builder, &control_server_, &control_acceptor_, &control_port_));
  control_server_->GetHealthCheckService()->SetServingStatus(kControlServiceName, true);
  return absl::OkStatus();
}

absl::Status Server::StartMetrics() {
  if (!options_.metrics_listen.has_value()) return absl::OkStatus();
  metrics_ = std::make_unique<Metrics>(
      Metrics::ModelLabels{model_.description.name(), model_.description.architecture(), model_.description.compute_dtype(),
                           model_.description.family(), model_.description.untrained_routing()},
      [runner = runner_.get()] { return runner->Stats(); });
  RATION_ASSIGN_OR_RETURN(metrics_endpoint_, MetricsEndpoint::Start(*options_.metrics_listen, [metrics = metrics_.get()] {
                            return prometheus::TextSerializer().Serialize(metrics->Collect());
                          }));
  metrics_port_ = metrics_endpoint_->port();
  return absl::OkStatus();
}

absl::Status Server::WritePortFile() const {
  if (options_.port_file.empty()) return absl::OkStatus();
  const std::string temporary = options_.port_file + ".tmp";  // so that a reader sees all of it or nothing
  {
    std::ofstream file(temporary, std::ios::trunc);
    file << port_ << "\n" << metrics_port_ << "\n" << control_port_ << "\n";
    file.close();
    if (!file) return absl::UnavailableError(absl::StrCat("--port_file: cannot write ", temporary));
  }
  if (std::rename(temporary.c_str(), options_.port_file.c_str()) != 0) {
    return absl::UnavailableError(
        absl::StrCat("--port_file: cannot rename ", temporary, " to ", options_.port_file, ": ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

void Server::BeginDrain() {
  grpc_server_->GetHealthCheckService()->SetServingStatus(kServiceName, false);
  runner_->StartDrain();
}

bool Server::Drain(absl::Duration grace) {
  const absl::Time deadline = absl::Now() + grace;
  bool all_ended = true;
  if (grpc_server_ != nullptr) {
    BeginDrain();
    all_ended = runner_->WaitUntilIdle(deadline);
    if (!all_ended) {
      spdlog::warn("the grace period is over: ending {} request(s)", context_.live_calls.engine_ids().size());
      do {  // again, as a request admitted a moment ago may reach the engine after the first round
        for (const std::string& engine_id : context_.live_calls.engine_ids()) {
          runner_->Abort(engine_id, FinishReason::kShutdown);
        }
      } while (!runner_->WaitUntilIdle(absl::Now() + absl::Milliseconds(20)));
    }
    acceptor_.reset();
    // Streams that have ended may still be on their way to clients that read slowly.
    grpc_server_->Shutdown(absl::ToChronoTime(std::max(deadline, absl::Now() + kFlushTime)));
    grpc_server_->Wait();
  }
  if (control_server_ != nullptr) {
    control_service_->EndWatches();
    control_acceptor_.reset();
    control_server_->Shutdown(absl::ToChronoTime(absl::Now() + kFlushTime));
    control_server_->Wait();
  }
  metrics_endpoint_.reset();
  drained_ = true;
  return all_ended;
}

Server::~Server() {
  if (!drained_) Drain(absl::ZeroDuration());
  // No call is left.
  control_server_.reset();
  control_service_.reset();
  grpc_server_.reset();
  service_.reset();
  security_.reset();  // it may tell the engine of new quotas
  // The engine may still hold references to calls, which use what follows.
  runner_.reset();
  delivery_.reset();
}

}  // namespace ration
