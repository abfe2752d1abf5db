#include "server/metrics.h"

#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

namespace ration {
namespace {

using ::testing::HasSubstr;

std::string Text(const EngineStats& stats) { return prometheus::TextSerializer().Serialize(EngineFamilies(stats)); }

EngineStats TwoExperts() {
  EngineStats stats;
  stats.num_experts = 2;
  stats.num_layers = 4;
  stats.kv_budget_bytes = 1000;
  stats.kv_used_bytes = 250;
  return stats;
}

TEST(EngineFamilies, DividePerLayerCountsSoThatTokensAreTokens) {
  EngineStats stats = TwoExperts();
  stats.kv_token_layers = {40, 20};
  stats.routed_token_layers[1] = {400, 8};
  const std::string text = Text(stats);
  EXPECT_THAT(text, HasSubstr("ration_kv_tokens{expert=\"1\"} 10\n"));
  EXPECT_THAT(text, HasSubstr("ration_kv_tokens{expert=\"2\"} 5\n"));
  EXPECT_THAT(text, HasSubstr("ration_routed_tokens_total{expert=\"2\",phase=\"prefill\"} 100\n"));
  EXPECT_THAT(text, HasSubstr("ration_routed_tokens_total{expert=\"2\",phase=\"decode\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("ration_kv_usage_ratio 0.25\n"));
}

TEST(EngineFamilies, HistogramsAreCumulativeAndEndAtInfinity) {
  EngineStats stats = TwoExperts();
  stats.step_tokens = HistogramData({1, 8});
  for (double tokens : {1.0, 2.0, 8.0, 9.0}) stats.step_tokens.Observe(tokens);
  const std::string text = Text(stats);
  EXPECT_THAT(text, HasSubstr("ration_step_tokens_bucket{le=\"1\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("ration_step_tokens_bucket{le=\"8\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("ration_step_tokens_bucket{le=\"+Inf\"} 4\n"));
  EXPECT_THAT(text, HasSubstr("ration_step_tokens_count 4\n"));
  EXPECT_THAT(text, HasSubstr("ration_step_tokens_sum 20\n"));
}

TEST(EngineFamilies, AreAllThereFromTheFirstScrape) {
  const std::string text = Text(TwoExperts());
  for (const char* family :
       {"ration_kv_budget_bytes", "ration_kv_used_bytes", "ration_kv_reserved_bytes", "ration_kv_waste_bytes",
        "ration_kv_usage_ratio", "ration_kv_fraction", "ration_kv_floor", "ration_kv_ceiling", "ration_kv_tokens",
        "ration_routed_tokens_total", "ration_expert_ratio",
        "ration_policy_epoch", "ration_router_score", "ration_requests_running", "ration_requests_waiting",
        "ration_waiting_tokens", "ration_requests_total", "ration_admission_rejections_total", "ration_preemptions_total",
        "ration_prompt_tokens_total", "ration_recomputed_tokens_total", "ration_generated_tokens_total",
        "ration_time_to_first_token_seconds",
        "ration_inter_token_latency_seconds", "ration_time_per_output_token_seconds", "ration_request_seconds",
        "ration_queue_seconds", "ration_step_seconds", "ration_step_tokens"}) {
    EXPECT_THAT(text, HasSubstr(std::string("# TYPE ") + family + " "));
  }
  for (const char* outcome : {"stop", "length", "aborted", "deadline", "slow_reader", "shutdown", "error"}) {
    EXPECT_THAT(text, HasSubstr(std::string("ration_requests_total{outcome=\"") + outcome + "\"} 0\n"));
  }
  std::set<std::string> names;
  for (const prometheus::MetricFamily& family : EngineFamilies(TwoExperts())) {
    EXPECT_TRUE(names.insert(family.name).second) << family.name << " occurs twice";
  }
}

TEST(EngineFamilies, TellTenantsApart) {
  EngineStats stats = TwoExperts();
  EXPECT_THAT(Text(stats), HasSubstr("# TYPE ration_tenant_requests_running gauge\n"));
  EXPECT_THAT(Text(stats), ::testing::Not(HasSubstr("{tenant=")));
  stats.tenants.resize(2);
  stats.tenants[0].tenant = "other";
  stats.tenants[1].tenant = "search";
  stats.tenants[1].max_kv_bytes = 1024;
  stats.tenants[1].requests_running = 3;
  stats.tenants[1].requests_waiting = 4;
  stats.tenants[1].kv_reserved_bytes = 512;
  stats.tenants[1].prompt_tokens = 50;
  stats.tenants[1].generated_tokens = 60;
  stats.tenants[1].rejections[static_cast<size_t>(RejectReason::kTenantQueue)] = 7;
  const std::string text = Text(stats);
  for (const char* line :
       {"ration_tenant_requests_running{tenant=\"other\"} 0\n", "ration_tenant_requests_running{tenant=\"search\"} 3\n",
        "ration_tenant_requests_waiting{tenant=\"search\"} 4\n", "ration_tenant_kv_reserved_bytes{tenant=\"search\"} 512\n",
        "ration_tenant_kv_quota_bytes{tenant=\"search\"} 1024\n", "ration_tenant_tokens_total{tenant=\"search\",phase=\"prefill\"} 50\n",
        "ration_tenant_tokens_total{tenant=\"search\",phase=\"decode\"} 60\n",
        "ration_tenant_rejections_total{tenant=\"search\",reason=\"tenant_queue\"} 7\n",
        "ration_tenant_rejections_total{tenant=\"other\",reason=\"tenant_kv\"} 0\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
  EXPECT_THAT(text, ::testing::Not(HasSubstr("ration_tenant_kv_quota_bytes{tenant=\"other\"}")));
}

TEST(Metrics, AsksForANewSnapshotAtEveryScrape) {
  int64_t scrapes = 0;
  Metrics metrics({"m", "A", "float32", "", "none"}, [&scrapes] {
    EngineStats stats = TwoExperts();
    stats.requests_running = ++scrapes;
    return stats;
  }, [&scrapes] { return Metrics::EnginePulse{scrapes > 1, 0.5}; }, [] { return Metrics::Refusals{4, 3, 2, 1}; });
  const prometheus::TextSerializer serializer;
  EXPECT_THAT(serializer.Serialize(metrics.Collect()), HasSubstr("ration_requests_running 1\n"));
  const std::string second = serializer.Serialize(metrics.Collect());
  EXPECT_THAT(second, HasSubstr("ration_requests_running 2\n"));
  EXPECT_THAT(second, HasSubstr("ration_model_info{name=\"m\",architecture=\"A\",dtype=\"float32\",family=\"\"} 1\n"));
  EXPECT_THAT(second, HasSubstr("ration_engine_stalled 1\n"));
  EXPECT_THAT(second, HasSubstr("ration_engine_step_age_seconds 0.5\n"));
  EXPECT_THAT(second, HasSubstr("ration_calls_refused_total{reason=\"unauthenticated\"} 4\n"));
  EXPECT_THAT(second, HasSubstr("ration_calls_refused_total{reason=\"permission_denied\"} 3\n"));
  EXPECT_THAT(second, HasSubstr("ration_connections_refused_total{port=\"generation\"} 2\n"));
  EXPECT_THAT(second, HasSubstr("ration_connections_refused_total{port=\"control\"} 1\n"));
  EXPECT_THAT(second, HasSubstr("process_open_fds "));
}

}  // namespace
}  // namespace ration
