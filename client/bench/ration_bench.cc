// Puts the parts together: model and prompts, workload, run, report.
// Layer: client/bench.
#include "client/bench/ration_bench.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/bench/bench_flags.h"
#include "client/bench/input_file.h"
#include "client/bench/latency_report.h"
#include "client/bench/plot.h"
#include "client/bench/progress.h"
#include "client/bench/prompt_source.h"
#include "client/bench/report_json.h"
#include "client/bench/report_text.h"
#include "client/bench/state_sampler.h"
#include "client/bench/timeline.h"
#include "client/bench/trace_file.h"
#include "client/rpc_error.h"

namespace ration {
namespace {

constexpr int kExitOk = 0;
constexpr int kExitError = 1;
constexpr int kExitUsage = 2;
constexpr int kExitInterrupted = 130;
constexpr int64_t kMaxPromptFileBytes = 256 * 1024;  // within what servers take as one text
constexpr absl::Duration kStateInterval = absl::Milliseconds(100);

// Arrivals and lengths come from streams of random numbers of their own: one may be changed without the other.
uint64_t ArrivalSeed(uint64_t seed) { return seed ^ 0x9e3779b97f4a7c15; }
uint64_t PromptSeed(uint64_t seed) { return seed ^ 0xc2b2ae3d27d4eb4f; }

absl::StatusOr<std::unique_ptr<Workload>> MakeWorkload(const BenchOptions& options, int64_t context_tokens,
                                                       std::optional<int64_t>* requests) {
  *requests = options.max_requests;
  if (options.mode == ArrivalMode::kTrace) {
    absl::StatusOr<std::vector<TraceEntry>> entries = ReadTrace(options.trace);
    if (!entries.ok()) return entries.status();
    const auto count = static_cast<int64_t>(entries->size());
    *requests = std::min(count, options.max_requests.value_or(count));
    return MakeTraceWorkload(*std::move(entries),
                             {options.speedup, options.length_scale, context_tokens, options.max_requests});
  }
  SyntheticOptions synthetic;
  if (options.mode != ArrivalMode::kClosed) {
    synthetic.arrivals = {options.rate, options.burstiness, ArrivalSeed(options.load.seed)};
  }
  synthetic.prompt_tokens = options.prompt_tokens;
  synthetic.output_tokens = options.output_tokens;
  synthetic.context_tokens = context_tokens;
  synthetic.max_requests = options.max_requests;
  synthetic.seed = options.load.seed;
  return MakeSyntheticWorkload(synthetic);
}

// `status` of a call, with the flag that says where it went.
absl::Status AtServer(const absl::Status& status, absl::string_view flag, absl::string_view target) {
  const absl::string_view message =
      absl::IsUnimplemented(status) ? "a server answers there, but it has no such service" : status.message();
  return absl::Status(status.code(), absl::StrCat("--", flag, "=", target, ": ", message));
}

}  // namespace

void Interruption::Interrupt() {
  calls_.Cancel();
  std::lock_guard<std::mutex> lock(mutex_);
  if (runner_ != nullptr) runner_->Stop();
}

void Interruption::Watch(LoadRunner* runner) {
  std::lock_guard<std::mutex> lock(mutex_);
  runner_ = runner;
  if (runner_ != nullptr && calls_.cancelled()) runner_->Stop();
}

class BenchRun {
 public:
  BenchRun(const BenchOptions& options, const Console& console, Interruption* interruption)
      : options_(options), console_(console), interruption_(interruption), client_(CreateChannel(options.server, options.transport)) {}

  int Run() {
    if (absl::Status status = Prepare(); !status.ok()) return Explain(status);
    Load();
    if (absl::Status status = Show(); !status.ok()) return Explain(status);
    if (interruption_->interrupted()) return kExitInterrupted;
    return report_.generated_tokens > 0 ? kExitOk : kExitError;
  }

 private:
  absl::Status Prepare() {
    absl::StatusOr<v1::GetModelInfoResponse> info = client_.GetModelInfo(&interruption_->calls_);
    if (!info.ok()) return AtServer(info.status(), "server", options_.server);
    info_ = *std::move(info);
    if (info_.vocab_size() < 1 || info_.context_tokens() < 2) {
      return absl::FailedPreconditionError(absl::StrCat("the server's model has a vocabulary of ", info_.vocab_size(),
                                                        " and a context of ", info_.context_tokens(), " tokens"));
    }
    absl::StatusOr<std::unique_ptr<Workload>> workload = MakeWorkload(options_, info_.context_tokens(), &requests_);
    if (!workload.ok()) return workload.status();
    workload_ = *std::move(workload);
    if (absl::Status status = PreparePrompts(); !status.ok()) return status;
    if (options_.control.empty()) return absl::OkStatus();
    control_ = CreateChannel(options_.control, options_.transport, /*own_connection=*/true);
    if (absl::Status status = StateSampler::Check(control_); !status.ok()) {
      return AtServer(status, "control", options_.control);
    }
    return absl::OkStatus();
  }

  absl::Status PreparePrompts() {
    const uint64_t seed = PromptSeed(options_.load.seed);
    if (options_.prompt_file.empty()) {
      prompts_.emplace(info_.vocab_size(), seed);
      return absl::OkStatus();
    }
    absl::StatusOr<std::string> text = ReadTextBeginning(options_.prompt_file, kMaxPromptFileBytes);
    if (!text.ok()) return text.status();
    absl::StatusOr<v1::TokenizeResponse> tokens =
        client_.Tokenize(*text, /*add_special_tokens=*/false, &interruption_->calls_);
    if (!tokens.ok())
      return AtServer(tokens.status(), absl::StrCat("prompt_file=", options_.prompt_file, " --server"),
                      options_.server);
    if (tokens->ids().empty())
      return absl::InvalidArgumentError(absl::StrCat(options_.prompt_file, ": no tokens in this text"));
    prompts_.emplace(std::vector<int32_t>(tokens->ids().begin(), tokens->ids().end()), seed);
    return absl::OkStatus();
  }

  void Load() {
    LoadRunner runner(CreateChannel(options_.server, options_.transport, /*own_connection=*/true),
                      CreateChannel(options_.server, options_.transport, /*own_connection=*/true), options_.load, workload_.get(),
                      &*prompts_);
    std::optional<StateSampler> sampler;
    if (control_ != nullptr) sampler.emplace(control_, kStateInterval, runner.start());
    // With a duration nobody knows how many there will be.
    ProgressPrinter progress(console_, options_.load.duration == absl::InfiniteDuration() ? requests_ : std::nullopt);
    interruption_->Watch(&runner);
    runner.Run([&progress](const LoadProgress& at) { progress.Show(at); });
    interruption_->Watch(nullptr);
    progress.End();
    report_ = MakeReport(runner.records(), runner.seconds(), options_.slo);
    for (const v1::Expert& expert : info_.experts()) report_.group_sizes.push_back(expert.group_size());
    if (!sampler.has_value()) return;
    if (absl::Status status = sampler->Stop(); !status.ok()) {
      Warn(absl::StrCat("the samples of the server's state are not complete: ", DescribeError(status)));
    }
    samples_ = sampler->samples();
    if (!samples_.empty()) report_.state = Summarize(samples_);
  }

  absl::Status Show() {
    if (options_.json == "-") {
      *console_.out << ReportJson(report_) << "\n" << std::flush;
    } else {
      *console_.out << ReportText(report_, console_.colors && console_.out_is_terminal) << std::flush;
    }
    absl::Status first;
    if (!options_.json.empty() && options_.json != "-")
      first.Update(WriteFile(options_.json, ReportJson(report_) + "\n"));
    if (!options_.timeline.empty()) first.Update(WriteFile(options_.timeline, TimelineCsv(samples_)));
    if (options_.plot.empty()) return first;
    const absl::Status drawn = DrawTimeline(samples_, options_.plot);
    // The figures are there: a missing program for pictures is no failure of the run.
    if (absl::IsNotFound(drawn)) {
      Warn(drawn.message());
    } else {
      first.Update(drawn);
    }
    return first;
  }

  int Explain(const absl::Status& status) {
    if (interruption_->interrupted()) {
      *console_.err << "ration_bench: interrupted\n";
      return kExitInterrupted;
    }
    Warn(DescribeError(status));
    if (absl::IsUnavailable(status))
      *console_.err << "Is rationd running there? Name another server with --server=HOST:PORT.\n";
    return kExitError;
  }

  void Warn(absl::string_view message) {
    *console_.err << "ration_bench: " << (console_.err_is_terminal ? TerminalSafe(message) : std::string(message))
                  << "\n";
  }

  const BenchOptions& options_;
  const Console& console_;
  Interruption* const interruption_;
  GenerationClient client_;
  std::shared_ptr<grpc::Channel> control_;  // null: no samples
  v1::GetModelInfoResponse info_;
  std::optional<int64_t> requests_;
  std::unique_ptr<Workload> workload_;
  std::optional<PromptSource> prompts_;
  Report report_;
  std::vector<StateSample> samples_;
};

int RunRationBench(absl::Span<const std::string> arguments, const Console& console, Interruption* interruption) {
  BenchOptions options;
  const absl::Status status = ParseBenchFlags(arguments, &options);
  if (options.help) {
    *console.out << BenchHelp(console.columns) << std::flush;
    return kExitOk;
  }
  if (!status.ok()) {
    *console.err << "ration_bench: " << status.message() << "\nTry: ration_bench --help\n";
    return kExitUsage;
  }
  return BenchRun(options, console, interruption).Run();
}

}  // namespace ration
