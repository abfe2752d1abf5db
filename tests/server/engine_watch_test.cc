#include "server/engine_watch.h"

#include <memory>

#include <gtest/gtest.h>

#include "tests/testing/fake_clock.h"
#include "tests/testing/puppet_engine.h"

namespace ration {
namespace {

class EngineWatchTest : public ::testing::Test {
 protected:
  EngineWatchTest() {
    runner_ = std::make_unique<EngineRunner>(EngineRunner::Options(), std::make_unique<PuppetEngine>(strings_, &clock_));
  }
  ~EngineWatchTest() override { strings_->ReleaseSteps(); }
  EngineWatch WatchWith(absl::Duration stall_timeout) {
    EngineWatch::Options options;
    options.stall_timeout = stall_timeout;
    options.runner = runner_.get();
    options.clock = &clock_;
    return EngineWatch(options);
  }

  ration::testing::FakeClock clock_;
  std::shared_ptr<PuppetStrings> strings_ = std::make_shared<PuppetStrings>();
  std::unique_ptr<EngineRunner> runner_;
};

TEST_F(EngineWatchTest, AHangingEngineIsStalledOnceItHasWorkAndTheTimeIsOver) {
  const EngineWatch watch = WatchWith(absl::Seconds(30));
  ASSERT_TRUE(strings_->HoldSteps());
  clock_.Advance(absl::Seconds(31));
  EXPECT_FALSE(watch.Look().stalled) << "nobody waits for it";
  EXPECT_EQ(watch.Look().step_age, absl::Seconds(31));
  runner_->Resume("some request");
  EXPECT_TRUE(watch.Look().stalled);
  EXPECT_FALSE(WatchWith(absl::Seconds(40)).Look().stalled);
  EXPECT_FALSE(WatchWith(absl::ZeroDuration()).Look().stalled) << "off";
}

TEST_F(EngineWatchTest, TheTimeCountsFromTheLastStepOrTheWatchsStart) {
  ASSERT_TRUE(strings_->HoldSteps());
  clock_.Advance(absl::Hours(1));  // say, while the model was loaded
  const EngineWatch watch = WatchWith(absl::Seconds(30));
  runner_->Resume("some request");
  EXPECT_FALSE(watch.Look().stalled);
  clock_.Advance(absl::Seconds(30));
  EXPECT_FALSE(watch.Look().stalled) << "the limit itself is allowed";
  clock_.Advance(absl::Milliseconds(1));
  EXPECT_TRUE(watch.Look().stalled);
}

}  // namespace
}  // namespace ration
