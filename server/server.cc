#include "server/server.h"

#include <algorithm>
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
#include "server/logging.h"
#include "server/port_file.h"

namespace ration {
namespace {

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
  const std::shared_ptr<spdlog::logger> requests_log = NewQueuedLogger("requests");
  context.request_log = std::make_unique<RequestLog>(options.request_log, requests_log);
  server->control_log_ = std::make_shared<ControlLog>(NewQueuedLogger("control"), requests_log);

  EngineRunner::Options runner_options;
  runner_options.max_live_requests = options.max_live_requests;
  server->runner_ = std::make_unique<EngineRunner>(runner_options, std::move(server->model_.engine));
  server->delivery_ = std::make_unique<DeliveryThread>();
  context.runner = server->runner_.get();
  context.delivery = server->delivery_.get();

  server->timer_ = std::make_unique<TimerThread>();
  EngineWatch::Options watch;
  watch.stall_timeout = options.stall_timeout;
  watch.runner = context.runner;
  watch.clock = context.clock;
  watch.on_change = [health = &server->health_](bool stalled) { health->SetAlive(!stalled); };
  server->watch_ = std::make_unique<EngineWatch>(std::move(watch));

  RATION_RETURN_IF_ERROR(server->CountDescriptors());
  RATION_RETURN_IF_ERROR(server->StartSecurity());
  RATION_RETURN_IF_ERROR(server->StartGrpc());
  RATION_RETURN_IF_ERROR(server->StartControl());
  RATION_RETURN_IF_ERROR(server->StartMetrics());
  RATION_RETURN_IF_ERROR(server->StartHealth());
  server->health_.SetReady(true);
  server->watch_->Start(server->timer_.get());
  if (!options.port_file.empty()) {
    RATION_RETURN_IF_ERROR(WritePortFile(
        options.port_file, {server->port_, server->metrics_port_, server->control_port_, server->health_port()}));
  }
  return server;
}

absl::Status Server::StartSecurity() {
  const auto use_quotas = [runner = runner_.get()](const std::vector<TenantQuota>& quotas) {
    runner->SetTenants(quotas, [](const absl::Status& status) {
      if (!status.ok()) spdlog::error("--access_file: its quotas are not in force: {}", std::string(status.message()));
    });
  };
  RATION_ASSIGN_OR_RETURN(security_, Security::Create(options_.security, use_quotas));
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
  RATION_RETURN_IF_ERROR(StartPort(
      {"listen", options_.listen, max_connections_, options_.connections.keepalive_timeout, &refused_connections_}, &builder,
      &grpc_server_, &acceptor_, &port_));
  health_.Add(grpc_server_.get(), HealthReporter::Services::kGeneration);
  return absl::OkStatus();
}

absl::Status Server::StartControl() {
  if (!options_.control_listen.has_value()) return absl::OkStatus();
  ControlService::Options control;
  control.runner = runner_.get();
  control.access = &security_->access();
  control.log = control_log_;
  control.experts = model_.info.experts;
  for (const v1::Expert& expert : model_.description.experts()) control.bytes_per_token.push_back(expert.bytes_per_token());
  control.start_drain = [this] { BeginDrain(); };
  control.draining = [this] { return draining(); };
  control_service_ = std::make_unique<ControlService>(std::move(control));

  grpc::ServerBuilder builder;
  grpc::ResourceQuota quota("rationd-control");
  quota.SetMaxThreads(kMaxSyncThreads);
  Prepare(quota, options_.connections, &builder);
  builder.SetMaxReceiveMessageSize(kMaxControlMessageBytes);
  builder.RegisterService(control_service_.get());
  RATION_RETURN_IF_ERROR(StartPort({"control_listen", *options_.control_listen, std::min(max_connections_, kMaxControlConnections),
                                    options_.connections.keepalive_timeout, &refused_control_connections_},
                                   &builder, &control_server_, &control_acceptor_, &control_port_));
  health_.Add(control_server_.get(), HealthReporter::Services::kControl);
  return absl::OkStatus();
}

absl::Status Server::StartMetrics() {
  if (!options_.metrics_listen.has_value()) return absl::OkStatus();
  metrics_ = std::make_unique<Metrics>(
      Metrics::ModelLabels{model_.description.name(), model_.description.architecture(), model_.description.compute_dtype(),
                           model_.description.family(), model_.description.untrained_routing()},
      [runner = runner_.get()] { return runner->Stats(); },
      [watch = watch_.get()] {
        const EngineWatch::State state = watch->Look();
        return Metrics::EnginePulse{state.stalled, absl::ToDoubleSeconds(state.step_age)};
      },
      [this] {
        Metrics::Refusals refusals;
        refusals.unauthenticated = security_->access().num_unauthenticated();
        refusals.permission_denied = security_->access().num_permission_denied();
        refusals.connections = refused_connections_.load(std::memory_order_relaxed);
        refusals.control_connections = refused_control_connections_.load(std::memory_order_relaxed);
        return refusals;
      });
  RATION_ASSIGN_OR_RETURN(metrics_endpoint_, MetricsEndpoint::Start(*options_.metrics_listen, [metrics = metrics_.get()] {
                            return prometheus::TextSerializer().Serialize(metrics->Collect());
                          }));
  metrics_port_ = metrics_endpoint_->port();
  return absl::OkStatus();
}

absl::Status Server::StartHealth() {
  if (!options_.health_listen.has_value()) return absl::OkStatus();
  RATION_ASSIGN_OR_RETURN(health_endpoint_, HealthEndpoint::Start(*options_.health_listen));
  health_.Add(health_endpoint_->server(), HealthReporter::Services::kGeneration);
  return absl::OkStatus();
}

void Server::BeginDrain() {
  {
    MutexLock lock(&drain_mutex_);
    if (drain_begun_) return;
    drain_begun_ = true;
  }
  health_.SetReady(false);
  if (options_.drain_delay <= absl::ZeroDuration()) {
    spdlog::info("draining: no longer ready, new requests are refused");
    return RefuseRequests();
  }
  spdlog::info("draining: no longer ready, new requests are refused in {}", absl::FormatDuration(options_.drain_delay));
  timer_->At(absl::Now() + options_.drain_delay, [this] { RefuseRequests(); });
}

bool Server::draining() const {
  MutexLock lock(&drain_mutex_);
  return drain_begun_;
}

void Server::RefuseRequests() {
  runner_->StartDrain();
  MutexLock lock(&drain_mutex_);
  refusing_ = true;
  refusing_changed_.SignalAll();
}

bool Server::Drain(absl::Duration grace) {
  bool all_ended = true;
  if (grpc_server_ != nullptr) {
    BeginDrain();
    {
      MutexLock lock(&drain_mutex_);
      while (!refusing_) refusing_changed_.Wait(&drain_mutex_);
    }
    const absl::Time deadline = absl::Now() + grace;
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
  if (!drained_) {
    if (runner_ != nullptr) RefuseRequests();
    Drain(absl::ZeroDuration());
  }
  timer_.reset();
  // No call is left.
  health_endpoint_.reset();
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
