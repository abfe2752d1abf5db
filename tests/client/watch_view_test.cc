#include "client/watch_view.h"

#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "client/console.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/client/fake_control_service.h"

namespace ration {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string WithoutEscapes(const std::string& text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') i = text.find('m', i);
    else plain += text[i];
  }
  return plain;
}

TEST(WatchView, NeverDrawsBeyondTheTerminalsWidthWithOrWithoutColours) {
  for (const bool colored : {false, true}) {
    WatchView view("a.rather.long.host.name.example.org:50052", colored);
    v1::ServerState state = testing::BusyState();
    state.set_target_budget_bytes(int64_t{1} << 29);
    state.set_draining(true);
    state.set_requests_finished(123456789);
    view.Add(state);
    for (int columns = 40; columns <= 200; ++columns) {
      for (const std::string& line : view.Draw(columns)) EXPECT_LE(DisplayWidth(WithoutEscapes(line)), columns) << line;
    }
    EXPECT_FALSE(view.Draw(1).empty());
  }
}

TEST(WatchView, WithoutColoursThereAreNoEscapes) {
  WatchView view("here", /*colored=*/false);
  view.Add(testing::BusyState());
  EXPECT_THAT(absl::StrJoin(view.Draw(80), "\n"), Not(HasSubstr("\x1b")));
}

TEST(WatchView, ShowsPressureExpertsFractionsAndQueue) {
  WatchView view("here", /*colored=*/false);
  view.Add(testing::BusyState());
  const std::string text = absl::StrJoin(view.Draw(80), "\n");
  EXPECT_THAT(text, HasSubstr("75.0 %  768 MiB of 1.00 GiB"));
  EXPECT_THAT(text, HasSubstr("governor, auto   epoch 12   up 1 h 2 min"));
  EXPECT_THAT(text, HasSubstr("0.500 requested   0.400 wanted   0.600 cached"));
  EXPECT_THAT(text, HasSubstr("0.3:0.1:0.6"));
  EXPECT_THAT(text, HasSubstr("5 running   3 waiting (480 tokens)"));
}

TEST(WatchView, RatesAreOverTheLastSecondsAndStartAgainWithAnotherServer) {
  WatchView view("here", /*colored=*/false);
  v1::ServerState state = testing::BusyState();
  for (int i = 0; i <= 10; ++i) {
    state.set_uptime_seconds(100 + i);
    state.set_generated_tokens(i <= 8 ? 0 : (i - 8) * 500);
    view.Add(state);
  }
  EXPECT_THAT(view.Draw(80).back(), HasSubstr("500 tokens"));
  state.set_uptime_seconds(1);
  view.Add(state);
  EXPECT_THAT(view.Draw(80).back(), HasSubstr("- tokens"));
}

TEST(WatchView, HistoryShowsOlderPressureOnTheLeft) {
  WatchView view("here", /*colored=*/false);
  v1::ServerState state = testing::BusyState();
  state.set_uptime_seconds(0);
  state.set_pressure(1);
  view.Add(state);
  state.set_uptime_seconds(60);
  state.set_pressure(0);
  view.Add(state);
  const std::string line = view.Draw(80)[3];
  EXPECT_LT(line.find("█"), line.find("▁"));
  EXPECT_NE(line.find("▁"), std::string::npos);
}

}  // namespace
}  // namespace ration
