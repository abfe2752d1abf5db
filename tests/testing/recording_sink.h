// An OutputSink that keeps what it is given, checks the rules of a stream, and can play a slow reader.
// Thread-safe: a runner delivers on its own thread while the test waits.
#ifndef RATION_TESTS_TESTING_RECORDING_SINK_H_
#define RATION_TESTS_TESTING_RECORDING_SINK_H_

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "engine/base/mutex.h"
#include "engine/request.h"

namespace ration::testing {

class RecordingSink final : public OutputSink {
 public:
  // Takes `capacity` pieces, then says it is full with each until Drain.
  explicit RecordingSink(int64_t capacity = std::numeric_limits<int64_t>::max()) : capacity_(capacity) {}

  // Dies if the piece breaks a rule: a second prompt, anything behind the end, a count of log-probabilities.
  bool OnDelta(GenerationDelta delta) override;

  // Empties the buffer: `capacity` more pieces fit.
  void Drain();
  // False if the last piece did not come within `timeout` (wall clock; for tests with an EngineRunner).
  bool WaitForFinish(absl::Duration timeout = absl::Seconds(60));
  // False if fewer than `count` pieces came within `timeout`.
  bool WaitForDeltas(int64_t count, absl::Duration timeout = absl::Seconds(60));

  std::vector<int32_t> token_ids() const;
  std::vector<TokenLogprob> logprobs() const;
  std::string text() const;
  std::optional<PromptInfo> prompt() const;
  std::optional<FinishInfo> finish() const;
  bool finished() const { return finish().has_value(); }
  int64_t num_deltas() const;

 private:
  const int64_t capacity_;
  mutable Mutex mutex_;
  CondVar changed_;
  int64_t buffered_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_deltas_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<int32_t> token_ids_ ABSL_GUARDED_BY(mutex_);
  std::vector<TokenLogprob> logprobs_ ABSL_GUARDED_BY(mutex_);
  std::string text_ ABSL_GUARDED_BY(mutex_);
  std::optional<PromptInfo> prompt_ ABSL_GUARDED_BY(mutex_);
  std::optional<FinishInfo> finish_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ration::testing

#endif  // RATION_TESTS_TESTING_RECORDING_SINK_H_
