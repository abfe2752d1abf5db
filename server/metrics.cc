#include "server/metrics.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include <prometheus/client_metric.h>
#include <prometheus/metric_type.h>

#include "absl/strings/str_cat.h"
#include "server/finish_names.h"
#include "server/process_stats.h"
#include "server/version.h"

namespace ration {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

constexpr const char* kRejectReasons[] = {"queue_full", "queue_tokens", "too_large", "context_too_long", "draining",
                                           "tenant_queue", "tenant_kv"};
static_assert(std::size(kRejectReasons) == static_cast<size_t>(RejectReason::kCount));
constexpr const char* kPhases[] = {"prefill", "decode"};

// Collects families in the order they are described.
class Families {
 public:
  void Add(std::string name, std::string help, MetricType type) {
    families_.push_back(MetricFamily{std::move(name), std::move(help), type, {}});
  }
  // A sample of the family added last.
  void Sample(double value, Labels labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    if (families_.back().type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    families_.back().metric.push_back(std::move(metric));
  }
  void Gauge(std::string name, std::string help, double value) {
    Add(std::move(name), std::move(help), MetricType::Gauge);
    Sample(value);
  }
  void Counter(std::string name, std::string help, double value) {
    Add(std::move(name), std::move(help), MetricType::Counter);
    Sample(value);
  }
  void SampleHistogram(const HistogramData& data, Labels labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    uint64_t cumulative = 0;
    for (size_t i = 0; i < data.counts.size(); ++i) {
      cumulative += static_cast<uint64_t>(data.counts[i]);
      const double bound = i < data.bounds.size() ? data.bounds[i] : std::numeric_limits<double>::infinity();
      metric.histogram.bucket.push_back({cumulative, bound});
    }
    metric.histogram.sample_count = cumulative;
    metric.histogram.sample_sum = data.sum;
    families_.back().metric.push_back(std::move(metric));
  }
  void Histogram(std::string name, std::string help, const HistogramData& data) {
    Add(std::move(name), std::move(help), MetricType::Histogram);
    SampleHistogram(data);
  }
  std::vector<MetricFamily> Take() { return std::move(families_); }

 private:
  std::vector<MetricFamily> families_;
};

// As people count them: expert 1 keeps every head.
std::string ExpertLabel(int expert) { return absl::StrCat(expert + 1); }

void AddKvFamilies(const EngineStats& stats, Families* out) {
  const double layers = static_cast<double>(std::max<int64_t>(stats.num_layers, 1));
  out->Gauge("ration_kv_budget_bytes", "Bytes the KV cache may use.", stats.kv_budget_bytes);
  out->Gauge("ration_kv_target_budget_bytes", "The budget that a change under way asks for; the budget in force when there is none.",
             stats.target_budget_bytes.value_or(stats.kv_budget_bytes));
  out->Gauge("ration_kv_used_bytes", "Bytes of the pages that hold tokens now.", stats.kv_used_bytes);
  out->Gauge("ration_kv_reserved_bytes", "Bytes promised to running requests.", stats.kv_reserved_bytes);
  out->Gauge("ration_kv_waste_bytes", "Bytes of used pages that hold no token (unused tails of pages).", stats.kv_waste_bytes);
  out->Gauge("ration_kv_page_bytes", "Bytes of one page.", stats.kv_page_bytes);
  // Reservations, not used pages, decide whether another request fits.
  const double budget = static_cast<double>(std::max<int64_t>(stats.kv_budget_bytes, 1));
  out->Gauge("ration_kv_usage_ratio", "Used over budgeted KV bytes, from 0 to 1.", stats.kv_used_bytes / budget);
  out->Gauge("ration_kv_reserved_ratio", "Reserved over budgeted KV bytes, from 0 to 1.", stats.kv_reserved_bytes / budget);
  out->Add("ration_kv_fraction",
           "KV bytes of a token against full KV: requested by the ratio in force, wanted by the governor, realised by what is cached.",
           MetricType::Gauge);
  out->Sample(stats.requested_kv_fraction, {{"kind", "requested"}});
  out->Sample(stats.wanted_kv_fraction, {{"kind", "wanted"}});
  out->Sample(stats.realised_kv_fraction, {{"kind", "realised"}});

  out->Gauge("ration_kv_floor", "KV fraction below which no token is brought, of requests that name none.", stats.policy.floor);
  out->Gauge("ration_kv_ceiling", "KV fraction that new tokens get at most.", stats.policy.ceiling);

  out->Add("ration_kv_tokens", "Tokens cached now (mean over the layers).", MetricType::Gauge);
  for (int e = 0; e < stats.num_experts; ++e) out->Sample(stats.kv_token_layers[e] / layers, {{"expert", ExpertLabel(e)}});
  out->Add("ration_expert_ratio", "Share of new tokens each expert is to get.", MetricType::Gauge);
  for (int e = 0; e < stats.num_experts; ++e) out->Sample(stats.ratio[e], {{"expert", ExpertLabel(e)}});
  out->Gauge("ration_policy_mode_auto", "1 while the governor chooses the ratio, 0 while an operator does.",
             stats.policy.mode == ControlMode::kAuto ? 1 : 0);
  out->Gauge("ration_policy_epoch", "Epoch of ratio, policy and budget; grows with every change.", stats.policy_epoch);
  out->Add("ration_routed_tokens_total", "Tokens routed to each expert (mean over the layers).", MetricType::Counter);
  for (int e = 0; e < stats.num_experts; ++e) {
    for (int phase = 0; phase < 2; ++phase) {
      out->Sample(stats.routed_token_layers[e][phase] / layers, {{"expert", ExpertLabel(e)}, {"phase", kPhases[phase]}});
    }
  }
  out->Add("ration_regrouped_tokens_total", "Cached tokens moved to a cheaper expert (mean over the layers).", MetricType::Counter);
  for (int from = 0; from < stats.num_experts; ++from) {
    for (int to = from + 1; to < stats.num_experts; ++to) {
      out->Sample(stats.regrouped_token_layers[from][to] / layers, {{"from", ExpertLabel(from)}, {"to", ExpertLabel(to)}});
    }
  }
  out->Add("ration_router_score", "Router scores of the tokens routed, over all layers; the sum takes each bucket's middle.",
           MetricType::Histogram);
  for (int e = 0; e < stats.num_experts; ++e) {
    HistogramData scores({0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0});
    for (size_t i = 0; i < stats.router_scores[e].size(); ++i) {
      scores.counts[i] = stats.router_scores[e][i];
      scores.sum += static_cast<double>(scores.counts[i]) * (scores.bounds[i] - 0.05);
    }
    out->SampleHistogram(scores, {{"expert", ExpertLabel(e)}});
  }
}

void AddRequestFamilies(const EngineStats& stats, Families* out) {
  out->Gauge("ration_requests_running", "Requests that hold KV pages.", stats.requests_running);
  out->Gauge("ration_requests_waiting", "Requests in the queue.", stats.requests_waiting);
  out->Gauge("ration_waiting_tokens", "Prompt tokens of the requests in the queue.", stats.waiting_tokens);
  out->Add("ration_requests_total", "Requests that were accepted and have ended.", MetricType::Counter);
  for (size_t i = 0; i < stats.requests_finished.size(); ++i) {
    out->Sample(stats.requests_finished[i], {{"outcome", kOutcomes[i]}});
  }
  out->Add("ration_admission_rejections_total", "Requests that were refused.", MetricType::Counter);
  for (size_t i = 0; i < stats.rejections.size(); ++i) out->Sample(stats.rejections[i], {{"reason", kRejectReasons[i]}});
  out->Counter("ration_preemptions_total", "Sequences whose pages were dropped to be recomputed.", stats.preemptions);
  out->Counter("ration_prompt_tokens_total", "Prompt tokens processed, each once.", stats.prompt_tokens);
  out->Counter("ration_recomputed_tokens_total", "Tokens computed again after a preemption.", stats.recomputed_tokens);
  out->Counter("ration_generated_tokens_total", "Tokens generated.", stats.generated_tokens);
  out->Counter("ration_steps_total", "Engine steps run.", stats.steps);
}

// Of the tenants in force; no samples while none are set. Draining is refused before anyone looks at a request's tenant.
void AddTenantFamilies(const EngineStats& stats, Families* out) {
  out->Add("ration_tenant_requests_running", "A tenant's requests that hold KV pages.", MetricType::Gauge);
  for (const TenantStats& of : stats.tenants) out->Sample(of.requests_running, {{"tenant", of.tenant}});
  out->Add("ration_tenant_requests_waiting", "A tenant's requests in the queue.", MetricType::Gauge);
  for (const TenantStats& of : stats.tenants) out->Sample(of.requests_waiting, {{"tenant", of.tenant}});
  out->Add("ration_tenant_kv_reserved_bytes", "Bytes promised to a tenant's running requests.", MetricType::Gauge);
  for (const TenantStats& of : stats.tenants) out->Sample(of.kv_reserved_bytes, {{"tenant", of.tenant}});
  out->Add("ration_tenant_kv_quota_bytes", "Bytes that may be promised to a tenant's running requests; only tenants with a limit.",
           MetricType::Gauge);
  for (const TenantStats& of : stats.tenants) {
    if (of.max_kv_bytes.has_value()) out->Sample(static_cast<double>(*of.max_kv_bytes), {{"tenant", of.tenant}});
  }
  out->Add("ration_tenant_tokens_total", "A tenant's tokens: prompt tokens processed, each once (prefill), and generated (decode).",
           MetricType::Counter);
  for (const TenantStats& of : stats.tenants) {
    out->Sample(of.prompt_tokens, {{"tenant", of.tenant}, {"phase", kPhases[0]}});
    out->Sample(of.generated_tokens, {{"tenant", of.tenant}, {"phase", kPhases[1]}});
  }
  out->Add("ration_tenant_rejections_total", "A tenant's requests that the engine refused.", MetricType::Counter);
  for (const TenantStats& of : stats.tenants) {
    for (size_t i = 0; i < of.rejections.size(); ++i) {
      if (static_cast<RejectReason>(i) == RejectReason::kDraining) continue;
      out->Sample(of.rejections[i], {{"tenant", of.tenant}, {"reason", kRejectReasons[i]}});
    }
  }
}

void AddLatencyFamilies(const EngineStats& stats, Families* out) {
  out->Histogram("ration_time_to_first_token_seconds", "From a request's arrival to its first token.", stats.time_to_first_token);
  out->Histogram("ration_inter_token_latency_seconds", "Between two tokens of a request.", stats.inter_token_latency);
  out->Histogram("ration_time_per_output_token_seconds", "A request's mean time per token after the first.",
                 stats.time_per_output_token);
  out->Histogram("ration_request_seconds", "From a request's arrival to its end.", stats.request_seconds);
  out->Histogram("ration_queue_seconds", "From a request's arrival until it is first scheduled.", stats.queue_seconds);
  out->Histogram("ration_step_seconds", "One engine step.", stats.step_seconds);
  out->Histogram("ration_regroup_seconds", "Regrouping in one engine step, of steps that had any.", stats.regroup_seconds);
  out->Histogram("ration_control_seconds", "Governor, admission and scheduling in one engine step.", stats.control_seconds);
  out->Histogram("ration_step_tokens", "Tokens of one engine step.", stats.step_tokens);
}

void AddProcessFamilies(Families* out) {
  const ProcessStats process = ReadProcessStats();
  out->Counter("process_cpu_seconds_total", "User and system CPU time spent.", process.cpu_seconds);
  out->Gauge("process_resident_memory_bytes", "Resident memory.", process.resident_memory_bytes);
  out->Gauge("process_virtual_memory_bytes", "Virtual memory.", process.virtual_memory_bytes);
  out->Gauge("process_open_fds", "Open file descriptors.", process.open_fds);
  out->Gauge("process_max_fds", "Open file descriptors at most.", process.max_fds);
  out->Gauge("process_start_time_seconds", "Start of the process, since the Unix epoch.", process.start_time_seconds);
  out->Gauge("process_threads", "Threads.", process.threads);
}

}  // namespace

std::vector<MetricFamily> EngineFamilies(const EngineStats& stats) {
  Families families;
  AddKvFamilies(stats, &families);
  AddRequestFamilies(stats, &families);
  AddTenantFamilies(stats, &families);
  AddLatencyFamilies(stats, &families);
  return families.Take();
}

Metrics::Metrics(ModelLabels model, std::function<EngineStats()> snapshot, std::function<EnginePulse()> pulse,
                 std::function<Refusals()> refusals)
    : model_(std::move(model)), snapshot_(std::move(snapshot)), pulse_(std::move(pulse)), refusals_(std::move(refusals)) {}

std::vector<MetricFamily> Metrics::Collect() const {
  std::vector<MetricFamily> all = EngineFamilies(snapshot_());
  Families families;
  families.Add("ration_build_info", "Always 1; the labels describe the server's build.", MetricType::Gauge);
  families.Sample(1, {{"version", kServerVersion}, {"compiler", __VERSION__}});
  families.Add("ration_model_info", "Always 1; the labels describe the model served.", MetricType::Gauge);
  families.Sample(1, {{"name", model_.name}, {"architecture", model_.architecture}, {"dtype", model_.dtype}, {"family", model_.family}});
  families.Add("ration_untrained_routing", "1 if a checkpoint without routers is squeezed by the rule of the label, which costs quality.",
               MetricType::Gauge);
  families.Sample(model_.untrained_routing == "none" ? 0 : 1, {{"rule", model_.untrained_routing}});
  const EnginePulse pulse = pulse_();
  families.Gauge("ration_engine_stalled", "1 while the engine has work and has taken no step for --stall_timeout, otherwise 0.",
                 pulse.stalled ? 1 : 0);
  families.Gauge("ration_engine_step_age_seconds", "Since the engine's last step; at most 0.2 when it is idle.", pulse.step_age_seconds);
  const Refusals refusals = refusals_();
  families.Add("ration_calls_refused_total", "Calls to either API that were refused for their token.", MetricType::Counter);
  families.Sample(static_cast<double>(refusals.unauthenticated), {{"reason", "unauthenticated"}});
  families.Sample(static_cast<double>(refusals.permission_denied), {{"reason", "permission_denied"}});
  families.Add("ration_connections_refused_total", "Connections closed at once, as too many were open.", MetricType::Counter);
  families.Sample(static_cast<double>(refusals.connections), {{"port", "generation"}});
  families.Sample(static_cast<double>(refusals.control_connections), {{"port", "control"}});
  AddProcessFamilies(&families);
  for (MetricFamily& family : families.Take()) all.push_back(std::move(family));
  return all;
}

}  // namespace ration
