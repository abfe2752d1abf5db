#include "client/bench/latency_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "client/bench/report_json.h"
#include "client/bench/report_text.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(StatisticsTest, PercentilesLieBetweenNeighboursAsInNumpy) {
  const std::vector<double> sorted = {1, 2, 3, 4, 10};
  EXPECT_DOUBLE_EQ(Percentile(sorted, 0), 1);
  EXPECT_DOUBLE_EQ(Percentile(sorted, 50), 3);
  EXPECT_DOUBLE_EQ(Percentile(sorted, 90), 7.6);  // rank 3.6: 4 + 0.6 * 6
  EXPECT_DOUBLE_EQ(Percentile(sorted, 100), 10);
  EXPECT_DOUBLE_EQ(Percentile(std::vector<double>{5}, 99), 5);
}

TEST(StatisticsTest, DescribesSamplesInAnyOrder) {
  const Distribution distribution = Describe({10, 1, 4, 3, 2});
  EXPECT_EQ(distribution.count, 5);
  EXPECT_DOUBLE_EQ(distribution.mean, 4);
  EXPECT_DOUBLE_EQ(distribution.p50, 3);
  EXPECT_DOUBLE_EQ(distribution.p95, 8.8);
  EXPECT_DOUBLE_EQ(distribution.max, 10);
  EXPECT_EQ(Describe({}).count, 0);
}

// Arrived at `at`, was sent a second late, then a token each `gap` seconds from `at` + `ttft` on.
RequestRecord Completed(double at, double ttft, double gap, int64_t tokens) {
  RequestRecord record;
  record.outcome = Outcome::kCompleted;
  record.intended_seconds = at;
  record.sent_seconds = at + 1;
  record.first_token_seconds = at + ttft;
  record.last_token_seconds = at + ttft + gap * static_cast<double>(tokens - 1);
  record.end_seconds = record.last_token_seconds;
  record.gaps_seconds.assign(static_cast<size_t>(tokens - 1), static_cast<float>(gap));
  record.prompt_tokens = 100;
  record.generated_tokens = tokens;
  return record;
}

RequestRecord Ended(Outcome outcome, absl::Status status) {
  RequestRecord record;
  record.outcome = outcome;
  record.status = std::move(status);
  return record;
}

TEST(LatencyReportTest, LatenciesCountFromTheIntendedArrivalNotFromTheSending) {
  const Report report = MakeReport({Completed(10, 2, 0.5, 5)}, 20, {});
  EXPECT_DOUBLE_EQ(report.ttft.mean, 2);
  EXPECT_DOUBLE_EQ(report.e2e.mean, 4);
  EXPECT_DOUBLE_EQ(report.tpot.mean, 0.5);
  EXPECT_DOUBLE_EQ(report.itl.mean, 0.5);
  EXPECT_EQ(report.itl.count, 4);
  EXPECT_DOUBLE_EQ(report.send_lag.mean, 1);
}

// As Completed, sent in time; the server says that it took `outside` seconds less than the client saw.
RequestRecord InTime(double at, double ttft, double gap, int64_t tokens, double outside) {
  RequestRecord record = Completed(at, ttft, gap, tokens);
  record.sent_seconds = at;
  record.finish.emplace().set_total_seconds(record.last_token_seconds - at - outside);
  return record;
}

TEST(LatencyReportTest, WhatTheServerDidNotTakeIsOutside) {
  std::vector<RequestRecord> records = {InTime(0, 1, 1, 5, 0.25), InTime(0, 1, 1, 5, 0.25), InTime(0, 1, 1, 1, -0.5)};
  records.push_back(Completed(0, 1, 1, 5));  // of a server that did not say
  const Report report = MakeReport(records, 10, {});
  EXPECT_EQ(report.outside.count, 3);
  EXPECT_DOUBLE_EQ(report.outside.max, 0.25);
  EXPECT_DOUBLE_EQ(report.outside.mean, 0.5 / 3);  // clocks that differ make nothing negative
}

TEST(LatencyReportTest, ALoadGeneratorThatFellBehindSaysSo) {
  const auto lag = [](const RequestRecord& record) { return MakeReport({record}, 10, {}); };
  const Report kept_up = lag(InTime(0, 1, 1, 5, 0.4));  // of 5 seconds
  EXPECT_FALSE(kept_up.generator_lag_seconds.has_value());
  EXPECT_THAT(ReportText(kept_up, false), Not(HasSubstr("fell behind")));
  EXPECT_THAT(ReportJson(kept_up), Not(HasSubstr("generator_lag_seconds")));
  const Report slow_reading = lag(InTime(0, 1, 1, 5, 0.75));
  EXPECT_EQ(slow_reading.generator_lag_seconds, 0.75);
  EXPECT_THAT(ReportText(slow_reading, false), HasSubstr("fell behind by 750 ms (p99)"));
  EXPECT_THAT(ReportJson(slow_reading), HasSubstr("\"generator_lag_seconds\":0.75"));
  EXPECT_EQ(lag(Completed(0, 1, 1, 5)).generator_lag_seconds, 1);  // sent a second late
  EXPECT_FALSE(MakeReport({Ended(Outcome::kRejected, absl::ResourceExhaustedError(""))}, 1, {}).generator_lag_seconds.has_value());
}

TEST(LatencyReportTest, ThroughputIsOfTheWholeRun) {
  const Report report = MakeReport({Completed(0, 1, 0.1, 11), Completed(1, 1, 0.1, 31)}, 4, {});
  EXPECT_DOUBLE_EQ(report.requests_per_second, 0.5);
  EXPECT_DOUBLE_EQ(report.generated_tokens_per_second, 10.5);
  EXPECT_DOUBLE_EQ(report.total_tokens_per_second, 60.5);
}

TEST(LatencyReportTest, GoodRequestsMeetAllLimits) {
  Slo slo;
  slo.ttft_ms = 1000;
  slo.tpot_ms = 200;
  const Report report =
      MakeReport({Completed(0, 0.5, 0.1, 5), Completed(0, 1.5, 0.1, 5), Completed(0, 0.5, 0.3, 5),
                  Completed(0, 0.5, 9, 1), Ended(Outcome::kRejected, absl::ResourceExhaustedError(""))},
                 4, slo);
  EXPECT_EQ(report.good, 2);  // the first and that of one token, which has no time per output token
  EXPECT_DOUBLE_EQ(report.goodput_per_second, 0.5);
  EXPECT_EQ(report.tpot.count, 3);
}

TEST(LatencyReportTest, OnlyCompletedRequestsThatReadAtOnceCountForLatencies) {
  RequestRecord slow = Completed(0, 100, 1, 5);
  slow.slow_reader = true;
  RequestRecord cancelled = Completed(0, 50, 1, 5);
  cancelled.outcome = Outcome::kCancelled;
  RequestRecord interrupted = cancelled;
  interrupted.outcome = Outcome::kInterrupted;
  const Report report = MakeReport({slow, cancelled, interrupted, Completed(0, 1, 1, 5)}, 10, {});
  EXPECT_EQ(report.ttft.count, 1);
  EXPECT_DOUBLE_EQ(report.ttft.max, 1);
  EXPECT_EQ(report.sent, 4);
  EXPECT_EQ(report.completed, 2);
  EXPECT_EQ(report.cancelled, 1);
  EXPECT_EQ(report.interrupted, 1);
  EXPECT_EQ(report.slow_readers, 1);
  EXPECT_EQ(report.generated_tokens, 20);
  EXPECT_EQ(report.prompt_tokens, 200);
}

TEST(LatencyReportTest, ErrorsAlikeButForTheirNumbersAreCountedTogether) {
  const Report report = MakeReport({Ended(Outcome::kRejected, absl::ResourceExhaustedError("64 of 64 wait")),
                                    Ended(Outcome::kFailed, absl::DeadlineExceededError("after 1.008s with 7 tokens")),
                                    Ended(Outcome::kFailed, absl::DeadlineExceededError("after 993ms with 123 tokens")),
                                    Ended(Outcome::kFailed, absl::DeadlineExceededError("in the queue"))},
                                   1, {});
  EXPECT_EQ(report.rejected, 1);
  EXPECT_EQ(report.failed, 3);
  ASSERT_EQ(report.errors.size(), 3u);
  EXPECT_EQ(report.errors[0].count, 2);
  EXPECT_EQ(report.errors[0].code, "DEADLINE_EXCEEDED");
  EXPECT_EQ(report.errors[0].message, "after 1.008s with 7 tokens");
}

TEST(LatencyReportTest, KindsOfErrorsAreBounded) {
  std::vector<RequestRecord> records;
  for (char c = 'a'; c <= 'z'; ++c) records.push_back(Ended(Outcome::kFailed, absl::InternalError(std::string(1, c))));
  const Report report = MakeReport(records, 1, {});
  ASSERT_EQ(report.errors.size(), 21u);
  EXPECT_EQ(report.errors.back().count, 6);
}

TEST(LatencyReportTest, TheKvFractionIsWeightedByBytes) {
  RequestRecord small = Completed(0, 1, 1, 2), large = small;
  small.finish.emplace();
  small.finish->mutable_kv()->set_peak_bytes(10);
  small.finish->mutable_kv()->set_stored_bytes(100);
  small.finish->mutable_kv()->set_full_bytes(100);
  small.finish->mutable_kv()->add_prompt_tokens_per_expert(3);
  large.finish.emplace();
  large.finish->mutable_kv()->set_peak_bytes(20);
  large.finish->mutable_kv()->set_stored_bytes(300);
  large.finish->mutable_kv()->set_full_bytes(1500);
  large.finish->mutable_kv()->add_prompt_tokens_per_expert(1);
  large.finish->mutable_kv()->add_prompt_tokens_per_expert(2);
  large.finish->mutable_kv()->add_generated_tokens_per_expert(0.5);
  const Report report = MakeReport({small, large, Completed(0, 1, 1, 2)}, 1, {});
  EXPECT_DOUBLE_EQ(report.mean_kv_fraction, 0.25);
  EXPECT_EQ(report.peak_request_kv_bytes, 20);
  EXPECT_EQ(report.tokens_per_expert, (std::vector<double>{4.5, 2}));
  EXPECT_EQ(report.accounted, 2);
}

TEST(ReportOutputTest, TheTableShowsWhatThereIsAndEscapesWhatTheServerSaid) {
  Slo slo;
  slo.ttft_ms = 500;
  Report report = MakeReport(
      {Completed(0, 0.25, 0.01, 5), Ended(Outcome::kRejected, absl::ResourceExhaustedError("full\x1b[2J"))}, 2, slo);
  const std::string text = ReportText(report, /*colored=*/false);
  EXPECT_THAT(text, HasSubstr("  sent                  2 in 2.00 s\n"));
  EXPECT_THAT(text, HasSubstr("  completed             1 (50.0 %)\n"));
  EXPECT_THAT(text, HasSubstr("1 of 2 with TTFT <= 500 ms"));
  EXPECT_THAT(text, HasSubstr("time to first token       250 ms"));
  EXPECT_THAT(text, HasSubstr("RESOURCE_EXHAUSTED: full"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, Not(HasSubstr("cancelled")));
  report.state.emplace();
  EXPECT_THAT(ReportText(report, false), Not(HasSubstr("OVER THE BUDGET")));
  report.state->samples_over_budget = 3;
  EXPECT_THAT(ReportText(report, false), HasSubstr("OVER THE BUDGET       3 samples"));
}

TEST(ReportOutputTest, JsonHoldsTheFiguresEvenIfMessagesAreNotUtf8) {
  const Report report =
      MakeReport({Completed(0, 0.25, 0.01, 5), Ended(Outcome::kFailed, absl::InternalError("\xff"))}, 2, {});
  const auto json = nlohmann::json::parse(ReportJson(report));
  EXPECT_EQ(json["requests"]["completed"], 1);
  EXPECT_EQ(json["requests"]["failed"], 1);
  EXPECT_EQ(json["errors"][0]["code"], "INTERNAL");
  EXPECT_DOUBLE_EQ(json["ttft_seconds"]["p50"], 0.25);
  EXPECT_FALSE(json.contains("goodput"));
  EXPECT_FALSE(json.contains("state"));
}

}  // namespace
}  // namespace ration
