#include "client/bench/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "client/bench/plot.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

v1::ServerState State(int64_t used, int64_t tokens, int64_t preemptions) {
  v1::ServerState state;
  state.set_budget_bytes(1000);
  state.set_used_bytes(used);
  state.set_pressure(static_cast<double>(used) / 1000);
  state.set_kv_fraction(0.5);
  state.set_realised_kv_fraction(0.75);
  state.set_requests_running(3);
  state.set_requests_waiting(used / 100);
  state.set_generated_tokens(tokens);
  state.set_preemptions(preemptions);
  return state;
}

std::vector<StateSample> ThreeSamples() {
  std::vector<StateSample> samples;
  samples.push_back(MakeSample(State(200, 1000, 5), 0.5, nullptr));
  samples.push_back(MakeSample(State(800, 1050, 6), 1.0, &samples[0]));
  samples.push_back(MakeSample(State(500, 1050, 9), 1.5, &samples[1]));
  return samples;
}

TEST(TimelineTest, TokensASecondAreTheCountersDifference) {
  const std::vector<StateSample> samples = ThreeSamples();
  EXPECT_EQ(samples[0].tokens_per_second, 0);
  EXPECT_DOUBLE_EQ(samples[1].tokens_per_second, 100);
  EXPECT_DOUBLE_EQ(samples[2].tokens_per_second, 0);
}

TEST(TimelineTest, TheSummaryHasPeaksAndWhatHappenedDuringTheRun) {
  const TimelineSummary summary = Summarize(ThreeSamples());
  EXPECT_EQ(summary.samples, 3);
  EXPECT_EQ(summary.peak_used_bytes, 800);
  EXPECT_EQ(summary.budget_bytes, 1000);
  EXPECT_DOUBLE_EQ(summary.peak_pressure, 0.8);
  EXPECT_DOUBLE_EQ(summary.mean_pressure, 0.5);
  EXPECT_DOUBLE_EQ(summary.min_realised_kv_fraction, 0.75);
  EXPECT_EQ(summary.peak_waiting, 8);
  EXPECT_EQ(summary.preemptions, 4);
  EXPECT_EQ(summary.samples_over_budget, 0);
  const StateSample over = MakeSample(State(1001, 0, 0), 0, nullptr);
  EXPECT_EQ(Summarize({over}).samples_over_budget, 1);
}

TEST(TimelineTest, CsvHasALineASample) {
  EXPECT_EQ(
      TimelineCsv({ThreeSamples()[1]}),
      "seconds,pressure,used_bytes,budget_bytes,kv_fraction,realised_kv_fraction,running,waiting,tokens_per_second\n"
      "1.000,0.800000,800,1000,0.500000,0.750000,3,8,100.0\n");
}

TEST(TimelineTest, AFileThatCannotBeWrittenIsNamed) {
  const absl::Status status = WriteFile("/no/such/folder/x.csv", "x");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/folder/x.csv"));
}

TEST(PlotTest, ManySamplesAreThinnedOutWithoutLosingPeaks) {
  std::vector<StateSample> samples(10001);
  for (size_t i = 0; i < samples.size(); ++i) samples[i].seconds = static_cast<double>(i);
  samples[7777].pressure = 0.987;
  samples[3333].waiting = 4321;
  const std::string script = TimelineScript(samples, "x.svg");
  EXPECT_LT(script.size(), 200000u);
  EXPECT_THAT(script, HasSubstr("0.987"));
  EXPECT_THAT(script, HasSubstr("4321"));
}

TEST(PlotTest, OtherEndingsAndTooFewSamplesAreRefused) {
  EXPECT_EQ(DrawTimeline(ThreeSamples(), "x.pdf").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(DrawTimeline({}, "x.svg").code(), absl::StatusCode::kFailedPrecondition);
}

TEST(PlotTest, DrawsAPictureWhereGnuplotIsInstalled) {
  const std::string path = ::testing::TempDir() + "/state.svg";
  const absl::Status status = DrawTimeline(ThreeSamples(), path);
  if (absl::IsNotFound(status)) GTEST_SKIP() << "gnuplot is not installed: drawing is NOT tested";
  ASSERT_TRUE(status.ok()) << status;
  std::ifstream file(path);
  const std::string picture((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_THAT(picture, StartsWith("<?xml"));
  EXPECT_THAT(picture, HasSubstr("realised"));
  EXPECT_THAT(picture, HasSubstr("</svg>"));
}

TEST(PlotTest, AMissingGnuplotIsSaidWithThePackageAndLeavesNoFile) {
  const std::string path = ::testing::TempDir() + "/none.svg";
  const char* before = std::getenv("PATH");
  const std::string saved = before == nullptr ? "" : before;
  setenv("PATH", "/nonexistent", 1);
  const absl::Status status = DrawTimeline(ThreeSamples(), path);
  setenv("PATH", saved.c_str(), 1);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("gnuplot-nox"));
  EXPECT_FALSE(std::ifstream(path).good());
}

}  // namespace
}  // namespace ration
