// What `rationctl watch` shows: keeps a few minutes of states and draws a frame for a terminal of some width. Draws text, writes nothing.
// Layer: client. Thread-compatible.
#ifndef RATION_CLIENT_WATCH_VIEW_H_
#define RATION_CLIENT_WATCH_VIEW_H_

#include <deque>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "proto/control.pb.h"

namespace ration {

class WatchView {
 public:
  // `title` is shown at the top: where the states come from.
  WatchView(std::string title, bool colored) : title_(std::move(title)), colored_(colored) {}

  void Add(const v1::ServerState& state);
  // Lines of at most `columns` columns, without line feeds. REQUIRES: Add was called; columns >= 1 (below 40 is drawn as 40 and cut by
  // the caller's terminal).
  std::vector<std::string> Draw(int columns) const;

 private:
  struct Sample {
    double uptime_seconds = 0;
    double pressure = 0;
    int64_t generated_tokens = 0, regrouped_tokens = 0, steps = 0;
  };
  std::string Paint(absl::string_view text, const char* color) const;
  std::string PressureLine(int columns) const;
  std::string HistoryLine(int columns) const;
  std::vector<std::string> ExpertLines(int columns) const;
  std::string RateLine() const;

  const std::string title_;
  const bool colored_;
  v1::ServerState state_;       // the newest
  std::deque<Sample> samples_;  // ascending in time, as long as the history line shows
};

}  // namespace ration

#endif  // RATION_CLIENT_WATCH_VIEW_H_
