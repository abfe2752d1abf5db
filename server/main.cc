// rationd: serves one model over gRPC until SIGTERM or SIGINT, then lets running requests end and goes. A second signal ends it at
// once. Exit status: 0 after a drain, 2 for a wrong command line or a model that cannot be loaded, 1 if serving fails, 3 if the drain
// did not come to its end (LastResort), 128 + the signal's number after a second signal.
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>
#include <spdlog/spdlog.h>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "proto/config.pb.h"
#include "server/config_source.h"
#include "server/flag_parser.h"
#include "server/last_resort.h"
#include "server/logging.h"
#include "server/model_host.h"
#include "server/port_file.h"
#include "server/security/security.h"
#include "server/server.h"
#include "server/server_options.h"
#include "server/signal_watcher.h"
#include "server/version.h"

namespace {

constexpr int kUsageError = 2;
// What a drain may take beyond its delay and the grace period: the statuses' way to clients of both ports (4 s), the step under way.
constexpr absl::Duration kEndingTime = absl::Seconds(8);

// For people a plain line; where machines read the log, an event of it like the others.
int Fail(int exit_status, const absl::Status& status, ration::LogFormat format = ration::LogFormat::kText) {
  if (format == ration::LogFormat::kJson) {
    spdlog::error("{}", std::string(status.message()));
  } else {
    std::cerr << "rationd: " << status.message() << std::endl;
  }
  return exit_status;
}

// gRPC's and protobuf's own messages are about what clients do (they are told) or repeat what we report ourselves.
void QuietLibraries() {
  google::protobuf::SetLogHandler(nullptr);
  gpr_set_log_function([](gpr_log_func_args* args) { spdlog::debug("grpc: {}", args->message); });
}

// Hears the signals on a thread of its own, which lives as long as the process: before the server is ready a signal ends the
// process, the first one after that asks for a drain, the next ends the process.
class Ending {
 public:
  explicit Ending(ration::SignalWatcher* signals) {
    std::thread([this, signals] { Listen(signals); }).detach();
  }
  void ServerIsReady() { ready_.store(true); }
  // Waits for the signal that asks for a drain and returns its number.
  int WaitForSignal() {
    ration::MutexLock lock(&mutex_);
    while (signal_number_ == 0) changed_.Wait(&mutex_);
    return signal_number_;
  }

 private:
  void Listen(ration::SignalWatcher* signals) {
    const int first = signals->Wait();
    if (!ready_.load()) std::_Exit(128 + first);
    {
      ration::MutexLock lock(&mutex_);
      signal_number_ = first;
      changed_.Signal();
    }
    const int second = signals->Wait();
    spdlog::warn("SIG{} again: ending at once", sigabbrev_np(second));
    std::_Exit(128 + second);
  }

  std::atomic<bool> ready_{false};
  ration::Mutex mutex_;
  ration::CondVar changed_;
  int signal_number_ ABSL_GUARDED_BY(mutex_) = 0;
};

int Serve(const ration::ConfigSource& source, const ration::RationdOptions& options, Ending* ending) {
  if (!options.server.port_file.empty()) {
    const absl::Status removed = ration::RemovePortFile(options.server.port_file);
    if (!removed.ok()) return Fail(1, source.Explain(removed), options.log_format);
  }
  const absl::Status security = ration::Security::Check(options.server.security);
  if (!security.ok()) return Fail(kUsageError, source.Explain(security), options.log_format);
  absl::StatusOr<ration::ServedModel> model = ration::LoadServedModel(options);
  if (!model.ok()) return Fail(kUsageError, source.Explain(model.status()), options.log_format);
  absl::StatusOr<std::unique_ptr<ration::Server>> server = ration::Server::Start(options.server, *std::move(model));
  if (!server.ok()) return Fail(1, source.Explain(server.status()), options.log_format);
  ending->ServerIsReady();
  const ration::ListenAddress grpc_address{options.server.listen.host, (*server)->port()};
  std::string metrics = "no metrics";
  if (options.server.metrics_listen.has_value()) {
    const ration::ListenAddress metrics_address{options.server.metrics_listen->host, (*server)->metrics_port()};
    metrics = absl::StrCat("metrics on http://", metrics_address.ToString(), "/metrics");
  }
  std::string control = "no control API";
  if (options.server.control_listen.has_value()) {
    control = absl::StrCat(
        "control on ", ration::ListenAddress{options.server.control_listen->host, (*server)->control_port()}.ToString());
  }
  std::string health;
  if (options.server.health_listen.has_value()) {
    health = absl::StrCat(
        "; health on ", ration::ListenAddress{options.server.health_listen->host, (*server)->health_port()}.ToString());
  }
  spdlog::info("serving on {}; {}; {}{}", grpc_address.ToString(), control, metrics, health);

  const int signal_number = ending->WaitForSignal();
  spdlog::info("SIG{}: running requests have {} to end; a second signal ends at once", sigabbrev_np(signal_number),
               absl::FormatDuration(options.server.grace_period));
  const ration::LastResort last_resort(options.server.drain_delay + options.server.grace_period + kEndingTime);
  const bool all_ended = (*server)->Drain(options.server.grace_period);
  server->reset();
  spdlog::info(all_ended ? "every request ended; goodbye" : "the grace period was too short for some requests; goodbye");
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  for (const std::string& argument : arguments) {
    if (argument == "--help" || argument == "-h") {
      std::cout << "rationd serves a model over gRPC, with a hard budget for its KV cache.\n\n"
                   "  rationd --model=DIRECTORY [flags]\n\n"
                << ration::FlagsHelp(*ration::v1::ServerConfig::descriptor()) << "\n  --version\n      Print the version.\n";
      return 0;
    }
    if (argument == "--version") {
      std::cout << "rationd " << ration::kServerVersion << "\n";
      return 0;
    }
  }
  const absl::StatusOr<ration::ConfigSource> source = ration::ConfigSource::Read(arguments);
  if (!source.ok()) return Fail(kUsageError, source.status());
  const absl::StatusOr<ration::RationdOptions> options = ration::ParseOptions(source->config());
  if (!options.ok()) return Fail(kUsageError, source->Explain(options.status()));
  if (source->config().print_config()) {
    std::cout << ration::ToConfigFile(source->config());
    return 0;
  }

  ration::ConfigureLogging(options->log_format, options->log_level);
  QuietLibraries();
  absl::StatusOr<std::unique_ptr<ration::SignalWatcher>> signals = ration::SignalWatcher::Create();
  if (!signals.ok()) return Fail(1, signals.status(), options->log_format);
  if (options->server.request_log.prompts) spdlog::warn("PROMPTS ARE LOGGED (--log_prompts): their beginnings go to this log");
  Ending ending(signals->get());
  const int exit_status = Serve(*source, *options, &ending);
  // The thread that listens for signals still uses both, so nothing is torn down from here on.
  std::_Exit(exit_status);
}
