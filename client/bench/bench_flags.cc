// Layer: client/bench.
#include "client/bench/bench_flags.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/bench/plot.h"
#include "client/flag_set.h"

namespace ration {
namespace {

constexpr absl::string_view kSynopsis =
    R"(Loads a Ration server with requests and reports latencies, throughput and KV memory.

  ration_bench [FLAGS]

Examples
  ration_bench --mode=closed --concurrency=32 --max_requests=500
  ration_bench --mode=poisson --rate=20 --duration=60s --slo_ttft_ms=500 --slo_tpot_ms=50
  ration_bench --mode=trace --trace=AzureLLMInferenceTrace_conv.csv --speedup=10 --length_scale=0.1

)";

// As they were given; absent where they were not.
struct RawFlags {
  bool help = false;
  std::string server;
  std::string control;
  TransportFlags transport;
  std::string mode = "closed";
  std::optional<int64_t> concurrency;
  std::optional<double> rate, burstiness, speedup, length_scale;
  std::optional<std::string> trace, prompt_tokens, output_tokens, prompt_file, json, timeline, plot;
  std::optional<int64_t> max_requests;
  std::optional<absl::Duration> duration, time_limit, slow_pause;
  std::optional<uint64_t> seed;
  bool ignore_eos = true;
  std::optional<double> temperature, kv_floor, cancel_share, slow_share, slo_ttft_ms, slo_tpot_ms, slo_e2e_ms;
  std::optional<int32_t> priority;
};

void Declare(FlagSet& flags, RawFlags& raw) {
  const char* from_environment = std::getenv("RATION_SERVER");
  raw.server = from_environment != nullptr && *from_environment != '\0' ? from_environment : "127.0.0.1:50051";
  flags.Section("Server");
  flags.Add("server", "HOST:PORT", &raw.server,
            "Where rationd listens. Default: $RATION_SERVER, else 127.0.0.1:50051.");
  flags.Add("control", "HOST:PORT", &raw.control, "Its control API, for samples of its state. Default: none.");
  raw.transport.AddTo(flags);
  flags.Section("Arrivals");
  flags.Add("mode", "MODE", &raw.mode,
            "closed: a fixed number of requests at a time; poisson, gamma: at random times; trace: as recorded. "
            "Default closed.");
  flags.Add("concurrency", "N", &raw.concurrency, "closed: requests at a time. Default 8.");
  flags.Add("rate", "R", &raw.rate, "poisson, gamma: requests a second on average. Needed there.");
  flags.Add("burstiness", "B", &raw.burstiness,
            "gamma: shape of the gaps' distribution; 1 is poisson, less is burstier, more is steadier. Needed there.");
  flags.Add("trace", "FILE", &raw.trace, "trace: an Azure LLM trace (CSV) or a Mooncake trace (JSON lines).");
  flags.Add("speedup", "X", &raw.speedup, "trace: arrivals come X times as fast. Default 1.");
  flags.Add("length_scale", "X", &raw.length_scale, "trace: prompts and outputs are X times as long. Default 1.");
  flags.Add("max_requests", "N", &raw.max_requests,
            "Send so many at most. Default: 100 without --duration; a whole trace.");
  flags.Add("duration", "TIME", &raw.duration,
            "Send nothing after this time, e.g. 60s; running requests are waited for.");
  flags.Section("Requests");
  flags.Add("prompt_tokens", "N|LO-HI", &raw.prompt_tokens,
            "Length of prompts, or a range to draw it from. Default 64.");
  flags.Add("output_tokens", "N|LO-HI", &raw.output_tokens,
            "Length of outputs, or a range to draw it from. Default 64.");
  flags.Add("prompt_file", "FILE", &raw.prompt_file,
            "Prompts are pieces of this text (of its first 256 KiB) instead of random tokens.");
  flags.Add("ignore_eos", &raw.ignore_eos,
            "Generate all tokens asked for; --noignore_eos lets the model end. Default on.");
  flags.Add("temperature", "T", &raw.temperature, "Sampling temperature. Default 0 (greedy).");
  flags.Add("time_limit", "TIME", &raw.time_limit, "Of each request, e.g. 30s. Default: none.");
  flags.Add("priority", "P", &raw.priority, "Of all requests, in [-100, 100].");
  flags.Add("kv_floor", "F", &raw.kv_floor, "KV fraction below which no token is ever brought, in (0, 1].");
  flags.Add("seed", "N", &raw.seed, "Of arrivals, lengths, prompts and shares. Default 0.");
  flags.Section("Unruly clients");
  flags.Add("cancel_share", "P", &raw.cancel_share, "Share of requests cancelled at a random token. Default 0.");
  flags.Add("slow_share", "P", &raw.slow_share, "Share of requests that stop reading for a while. Default 0.");
  flags.Add("slow_pause", "TIME", &raw.slow_pause, "For how long they stop. Default 2s.");
  flags.Section("Report");
  flags.Add("slo_ttft_ms", "MS", &raw.slo_ttft_ms, "Goodput counts requests with a first token within this time,");
  flags.Add("slo_tpot_ms", "MS", &raw.slo_tpot_ms, "... with at most this time per output token,");
  flags.Add("slo_e2e_ms", "MS", &raw.slo_e2e_ms, "... and that ended within this time.");
  flags.Add("json", "FILE", &raw.json, "The report as JSON; --json alone prints it instead of the table.");
  flags.Add("timeline", "FILE.csv", &raw.timeline, "The state samples, one a line. Needs --control.");
  flags.Add("plot", "FILE.svg|png", &raw.plot,
            "Pressure, KV fraction and queue over time. Needs --control and gnuplot.");
  flags.Add("help", &raw.help, "Print this text.");
}

// Moves flags to options while they are in range; keeps the first error.
class Checker {
 public:
  template <typename T, typename To>
  void Range(absl::string_view name, const std::optional<T>& value, T low, T high, absl::string_view limits, To* to) {
    if (!value.has_value()) return;
    // Also false for what is not a number.
    if (*value >= low && *value <= high) {
      *to = *value;
    } else {
      Fail(name, absl::StrCat("must be ", limits, ", not ", *value));
    }
  }
  template <typename To>
  void Positive(absl::string_view name, const std::optional<double>& value, To* to) {
    Range(name, value, 1e-9, 1e9, "in [1e-9, 1e9]", to);
  }
  void Time(absl::string_view name, const std::optional<absl::Duration>& value, absl::Duration* to) {
    if (!value.has_value()) return;
    if (*value >= absl::Milliseconds(1) && *value <= absl::Hours(24 * 30)) {
      *to = *value;
    } else {
      Fail(name, absl::StrCat("must be in [1ms, 720h], not ", absl::FormatDuration(*value)));
    }
  }
  void Length(absl::string_view name, const std::optional<std::string>& value, LengthRange* to) {
    if (!value.has_value()) return;
    if (absl::StatusOr<LengthRange> range = ParseLengthRange(*value); range.ok()) {
      *to = *range;
    } else {
      Fail(name, range.status().message());
    }
  }
  // A flag that says nothing in the mode asked for is an error, lest somebody believe that it did.
  void OnlyIn(absl::string_view name, bool given, bool applies, absl::string_view where) {
    if (given && !applies) Fail(name, absl::StrCat("applies only with ", where));
  }
  void Needed(absl::string_view name, bool given, bool needed, absl::string_view where) {
    if (needed && !given) Fail(name, absl::StrCat("is needed with ", where));
  }
  void Fail(absl::string_view name, absl::string_view problem) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat("--", name, ": ", problem));
  }
  const absl::Status& status() const { return status_; }

 private:
  absl::Status status_;
};

void CheckArrivals(const RawFlags& raw, Checker& check, BenchOptions* options) {
  const std::pair<absl::string_view, ArrivalMode> modes[] = {{"closed", ArrivalMode::kClosed},
                                                             {"poisson", ArrivalMode::kPoisson},
                                                             {"gamma", ArrivalMode::kGamma},
                                                             {"trace", ArrivalMode::kTrace}};
  bool known = false;
  for (const auto& [name, mode] : modes) {
    if (raw.mode != name) continue;
    options->mode = mode;
    known = true;
  }
  if (!known) check.Fail("mode", absl::StrCat("must be closed, poisson, gamma or trace, not \"", raw.mode, "\""));
  const bool closed = options->mode == ArrivalMode::kClosed;
  const bool gamma = options->mode == ArrivalMode::kGamma;
  const bool random = gamma || options->mode == ArrivalMode::kPoisson;
  const bool trace = options->mode == ArrivalMode::kTrace;
  check.OnlyIn("concurrency", raw.concurrency.has_value(), closed, "--mode=closed");
  check.OnlyIn("rate", raw.rate.has_value(), random, "--mode=poisson or gamma");
  check.OnlyIn("burstiness", raw.burstiness.has_value(), gamma, "--mode=gamma");
  check.OnlyIn("trace", raw.trace.has_value(), trace, "--mode=trace");
  check.OnlyIn("speedup", raw.speedup.has_value(), trace, "--mode=trace");
  check.OnlyIn("length_scale", raw.length_scale.has_value(), trace, "--mode=trace");
  check.OnlyIn("prompt_tokens", raw.prompt_tokens.has_value(), !trace, "modes other than trace");
  check.OnlyIn("output_tokens", raw.output_tokens.has_value(), !trace, "modes other than trace");
  check.Needed("rate", raw.rate.has_value(), random, "--mode=poisson or gamma");
  check.Needed("burstiness", raw.burstiness.has_value(), gamma, "--mode=gamma");
  check.Needed("trace", raw.trace.has_value(), trace, "--mode=trace");

  if (closed) options->load.concurrency = 8;
  check.Range<int64_t>("concurrency", raw.concurrency, 1, 100000, "in [1, 100000]", &options->load.concurrency);
  check.Range("rate", raw.rate, 1e-6, 1e6, "in [1e-6, 1e6]", &options->rate);
  check.Range("burstiness", raw.burstiness, 1e-3, 1e3, "in [0.001, 1000]", &options->burstiness);
  check.Positive("speedup", raw.speedup, &options->speedup);
  check.Positive("length_scale", raw.length_scale, &options->length_scale);
  check.Time("duration", raw.duration, &options->load.duration);
  check.Range<int64_t>("max_requests", raw.max_requests, 1, std::numeric_limits<int64_t>::max(), ">= 1",
                       &options->max_requests);
  if (!raw.max_requests.has_value() && !raw.duration.has_value() && !trace) options->max_requests = 100;
  options->trace = raw.trace.value_or("");
}

void CheckRequests(const RawFlags& raw, Checker& check, BenchOptions* options) {
  LoadOptions& load = options->load;
  check.Length("prompt_tokens", raw.prompt_tokens, &options->prompt_tokens);
  check.Length("output_tokens", raw.output_tokens, &options->output_tokens);
  options->prompt_file = raw.prompt_file.value_or("");
  load.ignore_eos = raw.ignore_eos;
  check.Range("temperature", raw.temperature, 0.0, 100.0, "in [0, 100]", &load.temperature);
  if (raw.time_limit.has_value()) {
    absl::Duration limit = absl::Milliseconds(1);
    check.Time("time_limit", raw.time_limit, &limit);
    load.time_limit_ms = absl::ToInt64Milliseconds(limit);
  }
  check.Range("priority", raw.priority, -100, 100, "in [-100, 100]", &load.priority);
  check.Range("kv_floor", raw.kv_floor, 1e-6, 1.0, "in (0, 1]", &load.kv_floor);
  check.Range("cancel_share", raw.cancel_share, 0.0, 1.0, "in [0, 1]", &load.cancel_share);
  check.Range("slow_share", raw.slow_share, 0.0, 1.0, "in [0, 1]", &load.slow_share);
  check.OnlyIn("slow_pause", raw.slow_pause.has_value(), load.slow_share > 0, "--slow_share above 0");
  check.Time("slow_pause", raw.slow_pause, &load.slow_pause);
  load.seed = raw.seed.value_or(0);
}

void CheckReport(const RawFlags& raw, Checker& check, BenchOptions* options) {
  check.Positive("slo_ttft_ms", raw.slo_ttft_ms, &options->slo.ttft_ms);
  check.Positive("slo_tpot_ms", raw.slo_tpot_ms, &options->slo.tpot_ms);
  check.Positive("slo_e2e_ms", raw.slo_e2e_ms, &options->slo.e2e_ms);
  options->json = raw.json.value_or("");
  options->timeline = raw.timeline.value_or("");
  options->plot = raw.plot.value_or("");
  const bool control = !raw.control.empty();
  check.OnlyIn("timeline", raw.timeline.has_value(), control, "--control=HOST:PORT");
  check.OnlyIn("plot", raw.plot.has_value(), control, "--control=HOST:PORT");
  if (raw.plot.has_value()) {
    if (absl::Status status = CheckPlotPath(*raw.plot); !status.ok()) check.Fail("plot", status.message());
  }
}

}  // namespace

absl::Status ParseBenchFlags(absl::Span<const std::string> arguments, BenchOptions* options) {
  RawFlags raw;
  FlagSet flags;
  Declare(flags, raw);
  std::vector<std::string> with_values(arguments.begin(), arguments.end());
  for (std::string& argument : with_values) {
    if (argument == "--json") argument = "--json=-";
  }
  const absl::StatusOr<std::vector<std::string>> rest = flags.Parse(with_values);
  options->help = raw.help;
  if (raw.help) return absl::OkStatus();
  if (!rest.ok()) return rest.status();
  if (!rest->empty())
    return absl::InvalidArgumentError(absl::StrCat("no arguments expected but flags, not \"", (*rest)[0], "\""));
  options->server = raw.server;
  options->control = raw.control;
  Checker check;
  CheckArrivals(raw, check, options);
  CheckRequests(raw, check, options);
  CheckReport(raw, check, options);
  if (!check.status().ok()) return check.status();
  absl::StatusOr<Transport> transport = raw.transport.Read();
  if (!transport.ok()) return transport.status();
  for (const std::string& target : {raw.server, raw.control}) {
    if (target.empty()) continue;
    if (absl::Status status = raw.transport.CheckTarget(*transport, target); !status.ok()) return status;
  }
  options->transport = *std::move(transport);
  return absl::OkStatus();
}

std::string BenchHelp(int columns) {
  RawFlags raw;
  FlagSet flags;
  Declare(flags, raw);
  return absl::StrCat(kSynopsis, flags.Help(columns));
}

}  // namespace ration
