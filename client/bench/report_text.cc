// Layer: client/bench.
#include "client/bench/report_text.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/console.h"
#include "client/stats_table.h"

namespace ration {
namespace {

constexpr int kLabelColumns = 22;
constexpr size_t kMaxMessageColumns = 96;

class Text {
 public:
  explicit Text(bool colored) : colored_(colored) {}

  void Title(absl::string_view title) {
    absl::StrAppend(&text_, text_.empty() ? "" : "\n", Bold(title, colored_), "\n");
  }
  void Line(absl::string_view label, absl::string_view value) {
    absl::StrAppendFormat(&text_, "  %-*s%s\n", kLabelColumns, label, value);
  }
  void Raw(absl::string_view text) { absl::StrAppend(&text_, text); }
  std::string Take() { return std::move(text_); }

 private:
  const bool colored_;
  std::string text_;
};

// " (12.5 %)" of a positive whole.
std::string Share(int64_t part, int64_t whole) {
  if (whole <= 0) return "";
  return absl::StrFormat(" (%.1f %%)", 100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

void AddRequests(const Report& report, Text& text) {
  text.Title("Requests");
  text.Line("sent", absl::StrCat(report.sent, " in ", HumanSeconds(report.seconds)));
  text.Line("completed", absl::StrCat(report.completed, Share(report.completed, report.sent)));
  const std::pair<absl::string_view, int64_t> others[] = {{"rejected", report.rejected},
                                                          {"failed", report.failed},
                                                          {"cancelled on purpose", report.cancelled},
                                                          {"interrupted", report.interrupted},
                                                          {"slow readers", report.slow_readers},
                                                          {"clipped to context", report.clipped}};
  for (const auto& [label, count] : others) {
    if (count > 0) text.Line(label, absl::StrCat(count, Share(count, report.sent)));
  }
  for (const ErrorCount& error : report.errors) {
    std::string message = TerminalSafe(absl::StrReplaceAll(error.message, {{"\n", " "}}));
    if (message.size() > kMaxMessageColumns) message = absl::StrCat(message.substr(0, kMaxMessageColumns), "...");
    text.Raw(absl::StrFormat("  %8d x %s: %s\n", error.count, error.code, message));
  }
}

void AddThroughput(const Report& report, Text& text) {
  text.Title("Throughput");
  text.Line("requests/s", HumanNumber(report.requests_per_second));
  text.Line("output tokens/s", HumanNumber(report.generated_tokens_per_second));
  text.Line("total tokens/s", HumanNumber(report.total_tokens_per_second));
  if (report.slo.empty()) return;
  std::string limits;
  const auto limit = [&limits](absl::string_view name, const std::optional<double>& limit_ms) {
    if (limit_ms.has_value()) {
      absl::StrAppend(&limits, limits.empty() ? "" : ", ", name, " <= ", HumanSeconds(*limit_ms / 1000));
    }
  };
  limit("TTFT", report.slo.ttft_ms);
  limit("TPOT", report.slo.tpot_ms);
  limit("E2E", report.slo.e2e_ms);
  text.Line("goodput, requests/s", absl::StrCat(HumanNumber(report.goodput_per_second), "   ", report.good, " of ",
                                                report.sent, " with ", limits));
}

void AddLatency(const Report& report, Text& text) {
  text.Title("Latency");
  text.Raw(absl::StrFormat("  %-*s%10s%10s%10s%10s%10s%10s\n", kLabelColumns, "", "mean", "p50", "p90", "p95", "p99",
                           "max"));
  const std::pair<absl::string_view, const Distribution*> rows[] = {
      {"time to first token", &report.ttft},    {"per output token", &report.tpot},
      {"between tokens", &report.itl},          {"end to end", &report.e2e},
      {"in the server's queue", &report.queue}, {"outside the server", &report.outside},
      {"late sending", &report.send_lag}};
  for (const auto& [label, row] : rows) {
    if (row->count == 0) {
      text.Line(label, "       -");
      continue;
    }
    text.Raw(absl::StrFormat("  %-*s%10s%10s%10s%10s%10s%10s\n", kLabelColumns, label, HumanSeconds(row->mean),
                             HumanSeconds(row->p50), HumanSeconds(row->p90), HumanSeconds(row->p95),
                             HumanSeconds(row->p99), HumanSeconds(row->max)));
  }
  if (report.generator_lag_seconds.has_value()) {
    text.Raw(absl::StrCat("  The load generator, or the way to it, fell behind by ", HumanSeconds(*report.generator_lag_seconds),
                          " (p99): these latencies are partly its own.\n"));
  }
}

void AddKv(const Report& report, Text& text) {
  if (report.accounted == 0) return;
  text.Title("KV cache, by the requests' accounts");
  text.Line("largest request", HumanBytes(report.peak_request_kv_bytes));
  text.Line("fraction of full KV", absl::StrFormat("%.3f", report.mean_kv_fraction));
  const double tokens = std::accumulate(report.tokens_per_expert.begin(), report.tokens_per_expert.end(), 0.0);
  for (size_t i = 0; i < report.tokens_per_expert.size(); ++i) {
    const std::string label =
        i < report.group_sizes.size() ? ExpertLabel(report.group_sizes[i]) : absl::StrCat("expert ", i);
    text.Line(label, absl::StrFormat("%.0f tokens (%.1f %%)", report.tokens_per_expert[i],
                                     tokens > 0 ? 100 * report.tokens_per_expert[i] / tokens : 0));
  }
  text.Line("tokens regrouped", absl::StrCat(report.tokens_regrouped));
}

void AddState(const TimelineSummary& state, Text& text) {
  text.Title(absl::StrCat("Server, ", state.samples, " samples"));
  text.Line("peak KV in use", absl::StrCat(HumanBytes(state.peak_used_bytes), " of ", HumanBytes(state.budget_bytes)));
  text.Line("pressure", absl::StrFormat("%.3f mean, %.3f peak", state.mean_pressure, state.peak_pressure));
  text.Line("lowest KV fraction", absl::StrFormat("%.3f realised", state.min_realised_kv_fraction));
  text.Line("requests at most", absl::StrCat(state.peak_running, " running, ", state.peak_waiting, " waiting"));
  text.Line("preemptions", absl::StrCat(state.preemptions));
  text.Line("tokens regrouped", absl::StrCat(state.regrouped_tokens));
  if (state.samples_over_budget > 0) text.Line("OVER THE BUDGET", absl::StrCat(state.samples_over_budget, " samples"));
}

}  // namespace

std::string ReportText(const Report& report, bool colored) {
  Text text(colored);
  AddRequests(report, text);
  AddThroughput(report, text);
  AddLatency(report, text);
  AddKv(report, text);
  if (report.state.has_value()) AddState(*report.state, text);
  return text.Take();
}

}  // namespace ration
