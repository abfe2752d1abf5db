// rationd: serves one model over gRPC until SIGTERM or SIGINT, then lets running requests end and goes. A second signal ends it at
// once. Exit status: 0 after a drain, 2 for a wrong command line or a model that cannot be loaded, 1 if serving fails, 128 + the
// signal's number after a second signal.
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
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include "absl/base/thread_annotations.h"
#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "server/flag_parser.h"
#include "server/model_host.h"
#include "server/server.h"
#include "server/server_options.h"
#include "server/signal_watcher.h"
#include "server/version.h"

ABSL_FLAG(std::string, model, ration::FlagValues().model, "Directory of the model, in Hugging Face's layout. Required.");
ABSL_FLAG(std::string, model_name, ration::FlagValues().model_name,
          "Name that clients see. Default: the last component of --model.");
ABSL_FLAG(std::string, listen, ration::FlagValues().listen, "HOST:PORT for gRPC; port 0 takes any free port.");
ABSL_FLAG(std::string, metrics_listen, ration::FlagValues().metrics_listen,
          "HOST:PORT for Prometheus, path /metrics; port 0 takes any free port; empty: no metrics.");
ABSL_FLAG(std::string, control_listen, ration::FlagValues().control_listen,
          "HOST:PORT for the control API (rationctl ratio, budget, policy, state, watch, drain); port 0 takes any free port; empty: "
          "no control API.");
ABSL_FLAG(std::string, port_file, ration::FlagValues().port_file,
          "File to write when the server is ready, three lines: the ports of gRPC, metrics and control API (0: none).");
ABSL_FLAG(bool, insecure, ration::FlagValues().insecure,
          "Allow addresses that other machines can reach. There is no TLS and no authentication yet.");
ABSL_FLAG(std::string, kv_budget, ration::FlagValues().kv_budget,
          "Bytes the KV cache may use, never exceeded, e.g. 256MiB. Memory is taken as pages are first used.");
ABSL_FLAG(std::string, policy, ration::FlagValues().policy,
          "How memory is shared out: governor makes tokens cheaper as it gets short, static keeps one ratio and reserves the worst "
          "case, preempt keeps one ratio, admits more and computes again what it had to drop.");
ABSL_FLAG(std::string, ratio, ration::FlagValues().ratio,
          "Share of tokens for each expert, e.g. 3:1:6, until the control API changes it. Default: the governor chooses; without it "
          "the checkpoint's (static) or everything kept (preempt).");
ABSL_FLAG(std::vector<std::string>, ladder, ration::FlagValues().ladder,
          "Ratios between which the governor moves, e.g. 1:0:0,3:1:6,0:0:1. Default: the checkpoint's.");
ABSL_FLAG(double, kv_floor, ration::FlagValues().kv_floor,
          "KV fraction below which no token is brought, of requests that name none; 0: the ladder's lowest.");
ABSL_FLAG(double, kv_ceiling, ration::FlagValues().kv_ceiling, "KV fraction that new tokens get at most.");
ABSL_FLAG(double, rise_per_second, ration::FlagValues().rise_per_second,
          "KV fraction that the governor gives back in a second at most, when memory is free again.");
ABSL_FLAG(double, dead_band, ration::FlagValues().dead_band, "KV fraction that must be free before the governor gives any back.");
ABSL_FLAG(double, headroom, ration::FlagValues().headroom, "Share of the budget that the governor keeps free, up to 0.5.");
ABSL_FLAG(double, admission_overcommit, ration::FlagValues().admission_overcommit,
          "Above 1, requests are admitted beyond what is certain to fit, and may have to be computed again.");
ABSL_FLAG(std::string, decode_rule, ration::FlagValues().decode_rule,
          "How decoded tokens are routed: threshold tracks --ratio, argmax takes the best score (for a checkpoint trained at one "
          "ratio).");
ABSL_FLAG(std::string, untrained_routing, ration::FlagValues().untrained_routing,
          "For a checkpoint without routers: none keeps full KV; recency lets the oldest tokens be squeezed first; static:G stores every "
          "token at group size G. Both cost quality.");
ABSL_FLAG(std::string, dtype, ration::FlagValues().dtype, "Compute and KV type: auto, float32 or bfloat16.");
ABSL_FLAG(int32_t, threads, ration::FlagValues().threads, "Compute threads; 0: one for each core.");
ABSL_FLAG(int64_t, max_batched_tokens, ration::FlagValues().max_batched_tokens, "Tokens in one engine step at most.");
ABSL_FLAG(int64_t, max_running_requests, ration::FlagValues().max_running_requests, "Requests that generate at once at most.");
ABSL_FLAG(int64_t, max_queued_requests, ration::FlagValues().max_queued_requests,
          "Requests that wait at most; more get RESOURCE_EXHAUSTED.");
ABSL_FLAG(int64_t, max_queued_tokens, ration::FlagValues().max_queued_tokens,
          "Prompt tokens that wait at most; more get RESOURCE_EXHAUSTED.");
ABSL_FLAG(absl::Duration, max_queue_time, ration::FlagValues().max_queue_time,
          "Time that a request which names none may wait to be scheduled; then it gets DEADLINE_EXCEEDED. 0: no limit.");
ABSL_FLAG(absl::Duration, priority_aging, ration::FlagValues().priority_aging,
          "Time in which a waiting request gains a level of priority; 0: priorities do not change the order.");
ABSL_FLAG(std::string, page_bytes, ration::FlagValues().page_bytes,
          "Bytes of a KV page, a multiple of 64; 0: chosen from the model.");
ABSL_FLAG(std::string, max_prompt_bytes, ration::FlagValues().max_prompt_bytes, "Bytes of a prompt's text at most.");
ABSL_FLAG(absl::Duration, grace_period, ration::FlagValues().grace_period,
          "On SIGTERM or SIGINT: time for running requests to end.");
ABSL_FLAG(absl::Duration, slow_reader_timeout, ration::FlagValues().slow_reader_timeout,
          "A stream whose client does not read for this long ends with RESOURCE_EXHAUSTED.");
ABSL_FLAG(std::string, log_level, ration::FlagValues().log_level, "debug, info, warning, error or off; to stderr.");

namespace {

constexpr absl::string_view kFlags[] = {
    "model",       "model_name",         "listen",               "metrics_listen",      "port_file",
    "insecure",    "kv_budget",          "ratio",                "decode_rule",         "dtype",
    "threads",     "max_batched_tokens", "max_running_requests", "max_queued_requests", "page_bytes",
    "max_prompt_bytes", "grace_period",  "slow_reader_timeout",  "log_level",           "control_listen",
    "policy",      "ladder",             "kv_floor",             "kv_ceiling",          "rise_per_second",
    "dead_band",   "headroom",           "admission_overcommit", "max_queued_tokens",   "max_queue_time",
    "priority_aging", "untrained_routing"};

constexpr int kUsageError = 2;

ration::FlagValues CurrentFlags() {
  ration::FlagValues values;
  values.model = absl::GetFlag(FLAGS_model);
  values.model_name = absl::GetFlag(FLAGS_model_name);
  values.listen = absl::GetFlag(FLAGS_listen);
  values.metrics_listen = absl::GetFlag(FLAGS_metrics_listen);
  values.control_listen = absl::GetFlag(FLAGS_control_listen);
  values.port_file = absl::GetFlag(FLAGS_port_file);
  values.policy = absl::GetFlag(FLAGS_policy);
  values.ladder = absl::GetFlag(FLAGS_ladder);
  values.kv_floor = absl::GetFlag(FLAGS_kv_floor);
  values.kv_ceiling = absl::GetFlag(FLAGS_kv_ceiling);
  values.rise_per_second = absl::GetFlag(FLAGS_rise_per_second);
  values.dead_band = absl::GetFlag(FLAGS_dead_band);
  values.headroom = absl::GetFlag(FLAGS_headroom);
  values.admission_overcommit = absl::GetFlag(FLAGS_admission_overcommit);
  values.max_queued_tokens = absl::GetFlag(FLAGS_max_queued_tokens);
  values.max_queue_time = absl::GetFlag(FLAGS_max_queue_time);
  values.priority_aging = absl::GetFlag(FLAGS_priority_aging);
  values.insecure = absl::GetFlag(FLAGS_insecure);
  values.kv_budget = absl::GetFlag(FLAGS_kv_budget);
  values.ratio = absl::GetFlag(FLAGS_ratio);
  values.decode_rule = absl::GetFlag(FLAGS_decode_rule);
  values.untrained_routing = absl::GetFlag(FLAGS_untrained_routing);
  values.dtype = absl::GetFlag(FLAGS_dtype);
  values.threads = absl::GetFlag(FLAGS_threads);
  values.max_batched_tokens = absl::GetFlag(FLAGS_max_batched_tokens);
  values.max_running_requests = absl::GetFlag(FLAGS_max_running_requests);
  values.max_queued_requests = absl::GetFlag(FLAGS_max_queued_requests);
  values.page_bytes = absl::GetFlag(FLAGS_page_bytes);
  values.max_prompt_bytes = absl::GetFlag(FLAGS_max_prompt_bytes);
  values.grace_period = absl::GetFlag(FLAGS_grace_period);
  values.slow_reader_timeout = absl::GetFlag(FLAGS_slow_reader_timeout);
  values.log_level = absl::GetFlag(FLAGS_log_level);
  return values;
}

int Fail(int exit_status, const absl::Status& status) {
  std::cerr << "rationd: " << status.message() << std::endl;
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
    spdlog::warn("{} again: ending at once", strsignal(second));
    std::_Exit(128 + second);
  }

  std::atomic<bool> ready_{false};
  ration::Mutex mutex_;
  ration::CondVar changed_;
  int signal_number_ ABSL_GUARDED_BY(mutex_) = 0;
};

int Serve(const ration::RationdOptions& options, Ending* ending) {
  absl::StatusOr<ration::ServedModel> model = ration::LoadServedModel(options);
  if (!model.ok()) return Fail(kUsageError, model.status());
  absl::StatusOr<std::unique_ptr<ration::Server>> server = ration::Server::Start(options.server, *std::move(model));
  if (!server.ok()) return Fail(1, server.status());
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
  spdlog::info("serving on {}; {}; {}", grpc_address.ToString(), control, metrics);

  const int signal_number = ending->WaitForSignal();
  spdlog::info("{}: draining for at most {}; a second signal ends at once", strsignal(signal_number),
               absl::FormatDuration(options.server.grace_period));
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
                << ration::FlagsHelp(kFlags) << "  --version\n      Print the version.\n";
      return 0;
    }
    if (argument == "--version") {
      std::cout << "rationd " << ration::kServerVersion << "\n";
      return 0;
    }
  }
  if (absl::Status status = ration::ParseFlags(kFlags, arguments); !status.ok()) return Fail(kUsageError, status);
  const absl::StatusOr<ration::RationdOptions> options = ration::ParseOptions(CurrentFlags());
  if (!options.ok()) return Fail(kUsageError, options.status());

  spdlog::set_default_logger(spdlog::stderr_color_mt("rationd"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%l%$ %v", spdlog::pattern_time_type::utc);
  spdlog::set_level(options->log_level);
  QuietLibraries();
  absl::StatusOr<std::unique_ptr<ration::SignalWatcher>> signals = ration::SignalWatcher::Create();
  if (!signals.ok()) return Fail(1, signals.status());
  Ending ending(signals->get());
  const int exit_status = Serve(*options, &ending);
  // The thread that listens for signals still uses both, so nothing is torn down from here on.
  std::cout.flush();
  std::_Exit(exit_status);
}
