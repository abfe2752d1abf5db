#include "client/watch_view.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/console.h"
#include "client/control_output.h"

namespace ration {
namespace {

constexpr double kHistorySeconds = 180;
constexpr double kRateSeconds = 2;  // rates are means over this time
constexpr int kLabelColumns = 12;
constexpr int kMinColumns = 40;
constexpr const char* kSparks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
// Also told apart without colours.
constexpr const char* kExpertBlocks[] = {"█", "▓", "▒", "░"};
constexpr const char* kExpertColors[] = {"34", "36", "32", "35"};
constexpr const char* kRed = "31";
constexpr const char* kYellow = "33";
constexpr const char* kGreen = "32";

const char* PressureColor(double pressure) { return pressure >= 0.95 ? kRed : pressure >= 0.8 ? kYellow : kGreen; }

std::string Repeat(absl::string_view text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) absl::StrAppend(&result, text);
  return result;
}

std::string Label(absl::string_view label, bool colored) {
  return Dim(absl::StrFormat(" %-*s", kLabelColumns - 1, label), colored);
}

// The first `columns` columns of `text`; escape sequences take none, and are kept.
std::string Cut(const std::string& text, int columns) {
  std::string result;
  int used = 0;
  bool cut = false;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '\x1b') {
      const size_t end = text.find('m', i);
      result.append(text, i, end - i + 1);
      i = end + 1;
      continue;
    }
    size_t next = i + 1;
    while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xC0) == 0x80) ++next;
    if (used == columns) cut = true;
    if (!cut) {
      result.append(text, i, next - i);
      ++used;
    }
    i = next;
  }
  return result;
}

}  // namespace

std::string WatchView::Paint(absl::string_view text, const char* color) const {
  return colored_ ? absl::StrCat("\x1b[", color, "m", text, "\x1b[0m") : std::string(text);
}

void WatchView::Add(const v1::ServerState& state) {
  if (!samples_.empty() && state.uptime_seconds() < samples_.back().uptime_seconds) samples_.clear();  // another server
  state_ = state;
  samples_.push_back({state.uptime_seconds(), state.pressure(), state.generated_tokens(), state.regrouped_tokens(), state.steps()});
  while (samples_.front().uptime_seconds < state.uptime_seconds() - kHistorySeconds) samples_.pop_front();
}

std::string WatchView::PressureLine(int columns) const {
  const std::string numbers =
      absl::StrFormat(" %5.1f %%  %s of %s", 100 * state_.pressure(), HumanBytes(state_.used_bytes()), HumanBytes(state_.budget_bytes()));
  const int width = std::max(4, columns - kLabelColumns - DisplayWidth(numbers));
  const double pressure = std::clamp(state_.pressure(), 0.0, 1.0);
  int filled = static_cast<int>(std::lround(pressure * width));
  if (state_.used_bytes() > 0) filled = std::max(filled, 1);
  // How far running requests could grow: what was promised to them beyond what they use.
  const double reserved = static_cast<double>(state_.reserved_bytes()) / static_cast<double>(std::max<int64_t>(state_.budget_bytes(), 1));
  const int promised = std::clamp(static_cast<int>(std::lround(reserved * width)), filled, width);
  return absl::StrCat(Label("pressure", colored_), Paint(Repeat("█", filled), PressureColor(state_.pressure())),
                      Paint(Repeat("▒", promised - filled), "2"), Paint(Repeat("·", width - promised), "2"), numbers);
}

std::string WatchView::HistoryLine(int columns) const {
  const std::string note = absl::StrFormat("  last %.0f min", kHistorySeconds / 60);
  const int width = std::max(4, columns - kLabelColumns - DisplayWidth(note));
  std::vector<double> peaks(width, -1);
  const double now = state_.uptime_seconds();
  for (const Sample& sample : samples_) {
    const double age = now - sample.uptime_seconds;
    const int column = width - 1 - static_cast<int>(age / kHistorySeconds * width);
    if (column >= 0) peaks[column] = std::max(peaks[column], sample.pressure);
  }
  std::string line = Label("", colored_);
  double last = -1;  // fills columns between two samples
  for (const double peak : peaks) {
    if (peak >= 0) last = peak;
    if (last < 0) {
      absl::StrAppend(&line, " ");
    } else {
      absl::StrAppend(&line, Paint(kSparks[std::clamp(static_cast<int>(last * 8), 0, 7)], PressureColor(last)));
    }
  }
  return absl::StrCat(line, Dim(note, colored_));
}

std::vector<std::string> WatchView::ExpertLines(int columns) const {
  const int width = columns - kLabelColumns - 1;
  double sum = 0;
  for (const v1::ExpertState& expert : state_.experts()) sum += static_cast<double>(expert.cached_bytes());
  std::string bar = Label("by expert", colored_);
  int drawn = 0;
  double cumulative = 0;
  for (int e = 0; e < state_.experts_size(); ++e) {
    cumulative += static_cast<double>(state_.experts(e).cached_bytes());
    const int end = sum > 0 ? static_cast<int>(std::lround(cumulative / sum * width)) : 0;
    absl::StrAppend(&bar, Paint(Repeat(kExpertBlocks[e % 4], end - drawn), kExpertColors[e % 4]));
    drawn = end;
  }
  absl::StrAppend(&bar, Paint(Repeat("·", width - drawn), "2"));
  std::vector<std::string> lines = {bar};
  for (int e = 0; e < state_.experts_size(); ++e) {
    const v1::ExpertState& expert = state_.experts(e);
    const std::string keeps = expert.group_size() == 1 ? "all heads" : absl::StrCat("1/", expert.group_size(), " of heads");
    lines.push_back(absl::StrCat(
        Label("", colored_), Paint(kExpertBlocks[e % 4], kExpertColors[e % 4]),
        absl::StrFormat(" %-12s %9s %9.0f tokens   %5.1f %% of new", keeps, HumanBytes(expert.cached_bytes()),
                        expert.cached_tokens(), 100 * expert.ratio())));
  }
  return lines;
}

std::string WatchView::RateLine() const {
  const Sample& newest = samples_.back();
  const Sample* base = &samples_.front();
  for (const Sample& sample : samples_) {
    if (sample.uptime_seconds <= newest.uptime_seconds - kRateSeconds) base = &sample;
  }
  const double seconds = newest.uptime_seconds - base->uptime_seconds;
  const auto rate = [seconds](int64_t after, int64_t before) {
    return seconds > 0 ? absl::StrFormat("%.0f", static_cast<double>(after - before) / seconds) : std::string("-");
  };
  return absl::StrCat(Label("per second", colored_), Bold(rate(newest.generated_tokens, base->generated_tokens), colored_), " tokens   ",
                      rate(newest.regrouped_tokens, base->regrouped_tokens), " regrouped   ", rate(newest.steps, base->steps),
                      " steps");
}

std::vector<std::string> WatchView::Draw(int columns) const {
  columns = std::max(columns, kMinColumns);
  std::vector<std::string> lines;
  lines.push_back(absl::StrCat(" ", Bold("Ration", colored_), " ", TerminalSafe(title_), "   ", BudgetPolicyText(state_.budget_policy()),
                               ", ", Bold(ModeText(state_.mode()), colored_), "   epoch ", state_.epoch(), "   up ",
                               UptimeText(state_.uptime_seconds()), state_.draining() ? Paint("   DRAINING", kYellow) : ""));
  lines.push_back("");
  lines.push_back(PressureLine(columns - 1));
  lines.push_back(HistoryLine(columns - 1));
  std::string memory = absl::StrCat(Label("memory", colored_), HumanBytes(state_.reserved_bytes()), " reserved   ",
                                    HumanBytes(state_.waste_bytes()), " unfilled   ", HumanBytes(state_.resident_bytes()), " resident");
  if (state_.has_target_budget_bytes()) {
    absl::StrAppend(&memory, Paint(absl::StrCat("   going to ", HumanBytes(state_.target_budget_bytes())), kYellow));
  }
  lines.push_back(memory);
  lines.push_back("");
  for (std::string& line : ExpertLines(columns)) lines.push_back(std::move(line));
  lines.push_back("");
  lines.push_back(absl::StrCat(Label("fraction", colored_), Bold(absl::StrFormat("%.3f", state_.kv_fraction()), colored_),
                               absl::StrFormat(" requested   %.3f wanted   %.3f cached", state_.wanted_kv_fraction(),
                                               state_.realised_kv_fraction())));
  lines.push_back(absl::StrCat(Label("ratio", colored_), RatioText(state_)));
  lines.push_back(absl::StrCat(Label("requests", colored_), Bold(absl::StrCat(state_.requests_running()), colored_), " running   ",
                               state_.requests_waiting(), " waiting (", state_.waiting_tokens(), " tokens)"));
  lines.push_back(absl::StrCat(Label("", colored_), state_.requests_finished(), " finished   ", state_.requests_rejected(),
                               " refused   ", state_.requests_failed(), " failed   ", state_.preemptions(), " preempted"));
  lines.push_back(RateLine());
  for (std::string& line : lines) line = Cut(line, columns);
  return lines;
}

}  // namespace ration
